// SPDX-License-Identifier: MIT OR Apache-2.0
//! A program that is reported as started has begun, whoever else waits for the host's children; and one that has
//! begun is a child of the host's.

use super::entries::SpawnPath;
use crate::common::group::Group;
use crate::common::member::{Member, role};
use crate::common::program::{self, StartOptions};
use agentcg::{DEVNULL, Errno, Limits, SpawnOptions};
use nix::sys::wait::{WaitPidFlag, waitpid};
use std::fs::File;
use std::io::Read;
use std::os::fd::AsRawFd;

/// Waits for every child of the process, of whatever kind, and is often the first.
fn wait_for_all() {
    let any = Some(WaitPidFlag::__WALL);
    loop {
        if waitpid(None, any).is_err() {
            std::thread::yield_now();
        }
    }
}

/// Says that it has begun.
pub fn begins(_: &[String]) {
    role::send("begun");
}

/// Starts one that is there and one that is not, again and again, in a group of its own each time.
pub fn host_with_a_reaper(args: &[String]) {
    let path = SpawnPath::named(&args[0]);
    let seen = std::thread::spawn(move || {
        for _ in 0..10 {
            let group = Group::plain();
            path.close(&group);
            let nowhere = program::command(&[c"/nowhere"], [c"x"]);
            let missing = group.spawn(&nowhere, SpawnOptions::default());
            assert_eq!(missing.err().map(|e| e.errno()), Some(Errno::ENOENT));
            let (from_it, its) = nix::unistd::pipe().unwrap();
            let how = StartOptions { stdio: [DEVNULL, its.as_raw_fd(), 2], ..StartOptions::default() };
            program::start(&group, "begins", how).unwrap_or_else(|e| panic!("{e}"));
            drop(its);
            let mut said = String::new();
            File::from(from_it).read_to_string(&mut said).unwrap();
            assert_eq!(said, "begun\n", "reported as started");
            group.destroy();
        }
    });
    std::thread::spawn(wait_for_all);
    seen.join().unwrap();
    role::send("ok");
}

fn it_is_true(path: SpawnPath) {
    let mut host = Member::start("host_with_a_reaper", &[&format!("{path:?}")]);
    host.expect_line("ok");
}

#[test]
fn what_is_born_has_begun_whoever_waits() {
    it_is_true(SpawnPath::Born);
}

#[test]
fn what_enters_has_begun_whoever_waits() {
    it_is_true(SpawnPath::Clone3Refused);
}

#[test]
fn what_would_be_killed_at_birth_has_begun_whoever_waits() {
    it_is_true(SpawnPath::KilledAtBirth);
}

/// Its host ignores SIGCHLD, so that nobody can wait for it any more.
pub fn host_that_ignores_its_children(_: &[String]) {
    let group = Group::plain();
    #[allow(unsafe_code, reason = "no handler is installed")]
    // SAFETY: as the reason says.
    unsafe {
        nix::sys::signal::signal(nix::sys::signal::Signal::SIGCHLD, nix::sys::signal::SigHandler::SigIgn)
    }
    .unwrap();
    for _ in 0..20 {
        program::start(&group, "begins", StartOptions { stdio: [DEVNULL; 3], ..StartOptions::default() })
            .unwrap_or_else(|e| panic!("{e}"));
    }
    group.destroy();
    role::send("ok");
}

#[test]
fn what_has_ended_before_anybody_looked_has_begun() {
    let mut host = Member::start("host_that_ignores_its_children", &[]);
    host.expect_line("ok");
}

/// Too little for any program to begin in.
fn tiny(oom_group: bool) -> Limits {
    Limits { memory_max: Some(4096), swap_max: Some(0), oom_group: Some(oom_group), ..Limits::default() }
}

fn want_of_memory_is_told(path: SpawnPath, oom_group: bool, contain: bool) {
    let group = Group::new(&tiny(oom_group));
    path.close(&group);
    let how = StartOptions { spawn: SpawnOptions { contain, pidfd: false }, ..StartOptions::default() };
    match program::start(&group, "begins", how) {
        Err(e) => assert_eq!((e.errno(), e.file(), e.reason()), (Errno::ENOMEM, "memory.max", None), "{e}"),
        // Linux 5.10 gives up the old memory first, and finds no new one then: it has begun, and dies.
        Ok(_) => group.cgroup.wait_for_value("cgroup.events", "populated", 0),
    }
    group.destroy();
}

#[test]
fn want_of_memory_is_told_with_the_limits_name_on_each_way() {
    for path in SpawnPath::ALL {
        let alone = std::thread::spawn(move || {
            for oom_group in [false, true] {
                want_of_memory_is_told(path, oom_group, false);
            }
        });
        alone.join().unwrap_or_else(|_| panic!("spawn path {path:?}"));
    }
}

#[test]
fn want_of_memory_is_not_told_as_want_of_namespaces() {
    for path in SpawnPath::ALL {
        let alone = std::thread::spawn(move || want_of_memory_is_told(path, false, true));
        alone.join().unwrap_or_else(|_| panic!("spawn path {path:?}"));
    }
}

/// And the reaper is often first there, too: who was killed in execve(2) has not begun.
pub fn host_of_tiny_with_a_reaper(_: &[String]) {
    std::thread::spawn(wait_for_all);
    for oom_group in [false, true] {
        for _ in 0..10 {
            want_of_memory_is_told(SpawnPath::Born, oom_group, false);
        }
    }
    role::send("ok");
}

#[test]
fn want_of_memory_is_told_whoever_waits() {
    let mut host = Member::start("host_of_tiny_with_a_reaper", &[]);
    host.expect_line("ok");
}

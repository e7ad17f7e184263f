// SPDX-License-Identifier: MIT OR Apache-2.0
//! A program that is reported as started has begun, even if another thread reaps the children of the host. A
//! program that has begun is a child of the host.

use super::entries::SpawnPath;
use crate::common::group::Group;
use crate::common::member::{Member, role};
use crate::common::program::{self, StartOptions};
use agentcg::{DEVNULL, Errno, Limits, SpawnOptions};
use nix::sys::wait::{WaitPidFlag, waitpid};
use std::fs::File;
use std::io::Read;
use std::os::fd::AsRawFd;

/// Waits for all children of the process, of any kind. It is often the first to reap one.
fn wait_for_all() {
    let any = Some(WaitPidFlag::__WALL);
    loop {
        if waitpid(None, any).is_err() {
            std::thread::yield_now();
        }
    }
}

/// A role that reports that it has begun.
pub fn begins(_: &[String]) {
    role::send("begun");
}

/// Starts an existing program and a missing one repeatedly, each time in a new group.
pub fn host_with_a_reaper(args: &[String]) {
    let path = SpawnPath::named(&args[0]);
    let starter = std::thread::spawn(move || {
        for _ in 0..10 {
            let group = Group::plain();
            path.close(&group);
            let nowhere = program::command(&[c"/nowhere"], [c"x"]);
            let missing = group.spawn(&nowhere, SpawnOptions::default());
            assert_eq!(missing.err().map(|e| e.errno()), Some(Errno::ENOENT));
            let (reader, writer) = nix::unistd::pipe().unwrap();
            let options = StartOptions { stdio: [DEVNULL, writer.as_raw_fd(), 2], ..StartOptions::default() };
            program::start(&group, "begins", options).unwrap_or_else(|e| panic!("{e}"));
            drop(writer);
            let mut output = String::new();
            File::from(reader).read_to_string(&mut output).unwrap();
            assert_eq!(output, "begun\n", "reported as started");
            group.destroy();
        }
    });
    std::thread::spawn(wait_for_all);
    starter.join().unwrap();
    role::send("ok");
}

fn check_with_a_reaper(path: SpawnPath) {
    let mut host = Member::start("host_with_a_reaper", &[&format!("{path:?}")]);
    host.expect_line("ok");
}

#[test]
fn a_program_created_in_the_group_has_begun_even_with_a_concurrent_reaper() {
    check_with_a_reaper(SpawnPath::CreatedInside);
}

#[test]
fn a_program_that_enters_the_group_has_begun_even_with_a_concurrent_reaper() {
    check_with_a_reaper(SpawnPath::Clone3Refused);
}

#[test]
fn a_program_that_would_be_killed_at_its_creation_has_begun_even_with_a_concurrent_reaper() {
    check_with_a_reaper(SpawnPath::KilledAtCreation);
}

/// The host ignores SIGCHLD, so that no process can wait for its children.
pub fn host_that_ignores_its_children(_: &[String]) {
    let group = Group::plain();
    #[allow(unsafe_code, reason = "no handler is installed")]
    // SAFETY: no handler is installed.
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
fn a_program_that_ended_before_the_library_looked_has_begun() {
    let mut host = Member::start("host_that_ignores_its_children", &[]);
    host.expect_line("ok");
}

/// Too little memory for a program to begin.
fn tiny_limits(oom_group: bool) -> Limits {
    Limits { memory_max: Some(4096), swap_max: Some(0), oom_group: Some(oom_group), ..Limits::default() }
}

fn check_memory_shortage(path: SpawnPath, oom_group: bool, contain: bool) {
    let group = Group::new(&tiny_limits(oom_group));
    path.close(&group);
    let options = StartOptions { spawn: SpawnOptions { contain, pidfd: false }, ..StartOptions::default() };
    match program::start(&group, "begins", options) {
        Err(e) => assert_eq!((e.errno(), e.file(), e.reason()), (Errno::ENOMEM, "memory.max", None), "{e}"),
        // Linux 5.10 releases the old memory before it finds no new one: the program has begun, and dies.
        Ok(_) => group.cgroup.wait_for_value("cgroup.events", "populated", 0),
    }
    group.destroy();
}

#[test]
fn a_memory_shortage_is_reported_with_the_limit_on_each_spawn_path() {
    for path in SpawnPath::ALL {
        let thread = std::thread::spawn(move || {
            for oom_group in [false, true] {
                check_memory_shortage(path, oom_group, false);
            }
        });
        thread.join().unwrap_or_else(|_| panic!("spawn path {path:?}"));
    }
}

#[test]
fn a_memory_shortage_is_not_reported_as_missing_namespaces() {
    for path in SpawnPath::ALL {
        let thread = std::thread::spawn(move || check_memory_shortage(path, false, true));
        thread.join().unwrap_or_else(|_| panic!("spawn path {path:?}"));
    }
}

/// The concurrent reaper is often the first here too: a program that is killed in execve(2) has not begun.
pub fn host_of_tiny_group_with_a_reaper(_: &[String]) {
    std::thread::spawn(wait_for_all);
    for oom_group in [false, true] {
        for _ in 0..10 {
            check_memory_shortage(SpawnPath::CreatedInside, oom_group, false);
        }
    }
    role::send("ok");
}

#[test]
fn a_memory_shortage_is_reported_even_with_a_concurrent_reaper() {
    let mut host = Member::start("host_of_tiny_group_with_a_reaper", &[]);
    host.expect_line("ok");
}

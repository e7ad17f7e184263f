// SPDX-License-Identifier: MIT OR Apache-2.0
//! A program that is reported as started has begun, whoever else waits for the host's children; and one that has
//! begun is a child of the host's.

use super::entries::Way;
use crate::common::group::Group;
use crate::common::member::{Member, role};
use crate::common::program::{self, How};
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
    role::say("begun");
}

/// Starts one that is there and one that is not, again and again, in a group of its own each time.
pub fn host_with_a_reaper(args: &[String]) {
    let way = Way::named(&args[0]);
    let seen = std::thread::spawn(move || {
        for _ in 0..10 {
            let group = Group::plain();
            way.close(&group);
            let nowhere = program::plain(&[c"/nowhere"], [c"x"]);
            let missing = group.spawn(&nowhere, SpawnOptions::default());
            assert_eq!(missing.err().map(|e| e.errno()), Some(Errno::ENOENT));
            let (from_it, its) = nix::unistd::pipe().unwrap();
            let how = How { stdio: [DEVNULL, its.as_raw_fd(), 2], ..How::default() };
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
    role::say("as it should be");
}

fn it_is_true(way: Way) {
    let mut host = Member::start("host_with_a_reaper", &[&format!("{way:?}")]);
    host.hears("as it should be");
}

#[test]
fn what_is_born_has_begun_whoever_waits() {
    it_is_true(Way::Born);
}

#[test]
fn what_enters_has_begun_whoever_waits() {
    it_is_true(Way::Refused);
}

#[test]
fn what_would_be_killed_at_birth_has_begun_whoever_waits() {
    it_is_true(Way::KilledAtBirth);
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
        program::start(&group, "begins", How { stdio: [DEVNULL; 3], ..How::default() })
            .unwrap_or_else(|e| panic!("{e}"));
    }
    group.destroy();
    role::say("as it should be");
}

#[test]
fn what_has_ended_before_anybody_looked_has_begun() {
    let mut host = Member::start("host_that_ignores_its_children", &[]);
    host.hears("as it should be");
}

/// Too little for any program to begin in.
fn tiny(oom_group: bool) -> Limits {
    Limits { memory_max: Some(4096), swap_max: Some(0), oom_group: Some(oom_group), ..Limits::default() }
}

fn want_of_memory_is_told(way: Way, oom_group: bool, contain: bool) {
    let group = Group::new(&tiny(oom_group));
    way.close(&group);
    let how = How { spawn: SpawnOptions { contain, pidfd: false }, ..How::default() };
    match program::start(&group, "begins", how) {
        Err(e) => assert_eq!((e.errno(), e.file(), e.reason()), (Errno::ENOMEM, "memory.max", None), "{e}"),
        // Linux 5.10 gives up the old memory first, and finds no new one then: it has begun, and dies.
        Ok(_) => group.cgroup.wait_for_value("cgroup.events", "populated", 0),
    }
    group.destroy();
}

#[test]
fn want_of_memory_is_told_with_the_limits_name_on_each_way() {
    for way in Way::ALL {
        let alone = std::thread::spawn(move || {
            for oom_group in [false, true] {
                want_of_memory_is_told(way, oom_group, false);
            }
        });
        alone.join().unwrap_or_else(|_| panic!("on the way {way:?}"));
    }
}

#[test]
fn want_of_memory_is_not_told_as_want_of_namespaces() {
    for way in Way::ALL {
        let alone = std::thread::spawn(move || want_of_memory_is_told(way, false, true));
        alone.join().unwrap_or_else(|_| panic!("on the way {way:?}"));
    }
}

/// And the reaper is often first there, too: who was killed in execve(2) has not begun.
pub fn host_of_tiny_with_a_reaper(_: &[String]) {
    std::thread::spawn(wait_for_all);
    for oom_group in [false, true] {
        for _ in 0..10 {
            want_of_memory_is_told(Way::Born, oom_group, false);
        }
    }
    role::say("as it should be");
}

#[test]
fn want_of_memory_is_told_whoever_waits() {
    let mut host = Member::start("host_of_tiny_with_a_reaper", &[]);
    host.hears("as it should be");
}

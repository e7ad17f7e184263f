// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which stats are returned, and when.

use super::throttled;
use crate::common;
use crate::common::cgroup::Scratch;
use crate::common::group::Group;
use crate::common::measured::{
    ALL, FIELDS, MEMORY_STATS, PIDS_STATS, available, available_with, check_stats, stats_from_files,
};
use crate::common::member::role;
use agentcg::stats::{CPU, CPU_THROTTLE, MEMORY, PIDS, STATE};
use agentcg::{Errno, Limits, Reason};
use nix::time::{ClockId, clock_gettime};
use std::fs;

const BASIC: u64 = CPU | MEMORY | CPU_THROTTLE;

fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap();
    u64::try_from(now.tv_sec()).unwrap() * 1_000_000_000 + u64::try_from(now.tv_nsec()).unwrap()
}

#[test]
fn a_new_group_has_used_nothing() {
    let group = Group::plain();
    let stats = check_stats(&group);
    assert_eq!(stats.mask, available());
    assert_eq!((stats.cpu_usage_ns, stats.pids_current, stats.populated), (0, 0, 0));
}

#[test]
fn a_sleeping_group_has_what_its_files_say() {
    let group = Group::new(&throttled(500));
    let mut member = group.start("three_processes", &[]);
    for _ in 0..3 {
        member.expect_line("ready");
    }
    group.cgroup.make("below").make("below that");
    common::wait_until("all sleep", || {
        let procs = group.cgroup.words("cgroup.procs");
        procs.iter().all(|pid| fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().contains(") S "))
    });
    let stats = check_stats(&group);
    assert_eq!(stats.mask, available());
    assert_eq!((stats.populated, stats.frozen, stats.nr_descendants), (1, 0, 2));
    if available() & PIDS != 0 {
        assert_eq!(stats.pids_current, 5, "three processes, one of them with three threads");
        assert!(stats.memory_current_bytes > 0);
    }
    group.destroy();
}

/// Three processes; the last one has two more threads.
pub fn three_processes(_: &[String]) {
    role::receive();
    if !role::fork() && !role::fork() {
        for _ in 0..2 {
            std::thread::spawn(|| role::sleep());
        }
    }
    role::send("ready");
    role::sleep();
}

#[test]
fn the_stats_of_a_busy_group_lie_between_two_readings_of_its_files() {
    let group = Group::new(&throttled(300));
    let mut member = group.start("burner", &[]);
    member.expect_line("ready");
    let mut last = 0;
    for round in 0..200 {
        let (before, start) = (stats_from_files(&group.cgroup), monotonic_ns());
        let read = group.read_stats(ALL).unwrap();
        let (after, end) = (stats_from_files(&group.cgroup), monotonic_ns());
        assert_eq!(read.mask, available());
        assert!((start..=end).contains(&read.time_ns));
        for (name, _, field) in FIELDS.iter().filter(|(_, bit, _)| bit & (CPU | CPU_THROTTLE) != 0) {
            let [before, read, after] = [&before, &read, &after].map(field);
            assert!(before <= read && read <= after, "round {round}, {name}: {before} {read} {after}");
        }
        last = read.cpu_usage_ns;
    }
    assert!(last > 0);
    if available() & CPU_THROTTLE != 0 {
        common::wait_until("it is throttled", || group.read_stats(BASIC).unwrap().cpu_throttled_ns > 0);
    }
    group.destroy();
}

#[test]
fn only_the_requested_stats_are_returned() {
    let group = Group::new(&throttled(300));
    let mut member = group.start("sleeper", &[]);
    member.expect_line("ready");
    for which in (0..64).map(|bit| 1 << bit).chain([0, BASIC, MEMORY | STATE]) {
        let read = group.read_stats(which).unwrap();
        assert_eq!(read.mask, which & available(), "{which:#x}");
        for (name, _, field) in FIELDS.iter().filter(|(_, bit, _)| which & bit == 0) {
            assert_eq!(field(&read), 0, "{name}, with the mask {which:#x}");
        }
        assert!(read.time_ns > 0);
    }
    group.destroy();
}

#[test]
fn a_frozen_group_is_reported_as_frozen() {
    let group = Group::plain();
    let mut member = group.start("sleeper", &[]);
    member.expect_line("ready");
    for (value, frozen) in [("1", 1), ("0", 0)] {
        group.cgroup.write("cgroup.freeze", value);
        group.cgroup.wait_for("cgroup.events", |text| text.contains(&format!("frozen {value}")));
        let stats = check_stats(&group);
        assert_eq!((stats.populated, stats.frozen), (1, frozen));
    }
    group.destroy();
}

#[test]
fn without_a_controller_only_its_stats_are_missing() {
    for controllers in [vec![], vec!["memory"], vec!["pids"], vec!["cpu"], vec!["io"]] {
        let scratch = Scratch::with_controllers(&controllers);
        let group = Group::under(&scratch, &Limits::default());
        assert_eq!(check_stats(&group).mask, available_with(&controllers), "{controllers:?}");
        group.destroy();
    }
}

#[test]
fn the_stats_of_a_controller_return_when_it_is_enabled_again() {
    if available() & MEMORY == 0 {
        return assert!(!Group::plain().cgroup.has("memory.current"));
    }
    let scratch = Scratch::new();
    let group = Group::under(&scratch, &Limits::default());
    let agents = group.cgroup.parent();
    let mut member = group.start("sleeper", &[]);
    member.expect_line("ready");
    // The handle now keeps the files open.
    assert_eq!(check_stats(&group).mask, available());
    for (controller, bits) in [("memory", MEMORY_STATS), ("pids", PIDS_STATS), ("cpu", CPU_THROTTLE)] {
        for _ in 0..2 {
            agents.write("cgroup.subtree_control", format!("-{controller}"));
            assert_eq!(check_stats(&group).mask, available() & !bits, "without {controller}");
            assert_eq!(check_stats(&group).mask, available() & !bits, "without {controller}, again");
            agents.write("cgroup.subtree_control", format!("+{controller}"));
            assert_eq!(check_stats(&group).mask, available(), "with {controller}");
            assert_eq!(check_stats(&group).mask, available(), "with {controller}, again");
        }
    }
    group.destroy();
}

#[test]
fn the_stats_of_a_controller_that_is_enabled_later_are_found() {
    let scratch = Scratch::with_controllers(&[]);
    let group = Group::under(&scratch, &Limits::default());
    assert_eq!(check_stats(&group).mask, available_with(&[]));
    let mut found = vec![];
    for controller in ["memory", "io", "pids", "cpu"] {
        found.push(controller);
        for one in [&scratch.outer, &scratch.parent, &group.cgroup.parent().parent(), &group.cgroup.parent()]
        {
            if one.words("cgroup.controllers").contains(controller) {
                one.write("cgroup.subtree_control", format!("+{controller}"));
            }
        }
        assert_eq!(check_stats(&group).mask, available_with(&found), "{found:?}");
    }
    group.destroy();
}

#[test]
fn a_removed_group_is_reported_as_gone() {
    for read_before in [false, true] {
        let group = Group::plain();
        if read_before {
            check_stats(&group);
        }
        group.cgroup.remove();
        for which in (0..15).map(|bit| 1 << bit).chain([BASIC, MEMORY | PIDS_STATS, ALL]) {
            let e = group.read_stats(which).unwrap_err();
            assert_eq!((e.errno(), e.reason()), (Errno::ENODEV, Some(Reason::Gone)), "{which:#x}: {e}");
        }
        assert_eq!(group.read_stats(0).unwrap().mask, 0);
    }
}

#[test]
fn a_group_made_again_under_the_same_name_has_no_stats() {
    let group = Group::plain();
    check_stats(&group);
    group.cgroup.remove();
    let again = group.cgroup.parent().make(group.uuid());
    assert_eq!(group.read_stats(ALL).unwrap_err().errno(), Errno::ENODEV);
    again.remove();
}

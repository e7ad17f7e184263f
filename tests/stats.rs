// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `read_stats` tells is what the kernel's own files say, and what they do not say is marked so.

#[macro_use]
mod common;

use agentcg::stats::{CPU, CPU_THROTTLE, MEMORY, PIDS, STATE, Stats};
use agentcg::{CpuMax, Errno, Limits, Reason};
use common::cgroup::Scratch;
use common::group::Group;
use common::lab;
use common::measured::by_hand;
use common::member::{burner, role, sleeper};
use nix::time::{ClockId, clock_gettime};
use std::fs;

roles![sleeper, burner, three_of_them];

const BASIC: u64 = CPU | MEMORY | CPU_THROTTLE;
const ALL: u64 = BASIC | PIDS | STATE;

/// What is to be had in this layout.
fn offered() -> u64 {
    if lab::layout() == "hybrid" { CPU | STATE } else { ALL }
}

fn throttled(millicpu: u64) -> Limits {
    match lab::layout().as_str() {
        "hybrid" => Limits::default(),
        _ => Limits { cpu_max: Some(CpuMax { millicpu, period_us: 0 }), ..Limits::default() },
    }
}

/// Nothing runs in it, so the two readings say the same.
#[track_caller]
fn agrees(group: &Group) -> Stats {
    let read = group.read_stats(u64::MAX).unwrap();
    assert_eq!(Stats { time_ns: 0, ..read }, by_hand(&group.cgroup));
    read
}

fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap();
    u64::try_from(now.tv_sec()).unwrap() * 1_000_000_000 + u64::try_from(now.tv_nsec()).unwrap()
}

#[test]
fn a_new_group_has_used_nothing() {
    let group = Group::plain();
    let stats = agrees(&group);
    assert_eq!(stats.mask, offered());
    assert_eq!((stats.cpu_usage_ns, stats.pids_current, stats.populated), (0, 0, 0));
}

#[test]
fn a_sleeping_group_has_what_its_files_say() {
    let group = Group::new(&throttled(500));
    let mut member = group.start("three_of_them", &[]);
    for _ in 0..3 {
        member.hears("ready");
    }
    group.cgroup.make("below").make("below that");
    common::wait_until("all sleep", || {
        let procs = group.cgroup.words("cgroup.procs");
        procs.iter().all(|pid| fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().contains(") S "))
    });
    let stats = agrees(&group);
    assert_eq!(stats.mask, offered());
    assert_eq!((stats.populated, stats.frozen, stats.nr_descendants), (1, 0, 2));
    if offered() & PIDS != 0 {
        assert_eq!(stats.pids_current, 5, "three processes, one of them with three threads");
        assert!(stats.memory_current_bytes > 0);
    }
    group.destroy();
}

/// Three processes, the last with two threads more.
fn three_of_them(_: &[String]) {
    role::listen();
    if !role::fork() && !role::fork() {
        for _ in 0..2 {
            std::thread::spawn(|| role::sleep());
        }
    }
    role::say("ready");
    role::sleep();
}

#[test]
fn of_a_busy_group_it_tells_a_moment_between_two_readings() {
    let group = Group::new(&throttled(300));
    let mut member = group.start("burner", &[]);
    member.hears("ready");
    let fields = |s: &Stats| {
        [
            s.cpu_usage_ns,
            s.cpu_user_ns,
            s.cpu_system_ns,
            s.cpu_nr_periods,
            s.cpu_nr_throttled,
            s.cpu_throttled_ns,
        ]
    };
    let mut last = 0;
    for round in 0..200 {
        let (before, start) = (by_hand(&group.cgroup), monotonic_ns());
        let read = group.read_stats(u64::MAX).unwrap();
        let (after, end) = (by_hand(&group.cgroup), monotonic_ns());
        assert_eq!(read.mask, offered());
        assert!((start..=end).contains(&read.time_ns));
        for ((before, read), after) in fields(&before).into_iter().zip(fields(&read)).zip(fields(&after)) {
            assert!(before <= read && read <= after, "round {round}: {before} {read} {after}");
        }
        last = read.cpu_usage_ns;
    }
    assert!(last > 0);
    if offered() & CPU_THROTTLE != 0 {
        common::wait_until("it is throttled", || group.read_stats(BASIC).unwrap().cpu_throttled_ns > 0);
    }
    group.destroy();
}

#[test]
fn only_what_was_asked_for_is_told() {
    let group = Group::new(&throttled(300));
    let mut member = group.start("sleeper", &[]);
    member.hears("ready");
    let empty = Stats::default();
    for which in [0, CPU, CPU_THROTTLE, MEMORY, PIDS, STATE, BASIC, MEMORY | STATE, 1 << 63] {
        let read = group.read_stats(which).unwrap();
        assert_eq!(read.mask, which & offered(), "{which:#x}");
        let cpu = (read.cpu_usage_ns, read.cpu_user_ns, read.cpu_system_ns);
        assert!(which & CPU != 0 || cpu == (0, 0, 0), "{which:#x}: {read:?}");
        assert!(which & MEMORY != 0 || read.memory_current_bytes == empty.memory_current_bytes, "{which:#x}");
        assert!(which & PIDS != 0 || read.pids_current == 0, "{which:#x}");
        assert!(which & STATE != 0 || read.populated == 0, "{which:#x}");
        assert!(read.time_ns > 0);
    }
    group.destroy();
}

#[test]
fn a_frozen_group_is_told_as_frozen() {
    let group = Group::plain();
    let mut member = group.start("sleeper", &[]);
    member.hears("ready");
    for (value, frozen) in [("1", 1), ("0", 0)] {
        group.cgroup.write("cgroup.freeze", value);
        group.cgroup.wait_for("cgroup.events", |text| text.contains(&format!("frozen {value}")));
        let stats = agrees(&group);
        assert_eq!((stats.populated, stats.frozen), (1, frozen));
    }
    group.destroy();
}

#[test]
fn without_a_controller_its_numbers_are_missing_and_nothing_else() {
    let table = [
        (vec![], CPU | STATE),
        (vec!["memory"], CPU | STATE | MEMORY),
        (vec!["pids"], CPU | STATE | PIDS),
        (vec!["cpu"], CPU | STATE | CPU_THROTTLE),
    ];
    for (controllers, mask) in table {
        let scratch = Scratch::having(&controllers);
        let group = Group::under(&scratch, &Limits::default());
        let stats = agrees(&group);
        assert_eq!(stats.mask, mask & offered(), "{controllers:?}");
        group.destroy();
    }
}

#[test]
fn a_controller_that_is_switched_off_and_on_again_comes_back() {
    if offered() & MEMORY == 0 {
        return assert!(!Group::plain().cgroup.has("memory.current"));
    }
    let scratch = Scratch::new();
    let group = Group::under(&scratch, &Limits::default());
    let agents = group.cgroup.parent();
    let mut member = group.start("sleeper", &[]);
    member.hears("ready");
    // Now the descriptors are kept.
    assert_eq!(agrees(&group).mask, ALL);
    for controller in ["memory", "pids", "cpu"] {
        agents.write("cgroup.subtree_control", format!("-{controller}"));
        let off = agrees(&group);
        assert!(off.mask != ALL && off.mask & (CPU | STATE) == CPU | STATE, "{controller}: {:#x}", off.mask);
        agents.write("cgroup.subtree_control", format!("+{controller}"));
        assert_eq!(agrees(&group).mask, ALL, "{controller}");
        assert_eq!(agrees(&group).mask, ALL, "{controller}, again");
    }
    group.destroy();
}

#[test]
fn a_group_that_somebody_has_removed_is_gone() {
    for read_before in [false, true] {
        let group = Group::plain();
        if read_before {
            agrees(&group);
        }
        group.cgroup.remove();
        for which in [CPU, MEMORY, PIDS, STATE, u64::MAX] {
            let e = group.read_stats(which).unwrap_err();
            assert_eq!((e.errno(), e.reason()), (Errno::ENODEV, Some(Reason::Gone)), "{which:#x}: {e}");
        }
        assert_eq!(group.read_stats(0).unwrap().mask, 0);
    }
}

#[test]
fn of_a_group_made_again_under_the_same_name_nothing_is_told() {
    let group = Group::plain();
    agrees(&group);
    group.cgroup.remove();
    let again = group.cgroup.parent().make(group.uuid());
    assert_eq!(group.read_stats(u64::MAX).unwrap_err().errno(), Errno::ENODEV);
    again.remove();
}

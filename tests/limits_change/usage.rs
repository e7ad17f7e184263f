// SPDX-License-Identifier: MIT OR Apache-2.0
//! Limits under what is in use now: refused, forced, or harmless.

use super::{MIB, none, refused, set};
use crate::common::deadline;
use crate::common::group::Group;
use crate::common::member::{Member, role};
use agentcg::{Errno, Limits, UNLIMITED};

fn max(bytes: u64) -> Limits {
    Limits { memory_max: Some(bytes), ..none() }
}

/// A group without swap whose member has touched 32 MiB.
fn full() -> (Group, Member) {
    let group = Group::new(&Limits { swap_max: Some(0), ..none() });
    let mut member = group.start("hog", &["32"]);
    member.expect_line("it fits");
    (group, member)
}

#[test]
fn a_memory_max_under_what_is_in_use_is_refused_and_kills_nobody() {
    let (group, mut member) = full();
    let limits = Limits { pids_max: Some(9), oom_group: Some(true), ..max(16 * MIB) };
    let message = refused(&group, &limits, Errno::EBUSY, None, "memory.max");
    let used = message.split(' ').nth(2).and_then(|word| word.parse::<u64>().ok()).expect(&message);
    assert!((32 * MIB..40 * MIB).contains(&used), "{message}");
    assert!(message.starts_with("memory.max 16777216: ") && message.ends_with("or AGENTCG_SET_FORCE"));
    assert_eq!(group.cgroup.value("memory.events", "oom"), 0);
    member.send("1");
    member.expect_line("it fits");
    group.destroy();
}

#[test]
fn a_memory_max_of_just_what_is_in_use_is_taken() {
    let (group, _member) = full();
    let used = group.cgroup.number("memory.current");
    set(&group, &max(used));
    assert_eq!(group.cgroup.number("memory.max"), used);
    let e = group.set_limits(&max(used / 2), false).unwrap_err();
    assert_eq!(e.errno(), Errno::EBUSY, "{e}");
    group.destroy();
}

#[test]
fn what_was_in_use_before_is_no_reason_to_refuse() {
    let (group, mut member) = full();
    group.kill_all(deadline()).unwrap();
    assert!(member.is_dead());
    set(&group, &max(16 * MIB));
    group.destroy();
}

#[test]
fn a_memory_max_over_what_is_in_use_is_taken_and_binds() {
    let (group, mut member) = full();
    set(&group, &max(48 * MIB));
    member.send("4");
    member.expect_line("it fits");
    member.send("32");
    member.wait_dead();
    assert_eq!(group.cgroup.value("memory.events", "oom_kill"), 1);
    group.destroy();
}

#[test]
fn a_forced_memory_max_is_enforced_by_killing() {
    let (group, mut member) = full();
    group.set_limits(&max(16 * MIB), true).unwrap();
    member.wait_dead();
    assert!(group.cgroup.value("memory.events", "oom_kill") >= 1);
    assert_eq!(group.cgroup.number("memory.max"), 16 * MIB);
    group.destroy();
}

#[test]
fn a_forced_memory_max_over_what_is_in_use_kills_nobody() {
    let group = Group::new(&Limits { swap_max: Some(0), ..none() });
    let mut member = group.start("hog", &["4"]);
    member.expect_line("it fits");
    set(&group, &max(UNLIMITED));
    group.set_limits(&max(16 * MIB), true).unwrap();
    assert!(!member.is_dead());
    group.destroy();
}

/// The member's death begins a moment after the write: those that it has killed are not alive to be counted.
#[test]
fn with_oom_group_set_in_the_same_call_a_forced_memory_max_kills_all() {
    let (group, mut member) = full();
    let mut small = group.start("sleeper", &[]);
    small.expect_line("ready");
    group.set_limits(&Limits { oom_group: Some(true), ..max(16 * MIB) }, true).unwrap();
    member.wait_dead();
    small.wait_dead();
    assert_eq!(group.cgroup.value("memory.events", "oom_group_kill"), 1);
    group.destroy();
}

#[test]
fn a_memory_high_under_what_is_in_use_slows_and_kills_nobody() {
    let (group, mut member) = full();
    let before = group.cgroup.value("memory.events", "high");
    set(&group, &Limits { memory_high: Some(16 * MIB), ..none() });
    member.send("4");
    group.cgroup.wait_for_value("memory.events", "high", before + 1);
    assert_eq!(group.cgroup.value("memory.events", "oom_kill"), 0);
    assert!(!member.is_dead());
    group.destroy();
}

/// Both limits come down, memory.high first: between them the kernel has one chance to reclaim.
#[test]
fn memory_limits_go_up_and_down_together_with_no_oom() {
    let (group, mut member) = full();
    let both = |high, max| Limits { memory_high: Some(high), memory_max: Some(max), ..none() };
    for limits in [both(40 * MIB, 44 * MIB), both(100 * MIB, 120 * MIB), both(UNLIMITED, UNLIMITED)] {
        set(&group, &limits);
        assert_eq!(group.limits().unwrap().memory_max, limits.memory_max);
    }
    assert_eq!(group.cgroup.value("memory.events", "oom"), 0);
    assert!(!member.is_dead());
    group.destroy();
}

#[test]
fn fewer_processes_than_there_are_refuse_forks_and_end_none() {
    let group = Group::plain();
    let mut member = group.start("forks_when_told", &[]);
    let mut forks = |answer: &str| {
        member.send("fork");
        member.expect_line(answer);
    };
    forks("forked");
    forks("forked");
    set(&group, &Limits { pids_max: Some(1), ..none() });
    forks("EAGAIN");
    assert_eq!(group.cgroup.number("pids.current"), 3);
    set(&group, &Limits { pids_max: Some(4), ..none() });
    forks("forked");
    forks("EAGAIN");
    group.destroy();
}

/// One more that only sleeps, for each line.
pub fn forks_when_told(_: &[String]) {
    role::receive();
    loop {
        role::receive();
        match role::try_fork() {
            Ok(true) => role::sleep(),
            Ok(false) => role::send("forked"),
            Err(e) => role::send(&format!("{e:?}")),
        }
    }
}

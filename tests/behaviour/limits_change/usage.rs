// SPDX-License-Identifier: MIT OR Apache-2.0
//! Limits below the present usage are refused, forced or harmless.

use super::{MIB, check_refused, none, set};
use crate::common::deadline;
use crate::common::group::Group;
use crate::common::member::{Member, role};
use agentcg::{Errno, Limits, UNLIMITED};

fn max(bytes: u64) -> Limits {
    Limits { memory_max: Some(bytes), ..none() }
}

/// Makes a group without swap whose member has touched 32 MiB.
fn start_hog() -> (Group, Member) {
    let group = Group::new(&Limits { swap_max: Some(0), ..none() });
    let mut member = group.start("member::hog", &["32"]);
    member.expect_line("it fits");
    (group, member)
}

#[test]
fn a_memory_max_below_the_usage_is_refused_and_kills_no_process() {
    let (group, mut member) = start_hog();
    let limits = Limits { pids_max: Some(9), oom_group: Some(true), ..max(16 * MIB) };
    let message = check_refused(&group, &limits, Errno::EBUSY, None, "memory.max");
    let used = message.split(' ').nth(2).and_then(|word| word.parse::<u64>().ok()).expect(&message);
    assert!((32 * MIB..40 * MIB).contains(&used), "{message}");
    assert!(message.starts_with("memory.max 16777216: ") && message.ends_with("or AGENTCG_SET_FORCE"));
    assert_eq!(group.cgroup.value("memory.events", "oom"), 0);
    member.send("1");
    member.expect_line("it fits");
    group.destroy();
}

#[test]
fn a_memory_max_equal_to_the_usage_is_accepted() {
    let (group, _member) = start_hog();
    let used = group.cgroup.number("memory.current");
    set(&group, &max(used));
    assert_eq!(group.cgroup.number("memory.max"), used);
    let e = group.set_limits(&max(used / 2), false).unwrap_err();
    assert_eq!(e.errno(), Errno::EBUSY, "{e}");
    group.destroy();
}

#[test]
fn earlier_usage_is_no_reason_to_refuse() {
    let (group, mut member) = start_hog();
    group.kill_all(deadline()).unwrap();
    assert!(member.is_dead());
    set(&group, &max(16 * MIB));
    group.destroy();
}

#[test]
fn a_memory_max_above_the_usage_is_accepted_and_enforced() {
    let (group, mut member) = start_hog();
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
    let (group, mut member) = start_hog();
    group.set_limits(&max(16 * MIB), true).unwrap();
    member.wait_dead();
    assert!(group.cgroup.value("memory.events", "oom_kill") >= 1);
    assert_eq!(group.cgroup.number("memory.max"), 16 * MIB);
    group.destroy();
}

#[test]
fn a_forced_memory_max_above_the_usage_kills_no_process() {
    let group = Group::new(&Limits { swap_max: Some(0), ..none() });
    let mut member = group.start("member::hog", &["4"]);
    member.expect_line("it fits");
    set(&group, &max(UNLIMITED));
    group.set_limits(&max(16 * MIB), true).unwrap();
    assert!(!member.is_dead());
    group.destroy();
}

/// The member begins to die shortly after the write. The processes that it kills do not count as living.
#[test]
fn with_oom_group_in_the_same_call_a_forced_memory_max_kills_all() {
    let (group, mut member) = start_hog();
    let mut small = group.start("sleeper", &[]);
    small.expect_line("ready");
    group.set_limits(&Limits { oom_group: Some(true), ..max(16 * MIB) }, true).unwrap();
    member.wait_dead();
    small.wait_dead();
    assert_eq!(group.cgroup.value("memory.events", "oom_group_kill"), 1);
    group.destroy();
}

#[test]
fn a_memory_high_below_the_usage_slows_the_group_and_kills_no_process() {
    let (group, mut member) = start_hog();
    let before = group.cgroup.value("memory.events", "high");
    set(&group, &Limits { memory_high: Some(16 * MIB), ..none() });
    member.send("4");
    group.cgroup.wait_for_value("memory.events", "high", before + 1);
    assert_eq!(group.cgroup.value("memory.events", "oom_kill"), 0);
    assert!(!member.is_dead());
    group.destroy();
}

/// Both limits are lowered, memory.high first: between the two writes the kernel can reclaim once.
#[test]
fn memory_limits_are_raised_and_lowered_together_without_an_oom() {
    let (group, mut member) = start_hog();
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
fn a_pids_max_below_the_number_of_processes_refuses_forks_and_ends_no_process() {
    let group = Group::plain();
    let mut member = group.start("forks_on_request", &[]);
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

/// A role that forks a sleeping child for each line.
pub fn forks_on_request(_: &[String]) {
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

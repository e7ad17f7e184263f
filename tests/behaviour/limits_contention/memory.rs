// SPDX-License-Identifier: MIT OR Apache-2.0
//! The memory and swap of one agent.

use super::{MIB, none, set};
use crate::common::device::Swap;
use crate::common::group::Group;
use crate::common::{deadline, lab};
use agentcg::{Agent, Errno, Limits, UNLIMITED};

#[test]
fn over_memory_high_an_agent_is_slowed_until_the_limit_is_removed_and_no_process_is_killed() {
    let group = Group::new(&Limits { memory_high: Some(8 * MIB), swap_max: Some(0), ..none() });
    let mut member = group.start("member::hog", &["64"]);
    group.cgroup.wait_for_value("memory.events", "high", 20);
    // Nothing can be reclaimed. The kernel delays the agent, and more so the further it is over the limit.
    assert!(group.cgroup.number("memory.current") < 32 * MIB);
    set(&group, &Limits { memory_high: Some(UNLIMITED), ..none() });
    member.expect_line("it fits");
    assert!(group.cgroup.number("memory.current") >= 64 * MIB);
    assert_eq!(group.cgroup.value("memory.events", "oom_kill"), 0);
    group.destroy();
}

#[test]
fn swap_above_swap_max_is_an_oom_kill() {
    let _swap = Swap::on();
    let limits = Limits { memory_max: Some(16 * MIB), swap_max: Some(8 * MIB), ..none() };
    let group = Group::new(&limits);
    let mut member = group.start("member::hog", &["20"]);
    member.expect_line("it fits");
    let swapped = group.cgroup.number("memory.swap.current");
    assert!((3 * MIB..=8 * MIB).contains(&swapped), "{swapped}");
    // The limit of a living agent changes.
    set(&group, &Limits { swap_max: Some(24 * MIB), ..none() });
    member.send("16");
    member.expect_line("it fits");
    let swapped = group.cgroup.number("memory.swap.current");
    assert!((19 * MIB..=24 * MIB).contains(&swapped), "{swapped}");
    assert_eq!(group.cgroup.value("memory.events", "oom_kill"), 0);
    member.send("8");
    member.wait_dead();
    assert_eq!(group.cgroup.value("memory.events", "oom_kill"), 1);
    group.destroy();
}

#[test]
fn without_swap_memory_max_limits_all_memory() {
    let _swap = Swap::on();
    let group = Group::new(&Limits { memory_max: Some(16 * MIB), swap_max: Some(0), ..none() });
    let mut member = group.start("member::hog", &["20"]);
    member.wait_dead();
    assert_eq!(group.cgroup.value("memory.events", "oom_kill"), 1);
    assert_eq!(group.cgroup.number("memory.swap.current"), 0);
    group.destroy();
}

/// The limit may be missing if there is no swap. Here there is swap.
#[test]
fn no_swap_is_refused_if_swap_is_on_and_its_limit_is_missing() {
    let _swap = Swap::on();
    let no_swap = Limits { swap_max: Some(0), ..none() };
    let group = Group::plain();
    let changed = group.set_limits(&no_swap, false);
    let made = Agent::new(None, None, &no_swap);
    if lab::lacks("memory.swap.max") {
        for e in [changed.err(), made.err()].map(|e| e.expect("it is refused")) {
            assert_eq!((e.errno(), e.file()), (Errno::EOPNOTSUPP, "memory.swap.max"), "{e}");
        }
    } else {
        changed.unwrap();
        made.unwrap().destroy(false, deadline(), false).unwrap();
        assert_eq!(group.cgroup.number("memory.swap.max"), 0);
    }
    group.destroy();
}

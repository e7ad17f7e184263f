// SPDX-License-Identifier: MIT OR Apache-2.0
//! `memory_low` and `memory_min` protect the memory of an agent if a cgroup above it runs out of memory.

use super::{MIB, none};
use crate::common::cgroup::{Cgroup, Scratch};
use crate::common::device::Swap;
use crate::common::group::Group;
use agentcg::Limits;

/// Returns the swapped memory of two agents of 32 MiB each after a cgroup above them was limited to 48 MiB.
/// The first agent has the limits.
fn swapped_out(limits: &Limits, limit: impl FnOnce(&Scratch, &Cgroup)) -> [u64; 2] {
    let _swap = Swap::on();
    let scratch = Scratch::new();
    let groups = [limits, &none()].map(|limits| Group::under(&scratch, limits));
    let mut members = groups.each_ref().map(|group| group.start("member::hog", &["32"]));
    members.iter_mut().for_each(|member| member.expect_line("it fits"));
    limit(&scratch, &groups[0].cgroup.parent());
    let swapped = groups.each_ref().map(|group| group.cgroup.number("memory.swap.current"));
    assert!(swapped[0] + swapped[1] >= 16 * MIB, "nothing was reclaimed: {swapped:?}");
    assert_eq!(groups.each_ref().map(|group| group.cgroup.value("memory.events", "oom_kill")), [0, 0]);
    for group in &groups {
        group.destroy();
    }
    swapped
}

fn limit_to_48_mib(cgroup: &Cgroup) {
    cgroup.write("memory.max", 48 * MIB);
}

const ENOUGH: Option<u64> = Some(40 * MIB);

fn low() -> Limits {
    Limits { memory_low: ENOUGH, ..none() }
}

fn min() -> Limits {
    Limits { memory_min: ENOUGH, ..none() }
}

#[track_caller]
fn check_protected(swapped: [u64; 2]) {
    assert!(swapped[0] < MIB, "{swapped:?}");
}

#[track_caller]
fn check_unprotected(swapped: [u64; 2]) {
    assert!(swapped[0] > 4 * MIB, "{swapped:?}");
}

#[test]
fn under_a_limit_on_all_agents_only_the_unprotected_one_loses_memory() {
    check_unprotected(swapped_out(&none(), |_, agents| limit_to_48_mib(agents)));
    check_protected(swapped_out(&low(), |_, agents| limit_to_48_mib(agents)));
    check_protected(swapped_out(&min(), |_, agents| limit_to_48_mib(agents)));
}

/// The kernel's rule: a cgroup cannot give its children more protection than it has.
#[test]
fn under_a_limit_further_up_protection_fails_if_the_cgroups_between_have_none() {
    check_unprotected(swapped_out(&low(), |scratch, _| limit_to_48_mib(&scratch.outer)));
    check_unprotected(swapped_out(&min(), |scratch, _| limit_to_48_mib(&scratch.outer)));
}

#[test]
fn under_a_limit_further_up_protection_holds_if_the_cgroups_between_have_it() {
    for (limits, file) in [(low(), "memory.low"), (min(), "memory.min")] {
        check_protected(swapped_out(&limits, |scratch, agents| {
            for between in [&scratch.parent, &agents.parent(), agents] {
                between.write(file, 40 * MIB);
            }
            limit_to_48_mib(&scratch.outer);
        }));
    }
}

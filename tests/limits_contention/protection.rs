// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whose memory is taken when a cgroup above the agents has too little: `memory_low` and `memory_min`.

use super::{MIB, none};
use crate::common::cgroup::{Cgroup, Scratch};
use crate::common::device::Swap;
use crate::common::group::Group;
use agentcg::Limits;

/// What two agents of 32 MiB each have in swap after a cgroup above them got 48 MiB for both. The first one has
/// the limits.
fn swapped_out(limits: &Limits, squeeze: impl FnOnce(&Scratch, &Cgroup)) -> [u64; 2] {
    let _swap = Swap::on();
    let scratch = Scratch::new();
    let groups = [limits, &none()].map(|limits| Group::under(&scratch, limits));
    let mut members = groups.each_ref().map(|group| group.start("hog", &["32"]));
    members.iter_mut().for_each(|member| member.expect_line("it fits"));
    squeeze(&scratch, &groups[0].cgroup.parent());
    let swapped = groups.each_ref().map(|group| group.cgroup.number("memory.swap.current"));
    assert!(swapped[0] + swapped[1] >= 16 * MIB, "nothing had to go: {swapped:?}");
    assert_eq!(groups.each_ref().map(|group| group.cgroup.value("memory.events", "oom_kill")), [0, 0]);
    for group in &groups {
        group.destroy();
    }
    swapped
}

fn shrink(cgroup: &Cgroup) {
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
fn is_kept(swapped: [u64; 2]) {
    assert!(swapped[0] < MIB, "{swapped:?}");
}

#[track_caller]
fn is_not_kept(swapped: [u64; 2]) {
    assert!(swapped[0] > 4 * MIB, "{swapped:?}");
}

#[test]
fn from_a_limit_on_all_agents_the_unprotected_one_pays() {
    is_not_kept(swapped_out(&none(), |_, agents| shrink(agents)));
    is_kept(swapped_out(&low(), |_, agents| shrink(agents)));
    is_kept(swapped_out(&min(), |_, agents| shrink(agents)));
}

/// The kernel's rule: a cgroup can hand on no more protection than it has.
#[test]
fn from_a_limit_further_up_protection_is_none_where_those_between_have_none() {
    is_not_kept(swapped_out(&low(), |scratch, _| shrink(&scratch.outer)));
    is_not_kept(swapped_out(&min(), |scratch, _| shrink(&scratch.outer)));
}

#[test]
fn from_a_limit_further_up_protection_holds_where_those_between_have_it_too() {
    for (limits, file) in [(low(), "memory.low"), (min(), "memory.min")] {
        is_kept(swapped_out(&limits, |scratch, agents| {
            for between in [&scratch.parent, &agents.parent(), agents] {
                between.write(file, 40 * MIB);
            }
            shrink(&scratch.outer);
        }));
    }
}

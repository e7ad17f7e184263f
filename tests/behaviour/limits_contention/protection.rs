// SPDX-License-Identifier: MIT OR Apache-2.0
//! `memory_low` and `memory_min` protect the memory of an agent if a cgroup above it runs out of memory.

use super::{MIB, none};
use crate::common::cgroup::{Cgroup, Scratch};
use crate::common::device::Swap;
use crate::common::group::Group;
use crate::common::member::Member;
use agentcg::{Agent, Limits, set_place_limits};
use nix::mount::{MsFlags, mount};
use std::path::Path;

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

/// Returns the swapped memory of two children of 32 MiB each after their session was limited to 48 MiB. The first child has the
/// limits.
fn swapped_out_of_children(limits: &Limits) -> [u64; 2] {
    let _swap = Swap::on();
    let scratch = Scratch::new();
    let session = Group::under(&scratch, &none());
    let children = [limits, &none()].map(|limits| child(&session, limits));
    let mut members = children.each_ref().map(start_hog);
    members.iter_mut().for_each(|member| member.expect_line("it fits"));
    limit_to_48_mib(&session.cgroup);
    let swapped = children.each_ref().map(|child| Cgroup::at(child.path()).number("memory.swap.current"));
    assert!(swapped[0] + swapped[1] >= 16 * MIB, "nothing was reclaimed: {swapped:?}");
    session.destroy();
    swapped
}

fn child(session: &Agent, limits: &Limits) -> Agent {
    session.new_in(None, limits, None, None, false).unwrap_or_else(|e| panic!("new_in: {e}"))
}

fn start_hog(agent: &Agent) -> Member {
    let mut member = Member::start("member::hog", &["32"]);
    agent.move_pid(member.pid()).unwrap_or_else(|e| panic!("move_pid: {e}"));
    member.send("go");
    member
}

#[test]
fn under_the_limit_of_a_session_only_the_unprotected_child_loses_memory() {
    check_unprotected(swapped_out_of_children(&none()));
    check_protected(swapped_out_of_children(&low()));
    check_protected(swapped_out_of_children(&min()));
}

/// Returns the swapped memory of a child and of an agent beside its session, of 32 MiB each, after all agents were limited to
/// 48 MiB. The session is protected.
fn swapped_out_beside(limits: &Limits, mount_options: &str) -> [u64; 2] {
    let _swap = Swap::on();
    remount(mount_options);
    let scratch = Scratch::new();
    let (session, other) = (Group::under(&scratch, &low()), Group::under(&scratch, &none()));
    let inside = child(&session, limits);
    let mut members = [&inside, other.agent()].map(start_hog);
    members.iter_mut().for_each(|member| member.expect_line("it fits"));
    limit_to_48_mib(&session.cgroup.parent());
    let swapped = [&Cgroup::at(inside.path()), &other.cgroup].map(|one| one.number("memory.swap.current"));
    session.destroy();
    other.destroy();
    remount(RECURSIVE);
    swapped
}

/// The options with which systemd and the lab mount the hierarchy.
const RECURSIVE: &str = "nsdelegate,memory_recursiveprot";

fn remount(options: &str) {
    let point = Path::new("/sys/fs/cgroup");
    mount(None::<&str>, point, None::<&str>, MsFlags::MS_REMOUNT, Some(options)).expect("remount");
}

#[test]
fn the_protection_of_a_session_reaches_its_children_if_the_mount_is_recursive_or_they_have_it_too() {
    check_protected(swapped_out_beside(&none(), RECURSIVE));
    check_protected(swapped_out_beside(&low(), "nsdelegate"));
    check_unprotected(swapped_out_beside(&none(), "nsdelegate"));
}

/// Returns the swapped memory of an agent and of a cgroup beside all agents of the place, of 32 MiB each, after the place was
/// limited to 48 MiB.
fn swapped_out_in_the_place(place: &Limits, agent: &Limits, mount_options: &str) -> [u64; 2] {
    let _swap = Swap::on();
    remount(mount_options);
    let scratch = Scratch::new();
    set_place_limits(Some(&scratch.path()), place, false).unwrap_or_else(|e| panic!("{e}"));
    let group = Group::under(&scratch, agent);
    let beside = scratch.parent.make("beside");
    let mut other = Member::start("member::hog", &["32"]);
    beside.move_in(other.pid());
    other.send("go");
    let mut members = [start_hog(&group), other];
    members.iter_mut().for_each(|member| member.expect_line("it fits"));
    limit_to_48_mib(&scratch.parent);
    let swapped = [&group.cgroup, &beside].map(|one| one.number("memory.swap.current"));
    assert!(swapped[0] + swapped[1] >= 16 * MIB, "nothing was reclaimed: {swapped:?}");
    group.destroy();
    remount(RECURSIVE);
    swapped
}

#[test]
fn protection_of_a_place_reaches_agents_that_have_it_or_all_if_the_mount_says_so() {
    check_unprotected(swapped_out_in_the_place(&none(), &none(), RECURSIVE));
    check_unprotected(swapped_out_in_the_place(&none(), &low(), RECURSIVE));
    for limits in [low(), min()] {
        check_protected(swapped_out_in_the_place(&limits, &none(), RECURSIVE));
        check_protected(swapped_out_in_the_place(&limits, &limits, "nsdelegate"));
        check_unprotected(swapped_out_in_the_place(&limits, &none(), "nsdelegate"));
    }
}

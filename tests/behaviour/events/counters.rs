// SPDX-License-Identifier: MIT OR Apache-2.0
//! A counter may restart, and a file may be unreadable at one moment: neither loses an event.

use super::{expect_no_events_except, now, readable, refused_without_its_controller, wait_for_events};
use crate::common::cgroup::{Cgroup, Scratch};
use crate::common::group::Group;
use crate::common::{lab, seccomp};
use agentcg::events::{PIDS_MAX, POPULATED};
use agentcg::{Errno, Limits};

/// Removes `pids.events` of all agents beside the group and creates it again, with a count of 0.
fn disable_and_enable_pids(scratch: &Scratch) {
    let agents = scratch.parent.join("synwire/agents");
    agents.write("cgroup.subtree_control", "-pids");
    agents.write("cgroup.subtree_control", "+pids");
}

fn count(cgroup: &Cgroup) -> u64 {
    cgroup.value("pids.events", "max")
}

/// Causes one refused fork, by a member that stays.
fn refuse_one(group: &Group) {
    group.cgroup.write("pids.max", "1");
    let mut member = group.start("attributes::fails_to_fork", &[]);
    member.expect_line("refused");
    member.kill_it_alone();
}

#[test]
fn an_event_after_a_restart_of_its_counter_is_reported() {
    if lab::layout() == "hybrid" {
        return refused_without_its_controller();
    }
    let scratch = Scratch::new();
    let group = Group::under(&scratch, &Limits::default());
    group.event_fd(PIDS_MAX).unwrap();
    refuse_one(&group);
    wait_for_events(&group, PIDS_MAX);
    expect_no_events_except(&group, 0);
    disable_and_enable_pids(&scratch);
    refuse_one(&group);
    assert_eq!(count(&group.cgroup), 1, "the count is the same as before");
    wait_for_events(&group, PIDS_MAX);
    group.destroy();
}

#[test]
fn an_event_whose_file_could_not_be_read_is_reported_later() {
    if lab::layout() == "hybrid" {
        return refused_without_its_controller();
    }
    let scratch = Scratch::new();
    let group = Group::under(&scratch, &Limits::default());
    let fd = group.event_fd(PIDS_MAX | POPULATED).unwrap();
    expect_no_events_except(&group, 0);
    disable_and_enable_pids(&scratch);
    refuse_one(&group);
    let look = || {
        seccomp::refuse(&[(libc::SYS_openat, Errno::EMFILE)]);
        group.agent().next_events(now())
    };
    assert!(readable(fd, 10_000));
    let refused = std::thread::scope(|scope| scope.spawn(look).join().unwrap()).unwrap_err();
    assert_eq!(refused.errno(), Errno::EMFILE, "{refused}");
    assert!(readable(fd, 10_000), "the descriptor is readable again");
    wait_for_events(&group, PIDS_MAX | POPULATED);
    group.destroy();
}

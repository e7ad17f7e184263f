// SPDX-License-Identifier: MIT OR Apache-2.0
//! A count may begin anew, and a file may not let itself be read at one moment: no event is lost by it.

use super::{hear, now, readable, refused_without_its_controller, settle};
use crate::common::cgroup::{Cgroup, Scratch};
use crate::common::group::Group;
use crate::common::{lab, seccomp};
use agentcg::events::{PIDS_MAX, POPULATED};
use agentcg::{Errno, Limits};

/// Ends the file `pids.events` of all agents beside the group, and begins another, which counts from 0.
fn disable_and_enable_pids(scratch: &Scratch) {
    let agents = scratch.parent.join("synwire/agents");
    agents.write("cgroup.subtree_control", "-pids");
    agents.write("cgroup.subtree_control", "+pids");
}

fn count(cgroup: &Cgroup) -> u64 {
    cgroup.value("pids.events", "max")
}

/// One fork that is refused, by a member that stays.
fn refuse_one(group: &Group) {
    group.cgroup.write("pids.max", "1");
    let mut member = group.start("forks_in_vain", &[]);
    member.expect_line("refused");
    member.kill_it_alone();
}

#[test]
fn a_count_that_begins_anew_is_told() {
    if lab::layout() == "hybrid" {
        return refused_without_its_controller();
    }
    let scratch = Scratch::new();
    let group = Group::under(&scratch, &Limits::default());
    group.event_fd(PIDS_MAX).unwrap();
    refuse_one(&group);
    hear(&group, PIDS_MAX);
    settle(&group, 0);
    disable_and_enable_pids(&scratch);
    refuse_one(&group);
    assert_eq!(count(&group.cgroup), 1, "as it was before");
    hear(&group, PIDS_MAX);
    group.destroy();
}

#[test]
fn what_could_not_be_read_is_told_later() {
    if lab::layout() == "hybrid" {
        return refused_without_its_controller();
    }
    let scratch = Scratch::new();
    let group = Group::under(&scratch, &Limits::default());
    let fd = group.event_fd(PIDS_MAX | POPULATED).unwrap();
    settle(&group, 0);
    disable_and_enable_pids(&scratch);
    refuse_one(&group);
    let look = || {
        seccomp::refuse(&[(libc::SYS_openat, Errno::EMFILE)]);
        group.agent().next_events(now())
    };
    assert!(readable(fd, 10_000));
    let refused = std::thread::scope(|scope| scope.spawn(look).join().unwrap()).unwrap_err();
    assert_eq!(refused.errno(), Errno::EMFILE, "{refused}");
    assert!(readable(fd, 10_000), "it asks for another look");
    hear(&group, PIDS_MAX | POPULATED);
    group.destroy();
}

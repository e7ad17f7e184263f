// SPDX-License-Identifier: MIT OR Apache-2.0
//! Many groups killed by one call.

use crate::common::deadline;
use crate::common::group::{Group, own_pid};
use crate::common::member::Member;
use agentcg::{Agent, Errno, Limits, Result, kill_all_of};
use std::time::Duration;

/// Returns the results in the order of the groups.
fn kill(groups: &[&Group], deadline: agentcg::Deadline) -> Vec<Result<()>> {
    let mut results = Vec::new();
    kill_all_of(groups.iter().map(|group| group.agent()), deadline, |number, result| {
        assert_eq!(number, results.len());
        results.push(result);
    });
    results
}

fn populated(count: usize) -> (Vec<Group>, Vec<Member>) {
    let groups: Vec<Group> = (0..count).map(|_| Group::new(&Limits::default())).collect();
    let mut members: Vec<Member> = groups.iter().map(|group| group.start("sleeper", &[])).collect();
    members.iter_mut().for_each(|member| member.expect_line("ready"));
    (groups, members)
}

#[test]
fn many_groups_are_killed_by_one_call_and_can_be_used_again() {
    let (groups, mut members) = populated(20);
    let empty = Group::plain();
    let mut all: Vec<&Group> = groups.iter().collect();
    // An empty group, and one that is named twice.
    all.push(&empty);
    all.push(&groups[0]);
    let results = kill(&all, deadline());
    assert_eq!(results.len(), 22);
    results.into_iter().for_each(|result| result.expect("it was killed"));
    assert!(members.iter_mut().all(Member::is_dead));
    members.clear();
    for group in groups.iter().chain([&empty]) {
        let mut member = group.start("sleeper", &[]);
        member.expect_line("ready");
        kill(&[group], deadline()).remove(0).expect("it was killed");
        assert!(member.is_dead());
    }
    assert!(kill(&[], deadline()).is_empty());
}

#[test]
fn a_group_that_cannot_be_killed_does_not_save_the_others() {
    let (groups, mut members) = populated(3);
    let mut own = Member::start("kills_from_inside", &[groups[0].uuid(), groups[1].uuid(), groups[2].uuid()]);
    own.expect_line("[Ok(()), Err(EDEADLK), Ok(())]");
    assert!(own.wait().success());
    assert!(members[0].is_dead() && members[2].is_dead() && !members[1].is_dead());
    assert!(!groups[1].cgroup.lists(own_pid()));
    groups[2].cgroup.remove();
    let results = kill(&[&groups[2], &groups[1]], deadline());
    assert_eq!(results[0].as_ref().unwrap_err().errno(), Errno::ENODEV);
    assert!(results[1].is_ok() && members[1].is_dead());
}

/// A role that moves itself into the second of three agents, and kills all of them.
pub fn kills_from_inside(args: &[String]) {
    let agents: Vec<Agent> =
        args.iter().map(|uuid| Agent::open(None, uuid, false).unwrap_or_else(|e| panic!("{e}"))).collect();
    agents[1].move_self().expect("move_self");
    let mut results = Vec::new();
    kill_all_of(agents.iter(), deadline(), |_, result| results.push(result.map_err(|e| e.errno())));
    crate::common::member::role::send(&format!("{results:?}"));
}

/// The whole array gets the kill even if there is no time to wait.
#[test]
fn without_time_to_wait_every_group_is_killed() {
    let (groups, mut members) = populated(10);
    let all: Vec<&Group> = groups.iter().collect();
    for result in kill(&all, agentcg::Deadline::after(Duration::ZERO)) {
        assert!(result.is_ok() || result.unwrap_err().errno() == Errno::ETIMEDOUT);
    }
    members.iter_mut().for_each(Member::wait_dead);
    groups.iter().for_each(|group| group.wait_empty(deadline()).expect("empty"));
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Members that change the cgroups of their group.

use super::no_limits;
use crate::common::fixture::Fixture;
use agentcg::Limits;

#[test]
fn members_of_cgroups_nested_deeper_than_a_path_can_name_die() {
    Fixture::new().each_round_with_role(&no_limits(), "fifty_cgroups_deep", 51);
}

#[test]
fn members_that_keep_making_and_removing_cgroups_die() {
    let limits = Limits { max_descendants: Some(50), ..no_limits() };
    Fixture::new().each_round_with_role(&limits, "makes_and_removes_cgroups", 2);
}

#[test]
fn members_of_a_threaded_cgroup_die() {
    Fixture::new().each_round_with_role(&no_limits(), "in_a_threaded_cgroup", 2);
}

#[test]
fn members_of_a_threaded_group_die() {
    Fixture::for_threads().each_round(&no_limits(), |group| {
        // The kernel refuses this while a process is in the group. An agent would leave it for the write and
        // return.
        group.cgroup.write("cgroup.type", "threaded");
        let mut member = group.start("in_new_sessions", &[]);
        (0..4).for_each(|_| member.expect_line("ready"));
        vec![member]
    });
}

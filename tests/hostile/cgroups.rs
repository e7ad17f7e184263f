// SPDX-License-Identifier: MIT OR Apache-2.0
//! Those that make the cgroup another thing than it was.

use crate::common::fixture::Fixture;
use crate::no_limits;
use agentcg::Limits;

#[test]
fn members_of_cgroups_nested_deeper_than_a_path_can_name_die() {
    Fixture::new().each_round_with_role(&no_limits(), "fifty_cgroups_deep", 51);
}

#[test]
fn those_that_go_on_making_and_removing_cgroups_die() {
    let limits = Limits { max_descendants: Some(50), ..no_limits() };
    Fixture::new().each_round_with_role(&limits, "that_makes_and_removes_cgroups", 2);
}

#[test]
fn members_of_a_threaded_cgroup_die() {
    Fixture::new().each_round_with_role(&no_limits(), "in_a_threaded_cgroup", 2);
}

#[test]
fn members_of_a_group_that_was_made_threaded_itself_die() {
    Fixture::for_threads().each_round(&no_limits(), |group| {
        // While somebody is in it, the kernel refuses: the agent goes out for that, and in again.
        group.cgroup.write("cgroup.type", "threaded");
        let mut member = group.start("in_new_sessions", &[]);
        (0..4).for_each(|_| member.expect_line("ready"));
        vec![member]
    });
}

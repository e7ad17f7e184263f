// SPDX-License-Identifier: MIT OR Apache-2.0
//! Members that cannot or do not act on a signal.

use super::no_limits;
use crate::common::fixture::{Fixture, check_kill_all, is_kill_round, rounds};
use crate::common::group::Group;
use crate::common::member::Member;
use crate::common::wait_until;
use std::fs;

#[test]
fn stopped_members_die() {
    Fixture::new().each_round(&no_limits(), |group| {
        let mut member = group.start("stopped", &[]);
        for _ in 0..2 {
            let stat = format!("/proc/{}/stat", member.receive());
            wait_until("stopped", || fs::read_to_string(&stat).unwrap().contains(") T "));
        }
        vec![member]
    });
}

#[test]
fn frozen_members_die_and_the_group_is_thawed() {
    Fixture::new().each_round(&no_limits(), |group| {
        let mut member = group.start("five_cgroups_deep", &[&group.cgroup.0.to_string_lossy()]);
        (0..6).for_each(|_| member.expect_line("ready"));
        // The agent has frozen itself, whether or not the library sees the file.
        group.cgroup.write_hidden("cgroup.freeze", "1");
        group.cgroup.wait_for_value("cgroup.events", "frozen", 1);
        vec![member]
    });
}

#[test]
fn a_tracer_and_the_member_that_it_traces_die() {
    Fixture::new().each_round_with_role(&no_limits(), "traced", 1);
}

#[test]
fn a_member_traced_from_outside_dies_and_its_tracer_does_not() {
    let mut fixture = Fixture::new();
    for round in rounds() {
        let group = Group::under(&fixture.scratch, &no_limits());
        let mut member = group.start("sleeper", &[]);
        member.expect_line("ready");
        let mut debugger = Member::start("debugger", &[&member.pid().to_string()]);
        debugger.expect_line("held");
        if is_kill_round(round) {
            check_kill_all(&group, std::slice::from_mut(&mut member), round);
        }
        group.destroy();
        assert!(member.is_dead() && !debugger.is_dead(), "round {round}");
        // The order matters: the zombie belongs to the tracer before it belongs to the test.
        drop((debugger, member, group));
        fixture.check_untouched(round);
    }
}

#[test]
fn members_that_wait_in_vfork_die() {
    Fixture::new().each_round_with_role(&no_limits(), "in_vfork", 1);
}

#[test]
fn a_member_with_much_memory_dies() {
    Fixture::new().each_round_with_role(&no_limits(), "with_500_megabytes", 1);
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Members that fork faster than they can be listed.

use super::escapes::CHAINS_THAT_BEGIN;
use super::{no_limits, with_pids_max};
use crate::common::fixture::Fixture;

#[test]
fn a_fork_bomb_dies() {
    Fixture::new().each_round(&with_pids_max(500), |group| {
        let member = group.start("fork_bomb", &[]);
        group.cgroup.wait_for_value("pids.events", "max", 1);
        vec![member]
    });
}

#[test]
fn forkers_that_exit_at_once_die() {
    Fixture::new().each_round_with_role(&no_limits(), "rolling_forkers", CHAINS_THAT_BEGIN);
}

#[test]
fn threads_that_fork_die() {
    Fixture::new().each_round_with_role(&with_pids_max(60), "threads_that_fork", 3);
}

#[test]
fn five_thousand_processes_die() {
    Fixture::new().each_round_with_role(&no_limits(), "five_thousand_processes", 1);
}

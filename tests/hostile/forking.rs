// SPDX-License-Identifier: MIT OR Apache-2.0
//! More of them, faster than they can be counted.

use crate::common::arena::Arena;
use crate::{no_limits, so_many};

#[test]
fn a_fork_bomb_dies() {
    Arena::new().each_round(&so_many(500), |group| {
        let member = group.start("fork_bomb", &[]);
        group.cgroup.wait_for_value("pids.events", "max", 1);
        vec![member]
    });
}

#[test]
fn forkers_that_exit_at_once_die() {
    // Of eight: where they share one CPU with no controller between them, Linux 5.10 lets the last of them wait
    // for its first instruction for as long as the others go on.
    Arena::new().each_round_of(&no_limits(), "rolling_forkers", 4);
}

#[test]
fn threads_that_fork_die() {
    Arena::new().each_round_of(&so_many(60), "threads_that_fork", 3);
}

#[test]
fn five_thousand_processes_die() {
    Arena::new().each_round_of(&no_limits(), "five_thousand", 1);
}

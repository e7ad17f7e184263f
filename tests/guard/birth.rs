// SPDX-License-Identifier: MIT OR Apache-2.0
//! How the guard comes to its own cgroup.

use crate::common::{lab, wait_until};
use crate::program::Program;

/// Kernels of 2025-26 kill who is made right inside a cgroup by a process in another that was killed more often.
/// Nothing tells them beforehand.
#[test]
fn a_guard_that_the_kernel_kills_at_its_birth_is_made_another_way() {
    let mut program = Program::start();
    let killed = program.scratch.parent.parent().make("killed before");
    for _ in 0..2 {
        // Before 5.14 there is nothing to be afraid of.
        if killed.has("cgroup.kill") || lab::hides("cgroup.kill") {
            killed.write_hidden("cgroup.kill", "1");
        }
    }
    killed.take(program.member.pid());
    let agent = program.guarded(1);
    assert!(agent.exists() && program.guard() > 0);
    program.member.kill_it_alone();
    program.wait_for_no_trace();
    // It goes home for its last instant.
    wait_until("it has ended", || killed.words("cgroup.procs").is_empty());
}

#[test]
fn a_leaf_that_was_left_over_serves_again() {
    let mut program = Program::start();
    program.scratch.parent.make("synwire").make(format!("guard-{}", program.member.pid()));
    program.guarded(1);
    assert!(program.guard() > 0);
    program.member.kill_it_alone();
    program.wait_for_no_trace();
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! How the guard gets into its own cgroup.

use super::program::Program;
use crate::common::{lab, wait_until};

/// Kernels of 2025-26 kill a process that is created in a cgroup if its parent is in a cgroup that was killed
/// more often. Nothing shows this beforehand.
#[test]
fn a_guard_that_the_kernel_kills_at_its_creation_is_started_outside_and_moved() {
    let mut program = Program::start();
    let killed = program.scratch.parent.parent().make("killed before");
    for _ in 0..2 {
        // Before 5.14 no process is killed at its creation.
        if killed.has("cgroup.kill") || lab::hides("cgroup.kill") {
            killed.write_hidden("cgroup.kill", "1");
        }
    }
    killed.move_in(program.member.pid());
    let agent = program.new_guarded(1);
    assert!(agent.exists() && program.guard() > 0);
    program.member.kill_it_alone();
    program.wait_for_cleanup();
    // At its end the guard moves back into the cgroup of the program.
    wait_until("the guard has ended", || killed.words("cgroup.procs").is_empty());
}

#[test]
fn a_leftover_cgroup_of_a_guard_is_used_again() {
    let mut program = Program::start();
    program.scratch.parent.make("synwire").make(format!("guard-{}", program.member.pid()));
    program.new_guarded(1);
    assert!(program.guard() > 0);
    program.member.kill_it_alone();
    program.wait_for_cleanup();
}

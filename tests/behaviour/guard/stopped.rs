// SPDX-License-Identifier: MIT OR Apache-2.0
//! A stopped guard does not count as a guard, and nothing waits for it.

use super::program::Program;
use crate::common::member::Member;
use crate::common::{state_of, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn stop(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGSTOP).expect("kill");
    wait_until("it is stopped", || state_of(pid).expect("the state") == 'T');
}

#[test]
fn a_stopped_guard_does_not_count_and_is_replaced() {
    let mut program = Program::start();
    program.new_guarded(0);
    let first = program.guard();
    stop(first);
    assert_eq!(program.request("guarded"), "false");
    let second = program.new_guarded(1);
    assert_eq!(program.request("guarded"), "false true");
    assert_eq!(program.guard_cgroup().words("cgroup.procs").len(), 2);
    program.run("destroy");
    assert!(!second.exists());
    program.new_guarded(1);
    program.member.kill_it_alone();
    program.wait_for_cleanup();
}

#[test]
fn the_end_of_the_host_wakes_a_stopped_guard() {
    let mut program = Program::start();
    let mut inside = Member::start("sleeper", &[]);
    program.new_guarded(0).move_in(inside.pid());
    stop(program.guard());
    program.member.kill_it_alone();
    inside.wait_dead();
    program.wait_for_cleanup();
}

/// The forked children of the host hold its end of the socket. The guard therefore notices the end of the
/// host only by the pidfd.
#[test]
fn a_reaper_wakes_a_stopped_guard() {
    let mut program = Program::start();
    program.new_guarded(2);
    stop(program.guard());
    program.member.kill_it_alone();
    assert!(agentcg::reap(Some(&program.scratch.path()), crate::common::deadline()).is_ok());
    program.wait_for_cleanup();
}

/// More agents than the socket holds messages.
#[test]
fn agents_of_a_stopped_guard_are_freed_and_destroyed_without_waiting_for_it() {
    const AGENTS: usize = 320;
    let mut program = Program::start();
    for _ in 0..AGENTS {
        program.new_guarded(0);
    }
    let guard = program.guard();
    for end in ["free", "destroy"].repeat(AGENTS / 2) {
        kill(Pid::from_raw(guard), Signal::SIGSTOP).expect("kill");
        program.run(end);
    }
    assert_eq!(agentcg::reap(Some(&program.scratch.path()), crate::common::deadline()), Ok(AGENTS / 2));
    program.member.kill_it_alone();
    program.wait_for_cleanup();
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! What becomes of a guard that somebody stops: it counts as none, and is in nobody's way.

use crate::common::member::Member;
use crate::common::{state_of, wait_until};
use crate::program::Program;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn stop(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGSTOP).expect("kill");
    wait_until("it is stopped", || state_of(pid).expect("the state") == 'T');
}

#[test]
fn a_stopped_guard_counts_as_none_and_is_replaced() {
    let mut program = Program::start();
    program.guarded(0);
    let first = program.guard();
    stop(first);
    assert_eq!(program.asked("guarded"), "false");
    let second = program.guarded(1);
    assert_eq!(program.asked("guarded"), "false true");
    assert_eq!(program.leaf().words("cgroup.procs").len(), 2);
    program.does("destroy");
    assert!(!second.exists());
    program.guarded(1);
    program.member.kill_it_alone();
    program.wait_for_no_trace();
}

#[test]
fn the_end_of_the_host_wakes_a_stopped_guard() {
    let mut program = Program::start();
    let mut inside = Member::start("sleeper", &[]);
    program.guarded(0).take(inside.pid());
    stop(program.guard());
    program.member.kill_it_alone();
    inside.wait_dead();
    program.wait_for_no_trace();
}

/// The host's forked children hold its end of the socket, so that the guard sees its end by the pidfd alone.
#[test]
fn a_reaper_wakes_a_stopped_guard() {
    let mut program = Program::start();
    program.guarded(2);
    stop(program.guard());
    program.member.kill_it_alone();
    assert!(agentcg::reap(Some(&program.scratch.path()), crate::common::patience()).is_ok());
    program.wait_for_no_trace();
}

/// More than the socket holds messages.
#[test]
fn agents_of_a_stopped_guard_are_freed_and_destroyed_without_waiting_for_it() {
    const AGENTS: usize = 320;
    let mut program = Program::start();
    for _ in 0..AGENTS {
        program.guarded(0);
    }
    let guard = program.guard();
    for end in ["free", "destroy"].repeat(AGENTS / 2) {
        kill(Pid::from_raw(guard), Signal::SIGSTOP).expect("kill");
        program.does(end);
    }
    assert_eq!(agentcg::reap(Some(&program.scratch.path()), crate::common::patience()), Ok(AGENTS / 2));
    program.member.kill_it_alone();
    program.wait_for_no_trace();
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! A program may die between any two system calls of `new`. What it leaves is found and removed, other agents
//! are not touched, and the place can be used as before.

use crate::common::cgroup::Scratch;
use crate::common::group::Group;
use crate::common::member::Member;
use crate::common::{deadline, ptrace, wait_until};
use agentcg::{Agent, CpuMax, Limits, PlaceRequest, list, reap};
use std::ffi::CString;

roles![makes_an_agent, makes_a_guarded_agent];

fn limits() -> Limits {
    Limits {
        memory_max: Some(64 << 20),
        cpu_max: Some(CpuMax { millicpu: 500, period_us: 0 }),
        pids_max: Some(20),
        ..Limits::default()
    }
}

fn makes_an_agent(args: &[String]) {
    let parent = CString::new(args[0].as_str()).expect("no NUL");
    ptrace::wait_for_tracer();
    Agent::new(Some(&parent), None, &limits()).unwrap_or_else(|e| panic!("{e}"));
}

/// Kills a member at each of its stops, at the entry and the exit of each system call, and then calls
/// `is_left`.
fn at_each_stop(scratch: &Scratch, is_left: impl Fn(u32)) {
    let parent = scratch.parent.0.to_string_lossy();
    let mut found = (0, 0);
    for stop in (1..).step_by(ptrace::stride() as usize) {
        let mut member = Member::start("crash::makes_an_agent", &[&parent]);
        if !ptrace::run_to_stop(member.pid(), stop) {
            assert!(member.wait().success());
            // The end of the program frees the agent, so it is an orphan like the others.
            assert_eq!(reap(Some(&scratch.path()), deadline()).unwrap(), 1);
            println!(
                "{} stops: {} times an agent was left, {} times a piece of the tree",
                stop - 1,
                found.0,
                found.1
            );
            let stride = ptrace::stride();
            let enough = found.0 * stride as usize > 10 && (found.1 > 0 || stride > 1);
            assert!(stop > 40 && enough, "new has fewer stops than expected");
            return;
        }
        member.kill_it_alone();
        let before = scratch.parent.all().len();
        let removed = reap(Some(&scratch.path()), deadline()).unwrap_or_else(|e| panic!("stop {stop}: {e}"));
        assert!(removed <= 1, "stop {stop}: {removed} reaped");
        found.0 += removed;
        found.1 += usize::from(removed == 0 && scratch.parent.all().len() < before);
        is_left(stop);
    }
}

#[test]
fn wherever_new_is_interrupted_nothing_of_it_is_left() {
    let scratch = Scratch::new();
    at_each_stop(&scratch, |stop| {
        assert_eq!(scratch.parent.all().len(), 1, "stop {stop}: {:?}", scratch.parent.all());
        // The enabled controllers do not prevent the next agent.
        if stop % 10 == 0 {
            let group = Group::under(&scratch, &limits());
            assert_eq!(group.cgroup.read("pids.max"), "20", "stop {stop}");
            group.destroy();
        }
    });
}

#[test]
fn wherever_new_is_interrupted_its_neighbours_are_not_touched() {
    let scratch = Scratch::new();
    let neighbour = Group::under(&scratch, &limits());
    let mut member = neighbour.start("sleeper", &[]);
    member.expect_line("ready");
    let before = scratch.parent.snapshot();
    let parent = scratch.parent.0.to_string_lossy().into_owned();
    for stop in (1..).step_by(ptrace::stride() as usize) {
        let mut other = Member::start("crash::makes_an_agent", &[&parent]);
        let stopped = ptrace::run_to_stop(other.pid(), stop);
        if stopped {
            // The other agent is half made. No orphan is found except possibly that one.
            let entries = list(Some(&scratch.path())).unwrap();
            assert!(
                entries.iter().any(|entry| entry.uuid == neighbour.uuid() && !entry.orphan),
                "stop {stop}"
            );
            other.kill_it_alone();
        }
        reap(Some(&scratch.path()), deadline()).unwrap_or_else(|e| panic!("stop {stop}: {e}"));
        assert_eq!(scratch.parent.snapshot(), before, "stop {stop}");
        assert!(!member.is_dead(), "stop {stop}");
        if !stopped {
            break;
        }
    }
    neighbour.destroy();
}

/// The guard may not have started yet, or it may already know of the agent. It then removes the agent itself.
#[test]
fn wherever_a_guarded_new_is_interrupted_nothing_of_it_or_its_guard_is_left() {
    let scratch = Scratch::new();
    let parent = scratch.parent.0.to_string_lossy().into_owned();
    for stop in (1..).step_by(ptrace::stride() as usize) {
        let mut member = Member::start("crash::makes_a_guarded_agent", &[&parent]);
        let stopped = ptrace::run_to_stop(member.pid(), stop);
        if stopped {
            member.kill_it_alone();
        }
        // The guard inherits the pipe until it has begun, and has its own cgroup until it ends.
        member.wait_dead();
        wait_until(&format!("nothing is left of stop {stop}"), || {
            reap(Some(&scratch.path()), deadline()).unwrap_or_else(|e| panic!("stop {stop}: {e}"));
            scratch.parent.all().len() == 1
        });
        if !stopped {
            assert!(stop > 100, "new has fewer stops than expected");
            return;
        }
    }
}

fn makes_a_guarded_agent(args: &[String]) {
    let parent = CString::new(args[0].as_str()).expect("no NUL");
    ptrace::wait_for_tracer();
    let request = PlaceRequest { parent: Some(&parent), guard: true, ..PlaceRequest::default() };
    let agent = Agent::new_where(request, None, &limits()).unwrap_or_else(|e| panic!("{e}"));
    // A crash ends it in this way: a freed agent would be an orphan.
    std::mem::forget(agent);
}

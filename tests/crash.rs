// SPDX-License-Identifier: MIT OR Apache-2.0
//! A program may die between any two system calls of `new`. What it leaves then is found and removed, the
//! agents of others beside it are not touched, and the place is as good as before.

#[macro_use]
mod common;

use agentcg::{Agent, CpuMax, Limits, PlaceRequest, list, reap};
use common::cgroup::Scratch;
use common::group::Group;
use common::member::{Member, sleeper};
use common::{deadline, ptrace, wait_until};
use std::ffi::CString;

roles![sleeper, makes_one, makes_a_guarded_one];

fn limits() -> Limits {
    Limits {
        memory_max: Some(64 << 20),
        cpu_max: Some(CpuMax { millicpu: 500, period_us: 0 }),
        pids_max: Some(20),
        ..Limits::default()
    }
}

fn makes_one(args: &[String]) {
    let parent = CString::new(args[0].as_str()).expect("no NUL");
    ptrace::wait_for_tracer();
    Agent::new(Some(&parent), None, &limits()).unwrap_or_else(|e| panic!("{e}"));
}

/// Let one die at each of its stops, entering a system call or leaving it, and look at what `is_left`.
fn at_each_stop(scratch: &Scratch, is_left: impl Fn(u32)) {
    let parent = scratch.parent.0.to_string_lossy();
    let mut found = (0, 0);
    for stop in (1..).step_by(ptrace::stride() as usize) {
        let mut member = Member::start("makes_one", &[&parent]);
        if !ptrace::run_to_stop(member.pid(), stop) {
            assert!(member.wait().success());
            // Freed by its end, so this one is an orphan like all others.
            assert_eq!(reap(Some(&scratch.path()), deadline()).unwrap(), 1);
            println!(
                "{} stops: {} times an agent was left, {} times a piece of the tree",
                stop - 1,
                found.0,
                found.1
            );
            let stride = ptrace::stride();
            let enough = found.0 * stride as usize > 10 && (found.1 > 0 || stride > 1);
            assert!(stop > 40 && enough, "new is thought to do more than that");
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
fn wherever_new_is_cut_off_nothing_of_it_is_left() {
    let scratch = Scratch::new();
    at_each_stop(&scratch, |stop| {
        assert_eq!(scratch.parent.all().len(), 1, "stop {stop}: {:?}", scratch.parent.all());
        // And what it has switched on or not is no obstacle to the next.
        if stop % 10 == 0 {
            let group = Group::under(&scratch, &limits());
            assert_eq!(group.cgroup.read("pids.max"), "20", "stop {stop}");
            group.destroy();
        }
    });
}

#[test]
fn wherever_new_is_cut_off_its_neighbours_are_not_touched() {
    let scratch = Scratch::new();
    let neighbour = Group::under(&scratch, &limits());
    let mut member = neighbour.start("sleeper", &[]);
    member.expect_line("ready");
    let before = scratch.parent.snapshot();
    let parent = scratch.parent.0.to_string_lossy().into_owned();
    for stop in (1..).step_by(ptrace::stride() as usize) {
        let mut other = Member::start("makes_one", &[&parent]);
        let stopped = ptrace::run_to_stop(other.pid(), stop);
        if stopped {
            // It is half-way, and nobody's orphan is to be found but perhaps its own.
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

/// The guard may not be there yet, or know of the agent already: then it is the one that clears up.
#[test]
fn wherever_a_guarded_new_is_cut_off_nothing_of_it_is_left_nor_of_its_guard() {
    let scratch = Scratch::new();
    let parent = scratch.parent.0.to_string_lossy().into_owned();
    for stop in (1..).step_by(ptrace::stride() as usize) {
        let mut member = Member::start("makes_a_guarded_one", &[&parent]);
        let stopped = ptrace::run_to_stop(member.pid(), stop);
        if stopped {
            member.kill_it_alone();
        }
        // It has our pipe until it has begun, and a cgroup of its own until it ends.
        member.wait_dead();
        wait_until(&format!("nothing is left of stop {stop}"), || {
            reap(Some(&scratch.path()), deadline()).unwrap_or_else(|e| panic!("stop {stop}: {e}"));
            scratch.parent.all().len() == 1
        });
        if !stopped {
            assert!(stop > 100, "new is thought to do more than that");
            return;
        }
    }
}

fn makes_a_guarded_one(args: &[String]) {
    let parent = CString::new(args[0].as_str()).expect("no NUL");
    ptrace::wait_for_tracer();
    let request = PlaceRequest { parent: Some(&parent), guard: true, ..PlaceRequest::default() };
    let agent = Agent::new_where(request, None, &limits()).unwrap_or_else(|e| panic!("{e}"));
    // As a crash would end it: freed it would be an orphan.
    std::mem::forget(agent);
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an agent can do to its guard by prlimit(2): any process of the same uid may lower its limits.

use crate::common::member::Member;
use crate::common::{patience, wait_until};
use crate::program::Program;

fn take_away(pid: i32, resource: libc::__rlimit_resource_t) {
    limit(pid, resource, 0);
}

fn limit(pid: i32, resource: libc::__rlimit_resource_t, most: u64) {
    let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
    // SAFETY: a struct of ours, read; nothing is written.
    #[allow(unsafe_code, reason = "nix has no prlimit")]
    let set = unsafe { libc::prlimit(pid, resource, &raw const limit, std::ptr::null_mut()) };
    assert_eq!(set, 0);
}

#[test]
fn a_guard_without_its_limits_kills_and_removes_all_the_same() {
    let limits = [
        ("NOFILE", libc::RLIMIT_NOFILE),
        ("AS", libc::RLIMIT_AS),
        ("DATA", libc::RLIMIT_DATA),
        ("STACK", libc::RLIMIT_STACK),
        ("FSIZE", libc::RLIMIT_FSIZE),
        ("NPROC", libc::RLIMIT_NPROC),
        ("MEMLOCK", libc::RLIMIT_MEMLOCK),
        ("SIGPENDING", libc::RLIMIT_SIGPENDING),
    ];
    for (name, resource) in limits {
        let mut program = Program::start();
        let mut inside = Member::start("sleeper", &[]);
        let agent = program.guarded(0);
        agent.make("nested").take(inside.pid());
        eprintln!("without {name}");
        take_away(program.guard(), resource);
        program.member.kill_it_alone();
        if resource == libc::RLIMIT_NOFILE && !agent.has("cgroup.kill") {
            // Nothing that is open reaches who is in a cgroup inside (before 5.14): it lets go, and a reaper acts.
            wait_until("it is an orphan", || {
                assert!(agentcg::reap(Some(&program.scratch.path()), patience()).is_ok());
                inside.is_dead()
            });
        }
        inside.wait_dead();
        program.wait_for_no_trace();
    }
}

/// Each process that does its work has a second of CPU time. In this time it sends the kill and starts to remove the cgroups.
#[test]
fn work_that_takes_more_cpu_time_than_a_guard_has_comes_to_its_end() {
    let mut program = Program::start();
    let mut inside = Member::start("sleeper", &[]);
    let agent = program.guarded(0);
    // Without cgroup.kill (before 5.14) each of them reads every cgroup before it removes the first.
    let outermost = if agent.has("cgroup.kill") { 50 } else { 10 };
    for outer in 0..outermost {
        let nested = agent.make(format!("nested-{outer}"));
        for inner in 0..40 {
            nested.make(format!("inner-{inner}"));
        }
    }
    agent.make("nested").take(inside.pid());
    let guard = program.guard();
    limit(guard, libc::RLIMIT_CPU, 1);
    program.member.kill_it_alone();
    inside.wait_dead();
    program.wait_for_no_trace();
    wait_until("the guard has ended", || !crate::lives(guard));
}

/// The kernel may find it at work at the tick of the clock at which it wakes, and kill it.
#[test]
fn what_a_guard_without_cpu_time_cannot_end_is_an_orphan() {
    let mut program = Program::start();
    let mut inside = Member::start("sleeper", &[]);
    program.guarded(0).make("nested").take(inside.pid());
    let guard = program.guard();
    take_away(guard, libc::RLIMIT_CPU);
    program.member.kill_it_alone();
    wait_until("the guard has ended", || !crate::lives(guard));
    assert!(agentcg::reap(Some(&program.scratch.path()), patience()).is_ok());
    inside.wait_dead();
    program.wait_for_no_trace();
}

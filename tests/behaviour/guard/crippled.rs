// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an agent can do to its guard with prlimit(2): any process of the same uid may lower its limits.

use super::program::Program;
use crate::common::member::Member;
use crate::common::{deadline, wait_until};

fn remove_limit(pid: i32, resource: libc::__rlimit_resource_t) {
    limit(pid, resource, 0);
}

fn limit(pid: i32, resource: libc::__rlimit_resource_t, most: u64) {
    let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
    // SAFETY: the kernel reads the struct and writes nothing.
    #[allow(unsafe_code, reason = "nix has no prlimit")]
    let set = unsafe { libc::prlimit(pid, resource, &raw const limit, std::ptr::null_mut()) };
    assert_eq!(set, 0);
}

#[test]
fn a_guard_with_limits_of_zero_still_kills_and_removes() {
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
        let agent = program.new_guarded(0);
        agent.make("nested").move_in(inside.pid());
        eprintln!("without {name}");
        remove_limit(program.guard(), resource);
        program.member.kill_it_alone();
        if resource == libc::RLIMIT_NOFILE && !agent.has("cgroup.kill") {
            // Without cgroup.kill (before 5.14) and without descriptors the guard cannot reach a process in a
            // nested cgroup. It ends, and a reaper removes the agent.
            wait_until("a reaper has killed the process", || {
                assert!(agentcg::reap(Some(&program.scratch.path()), deadline()).is_ok());
                inside.is_dead()
            });
        }
        inside.wait_dead();
        program.wait_for_cleanup();
    }
}

/// Each worker process of the guard has one second of CPU time. In this time it sends the kill and starts to
/// remove the cgroups.
#[test]
fn work_that_exceeds_the_cpu_time_of_a_guard_is_completed() {
    let mut program = Program::start();
    let mut inside = Member::start("sleeper", &[]);
    let agent = program.new_guarded(0);
    // Without cgroup.kill (before 5.14) each worker reads every cgroup before it removes the first.
    let outermost = if agent.has("cgroup.kill") { 50 } else { 10 };
    for outer in 0..outermost {
        let nested = agent.make(format!("nested-{outer}"));
        for inner in 0..40 {
            nested.make(format!("inner-{inner}"));
        }
    }
    agent.make("nested").move_in(inside.pid());
    let guard = program.guard();
    limit(guard, libc::RLIMIT_CPU, 1);
    program.member.kill_it_alone();
    inside.wait_dead();
    program.wait_for_cleanup();
    wait_until("the guard has ended", || !super::is_alive(guard));
}

/// The guard may be working at the clock tick at which it wakes up. Then the kernel kills it.
#[test]
fn an_agent_that_a_guard_without_cpu_time_cannot_kill_is_an_orphan() {
    let mut program = Program::start();
    let mut inside = Member::start("sleeper", &[]);
    program.new_guarded(0).make("nested").move_in(inside.pid());
    let guard = program.guard();
    remove_limit(guard, libc::RLIMIT_CPU);
    program.member.kill_it_alone();
    wait_until("the guard has ended", || !super::is_alive(guard));
    assert!(agentcg::reap(Some(&program.scratch.path()), deadline()).is_ok());
    inside.wait_dead();
    program.wait_for_cleanup();
}

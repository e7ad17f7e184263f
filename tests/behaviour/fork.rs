// SPDX-License-Identifier: MIT OR Apache-2.0
//! A forked child is not mistaken for its parent, though both are PID 1 of their own namespaces.

use crate::common::cgroup::Scratch;
use crate::common::member::{Member, role};
use crate::common::{deadline, seccomp};
use agentcg::events::{EMPTY, GONE};
use agentcg::{Agent, Deadline, Errno, Limits, PlaceRequest, list, reap};
use nix::sched::{CloneFlags, unshare};
use nix::sys::wait::wait;
use nix::unistd::geteuid;
use std::ffi::CString;
use std::time::Duration;

roles![pid_1];

#[test]
fn a_child_that_is_also_pid_1_does_not_release_what_its_parent_owns() {
    check_ownership("with");
}

/// Before Linux 4.14 no page can be cleared at a fork.
#[test]
fn a_child_that_is_also_pid_1_releases_nothing_even_without_pages_cleared_at_a_fork() {
    check_ownership("without");
}

fn check_ownership(page: &str) {
    let scratch = Scratch::new();
    let mut host = Member::start("pid_1", &[&scratch.path().to_string_lossy(), page]);
    host.expect_line("the host, 1: owned true, guarded true");
    host.expect_line("the child, 1: owned false, guarded false, events EINVAL");
    host.expect_line("the child has freed its copy");
    host.expect_line("the host, 1: owned true, guarded true");
    let path = scratch.path();
    let found = list(Some(&path)).unwrap();
    assert!(found.len() == 1 && !found[0].orphan, "{found:?}");
    assert_eq!(reap(Some(&path), deadline()).unwrap(), 0);
    host.send("destroy");
    host.expect_line("destroyed");
    assert_eq!(list(Some(&path)).unwrap(), vec![]);
}

fn pid_1(args: &[String]) {
    if args[1] == "without" {
        seccomp::refuse(&[(libc::SYS_madvise, Errno::EINVAL)]);
    }
    // A caller without privileges needs a user namespace.
    let user = if geteuid().is_root() { CloneFlags::empty() } else { CloneFlags::CLONE_NEWUSER };
    unshare(CloneFlags::CLONE_NEWPID | user).expect("unshare");
    if !role::fork() {
        wait().expect("wait");
        return;
    }
    let parent = CString::new(args[0].as_str()).expect("a path");
    let request = PlaceRequest { parent: Some(&parent), guard: true, ..PlaceRequest::default() };
    let agent = Agent::new_where(request, None, &Limits::default()).unwrap_or_else(|e| panic!("{e}"));
    agent.event_fd(EMPTY | GONE).expect("event_fd");
    role::send(&format!("the host, {}", describe(&agent)));
    unshare(CloneFlags::CLONE_NEWPID).expect("unshare");
    if role::fork() {
        let events = agent.next_events(Deadline::after(Duration::ZERO)).map_err(|e| e.errno());
        let events = events.expect_err("the child has selected no events");
        role::send(&format!("the child, {}, events {events:?}", describe(&agent)));
        drop(agent);
        role::send("the child has freed its copy");
        role::exit(0);
    }
    wait().expect("wait");
    role::send(&format!("the host, {}", describe(&agent)));
    role::receive();
    agent.destroy(false, deadline(), false).expect("destroy");
    drop(agent);
    role::send("destroyed");
}

fn describe(agent: &Agent) -> String {
    let info = agent.info().expect("info");
    format!("{}: owned {}, guarded {}", std::process::id(), info.owned, info.guarded)
}

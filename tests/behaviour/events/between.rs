// SPDX-License-Identifier: MIT OR Apache-2.0
//! A process that came and went leaves no trace but the kernel's notification, which may arrive at any
//! moment.

use super::notifications::Notifications;
use super::{STATES, now, readable, wait_for_events};
use crate::common::cgroup::Scratch;
use crate::common::group::Group;
use crate::common::member::Member;
use crate::common::ptrace;
use agentcg::events::{EMPTY, POPULATED};
use agentcg::{Agent, Limits};
use std::ffi::CString;

#[test]
fn a_process_that_came_and_went_between_any_two_system_calls_of_the_watcher_is_reported() {
    let scratch = Scratch::new();
    let group = Group::under(&scratch, &Limits::default());
    let notifications = Notifications::of(&group.cgroup);
    let parent = scratch.parent.0.to_string_lossy().into_owned();
    // The stops cover a read of the events, another selection, and reads that the watcher's own timer causes.
    for stop in (1..=60).step_by(ptrace::stride() as usize) {
        notifications.drain();
        let mut watcher = Member::start("selects_events_again", &[&parent, group.uuid()]);
        assert!(ptrace::run_to_stop(watcher.pid(), stop), "the watcher reaches the stop");
        group.start("ends_at_once", &[]).wait();
        notifications.drain();
        ptrace::detach(watcher.pid());
        assert!(watcher.wait().success(), "stop {stop}");
    }
    group.destroy();
}

pub fn selects_events_again(args: &[String]) {
    let parent = CString::new(args[0].as_str()).expect("no NUL");
    let agent = Agent::open(Some(&parent), &args[1], false).unwrap_or_else(|e| panic!("{e}"));
    let fd = agent.event_fd(STATES).unwrap_or_else(|e| panic!("{e}"));
    assert!(readable(fd, 10_000), "the watch reads the group again by itself");
    ptrace::wait_for_tracer();
    let seen = agent.next_events(now()).unwrap_or_else(|e| panic!("{e}"));
    agent.event_fd(STATES).unwrap_or_else(|e| panic!("{e}"));
    wait_for_events(&agent, (EMPTY | POPULATED) & !seen);
}

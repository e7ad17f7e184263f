// SPDX-License-Identifier: MIT OR Apache-2.0
//! Of what came and went there is nothing to see but the kernel's notification, and that may come at any moment.

use super::notifications::Notifications;
use super::{STATES, hear, now, readable};
use crate::common::cgroup::Scratch;
use crate::common::group::Group;
use crate::common::member::Member;
use crate::common::ptrace;
use agentcg::events::{EMPTY, POPULATED};
use agentcg::{Agent, Limits};
use std::ffi::CString;

#[test]
fn a_process_that_came_and_went_between_any_two_system_calls_of_the_watcher_is_told() {
    let scratch = Scratch::new();
    let group = Group::under(&scratch, &Limits::default());
    let notifications = Notifications::of(&group.cgroup);
    let parent = scratch.parent.0.to_string_lossy().into_owned();
    // A look, another choice, and looks that the watcher's own timer brings.
    for stop in (1..=60).step_by(ptrace::stride() as usize) {
        notifications.are_over();
        let mut watcher = Member::start("looks_and_chooses_again", &[&parent, group.uuid()]);
        assert!(ptrace::run_to_stop(watcher.pid(), stop), "it waits until it is told");
        group.start("ends_at_once", &[]).wait();
        notifications.are_over();
        ptrace::detach(watcher.pid());
        assert!(watcher.wait().success(), "stop {stop}");
    }
    group.destroy();
}

pub fn looks_and_chooses_again(args: &[String]) {
    let parent = CString::new(args[0].as_str()).expect("no NUL");
    let agent = Agent::open(Some(&parent), &args[1], false).unwrap_or_else(|e| panic!("{e}"));
    let fd = agent.event_fd(STATES).unwrap_or_else(|e| panic!("{e}"));
    assert!(readable(fd, 10_000), "it looks again by itself");
    ptrace::wait_for_tracer();
    let heard = agent.next_events(now()).unwrap_or_else(|e| panic!("{e}"));
    agent.event_fd(STATES).unwrap_or_else(|e| panic!("{e}"));
    hear(&agent, (EMPTY | POPULATED) & !heard);
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! A removal is reported, whoever removes the group. If the library removes it, all earlier events are
//! reported too.

use super::notifications::Notifications;
use super::{STATES, expect_no_events_except, now, readable, wait_for_events};
use crate::common::cgroup::Scratch;
use crate::common::group::Group;
use crate::common::member::Member;
use crate::common::{self, TIMEOUT, deadline, ptrace, seccomp};
use agentcg::events::{EMPTY, FROZEN, GONE, POPULATED};
use agentcg::{Agent, Deadline, Errno, Limits, Reason, reap};
use std::ffi::CString;

/// Opens the same group through another handle, as a monitor does.
pub fn watcher_of(group: &Group) -> Agent {
    Agent::open(None, group.uuid(), false).unwrap()
}

#[test]
fn a_group_that_is_destroyed_is_reported_as_gone_and_then_refused() {
    let group = Group::plain();
    let watcher = watcher_of(&group);
    let fd = watcher.event_fd(STATES).unwrap();
    group.destroy();
    assert_eq!(wait_for_events(&watcher, GONE), EMPTY | GONE);
    assert!(!readable(fd, 100), "the descriptor stays unreadable");
    let after = watcher.next_events(Deadline::FOREVER).unwrap_err();
    assert_eq!((after.errno(), after.reason()), (Errno::ENODEV, Some(Reason::Gone)));
    assert_eq!(watcher.event_fd(STATES).unwrap_err().errno(), Errno::ENODEV);
}

/// A removal alone wakes no process that waits on a file of the group, and the watcher of the library waits
/// in this way: it would find the group gone at its next read, seconds later.
#[test]
fn a_change_before_the_removal_wakes_waiters_if_there_is_a_watcher() {
    for (watched, frozen) in [(true, false), (true, true), (false, false)] {
        let group = Group::plain();
        if frozen {
            group.freeze(deadline()).unwrap();
        }
        let watcher = watcher_of(&group);
        if watched {
            watcher.event_fd(GONE).unwrap();
        }
        let notifications = Notifications::of(&group.cgroup);
        notifications.drain();
        group.destroy();
        let long = u16::try_from(TIMEOUT.as_millis()).unwrap();
        assert_eq!(notifications.arrive(if watched { long } else { 100 }), watched, "frozen: {frozen}");
    }
}

#[test]
fn all_events_of_a_reaped_orphan_are_reported() {
    let scratch = Scratch::new();
    let owner = Agent::new(Some(&scratch.path()), None, &Limits::default()).unwrap();
    let watcher = Agent::open(Some(&scratch.path()), owner.uuid(), false).unwrap();
    watcher.event_fd(STATES).unwrap();
    expect_no_events_except(&watcher, 0);
    drop(owner);
    assert_eq!(reap(Some(&scratch.path()), deadline()).unwrap(), 1);
    assert_eq!(wait_for_events(&watcher, GONE), EMPTY | GONE);
}

#[test]
fn a_group_that_another_process_removes_is_reported_as_gone() {
    let group = Group::plain();
    group.event_fd(GONE).unwrap();
    expect_no_events_except(&group, 0);
    group.cgroup.remove();
    assert_eq!(wait_for_events(&group, GONE), GONE);

    let group = Group::plain();
    group.event_fd(STATES).unwrap();
    group.start("ends_at_once", &[]).wait();
    common::wait_until("it is empty", || group.cgroup.value("cgroup.events", "populated") == 0);
    group.cgroup.remove();
    assert_eq!(wait_for_events(&group, EMPTY | GONE) & !POPULATED, EMPTY | GONE);
}

#[test]
fn a_watcher_without_gone_is_refused_after_the_removal() {
    let group = Group::plain();
    let watcher = watcher_of(&group);
    let fd = watcher.event_fd(FROZEN).unwrap();
    group.destroy();
    let refused = watcher.next_events(deadline()).unwrap_err();
    assert_eq!((refused.errno(), refused.reason()), (Errno::ENODEV, Some(Reason::Gone)));
    assert!(!readable(fd, 100), "the descriptor stays unreadable");
}

/// The freeze that wakes the processes is not reported, and a remover that is killed halfway leaves nothing
/// that blocks the next one.
#[test]
fn wherever_a_removal_is_interrupted_only_the_removal_is_reported() {
    let scratch = Scratch::new();
    let parent = scratch.parent.0.to_string_lossy().into_owned();
    for stop in (1..).step_by(ptrace::stride() as usize) {
        let owner = Agent::new(Some(&scratch.path()), None, &Limits::default()).unwrap();
        let watcher = Agent::open(Some(&scratch.path()), owner.uuid(), false).unwrap();
        watcher.event_fd(STATES).unwrap();
        drop(owner);
        let mut remover = Member::start("destroys", &[&parent, watcher.uuid()]);
        let stopped = ptrace::run_to_stop(remover.pid(), stop);
        let mut seen = watcher.next_events(now()).unwrap();
        remover.kill_it_alone();
        reap(Some(&scratch.path()), deadline()).unwrap();
        if seen & GONE == 0 {
            seen |= wait_for_events(&watcher, GONE);
        }
        assert_eq!(seen & !POPULATED, EMPTY | GONE, "stop {stop}");
        if !stopped {
            assert!(stop > 30, "destroy has fewer stops than expected");
            return;
        }
    }
}

pub fn destroys(args: &[String]) {
    let parent = CString::new(args[0].as_str()).expect("no NUL");
    let agent = Agent::open(Some(&parent), &args[1], true).unwrap_or_else(|e| panic!("{e}"));
    ptrace::wait_for_tracer();
    agent.destroy(false, deadline(), true).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn a_refused_removal_is_undone() {
    let group = Group::plain();
    let watcher = watcher_of(&group);
    watcher.event_fd(STATES).unwrap();
    group.cgroup.make("inner");
    let destroy = || {
        seccomp::refuse(&[(libc::SYS_unlinkat, Errno::EACCES)]);
        group.agent().destroy(false, deadline(), false)
    };
    let refused = std::thread::scope(|scope| scope.spawn(destroy).join().unwrap()).unwrap_err();
    assert_eq!(refused.errno(), Errno::EACCES);
    assert_eq!(group.cgroup.read("cgroup.freeze"), "0");
    expect_no_events_except(&watcher, EMPTY | POPULATED);
    group.freeze(deadline()).unwrap();
    assert_eq!(wait_for_events(&watcher, FROZEN) & GONE, 0, "a later event is not GONE");
    group.destroy();
    wait_for_events(&watcher, GONE);
}

#[test]
fn no_removal_is_announced_for_a_group_with_a_living_process() {
    let group = Group::plain();
    let watcher = watcher_of(&group);
    watcher.event_fd(STATES).unwrap();
    let mut member = group.start("sleeper", &[]);
    member.expect_line("ready");
    assert_eq!(wait_for_events(&watcher, POPULATED), POPULATED);
    let refused = group.agent().destroy(true, deadline(), false).unwrap_err();
    assert_eq!(refused.errno(), Errno::EBUSY);
    assert_eq!(group.cgroup.read("cgroup.freeze"), "0");
    expect_no_events_except(&watcher, 0);
    group.destroy();
    assert_eq!(wait_for_events(&watcher, GONE) & !(EMPTY | GONE), 0);
}

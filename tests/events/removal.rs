// SPDX-License-Identifier: MIT OR Apache-2.0
//! A removal is told, whoever removes the group, and by those who use the library with all that came before it.

use super::notifications::Notifications;
use super::{STATES, hear, now, readable, settle};
use crate::common::cgroup::Scratch;
use crate::common::group::Group;
use crate::common::member::Member;
use crate::common::{self, TIMEOUT, deadline, ptrace, seccomp};
use agentcg::events::{EMPTY, FROZEN, GONE, POPULATED};
use agentcg::{Agent, Deadline, Errno, Limits, Reason, reap};
use std::ffi::CString;

/// The same group through another handle, as a monitor has it.
pub fn guest(group: &Group) -> Agent {
    Agent::open(None, group.uuid(), false).unwrap()
}

#[test]
fn a_group_that_is_destroyed_is_told_as_gone_and_then_no_more() {
    let group = Group::plain();
    let watcher = guest(&group);
    let fd = watcher.event_fd(STATES).unwrap();
    group.destroy();
    assert_eq!(hear(&watcher, GONE), EMPTY | GONE);
    assert!(!readable(fd, 100), "no spin");
    let after = watcher.next_events(Deadline::FOREVER).unwrap_err();
    assert_eq!((after.errno(), after.reason()), (Errno::ENODEV, Some(Reason::Gone)));
    assert_eq!(watcher.event_fd(STATES).unwrap_err().errno(), Errno::ENODEV);
}

/// A removal by itself wakes nobody who waits on a file of the group's, and the library's own watcher waits so: it would
/// find the group gone at its next look, seconds later.
#[test]
fn a_change_before_the_removal_wakes_whoever_waits_where_somebody_watches() {
    for (watched, frozen) in [(true, false), (true, true), (false, false)] {
        let group = Group::plain();
        if frozen {
            group.freeze(deadline()).unwrap();
        }
        let watcher = guest(&group);
        if watched {
            watcher.event_fd(GONE).unwrap();
        }
        let notifications = Notifications::of(&group.cgroup);
        notifications.are_over();
        group.destroy();
        let long = u16::try_from(TIMEOUT.as_millis()).unwrap();
        assert_eq!(notifications.come(if watched { long } else { 100 }), watched, "frozen: {frozen}");
    }
}

#[test]
fn of_an_orphan_that_is_reaped_all_is_told() {
    let scratch = Scratch::new();
    let owner = Agent::new(Some(&scratch.path()), None, &Limits::default()).unwrap();
    let watcher = Agent::open(Some(&scratch.path()), owner.uuid(), false).unwrap();
    watcher.event_fd(STATES).unwrap();
    settle(&watcher, 0);
    drop(owner);
    assert_eq!(reap(Some(&scratch.path()), deadline()).unwrap(), 1);
    assert_eq!(hear(&watcher, GONE), EMPTY | GONE);
}

#[test]
fn a_group_that_somebody_else_removes_is_told_as_gone() {
    let group = Group::plain();
    group.event_fd(GONE).unwrap();
    settle(&group, 0);
    group.cgroup.remove();
    assert_eq!(hear(&group, GONE), GONE);

    let group = Group::plain();
    group.event_fd(STATES).unwrap();
    group.start("ends_at_once", &[]).wait();
    common::wait_until("it is empty", || group.cgroup.value("cgroup.events", "populated") == 0);
    group.cgroup.remove();
    assert_eq!(hear(&group, EMPTY | GONE) & !POPULATED, EMPTY | GONE);
}

#[test]
fn who_did_not_ask_for_gone_is_refused_when_it_is() {
    let group = Group::plain();
    let watcher = guest(&group);
    let fd = watcher.event_fd(FROZEN).unwrap();
    group.destroy();
    let refused = watcher.next_events(deadline()).unwrap_err();
    assert_eq!((refused.errno(), refused.reason()), (Errno::ENODEV, Some(Reason::Gone)));
    assert!(!readable(fd, 100), "no spin");
}

/// The freeze that wakes is no freeze to be told, and a remover that is killed half-way leaves nothing that is in the
/// way of the next.
#[test]
fn wherever_a_removal_is_cut_off_only_the_removal_is_told() {
    let scratch = Scratch::new();
    let parent = scratch.parent.0.to_string_lossy().into_owned();
    for stop in (1..).step_by(ptrace::stride() as usize) {
        let owner = Agent::new(Some(&scratch.path()), None, &Limits::default()).unwrap();
        let watcher = Agent::open(Some(&scratch.path()), owner.uuid(), false).unwrap();
        watcher.event_fd(STATES).unwrap();
        drop(owner);
        let mut remover = Member::start("destroys", &[&parent, watcher.uuid()]);
        let stopped = ptrace::run_to_stop(remover.pid(), stop);
        let mut heard = watcher.next_events(now()).unwrap();
        remover.kill_it_alone();
        reap(Some(&scratch.path()), deadline()).unwrap();
        if heard & GONE == 0 {
            heard |= hear(&watcher, GONE);
        }
        assert_eq!(heard & !POPULATED, EMPTY | GONE, "stop {stop}");
        if !stopped {
            assert!(stop > 30, "destroy is thought to do more than that");
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
fn a_removal_that_is_refused_is_taken_back() {
    let group = Group::plain();
    let watcher = guest(&group);
    watcher.event_fd(STATES).unwrap();
    group.cgroup.make("inner");
    let destroy = || {
        seccomp::refuse(&[(libc::SYS_unlinkat, Errno::EACCES)]);
        group.agent().destroy(false, deadline(), false)
    };
    let refused = std::thread::scope(|scope| scope.spawn(destroy).join().unwrap()).unwrap_err();
    assert_eq!(refused.errno(), Errno::EACCES);
    assert_eq!(group.cgroup.read("cgroup.freeze"), "0");
    settle(&watcher, EMPTY | POPULATED);
    group.freeze(deadline()).unwrap();
    assert_eq!(hear(&watcher, FROZEN) & GONE, 0, "and what is told after it is true again");
    group.destroy();
    hear(&watcher, GONE);
}

#[test]
fn a_group_in_which_something_lives_is_not_taken_leave_of() {
    let group = Group::plain();
    let watcher = guest(&group);
    watcher.event_fd(STATES).unwrap();
    let mut member = group.start("sleeper", &[]);
    member.expect_line("ready");
    assert_eq!(hear(&watcher, POPULATED), POPULATED);
    let refused = group.agent().destroy(true, deadline(), false).unwrap_err();
    assert_eq!(refused.errno(), Errno::EBUSY);
    assert_eq!(group.cgroup.read("cgroup.freeze"), "0");
    settle(&watcher, 0);
    group.destroy();
    assert_eq!(hear(&watcher, GONE) & !(EMPTY | GONE), 0);
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! A removal is told, whoever removes the group, and by those who use the library with all that came before it.

use super::{STATES, hear, readable, settle};
use crate::common::cgroup::Scratch;
use crate::common::group::Group;
use crate::common::{self, patience};
use agentcg::watch::{EMPTY, FROZEN, GONE, POPULATED};
use agentcg::{Agent, Deadline, Errno, Limits, Reason};

/// The same group through another handle, as a monitor has it.
fn guest(group: &Group) -> Agent {
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

#[test]
fn of_an_orphan_that_is_reaped_all_is_told() {
    let scratch = Scratch::new();
    let owner = Agent::new(Some(&scratch.path()), None, &Limits::default()).unwrap();
    let watcher = Agent::open(Some(&scratch.path()), owner.uuid(), false).unwrap();
    watcher.event_fd(STATES).unwrap();
    settle(&watcher, 0);
    drop(owner);
    assert_eq!(agentcg::reap(Some(&scratch.path()), patience()).unwrap(), 1);
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
    let refused = watcher.next_events(patience()).unwrap_err();
    assert_eq!((refused.errno(), refused.reason()), (Errno::ENODEV, Some(Reason::Gone)));
    assert!(!readable(fd, 100), "no spin");
}

#[test]
fn a_removal_that_fails_is_taken_back() {
    let group = Group::plain();
    let watcher = guest(&group);
    watcher.event_fd(STATES).unwrap();
    // rmdir is refused while something is below, and this cannot be removed from here.
    let mut member = group.start("sleeper", &[]);
    member.hears("ready");
    assert_eq!(hear(&watcher, POPULATED), POPULATED);
    let refused = group.agent().destroy(true, patience(), false).unwrap_err();
    assert_eq!(refused.errno(), Errno::EBUSY);
    assert_eq!(group.cgroup.read("cgroup.freeze"), "0");
    settle(&watcher, 0);
    group.destroy();
    assert_eq!(hear(&watcher, GONE) & !(EMPTY | GONE), 0);
}

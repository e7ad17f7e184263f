// SPDX-License-Identifier: MIT OR Apache-2.0
//! A selection of other events, or of the same events again, loses none.

use super::notifications::Notifications;
use super::{STATES, expect_no_events_except, now, readable, wait_for_events};
use crate::common;
use crate::common::group::Group;
use crate::common::member::Member;
use agentcg::Errno;
use agentcg::events::{EMPTY, FROZEN, POPULATED};

#[test]
fn a_new_set_replaces_the_old_one() {
    let group = Group::plain();
    let fd = group.event_fd(EMPTY).unwrap();
    let mut member = group.start("sleeper", &[]);
    member.expect_line("ready");
    expect_no_events_except(&group, 0);
    assert_eq!(group.event_fd(POPULATED | FROZEN).unwrap(), fd);
    member.kill_it_alone();
    expect_no_events_except(&group, POPULATED);
    assert_eq!(group.event_fd(0).unwrap(), fd);
    assert_eq!(group.next_events(now()).unwrap_err().errno(), Errno::EINVAL);
    assert_eq!(group.event_fd(EMPTY | POPULATED).unwrap(), fd);
    group.start("ends_at_once", &[]).wait();
    wait_for_events(&group, EMPTY);
    group.destroy();
}

#[test]
fn selecting_again_loses_no_event() {
    let group = Group::plain();
    group.event_fd(STATES).unwrap();
    for _ in 0..20 {
        group.start("ends_at_once", &[]).wait();
        common::wait_until("it is empty", || group.cgroup.value("cgroup.events", "populated") == 0);
        group.event_fd(STATES).unwrap();
        wait_for_events(&group, EMPTY);
    }
    group.destroy();
}

/// This also holds if the end lasts less than the time by which the kernel delays a notification.
#[test]
fn an_empty_group_found_by_a_selection_is_reported_only_if_it_stays_empty() {
    let group = Group::plain();
    let mut member = Member::start("sleeper", &[]);
    let notifications = Notifications::of(&group.cgroup);
    let fd = group.event_fd(STATES).unwrap();
    notifications.drain();
    group.start("ends_at_once", &[]).wait();
    assert!(readable(fd, 10_000));
    group.event_fd(STATES).unwrap();
    group.move_pid(member.pid()).unwrap();
    assert_eq!(wait_for_events(&group, POPULATED) & EMPTY, 0);
    member.send("go");
    member.expect_line("ready");
    group.destroy();
}

#[test]
fn without_event_fd_there_are_no_events() {
    let group = Group::plain();
    let refused = group.next_events(now()).unwrap_err();
    assert_eq!(refused.errno(), Errno::EINVAL);
    assert!(refused.message().contains("agentcg_event_fd"), "{refused}");
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! To ask for other events, or for the same again, loses none.

use super::notifications::Notifications;
use super::{STATES, hear, now, readable, settle};
use crate::common;
use crate::common::group::Group;
use crate::common::member::Member;
use agentcg::Errno;
use agentcg::events::{EMPTY, FROZEN, POPULATED};

#[test]
fn the_new_set_replaces_the_old() {
    let group = Group::plain();
    let fd = group.event_fd(EMPTY).unwrap();
    let mut member = group.start("sleeper", &[]);
    member.expect_line("ready");
    settle(&group, 0);
    assert_eq!(group.event_fd(POPULATED | FROZEN).unwrap(), fd);
    member.kill_it_alone();
    settle(&group, POPULATED);
    assert_eq!(group.event_fd(0).unwrap(), fd);
    assert_eq!(group.next_events(now()).unwrap_err().errno(), Errno::EINVAL);
    assert_eq!(group.event_fd(EMPTY | POPULATED).unwrap(), fd);
    group.start("ends_at_once", &[]).wait();
    hear(&group, EMPTY);
    group.destroy();
}

#[test]
fn asking_again_loses_nothing() {
    let group = Group::plain();
    group.event_fd(STATES).unwrap();
    for _ in 0..20 {
        group.start("ends_at_once", &[]).wait();
        common::wait_until("it is empty", || group.cgroup.value("cgroup.events", "populated") == 0);
        group.event_fd(STATES).unwrap();
        hear(&group, EMPTY);
    }
    group.destroy();
}

/// Over in less than the time for which the kernel puts off a notification, too.
#[test]
fn an_end_that_is_found_while_asking_is_told_only_if_it_lasts() {
    let group = Group::plain();
    let mut member = Member::start("sleeper", &[]);
    let notifications = Notifications::of(&group.cgroup);
    let fd = group.event_fd(STATES).unwrap();
    notifications.are_over();
    group.start("ends_at_once", &[]).wait();
    assert!(readable(fd, 10_000));
    group.event_fd(STATES).unwrap();
    group.move_pid(member.pid()).unwrap();
    assert_eq!(hear(&group, POPULATED) & EMPTY, 0);
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

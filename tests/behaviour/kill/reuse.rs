// SPDX-License-Identifier: MIT OR Apache-2.0
//! After kill_all a group can be used again, whatever its processes have left behind.

use crate::common::deadline;
use crate::common::group::Group;
use crate::common::lab;
use crate::common::member::{Member, role};
use agentcg::{Agent, Limits};
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;

fn expect_usable(group: &Group) {
    let member = Member::start("sleeper", &[]);
    group.move_pid(member.pid()).unwrap_or_else(|e| panic!("{e}"));
    assert!(group.cgroup.lists(member.pid()));
    assert_eq!(group.cgroup.value("cgroup.events", "frozen"), 0);
}

/// Kills a member in a cgroup two levels below the group after `prepare` has run.
fn check_reuse(prepare: impl FnOnce(&Group)) {
    let group = Group::plain();
    let deepest = group.cgroup.make("outer").make("inner");
    let mut member = Member::start("enters", &[&deepest.0.to_string_lossy()]);
    group.move_pid(member.pid()).unwrap();
    member.send("go");
    member.expect_line("inside");
    prepare(&group);
    group.kill_all(deadline()).unwrap_or_else(|e| panic!("{e}"));
    assert!(member.is_dead());
    expect_usable(&group);
    group.kill_all(deadline()).unwrap();
    group.destroy();
}

pub fn enters(args: &[String]) {
    role::receive();
    role::enter(&crate::common::cgroup::Cgroup(args[0].clone().into()));
    role::send("inside");
    role::sleep();
}

#[test]
fn controllers_enabled_in_a_killed_group_do_not_block_new_processes() {
    check_reuse(|group| {
        for level in [group.cgroup.clone(), group.cgroup.join("outer")] {
            for controller in ["+memory", "+pids"] {
                level.write("cgroup.subtree_control", controller);
            }
        }
    });
}

#[test]
fn a_freeze_begun_in_a_killed_group_does_not_block_new_processes() {
    assert!(!lab::lacks("cgroup.freeze"));
    check_reuse(|group| {
        group.cgroup.write("cgroup.freeze", "1");
        group.cgroup.wait_for_value("cgroup.events", "frozen", 1);
    });
}

#[test]
fn controllers_of_nested_agents_with_a_living_owner_stay_enabled() {
    let outer = Group::plain();
    let inner = outer.cgroup.make("host");
    let mut member = Member::start("enters", &[&inner.0.to_string_lossy()]);
    member.send("go");
    member.expect_line("inside");
    let parent = CString::new(outer.cgroup.0.as_os_str().as_bytes()).unwrap();
    let limits = Limits { pids_max: Some(7), ..Limits::default() };
    let nested = Agent::new(Some(&parent), None, &limits).unwrap_or_else(|e| panic!("{e}"));
    outer.kill_all(deadline()).unwrap_or_else(|e| panic!("{e}"));
    assert!(member.is_dead());
    assert_eq!(nested.limits().unwrap().pids_max, Some(7));
    nested.destroy(false, deadline(), false).unwrap();
    outer.destroy();
}

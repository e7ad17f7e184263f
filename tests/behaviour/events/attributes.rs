// SPDX-License-Identifier: MIT OR Apache-2.0
//! An agent owns the directory of its group and can write any attribute. It can neither remove an event nor
//! make one.

#![allow(unsafe_code, reason = "nix has no attributes")]

use super::removal::watcher_of;
use super::thousand::room_for_groups;
use super::{EMPTY, refused_without_its_controller, role, wait_for_events};
use crate::common::cgroup::Cgroup;
use crate::common::group::Group;
use crate::common::lab;
use crate::common::member::Member;
use agentcg::events::{GONE, MEMORY_HIGH, MEMORY_MAX, OOM_KILL, PIDS_MAX};
use agentcg::{Agent, Errno, Limits};
use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;

/// More than the number of `user.*` attributes that a directory can have.
const MANY: usize = 140;

fn path_of(cgroup: &Cgroup) -> CString {
    CString::new(cgroup.0.as_os_str().as_bytes()).unwrap()
}

fn set(cgroup: &Cgroup, name: &CStr, value: &[u8]) -> Result<(), Errno> {
    let path = path_of(cgroup);
    // SAFETY: both strings end with NUL, and the length is that of the value.
    let done = unsafe { libc::setxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    Errno::result(done).map(drop)
}

/// Deletes all attributes.
fn delete_all(cgroup: &Cgroup) {
    let path = path_of(cgroup);
    let mut names = vec![0u8; 8192];
    // SAFETY: the string ends with NUL, and the length is that of the buffer.
    let length = unsafe { libc::listxattr(path.as_ptr(), names.as_mut_ptr().cast(), names.len()) };
    names.truncate(usize::try_from(length).expect("listxattr"));
    for name in names.split_inclusive(|&b| b == 0) {
        let name = CStr::from_bytes_with_nul(name).unwrap();
        // SAFETY: both strings end with NUL.
        let done = unsafe { libc::removexattr(path.as_ptr(), name.as_ptr()) };
        Errno::result(done).expect("removexattr");
    }
}

fn fill(cgroup: &Cgroup) {
    let filled = (0..200).find(|n| set(cgroup, &CString::new(format!("user.x{n}")).unwrap(), b"1").is_err());
    assert!(filled.is_some(), "there is a limit");
}

fn nothing(_: &Cgroup) {}

fn with_one_process() -> Group {
    Group::new(&Limits { pids_max: Some(1), ..Limits::default() })
}

#[test]
fn an_agent_cannot_remove_final_counters() {
    if lab::layout() == "hybrid" {
        return refused_without_its_controller();
    }
    for meddle in [nothing, delete_all, fill] {
        let group = with_one_process();
        let watcher = watcher_of(&group);
        watcher.event_fd(EMPTY | PIDS_MAX | GONE).unwrap();
        meddle(&group.cgroup);
        let mut member = group.start("attributes::fails_to_fork", &[]);
        member.expect_line("refused");
        group.destroy();
        // The watcher has read no event before.
        assert_eq!(wait_for_events(&watcher, GONE), EMPTY | PIDS_MAX | GONE);
    }
}

#[test]
fn an_agent_cannot_make_events_with_attributes() {
    if lab::layout() == "hybrid" {
        return refused_without_its_controller();
    }
    let group = with_one_process();
    let watcher = watcher_of(&group);
    watcher.event_fd(OOM_KILL | MEMORY_HIGH | MEMORY_MAX | PIDS_MAX | GONE).unwrap();
    set(&group.cgroup, c"user.agentcg.final", b"oom_kill=9 high=9 max=9 pids_max=9").unwrap();
    for number in 0..16 {
        let name = CString::new(format!("user.agentcg.final.{number}")).unwrap();
        let line = format!("{} 9 9 9 9\n", group.info().unwrap().id);
        set(&group.cgroup, &name, line.as_bytes()).unwrap();
    }
    group.cgroup.remove();
    assert_eq!(wait_for_events(&watcher, GONE), GONE);
}

#[test]
fn final_counters_of_more_groups_than_a_directory_has_attributes_are_reported() {
    if lab::layout() == "hybrid" {
        return refused_without_its_controller();
    }
    assert!(room_for_groups() >= MANY);
    let groups: Vec<Group> = (0..MANY).map(|_| with_one_process()).collect();
    let watchers: Vec<Agent> = groups.iter().map(watcher_of).collect();
    let mut member = Member::start("fails_to_fork_repeatedly", &[]);
    let own = Cgroup::own();
    for (group, watcher) in groups.iter().zip(&watchers) {
        watcher.event_fd(PIDS_MAX | GONE).unwrap();
        group.move_pid(member.pid()).unwrap();
        member.send("go");
        member.expect_line("refused");
    }
    own.move_in(member.pid());
    for group in &groups {
        group.destroy();
    }
    for watcher in &watchers {
        assert_eq!(wait_for_events(watcher, GONE), PIDS_MAX | GONE);
    }
}

pub fn fails_to_fork(_: &[String]) {
    role::receive();
    assert!(role::try_fork().is_err());
    role::send("refused");
    role::sleep();
}

pub fn fails_to_fork_repeatedly(_: &[String]) {
    loop {
        role::receive();
        assert!(role::try_fork().is_err());
        role::send("refused");
    }
}

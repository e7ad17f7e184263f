// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where no agent can be contained: none is started, and the reason is told.

use super::stage::Stage;
use crate::common::program::{self, How};
use crate::common::{lab, patience, seccomp};
use agentcg::{Errno, Reason, Spawn};
use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd};

/// How the child would get into the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Born,
    /// Containers' filters say ENOSYS to clone3(2).
    Enters,
    /// 6.1.176 kills what is born in a group in which cgroup.kill was used.
    EntersAfterKill,
}

const WAYS: [Way; 3] = [Way::Born, Way::Enters, Way::EntersAfterKill];

const CONTAINED: Spawn = Spawn { contain: true, pidfd: true };

/// On a thread of its own, since filters stay.
fn on_each_way(filter: &'static [(libc::c_long, Errno)], test: impl Fn(&Stage) + Copy + Send + 'static) {
    for way in WAYS {
        let alone = std::thread::spawn(move || {
            let stage = Stage::new();
            let mut calls = filter.to_vec();
            match way {
                Way::Born => {}
                Way::Enters => calls.push((libc::SYS_clone3, Errno::ENOSYS)),
                Way::EntersAfterKill => stage.agent.kill_all(patience()).unwrap(),
            }
            seccomp::refuse(&calls);
            test(&stage);
        });
        alone.join().unwrap_or_else(|_| panic!("on the way {way:?}"));
    }
}

fn is_refused(stage: &Stage, errno: Errno, how: How<'_>) {
    let before = children();
    let e = program::start(&stage.agent, "act", How { spawn: CONTAINED, ..how }).unwrap_err();
    assert_eq!((e.errno(), e.reason()), (errno, Some(Reason::NotContained)), "{e}");
    assert!(e.message().len() <= 183, "{e}");
    assert!(stage.agent.cgroup.members().is_empty());
    assert_eq!(children(), before);
}

/// Of this thread, of whatever kind.
fn children() -> String {
    fs::read_to_string("/proc/thread-self/children").unwrap()
}

#[test]
fn it_is_held_on_each_way() {
    on_each_way(&[], is_held);
}

/// Where the kernel lets nobody else move it.
#[test]
fn it_is_held_where_systemd_puts_it_into_its_group() {
    lab::needs(&["systemd-session"]);
    is_held(&Stage::at_its_place());
}

fn is_held(stage: &Stage) {
    let dir = File::open(&stage.sibling.cgroup.0).unwrap();
    let how = How { stdio: [dir.as_raw_fd(), 1, 2], ..How::default() };
    for contain in [true, false] {
        let done = |errno| if contain { Err(errno) } else { Ok(()) };
        let play = |act, more: &[&str]| stage.play(act, more, contain, how);
        assert_eq!(play("writes to its own file", &["memory.max", "max"]), done(Errno::EPERM));
        assert_eq!(play("reads its sibling's memory.max", &[]), done(Errno::ENOENT));
        assert_eq!(play("unmounts in namespaces of its own", &[]), done(Errno::ENOENT));
        assert_eq!(play("moves to its sibling by descriptor 0", &[]), done(Errno::ENOENT));
    }
}

/// As docker's filter does.
#[test]
fn it_is_not_started_where_a_filter_forbids_namespaces() {
    let filter = &[(libc::SYS_clone3, Errno::ENOSYS), (libc::SYS_unshare, Errno::EPERM)];
    on_each_way(filter, |stage| is_refused(stage, Errno::EPERM, How::default()));
}

/// Set at boot; the second setting is Debian's, for all but root.
#[test]
fn it_is_not_started_where_a_setting_forbids_user_namespaces() {
    let settings = ["user/max_user_namespaces", "kernel/unprivileged_userns_clone"];
    let is_off = |one: &&str| fs::read_to_string(format!("/proc/sys/{one}")).unwrap() == "0\n";
    let off: Vec<_> = settings.into_iter().filter(is_off).collect();
    assert_eq!(off.len(), 1, "boot with one of {settings:?} 0");
    on_each_way(&[], |stage| is_refused(stage, Errno::EPERM, How::default()));
}

#[test]
fn it_is_not_started_where_nsdelegate_would_not_hold_it() {
    lab::needs(&["nodelegate-root"]);
    let group = crate::common::group::Group::plain();
    let e = program::start(&group, "act", How { spawn: CONTAINED, ..How::default() }).unwrap_err();
    assert_eq!((e.errno(), e.reason()), (Errno::EOPNOTSUPP, Some(Reason::NotContained)), "{e}");
    assert!(e.message().contains("nsdelegate"), "{e}");
    assert!(group.cgroup.members().is_empty());
    group.destroy();
}

/// What is mounted on a directory does not hide it from one that is in there.
#[test]
fn it_is_not_started_in_a_directory_of_the_hierarchy() {
    let stage = Stage::new();
    let inside = File::open(&stage.sibling.cgroup.0).unwrap();
    let elsewhere = File::open("/tmp").unwrap();
    let in_directory = |dir| How { directory: Some(dir), ..How::default() };
    is_refused(&stage, Errno::EINVAL, in_directory(inside.as_fd()));
    let before = std::env::current_dir().unwrap();
    std::env::set_current_dir(&stage.sibling.cgroup.0).unwrap();
    is_refused(&stage, Errno::EINVAL, How::default());
    let there = in_directory(elsewhere.as_fd());
    assert_eq!(stage.play("signals the host", &[], true, there), Ok(()));
    std::env::set_current_dir(before).unwrap();
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where no agent can be contained: none is started, and the reason is told.

use super::entries::on_each_spawn_path;
use super::fixture::Fixture;
use crate::common::lab;
use crate::common::program::{self, StartOptions};
use crate::common::seccomp;
use crate::common::spawn_path::SpawnPath;
use agentcg::{Errno, Reason, SpawnOptions};
use std::fs::{self, File};
use std::os::fd::AsFd;

const CONTAINED: SpawnOptions = SpawnOptions { contain: true, pidfd: true };

fn is_refused(stage: &Fixture, errno: Errno, how: StartOptions<'_>) {
    let before = children();
    let e = program::start(&stage.agent, "act", StartOptions { spawn: CONTAINED, ..how }).unwrap_err();
    assert_eq!((e.errno(), e.reason()), (errno, Some(Reason::NotContained)), "{e}");
    assert!(e.message().len() <= 183, "{e}");
    assert!(stage.agent.cgroup.members().is_empty());
    assert_eq!(children(), before);
}

/// Of this thread, of whatever kind.
fn children() -> String {
    fs::read_to_string("/proc/thread-self/children").unwrap()
}

/// As docker's filter does.
#[test]
fn it_is_not_started_where_a_filter_forbids_namespaces() {
    let filter = &[(libc::SYS_clone3, Errno::ENOSYS), (libc::SYS_unshare, Errno::EPERM)];
    on_each_spawn_path(filter, |stage| is_refused(stage, Errno::EPERM, StartOptions::default()));
}

/// Security modules say EACCES to a mount, as directories do that are closed to us.
#[test]
fn it_is_not_started_where_a_filter_forbids_mounts() {
    on_each_spawn_path(&[(libc::SYS_mount, Errno::EACCES)], |stage| {
        is_refused(stage, Errno::EPERM, StartOptions::default())
    });
}

/// Set at boot; the second setting is Debian's, for all but root.
#[test]
fn it_is_not_started_where_a_setting_forbids_user_namespaces() {
    let settings = ["user/max_user_namespaces", "kernel/unprivileged_userns_clone"];
    let is_off = |one: &&str| fs::read_to_string(format!("/proc/sys/{one}")).unwrap() == "0\n";
    let off: Vec<_> = settings.into_iter().filter(is_off).collect();
    assert_eq!(off.len(), 1, "boot with one of {settings:?} 0");
    on_each_spawn_path(&[], |stage| is_refused(stage, Errno::EPERM, StartOptions::default()));
}

#[test]
fn it_is_not_started_where_nsdelegate_would_not_hold_it() {
    lab::needs(&["nodelegate-root"]);
    let group = crate::common::group::Group::plain();
    let e = program::start(&group, "act", StartOptions { spawn: CONTAINED, ..StartOptions::default() })
        .unwrap_err();
    assert_eq!((e.errno(), e.reason()), (Errno::EOPNOTSUPP, Some(Reason::NotContained)), "{e}");
    assert!(e.message().contains("nsdelegate"), "{e}");
    assert!(group.cgroup.members().is_empty());
    group.destroy();
}

/// What is mounted on a directory does not hide it from one that is in there.
#[test]
fn it_is_not_started_in_a_directory_of_the_hierarchy() {
    let stage = Fixture::new();
    let inside = File::open(&stage.sibling.cgroup.0).unwrap();
    let elsewhere = File::open("/tmp").unwrap();
    let in_directory = |dir| StartOptions { directory: Some(dir), ..StartOptions::default() };
    is_refused(&stage, Errno::EINVAL, in_directory(inside.as_fd()));
    let before = std::env::current_dir().unwrap();
    std::env::set_current_dir(&stage.sibling.cgroup.0).unwrap();
    is_refused(&stage, Errno::EINVAL, StartOptions::default());
    let there = in_directory(elsewhere.as_fd());
    assert_eq!(stage.play("signals the host", &[], true, there), Ok(()));
    std::env::set_current_dir(before).unwrap();
}

/// By its signal, as systemd's SystemCallFilter= does.
#[test]
fn it_is_not_started_where_a_filter_kills_at_a_mount() {
    for path in SpawnPath::ALL {
        let alone = std::thread::spawn(move || {
            let stage = Fixture::new();
            path.close(&stage.agent);
            seccomp::kill(libc::SYS_mount);
            is_refused(&stage, Errno::EPERM, StartOptions::default());
        });
        alone.join().unwrap_or_else(|_| panic!("spawn path {path:?}"));
    }
}

/// Nothing forbids it: the same call may work later.
#[test]
fn a_want_that_passes_keeps_its_name() {
    for (call, errno) in [
        (libc::SYS_mount, Errno::ENOMEM),
        (libc::SYS_mount, Errno::EAGAIN),
        (libc::SYS_unshare, Errno::ENOMEM),
        (libc::SYS_fchdir, Errno::EAGAIN),
        (libc::SYS_keyctl, Errno::ENOMEM),
        (libc::SYS_dup3, Errno::EMFILE),
    ] {
        let alone = std::thread::spawn(move || {
            let stage = Fixture::new();
            seccomp::refuse(&[(call, errno)]);
            let tmp = File::open("/tmp").unwrap();
            let how =
                StartOptions { spawn: CONTAINED, directory: Some(tmp.as_fd()), ..StartOptions::default() };
            let e = program::start(&stage.agent, "act", how).unwrap_err();
            assert_eq!((e.errno(), e.reason()), (errno, None), "{e}");
        });
        alone.join().unwrap_or_else(|_| panic!("system call {call}: {errno}"));
    }
}

/// A bounding set that is not emptied would leave root its capabilities.
#[test]
fn it_is_not_started_where_no_capability_can_be_dropped() {
    on_each_spawn_path(&[(libc::SYS_prctl, Errno::EINVAL)], |stage| {
        is_refused(stage, Errno::EPERM, StartOptions::default());
    });
}

#[test]
fn it_is_not_started_with_its_hosts_keys() {
    on_each_spawn_path(&[(libc::SYS_keyctl, Errno::EACCES)], |stage| {
        is_refused(stage, Errno::EPERM, StartOptions::default());
    });
}

/// Such a kernel has no keys; a filter that refuses them holds for the program, too.
#[test]
fn it_is_started_where_there_are_no_keys() {
    for errno in [Errno::ENOSYS, Errno::EPERM] {
        let alone = std::thread::spawn(move || {
            let stage = Fixture::new();
            seccomp::refuse(&[(libc::SYS_keyctl, errno)]);
            assert_eq!(stage.play("has a session of its own", &[], true, StartOptions::default()), Ok(()));
        });
        alone.join().unwrap_or_else(|_| panic!("keyctl: {errno}"));
    }
}

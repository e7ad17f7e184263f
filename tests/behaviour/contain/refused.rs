// SPDX-License-Identifier: MIT OR Apache-2.0
//! If an agent cannot be contained, it is not started, and the error names the reason.

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

fn check_refused(fixture: &Fixture, errno: Errno, options: StartOptions<'_>) {
    let before = children();
    let e =
        program::start(&fixture.agent, "attempt", StartOptions { spawn: CONTAINED, ..options }).unwrap_err();
    assert_eq!((e.errno(), e.reason()), (errno, Some(Reason::NotContained)), "{e}");
    assert!(e.message().len() <= 183, "{e}");
    assert!(fixture.agent.cgroup.members().is_empty());
    assert_eq!(children(), before);
}

/// Returns the children of this thread, of any kind.
fn children() -> String {
    fs::read_to_string("/proc/thread-self/children").unwrap()
}

/// Docker's filter refuses both calls.
#[test]
fn no_agent_is_started_if_a_filter_forbids_namespaces() {
    let filter = &[(libc::SYS_clone3, Errno::ENOSYS), (libc::SYS_unshare, Errno::EPERM)];
    on_each_spawn_path(filter, |fixture| check_refused(fixture, Errno::EPERM, StartOptions::default()));
}

/// Security modules return EACCES for a mount, as does a directory without search permission.
#[test]
fn no_agent_is_started_if_a_filter_forbids_mounts() {
    on_each_spawn_path(&[(libc::SYS_mount, Errno::EACCES)], |fixture| {
        check_refused(fixture, Errno::EPERM, StartOptions::default())
    });
}

/// The settings are set at boot. The second one is Debian's and applies to all users but root.
#[test]
fn no_agent_is_started_if_a_setting_forbids_user_namespaces() {
    let settings = ["user/max_user_namespaces", "kernel/unprivileged_userns_clone"];
    let is_off = |one: &&str| fs::read_to_string(format!("/proc/sys/{one}")).unwrap() == "0\n";
    let off: Vec<_> = settings.into_iter().filter(is_off).collect();
    assert_eq!(off.len(), 1, "boot with one of {settings:?} 0");
    on_each_spawn_path(&[], |fixture| check_refused(fixture, Errno::EPERM, StartOptions::default()));
}

#[test]
fn no_agent_is_started_if_nsdelegate_is_missing() {
    lab::needs(&["nodelegate-root"]);
    let group = crate::common::group::Group::plain();
    let e = program::start(&group, "attempt", StartOptions { spawn: CONTAINED, ..StartOptions::default() })
        .unwrap_err();
    assert_eq!((e.errno(), e.reason()), (Errno::EOPNOTSUPP, Some(Reason::NotContained)), "{e}");
    assert!(e.message().contains("nsdelegate"), "{e}");
    assert!(group.cgroup.members().is_empty());
    group.destroy();
}

/// A mount on a directory does not hide it from a process whose working directory it is.
#[test]
fn no_agent_is_started_in_a_directory_of_the_hierarchy() {
    let fixture = Fixture::new();
    let inside = File::open(&fixture.sibling.cgroup.0).unwrap();
    let elsewhere = File::open("/tmp").unwrap();
    let in_directory = |dir| StartOptions { directory: Some(dir), ..StartOptions::default() };
    check_refused(&fixture, Errno::EINVAL, in_directory(inside.as_fd()));
    let before = std::env::current_dir().unwrap();
    std::env::set_current_dir(&fixture.sibling.cgroup.0).unwrap();
    check_refused(&fixture, Errno::EINVAL, StartOptions::default());
    let there = in_directory(elsewhere.as_fd());
    assert_eq!(fixture.attempt("signals the host", &[], true, there), Ok(()));
    std::env::set_current_dir(before).unwrap();
}

/// The filter sends a signal, as systemd's SystemCallFilter= does.
#[test]
fn no_agent_is_started_if_a_filter_kills_at_a_mount() {
    for path in SpawnPath::ALL {
        let thread = std::thread::spawn(move || {
            let fixture = Fixture::new();
            path.close(&fixture.agent);
            seccomp::kill(libc::SYS_mount);
            check_refused(&fixture, Errno::EPERM, StartOptions::default());
        });
        thread.join().unwrap_or_else(|_| panic!("spawn path {path:?}"));
    }
}

/// These errors are temporary: the same call may succeed later.
#[test]
fn a_temporary_shortage_keeps_its_error_code() {
    for (call, errno) in [
        (libc::SYS_mount, Errno::ENOMEM),
        (libc::SYS_mount, Errno::EAGAIN),
        (libc::SYS_unshare, Errno::ENOMEM),
        (libc::SYS_fchdir, Errno::EAGAIN),
        (libc::SYS_keyctl, Errno::ENOMEM),
        (libc::SYS_dup3, Errno::EMFILE),
    ] {
        let thread = std::thread::spawn(move || {
            let fixture = Fixture::new();
            seccomp::refuse(&[(call, errno)]);
            let tmp = File::open("/tmp").unwrap();
            let options =
                StartOptions { spawn: CONTAINED, directory: Some(tmp.as_fd()), ..StartOptions::default() };
            let e = program::start(&fixture.agent, "attempt", options).unwrap_err();
            assert_eq!((e.errno(), e.reason()), (errno, None), "{e}");
        });
        thread.join().unwrap_or_else(|_| panic!("system call {call}: {errno}"));
    }
}

/// A bounding set that is not emptied would leave root its capabilities.
#[test]
fn no_agent_is_started_if_no_capability_can_be_dropped() {
    on_each_spawn_path(&[(libc::SYS_prctl, Errno::EINVAL)], |fixture| {
        check_refused(fixture, Errno::EPERM, StartOptions::default());
    });
}

#[test]
fn no_agent_is_started_with_the_keys_of_its_host() {
    on_each_spawn_path(&[(libc::SYS_keyctl, Errno::EACCES)], |fixture| {
        check_refused(fixture, Errno::EPERM, StartOptions::default());
    });
}

/// Such a kernel has no keys. A filter that refuses the call applies to the program too.
#[test]
fn an_agent_is_started_if_there_are_no_keys() {
    for errno in [Errno::ENOSYS, Errno::EPERM] {
        let thread = std::thread::spawn(move || {
            let fixture = Fixture::new();
            seccomp::refuse(&[(libc::SYS_keyctl, errno)]);
            assert_eq!(fixture.attempt("has its own session", &[], true, StartOptions::default()), Ok(()));
        });
        thread.join().unwrap_or_else(|_| panic!("keyctl: {errno}"));
    }
}

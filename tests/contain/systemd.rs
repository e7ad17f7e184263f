// SPDX-License-Identifier: MIT OR Apache-2.0
//! Contained agents where a systemd runs.

use super::entries::is_held;
use super::fixture::Fixture;
use crate::common::lab;
use crate::common::program::StartOptions;
use agentcg::Errno;
use std::process::Command;
use std::{fs, io};

/// Where the kernel lets nobody else move it.
#[test]
fn it_is_held_where_systemd_puts_it_into_its_group() {
    lab::needs(&["systemd-session"]);
    is_held(&Fixture::at_its_place());
}

#[test]
fn it_still_has_the_users_manager_start_programs_outside() {
    lab::needs(&["systemd-scope"]);
    let stage = Fixture::new();
    let made = "/tmp/by-a-unit";
    assert_eq!(stage.play("has a unit started", &[made], true, StartOptions::default()), Ok(()));
    assert!(fs::read_to_string(made).unwrap().contains("/app.slice/run-"));
}

/// The unit's cgroup, written by itself.
pub fn has_a_unit_started(file: &str) -> io::Result<()> {
    let status = Command::new("/usr/bin/systemd-run")
        .args(["--user", "--quiet", "--wait", "/bin/sh", "-c", &format!("cat /proc/self/cgroup >{file}")])
        .env("XDG_RUNTIME_DIR", "/run/user/1000")
        .status()?;
    if status.success() { Ok(()) } else { Err(Errno::ENOTCONN.into()) }
}

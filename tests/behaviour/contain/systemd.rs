// SPDX-License-Identifier: MIT OR Apache-2.0
//! Contained agents on a system with systemd.

use super::entries::check_contained;
use super::fixture::Fixture;
use crate::common::lab;
use crate::common::program::StartOptions;
use agentcg::Errno;
use std::process::Command;
use std::{fs, io};

/// The kernel lets no other process move it there.
#[test]
fn an_agent_is_contained_if_systemd_moves_it_into_its_group() {
    lab::needs(&["systemd-session"]);
    check_contained(&Fixture::at_its_place());
}

#[test]
fn an_agent_can_start_programs_outside_through_the_user_manager() {
    lab::needs(&["systemd-scope"]);
    let fixture = Fixture::new();
    let file = "/tmp/by-a-unit";
    assert_eq!(fixture.attempt("starts a unit", &[file], true, StartOptions::default()), Ok(()));
    assert!(fs::read_to_string(file).unwrap().contains("/app.slice/run-"));
}

/// Starts a unit that writes its own cgroup to the file.
pub fn starts_a_unit(file: &str) -> io::Result<()> {
    let status = Command::new("/usr/bin/systemd-run")
        .args(["--user", "--quiet", "--wait", "/bin/sh", "-c", &format!("cat /proc/self/cgroup >{file}")])
        .env("XDG_RUNTIME_DIR", "/run/user/1000")
        .status()?;
    if status.success() { Ok(()) } else { Err(Errno::ENOTCONN.into()) }
}

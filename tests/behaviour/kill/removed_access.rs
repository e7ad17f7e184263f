// SPDX-License-Identifier: MIT OR Apache-2.0
//! An agent removes the access of a host that is not root to files of its group, one at a time. Each call
//! restores it.

use crate::common::group::{Group, own_pid};
use crate::common::program::{self, StartOptions};
use crate::common::{deadline, lab};
use agentcg::{Agent, events};
use nix::sys::wait::WaitStatus;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

#[test]
fn a_file_without_permissions_is_opened_by_each_call_that_needs_it() {
    // Root can open a file regardless of its mode.
    lab::needs(&["user"]);
    let group = Group::plain();
    for file in
        ["cpu.stat", "memory.current", "cgroup.controllers", "cgroup.events", "cgroup.procs", "cgroup.freeze"]
    {
        let path = group.cgroup.0.join(file);
        // A handle without open files.
        let other = Agent::open(None, group.uuid(), false).unwrap_or_else(|e| panic!("{e}"));
        type Call = fn(&Agent) -> agentcg::Result<()>;
        let calls: [(&str, Call); 10] = [
            ("read_stats", |agent| agent.read_stats(u64::MAX).map(drop)),
            ("info", |agent| agent.info().map(drop)),
            ("limits", |agent| agent.limits().map(drop)),
            ("pids", |agent| agent.pids().map(drop)),
            ("contains", |agent| agent.contains(own_pid()).map(drop)),
            ("signal_all", |agent| agent.signal_all(0).map(drop)),
            ("event_fd", |agent| agent.event_fd(events::EMPTY).map(drop)),
            ("wait_empty", |agent| agent.wait_empty(deadline())),
            ("kill_all", |agent| agent.kill_all(deadline())),
            ("spawn", starts_a_program),
        ];
        for (name, call) in calls {
            fs::set_permissions(&path, Permissions::from_mode(0o0)).unwrap();
            call(&other).unwrap_or_else(|e| panic!("{name} with {file} without permissions: {e}"));
        }
        if !lab::lacks("cgroup.freeze") {
            fs::set_permissions(&path, Permissions::from_mode(0o0)).unwrap();
            other
                .freeze(deadline())
                .unwrap_or_else(|e| panic!("freeze with {file} without permissions: {e}"));
            fs::set_permissions(&path, Permissions::from_mode(0o0)).unwrap();
            other.thaw(deadline()).unwrap_or_else(|e| panic!("thaw with {file} without permissions: {e}"));
        }
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    }
    group.destroy();
}

fn starts_a_program(agent: &Agent) -> agentcg::Result<()> {
    let child = program::start(agent, "removed_access::exits", StartOptions::default())?;
    assert!(matches!(program::wait(&child), WaitStatus::Exited(_, 0)));
    Ok(())
}

pub fn exits(_: &[String]) {}

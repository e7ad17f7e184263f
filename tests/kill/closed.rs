// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files of its group that an agent has taken from a host that is not root, one at a time: each call restores its access.

use crate::common::group::{Group, own_pid};
use crate::common::program::{self, StartOptions};
use crate::common::{deadline, lab};
use agentcg::{Agent, events};
use nix::sys::wait::WaitStatus;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

#[test]
fn a_file_that_was_closed_is_opened_by_each_call_that_needs_it() {
    // Root does not have to keep to modes.
    lab::needs(&["user"]);
    let group = Group::plain();
    for file in
        ["cpu.stat", "memory.current", "cgroup.controllers", "cgroup.events", "cgroup.procs", "cgroup.freeze"]
    {
        let path = group.cgroup.0.join(file);
        // A handle that keeps nothing open yet.
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
            call(&other).unwrap_or_else(|e| panic!("{name} with {file} closed: {e}"));
        }
        if !lab::lacks("cgroup.freeze") {
            fs::set_permissions(&path, Permissions::from_mode(0o0)).unwrap();
            other.freeze(deadline()).unwrap_or_else(|e| panic!("freeze with {file} closed: {e}"));
            fs::set_permissions(&path, Permissions::from_mode(0o0)).unwrap();
            other.thaw(deadline()).unwrap_or_else(|e| panic!("thaw with {file} closed: {e}"));
        }
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    }
    group.destroy();
}

fn starts_a_program(agent: &Agent) -> agentcg::Result<()> {
    let child = program::start(agent, "exits", StartOptions::default())?;
    assert!(matches!(program::wait(&child), WaitStatus::Exited(_, 0)));
    Ok(())
}

pub fn exits(_: &[String]) {}

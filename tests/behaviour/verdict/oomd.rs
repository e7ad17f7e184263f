// SPDX-License-Identifier: MIT OR Apache-2.0
//! The real systemd-oomd. It kills below a unit with `ManagedOOMMemoryPressure=kill`: a cgroup without cgroups below it, or one
//! with `memory.oom.group`.

use super::{MIB, certain, explain, rounds, unknown};
use crate::common::device::Loop;
use crate::common::group::Group;
use crate::common::program::command;
use crate::common::{lab, lock_place};
use agentcg::verdict::cause;
use agentcg::{Agent, Child, Command, Limits, SpawnOptions};
use std::ffi::CString;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

/// Less memory than the device of [`thrash`] has.
fn little_memory() -> Limits {
    Limits { memory_max: Some(16 * MIB), swap_max: Some(0), ..Limits::default() }
}

fn device() -> Loop {
    lab::needs(&["systemd-oomd"]);
    let device = Loop::of_memory(64);
    fs::set_permissions(&device.0, Permissions::from_mode(0o444)).expect("chmod");
    device
}

/// Starts a program that reads the device over and over through the page cache.
fn thrash(agent: &Agent, device: &Loop, uid: Option<u32>) -> Child {
    let path = CString::new(device.0.as_str()).expect("no NUL");
    let script = c"while cat \"$0\" >/dev/null; do :; done";
    let shell = command(&[c"/bin/sh"], [c"sh", c"-c", script, path.as_c_str()]);
    agent.spawn(&Command { uid, ..shell }, SpawnOptions::default()).unwrap_or_else(|e| panic!("spawn: {e}"))
}

#[test]
fn systemd_oomd_is_told_if_the_program_cannot_write_its_attribute() {
    let (_alone, device) = (lock_place(), device());
    for uid in [Some(1000), None] {
        let expected = match uid {
            Some(_) => certain(cause::OOMD),
            None => unknown(cause::OOMD | cause::SIGNAL),
        };
        for _ in 0..rounds() {
            let group = Group::new(&little_memory());
            expected.check(&explain(&group, &thrash(&group, &device, uid)), &group);
            group.destroy();
        }
    }
}

/// It kills the cgroup of the session's own processes.
#[test]
fn systemd_oomd_is_told_to_a_session() {
    let (_alone, device) = (lock_place(), device());
    for _ in 0..rounds() {
        let session = Group::new(&little_memory());
        let program = thrash(&session, &device, Some(1000));
        let child = session.new_in(None, &Limits::default(), None, None, false).expect("new_in");
        certain(cause::OOMD).check(&explain(&session, &program), &session);
        drop(child);
        session.destroy();
    }
}

#[test]
fn a_kill_of_a_cgroup_above_by_systemd_oomd_is_a_candidate() {
    let (_alone, device) = (lock_place(), device());
    for _ in 0..rounds() {
        let group = Group::new(&little_memory());
        let place = group.cgroup.parent();
        place.write("memory.oom.group", 1);
        let verdict = explain(&group, &thrash(&group, &device, Some(1000)));
        place.write("memory.oom.group", 0);
        unknown(cause::OOMD | cause::SIGNAL).check(&verdict, &group);
        group.destroy();
    }
}

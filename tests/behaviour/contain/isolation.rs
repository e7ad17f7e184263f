// SPDX-License-Identifier: MIT OR Apache-2.0
//! A contained agent stays in its group and under its limits, and cannot reach its siblings.

use super::fixture::Fixture;
use crate::common::lab;
use crate::common::program::StartOptions;
use agentcg::Errno;
use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::PermissionsExt;

/// Checks that the attempt fails with this error if the agent is contained, and succeeds otherwise.
fn check_prevented(attempt: &str, errno: Errno) {
    check_prevented_with(attempt, errno, &[], StartOptions::default());
}

fn check_prevented_with(attempt: &str, errno: Errno, more: &[&str], options: StartOptions<'_>) {
    let fixture = Fixture::new();
    assert_eq!(fixture.attempt(attempt, more, true, options), Err(errno), "contained: {attempt}");
    assert_eq!(fixture.attempt(attempt, more, false, options), Ok(()), "not contained: {attempt}");
}

#[test]
fn an_agent_cannot_move_to_the_cgroup_of_its_host() {
    check_prevented("moves to the cgroup of the host", Errno::ENOENT);
}

#[test]
fn an_agent_cannot_move_to_a_sibling() {
    check_prevented("moves to its sibling", Errno::ENOENT);
}

#[test]
fn an_agent_cannot_make_a_sibling() {
    check_prevented("makes a sibling and moves there", Errno::ENOENT);
}

#[test]
fn an_agent_cannot_read_or_write_a_limit_of_a_sibling() {
    check_prevented("reads memory.max of its sibling", Errno::ENOENT);
    check_prevented("writes memory.max of its sibling", Errno::ENOENT);
}

#[test]
fn an_agent_cannot_change_a_limit_of_its_place() {
    check_prevented("lifts the limit of all agents", Errno::ENOENT);
}

/// Without cgroup.kill, the attempt freezes the sibling.
#[test]
fn an_agent_cannot_kill_a_sibling() {
    let mut fixture = Fixture::new();
    let kills = !lab::lacks("cgroup.kill");
    let (attempt, file) = ("kills its sibling", [if kills { "cgroup.kill" } else { "cgroup.freeze" }]);
    assert_eq!(fixture.attempt(attempt, &file, true, StartOptions::default()), Err(Errno::ENOENT));
    assert!(!fixture.member.is_dead() && fixture.sibling.cgroup.read("cgroup.freeze") == "0");
    assert_eq!(fixture.attempt(attempt, &file, false, StartOptions::default()), Ok(()));
    if kills {
        fixture.member.wait_dead();
    } else {
        fixture.sibling.cgroup.wait_for_value("cgroup.events", "frozen", 1);
    }
}

#[test]
fn an_agent_cannot_disable_controllers_for_all_agents() {
    check_prevented("disables pids for all agents", Errno::ENOENT);
}

#[test]
fn an_agent_cannot_reach_a_sibling_through_the_root_of_its_host() {
    check_prevented("uses the root of the host", Errno::EACCES);
}

#[test]
fn an_agent_cannot_reach_a_sibling_through_a_descriptor_of_its_host() {
    let fixture = Fixture::new();
    let dir = File::open(&fixture.sibling.cgroup.0).unwrap();
    let (attempt, more) = ("uses a descriptor of the host", [dir.as_raw_fd().to_string()]);
    let more = [more[0].as_str()];
    assert_eq!(fixture.attempt(attempt, &more, true, StartOptions::default()), Err(Errno::EACCES));
    assert_eq!(fixture.attempt(attempt, &more, false, StartOptions::default()), Ok(()));
}

#[test]
fn an_agent_cannot_reach_a_sibling_from_its_working_directory() {
    let directory = File::open("/tmp").unwrap();
    let options = StartOptions { directory: Some(directory.as_fd()), ..StartOptions::default() };
    check_prevented_with("climbs from its directory", Errno::ENOENT, &[], options);
}

#[test]
fn an_agent_cannot_unmount_what_hides_its_siblings() {
    check_prevented("unmounts the top mount", Errno::ENOENT);
}

#[test]
fn an_agent_cannot_find_its_siblings_in_its_own_namespaces() {
    check_prevented("unmounts in its own namespaces", Errno::ENOENT);
    check_prevented("binds all mounts elsewhere", Errno::ENOENT);
    check_prevented("mounts cgroup2 in its own namespaces", Errno::ENOENT);
    check_prevented("mounts cgroup2 in its own cgroup namespace", Errno::ENOENT);
}

/// A descriptor does not help: the kernel checks the cgroup namespace.
#[test]
fn an_agent_cannot_enter_a_sibling_through_an_inherited_descriptor() {
    for attempt in
        ["is created in its sibling through descriptor 0", "moves to its sibling through descriptor 0"]
    {
        let fixture = Fixture::new();
        let dir = File::open(&fixture.sibling.cgroup.0).unwrap();
        let options = StartOptions { stdio: [dir.as_raw_fd(), 1, 2], ..StartOptions::default() };
        assert_eq!(fixture.attempt(attempt, &[], true, options), Err(Errno::ENOENT), "{attempt}");
        assert_eq!(fixture.attempt(attempt, &[], false, options), Ok(()), "{attempt}");
    }
}

/// Tries each writable file of the group except those that the kernel delegates.
#[test]
fn an_agent_cannot_change_its_limits_or_freeze_or_kill_its_group() {
    let delegated = fs::read_to_string("/sys/kernel/cgroup/delegate").unwrap();
    let fixture = Fixture::new();
    let mut tried = Vec::new();
    for entry in fs::read_dir(&fixture.agent.cgroup.0).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        if mode & 0o200 == 0 || entry.path().is_dir() || delegated.lines().any(|one| one == name) {
            continue;
        }
        let value = value_for(&name);
        assert_eq!(
            fixture.attempt("writes to its own file", &[&name, value], true, StartOptions::default()),
            Err(Errno::EPERM),
            "{name}"
        );
        tried.push((name, value));
    }
    assert_eq!(fixture.agent.cgroup.read("memory.max"), (64 << 20).to_string());
    for name in ["memory.max", "memory.high", "pids.max", "cgroup.freeze", "cgroup.max.depth"] {
        assert!(tried.iter().any(|(one, _)| one == name), "{name} is not among {tried:?}");
    }
    for (name, value) in tried.iter().filter(|(name, _)| name != "cgroup.kill" && name != "cgroup.freeze") {
        let done = fixture.attempt("writes to its own file", &[name, value], false, StartOptions::default());
        // The first two need a device, and the third a cgroup without controllers.
        let accepts_the_value = ["io.max", "io.latency", "cgroup.type"].iter().all(|one| one != name);
        assert!(
            if accepts_the_value { done == Ok(()) } else { done != Err(Errno::EPERM) },
            "{name}: {done:?}"
        );
    }
}

/// Returns a value that the kernel accepts from a process that may write the file.
fn value_for(file: &str) -> &'static str {
    match file {
        "cgroup.freeze" | "cgroup.kill" | "cpu.idle" => "1",
        // Since Linux 6.8.
        "memory.zswap.writeback" => "0",
        "cgroup.type" => "threaded",
        "cpu.max" => "max",
        "cpu.max.burst" => "0",
        "cpu.weight.nice" => "1",
        "cpu.weight" | "io.weight" | "io.bfq.weight" => "101",
        _ if file.ends_with(".pressure") => "some 500000 1000000",
        _ => "max",
    }
}

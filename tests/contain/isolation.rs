// SPDX-License-Identifier: MIT OR Apache-2.0
//! A contained agent stays in its group and under its limits, and its siblings are out of its reach.

use super::fixture::Fixture;
use crate::common::lab;
use crate::common::program::StartOptions;
use agentcg::Errno;
use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::PermissionsExt;

/// It is stopped where it is contained, by this, and by nothing where it is not.
fn stopped(act: &str, by: Errno) {
    stopped_on(act, by, &[], StartOptions::default());
}

fn stopped_on(act: &str, by: Errno, more: &[&str], how: StartOptions<'_>) {
    let stage = Fixture::new();
    assert_eq!(stage.play(act, more, true, how), Err(by), "contained: {act}");
    assert_eq!(stage.play(act, more, false, how), Ok(()), "not contained: {act}");
}

#[test]
fn it_does_not_move_to_the_hosts_cgroup() {
    stopped("moves to the host's cgroup", Errno::ENOENT);
}

#[test]
fn it_does_not_move_to_a_sibling() {
    stopped("moves to its sibling", Errno::ENOENT);
}

#[test]
fn it_makes_no_sibling_to_move_to() {
    stopped("makes a sibling and moves there", Errno::ENOENT);
}

#[test]
fn it_neither_reads_nor_writes_a_siblings_limit() {
    stopped("reads its sibling's memory.max", Errno::ENOENT);
    stopped("writes its sibling's memory.max", Errno::ENOENT);
}

/// Where there is no cgroup.kill, it tries to freeze it.
#[test]
fn it_does_not_kill_a_sibling() {
    let mut stage = Fixture::new();
    let kills = !lab::lacks("cgroup.kill");
    let (act, file) = ("kills its sibling", [if kills { "cgroup.kill" } else { "cgroup.freeze" }]);
    assert_eq!(stage.play(act, &file, true, StartOptions::default()), Err(Errno::ENOENT));
    assert!(!stage.member.is_dead() && stage.sibling.cgroup.read("cgroup.freeze") == "0");
    assert_eq!(stage.play(act, &file, false, StartOptions::default()), Ok(()));
    if kills {
        stage.member.wait_dead();
    } else {
        stage.sibling.cgroup.wait_for_value("cgroup.events", "frozen", 1);
    }
}

#[test]
fn it_does_not_take_controllers_from_all() {
    stopped("takes pids from all", Errno::ENOENT);
}

#[test]
fn it_does_not_reach_a_sibling_by_the_hosts_root() {
    stopped("goes by the host's root", Errno::EACCES);
}

#[test]
fn it_does_not_reach_a_sibling_by_a_descriptor_of_the_hosts() {
    let stage = Fixture::new();
    let dir = File::open(&stage.sibling.cgroup.0).unwrap();
    let (act, more) = ("goes by the host's descriptor", [dir.as_raw_fd().to_string()]);
    let more = [more[0].as_str()];
    assert_eq!(stage.play(act, &more, true, StartOptions::default()), Err(Errno::EACCES));
    assert_eq!(stage.play(act, &more, false, StartOptions::default()), Ok(()));
}

#[test]
fn it_does_not_reach_a_sibling_from_the_directory_that_it_was_given() {
    let directory = File::open("/tmp").unwrap();
    let how = StartOptions { directory: Some(directory.as_fd()), ..StartOptions::default() };
    stopped_on("climbs from its directory", Errno::ENOENT, &[], how);
}

#[test]
fn it_does_not_unmount_what_hides_its_siblings() {
    stopped("unmounts what is on top", Errno::ENOENT);
}

#[test]
fn it_does_not_find_its_siblings_in_namespaces_of_its_own() {
    stopped("unmounts in namespaces of its own", Errno::ENOENT);
    stopped("binds all of what it sees elsewhere", Errno::ENOENT);
    stopped("mounts cgroup2 in namespaces of its own", Errno::ENOENT);
    stopped("mounts cgroup2 in a cgroup namespace of its own", Errno::ENOENT);
}

/// A descriptor is no path either: the kernel asks for the cgroup namespace.
#[test]
fn it_does_not_get_into_a_sibling_by_a_descriptor_that_it_was_given() {
    for act in ["is born in its sibling by descriptor 0", "moves to its sibling by descriptor 0"] {
        let stage = Fixture::new();
        let dir = File::open(&stage.sibling.cgroup.0).unwrap();
        let how = StartOptions { stdio: [dir.as_raw_fd(), 1, 2], ..StartOptions::default() };
        assert_eq!(stage.play(act, &[], true, how), Err(Errno::ENOENT), "{act}");
        assert_eq!(stage.play(act, &[], false, how), Ok(()), "{act}");
    }
}

/// Each file of its group that can be written, but those that the kernel leaves to whom a cgroup is delegated.
#[test]
fn it_changes_none_of_its_limits_and_does_not_freeze_or_kill_its_group() {
    let delegated = fs::read_to_string("/sys/kernel/cgroup/delegate").unwrap();
    let stage = Fixture::new();
    let mut tried = Vec::new();
    for entry in fs::read_dir(&stage.agent.cgroup.0).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        if mode & 0o200 == 0 || entry.path().is_dir() || delegated.lines().any(|one| one == name) {
            continue;
        }
        let value = value_for(&name);
        assert_eq!(
            stage.play("writes to its own file", &[&name, value], true, StartOptions::default()),
            Err(Errno::EPERM),
            "{name}"
        );
        tried.push((name, value));
    }
    assert_eq!(stage.agent.cgroup.read("memory.max"), (64 << 20).to_string());
    for name in ["memory.max", "memory.high", "pids.max", "cgroup.freeze", "cgroup.max.depth"] {
        assert!(tried.iter().any(|(one, _)| one == name), "{name} is not among {tried:?}");
    }
    for (name, value) in tried.iter().filter(|(name, _)| name != "cgroup.kill" && name != "cgroup.freeze") {
        let done = stage.play("writes to its own file", &[name, value], false, StartOptions::default());
        // These want a device, and a cgroup without controllers.
        let is_apt = ["io.max", "io.latency", "cgroup.type"].iter().all(|one| one != name);
        assert!(if is_apt { done == Ok(()) } else { done != Err(Errno::EPERM) }, "{name}: {done:?}");
    }
}

/// One that the kernel takes from whom it lets write.
fn value_for(file: &str) -> &'static str {
    match file {
        "cgroup.freeze" | "cgroup.kill" | "cpu.idle" => "1",
        // Linux 6.8.
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

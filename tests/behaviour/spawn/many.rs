// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ten thousand programs that fork first, started by a host with four threads and a gigabyte of memory: each
//! process is in the group.

use super::entries::SpawnPath;
use crate::common::group::Group;
use crate::common::member::{Member, role};
use crate::common::program;
use agentcg::{Child, SpawnOptions};
use nix::sys::wait::WaitStatus;
use std::ffi::{CStr, CString};
use std::process::Command;

const THREADS: u32 = 4;

/// The host reports after so many programs.
const BATCH: u32 = 50;

/// The number of programs, unless AGENTCG_SPAWNS sets another.
const SPAWNS: u32 = 10_000;

/// Compiles tests/behaviour/spawn/forks_first.c. The program exits with 0 if it and the child that it forks first are
/// in the group.
fn forks_first() -> CString {
    let program = format!("{}/forks_first.{}", std::env::temp_dir().display(), std::process::id());
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/behaviour/spawn/forks_first.c");
    let options = ["-O2", "-static", "-nostdlib", "-fno-stack-protector", "-o", &program, source];
    assert!(Command::new("cc").args(options).status().unwrap().success());
    CString::new(program).unwrap()
}

fn start(group: &Group, file: &CStr, tail: &CStr) -> Child {
    let program = program::command(&[file], [file, tail]);
    group.spawn(&program, SpawnOptions::default()).unwrap()
}

/// A role that starts the programs and sends for each batch how many were in the group.
pub fn host(args: &[String]) {
    let [path, bytes, spawns] = args else { panic!("which path, how many bytes, how many programs") };
    let file = forks_first();
    let _resident = resident(bytes.parse().unwrap());
    let group = Group::plain();
    let tail = CString::new(format!("/synwire/agents/{}", group.uuid())).unwrap();
    SpawnPath::named(path).close(&group);
    let batches = spawns.parse::<u32>().unwrap() / THREADS / BATCH;
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let is_inside =
                    || matches!(program::wait(&start(&group, &file, &tail)), WaitStatus::Exited(_, 0));
                for _ in 0..batches {
                    let inside = (0..BATCH).filter(|_| is_inside()).count();
                    role::send(&inside.to_string());
                }
            });
        }
    });
    group.destroy();
}

/// Maps memory of which every page is present.
#[allow(unsafe_code, reason = "mmap")]
fn resident(bytes: usize) -> &'static [u8] {
    let (access, flags) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE);
    // SAFETY: the mapping is new, the kernel chooses its address, and it is never unmapped.
    unsafe {
        let start = libc::mmap(std::ptr::null_mut(), bytes, access, flags, -1, 0);
        assert!(start != libc::MAP_FAILED, "{}", std::io::Error::last_os_error());
        std::slice::from_raw_parts(start.cast(), bytes)
    }
}

fn check_all_are_inside(path: SpawnPath) {
    let spawns = std::env::var("AGENTCG_SPAWNS").map_or(SPAWNS, |count| count.parse().unwrap());
    let bytes = (1u64 << 30).to_string();
    let mut host = Member::start("many::host", &[&format!("{path:?}"), &bytes, &spawns.to_string()]);
    for _ in 0..spawns / BATCH {
        host.expect_line(&BATCH.to_string());
    }
    assert!(host.wait().success());
}

#[test]
fn all_programs_created_in_the_group_are_inside() {
    check_all_are_inside(SpawnPath::CreatedInside);
}

#[test]
fn all_programs_that_enter_the_group_without_clone3_are_inside() {
    check_all_are_inside(SpawnPath::Clone3Refused);
}

#[test]
fn all_programs_started_after_kill_all_are_inside_and_none_is_killed() {
    check_all_are_inside(SpawnPath::KilledAtCreation);
}

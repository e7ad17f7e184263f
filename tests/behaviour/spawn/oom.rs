// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory runs out in the group while a program is being started. Until execve(2) its process may share the
//! memory of the host, and an OOM kill applies to all processes that share it.

use crate::common::group::Group;
use crate::common::member::{Member, role};
use crate::common::program::{self, StartOptions};
use agentcg::{Agent, Errno, Limits, SpawnOptions};
use std::ffi::CString;
use std::fs;

const LIMIT: u64 = 16 << 20;
/// About the rest of the limit: the kernel charges ahead for each CPU. The arguments need far more.
const LEFT: u64 = 256 << 10;
const WORD: usize = 64 << 10;
const WORDS: usize = 28;

/// A role that allocates all memory but that rest, and waits.
pub fn fills(args: &[String]) {
    let current = format!("{}/memory.current", args[0]);
    let mut taken = Vec::new();
    while fs::read_to_string(&current).unwrap().trim_end().parse::<u64>().unwrap() < LIMIT - LEFT {
        taken.push(vec![1u8; 32 << 10]);
    }
    role::send("full");
    role::sleep();
}

/// A role that starts programs whose arguments need more memory than is left.
pub fn host_of_full_group(args: &[String]) {
    let oom_group = args[0] == "true";
    for _ in 0..5 {
        let limits = Limits {
            memory_max: Some(LIMIT),
            swap_max: Some(0),
            oom_group: Some(oom_group),
            ..Limits::default()
        };
        let group = Group::new(&limits);
        let path = group.cgroup.0.to_string_lossy().into_owned();
        let filler =
            program::start(&group, "fills", StartOptions { args: &[&path], ..StartOptions::default() })
                .unwrap();
        group.cgroup.wait_for("memory.current", |text| {
            text.trim_end().parse::<u64>().is_ok_and(|bytes| bytes >= LIMIT - 4 * LEFT)
        });
        match start_with_long_words(&group) {
            Ok(child) => drop(program::wait(&child)),
            Err(e) => assert!(matches!(e.errno(), Errno::ECANCELED | Errno::ENOMEM), "{e}"),
        }
        program::wait(&filler);
        assert!(group.read_stats(u64::MAX).unwrap().memory_events_oom_kill > 0);
        group.destroy();
    }
    role::send("alive");
}

fn start_with_long_words(agent: &Agent) -> agentcg::Result<agentcg::Child> {
    let word = CString::new(vec![b'x'; WORD]).unwrap();
    let program = program::command(&[c"/bin/true"], vec![word.as_c_str(); WORDS]);
    agent.spawn(&program, SpawnOptions::default())
}

fn check_host_survives(oom_group: bool) {
    let mut host = Member::start("host_of_full_group", &[&oom_group.to_string()]);
    while host.receive() != "alive" {}
    assert!(host.wait().success());
}

#[test]
fn an_oom_kill_of_the_group_spares_the_host() {
    check_host_survives(true);
}

#[test]
fn an_oom_kill_of_one_process_spares_the_host() {
    check_host_survives(false);
}

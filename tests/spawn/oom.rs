// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory runs out in the group while a program is being started: until execve(2) its process may have the memory of
//! its host, and an OOM kill means all that have it.

use crate::common::group::Group;
use crate::common::member::{Member, role};
use crate::common::program::{self, StartOptions};
use agentcg::{Agent, Errno, Limits, SpawnOptions};
use std::ffi::CString;
use std::fs;

const LIMIT: u64 = 16 << 20;
/// What is left of it, about: the kernel counts ahead for each CPU. And what it keeps for the arguments, far more.
const LEFT: u64 = 256 << 10;
const WORD: usize = 64 << 10;
const WORDS: usize = 28;

/// Takes all but that, and waits.
pub fn fills(args: &[String]) {
    let current = format!("{}/memory.current", args[0]);
    let mut taken = Vec::new();
    while fs::read_to_string(&current).unwrap().trim_end().parse::<u64>().unwrap() < LIMIT - LEFT {
        taken.push(vec![1u8; 32 << 10]);
    }
    role::send("full");
    role::sleep();
}

/// Starts programs with more to be kept than there is room for.
pub fn host_of_full(args: &[String]) {
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

fn the_host_lives(oom_group: bool) {
    let mut host = Member::start("host_of_full", &[&oom_group.to_string()]);
    while host.receive() != "alive" {}
    assert!(host.wait().success());
}

#[test]
fn an_oom_kill_of_the_group_does_not_mean_the_host() {
    the_host_lives(true);
}

#[test]
fn an_oom_kill_of_one_does_not_mean_the_host() {
    the_host_lives(false);
}

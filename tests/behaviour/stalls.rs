// SPDX-License-Identifier: MIT OR Apache-2.0
//! A stalled group is reported, on a kernel that measures it, and only if it has stalled for as long as was asked.

mod refused;
mod reported;

use crate::common::group::Group;
use crate::common::member::{Member, role};
use crate::common::{deadline, wait_until_stalled};
use agentcg::events::{Resource, STALLED, StallKind, Threshold};
use agentcg::{Agent, CpuMax, Deadline, Limits};
use std::time::Duration;

roles![hog, reported::rereads];

const MIB: u64 = 1 << 20;
const SECOND: Duration = Duration::from_secs(1);
/// A tenth of a window of a second.
const TENTH: Option<Threshold> = Some(Threshold { stall: Duration::from_millis(100), window: SECOND });

/// Limits under which [`hog`] waits for memory nearly all the time.
fn little_memory() -> Limits {
    Limits { memory_high: Some(8 * MIB), swap_max: Some(0), ..Limits::default() }
}

/// Limits under which a [`burner`] waits for a CPU nearly all the time.
fn little_cpu(millicpu: u64) -> Limits {
    Limits { cpu_max: Some(CpuMax { millicpu, period_us: 0 }), ..Limits::default() }
}

/// A role that uses more memory than [`little_memory`].
fn hog(_: &[String]) {
    role::receive();
    let mut memory = vec![0u8; 64 << 20];
    memory.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
    std::hint::black_box(&memory);
    role::sleep();
}

/// Returns a group whose member waits for a CPU nearly all the time, from now on.
fn stalled_group() -> (Group, Member) {
    let group = Group::new(&little_cpu(20));
    let member = group.start("burner", &[]);
    let before = total_us(&group, "cpu.pressure", "some");
    wait_until_stalled(|| total_us(&group, "cpu.pressure", "some") > before + 100_000);
    (group, member)
}

fn total_us(group: &Group, file: &str, line: &str) -> u64 {
    let text = group.cgroup.read(file);
    let line = text.lines().find_map(|one| one.strip_prefix(line)).expect("the line");
    let total = line.split_whitespace().find_map(|word| word.strip_prefix("total=")).expect("a total");
    total.parse().expect("a number")
}

fn watch_cpu(agent: &Agent, threshold: Option<Threshold>) {
    agent.watch_stall(Resource::Cpu, StallKind::Some, threshold).unwrap();
}

fn now() -> Deadline {
    Deadline::after(Duration::ZERO)
}

/// Checks that STALLED is the next event.
#[track_caller]
fn expect_stall(agent: &Agent) {
    assert_eq!(agent.next_events(deadline()).unwrap(), STALLED);
}

/// Checks that there is no event within that time.
#[track_caller]
fn expect_none(agent: &Agent, within: Duration) {
    assert_eq!(agent.next_events(Deadline::after(within)).unwrap(), 0);
}

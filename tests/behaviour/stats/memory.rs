// SPDX-License-Identifier: MIT OR Apache-2.0
//! The amounts and kinds of used memory, and the events of too much of it.

use super::{MIB, memory_max};
use crate::common::group::Group;
use crate::common::measured::{ALL, available, check_stats};
use crate::common::member::role;
use crate::common::wait_until;
use agentcg::Limits;
use agentcg::stats::{MEMORY_DETAIL, MEMORY_EVENTS, MEMORY_PEAK};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::File;
use std::io::Write;
use std::ops::RangeInclusive;

#[test]
fn the_peak_stays_when_the_memory_is_freed() {
    let group = Group::plain();
    let mut member = group.start("frees_memory", &[]);
    member.expect_line("freed");
    let stats = check_stats(&group);
    assert!(stats.memory_current_bytes < 16 * MIB, "{stats:?}");
    if available() & MEMORY_PEAK != 0 {
        assert!((32 * MIB..64 * MIB).contains(&stats.memory_peak_bytes), "{stats:?}");
    }
    group.destroy();
}

/// A role that touches 32 MiB and unmaps them.
pub fn frees_memory(_: &[String]) {
    role::receive();
    drop(touched(32));
    role::send("freed");
    role::sleep();
}

fn touched(mib: usize) -> Vec<u8> {
    let mut memory = vec![0u8; mib << 20];
    memory.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
    std::hint::black_box(memory)
}

#[test]
fn memory_is_counted_by_its_kind() {
    let group = Group::plain();
    let mut member = group.start("holds_each_kind", &[]);
    member.expect_line("held");
    // memory.stat may be two seconds late.
    let near = |value: u64, mib: u64| (mib * MIB - WITHHELD_BYTES..(mib + 4) * MIB).contains(&value);
    wait_until("each kind is counted", || {
        let s = group.read_stats(MEMORY_DETAIL).unwrap();
        near(s.memory_anon_bytes, 24) && near(s.memory_shmem_bytes, 8) && s.memory_kernel_bytes >= 100 * 4096
    });
    let stats = check_stats(&group);
    assert!(
        stats.memory_file_bytes >= stats.memory_shmem_bytes,
        "shared memory is also page cache: {stats:?}"
    );
    group.destroy();
}

/// Before Linux 5.13 each CPU withholds up to 32 pages of a number in memory.stat, as long as no more pages
/// follow.
const WITHHELD_BYTES: u64 = 32 * 4096;

/// A role with 24 MiB of anonymous memory, 8 MiB of shared memory, and the kernel stacks of 100 threads.
pub fn holds_each_kind(_: &[String]) {
    role::receive();
    let anon = touched(24);
    let mut shared = File::from(memfd_create(c"shared", MFdFlags::empty()).expect("memfd_create"));
    shared.write_all(&anon[..8 << 20]).expect("write");
    for _ in 0..100 {
        std::thread::Builder::new().stack_size(1 << 16).spawn(|| role::sleep()).expect("spawn");
    }
    role::send("held");
    std::hint::black_box(&anon);
    role::sleep();
}

#[test]
fn a_process_over_the_limit_is_one_oom_kill() {
    let group = Group::new(&memory_max(16 * MIB));
    assert_eq!(check_stats(&group).memory_events_oom_kill, 0);
    let mut member = group.start("memory::hog", &[]);
    member.wait();
    let stats = check_stats(&group);
    assert_eq!((stats.memory_events_oom_kill, stats.memory_events_oom_group_kill), (1, 0), "{stats:?}");
    assert!(stats.memory_events_oom >= 1 && stats.memory_events_max >= 1, "{stats:?}");
    assert_eq!(stats.memory_events_high, 0, "{stats:?}");
    group.destroy();
}

/// A role that touches 64 MiB.
pub fn hog(_: &[String]) {
    role::receive();
    drop(touched(64));
    role::exit(0);
}

#[test]
fn a_group_killed_as_a_whole_is_one_group_kill() {
    let group = Group::new(&Limits { oom_group: Some(true), ..memory_max(16 * MIB) });
    let mut member = group.start("memory::hog_and_two_sleepers", &[]);
    member.wait_dead();
    let stats = check_stats(&group);
    assert!(THREE_KILLED.contains(&stats.memory_events_oom_kill), "{stats:?}");
    // Linux 5.10 does not count group kills.
    let counted = u64::from(group.cgroup.read("memory.events").contains("oom_group_kill"));
    assert_eq!(stats.memory_events_oom_group_kill, counted, "{stats:?}");
    group.destroy();
}

/// The kernel counts the process that it chose, and then all processes of the group. The first one is counted
/// twice unless it has ended.
pub const THREE_KILLED: RangeInclusive<u64> = 3..=4;

/// A role of one process that touches 64 MiB and two that sleep.
pub fn hog_and_two_sleepers(_: &[String]) {
    role::receive();
    for _ in 0..2 {
        if role::fork() {
            role::sleep();
        }
    }
    drop(touched(64));
    role::exit(0);
}

#[test]
fn a_group_over_memory_high_has_no_oom() {
    let group = Group::new(&Limits { memory_high: Some(8 * MIB), swap_max: Some(0), ..Limits::default() });
    let mut member = group.start("memory::hog", &[]);
    group.cgroup.wait_for_value("memory.events", "high", 1);
    let stats = group.read_stats(ALL).unwrap();
    assert!(stats.mask & MEMORY_EVENTS != 0 && stats.memory_events_high >= 1, "{stats:?}");
    assert_eq!((stats.memory_events_max, stats.memory_events_oom, stats.memory_events_oom_kill), (0, 0, 0));
    group.destroy();
    member.wait_dead();
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel enforces the limits of an agent.

use crate::common::group::Group;
use crate::common::member::role;
use agentcg::{CpuMax, Errno, Limits};
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

roles![hog_and_two_sleepers, forks_until_refused];

const MIB: u64 = 1 << 20;

fn memory_max(bytes: u64) -> Limits {
    Limits { memory_max: Some(bytes), swap_max: Some(0), ..Limits::default() }
}

#[test]
fn memory_above_memory_max_is_an_oom_kill() {
    let group = Group::new(&memory_max(16 * MIB));
    assert_eq!(group.cgroup.value("memory.events", "oom_kill"), 0);
    let mut member = group.start("member::hog", &["64"]);
    assert_eq!(member.wait().signal(), Some(libc::SIGKILL));
    assert_eq!(group.cgroup.value("memory.events", "oom_kill"), 1);
    group.destroy();
}

#[test]
fn memory_below_memory_max_is_no_oom_kill() {
    let group = Group::new(&memory_max(96 * MIB));
    let mut member = group.start("member::hog", &["64"]);
    member.expect_line("it fits");
    assert!(group.cgroup.number("memory.current") >= 64 * MIB);
    assert_eq!(group.cgroup.value("memory.events", "oom_kill"), 0);
    group.destroy();
}

#[test]
fn with_oom_group_all_processes_are_killed() {
    let group = Group::new(&Limits { oom_group: Some(true), ..memory_max(16 * MIB) });
    let mut member = group.start("limits_enforced::hog_and_two_sleepers", &[]);
    member.wait_dead();
    assert_eq!(group.cgroup.value("memory.events", "oom_group_kill"), 1);
    group.destroy();
}

#[test]
fn without_oom_group_the_other_processes_live_on() {
    let group = Group::new(&memory_max(16 * MIB));
    let mut member = group.start("limits_enforced::hog_and_two_sleepers", &[]);
    group.cgroup.wait_for_value("memory.events", "oom_kill", 1);
    crate::common::wait_until("the killed process is gone", || group.cgroup.words("cgroup.procs").len() == 2);
    assert!(!member.is_dead());
    group.destroy();
    assert!(member.is_dead());
}

/// A role of two processes that need little memory and one that allocates too much.
fn hog_and_two_sleepers(_: &[String]) {
    role::receive();
    for _ in 0..2 {
        if role::fork() {
            role::sleep();
        }
    }
    touch_64_mib();
}

fn touch_64_mib() -> ! {
    let mut memory = vec![0u8; 64 << 20];
    memory.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
    std::hint::black_box(&memory);
    role::exit(0)
}

#[test]
fn a_group_over_memory_high_is_throttled() {
    let group = Group::new(&Limits { memory_high: Some(8 * MIB), swap_max: Some(0), ..Limits::default() });
    let mut member = group.start("member::hog", &["64"]);
    group.cgroup.wait_for_value("memory.events", "high", 1);
    assert_eq!(group.cgroup.value("memory.events", "oom_kill"), 0);
    assert!(!member.is_dead());
    group.destroy();
}

#[test]
fn a_fifth_of_a_cpu_is_a_fifth_of_the_time() {
    let cpu_max = CpuMax { millicpu: 200, period_us: 0 };
    let group = Group::new(&Limits { cpu_max: Some(cpu_max), ..Limits::default() });
    let mut member = group.start("burner", &[]);
    member.expect_line("ready");
    let usage = || Duration::from_micros(group.cgroup.value("cpu.stat", "usage_usec"));
    let (start, before) = (Instant::now(), usage());
    std::thread::sleep(Duration::from_secs(2));
    let (used, time) = (usage() - before, start.elapsed());
    let part = used.as_secs_f64() / time.as_secs_f64();
    // Without a limit it is nearly 1. A guest that gets little CPU time itself throttles late.
    assert!((0.1..=0.4).contains(&part), "used {used:?} in {time:?}: {part:.3} of a CPU and not 0.2");
    group.destroy();
}

#[test]
fn the_33rd_process_is_refused_if_32_are_allowed() {
    let group = Group::new(&Limits { pids_max: Some(32), ..Limits::default() });
    let mut member = group.start("limits_enforced::forks_until_refused", &[]);
    member.expect_line("31 and then EAGAIN");
    assert_eq!(group.cgroup.number("pids.current"), 32);
    assert_eq!(group.cgroup.value("pids.events", "max"), 1);
    group.destroy();
}

fn forks_until_refused(_: &[String]) {
    role::receive();
    let mut count = 0;
    loop {
        match role::try_fork() {
            Ok(true) => role::sleep(),
            Ok(false) => count += 1,
            Err(e) => {
                role::send(&format!("{count} and then {e:?}"));
                role::sleep();
            }
        }
    }
}

#[test]
fn more_cgroups_than_max_descendants_are_refused() {
    let group = Group::new(&Limits { max_descendants: Some(2), ..Limits::default() });
    group.cgroup.make("one");
    group.cgroup.make("two");
    let refused = std::fs::create_dir(&group.cgroup.join("three").0).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(Errno::EAGAIN as i32));
    group.destroy();
}

#[test]
fn deeper_cgroups_than_max_depth_are_refused() {
    let group = Group::new(&Limits { max_depth: Some(1), ..Limits::default() });
    let inner = group.cgroup.make("one");
    let refused = std::fs::create_dir(&inner.join("two").0).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(Errno::EAGAIN as i32));
    group.destroy();
}

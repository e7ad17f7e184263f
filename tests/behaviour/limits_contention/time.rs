// SPDX-License-Identifier: MIT OR Apache-2.0
//! The CPU time of agents that compete for one CPU, and of one that works at intervals.

use super::{none, set};
use crate::common::cgroup::Scratch;
use crate::common::group::Group;
use crate::common::member::{Member, role};
use agentcg::stats::CPU;
use agentcg::{CpuMax, Limits};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;
use std::time::Duration;

fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).expect("a clock of every process").into()
}

fn burn(time: Duration) {
    let end = cpu_time() + time;
    while cpu_time() < end {}
}

/// Weights apply to one CPU: processes that are compared must run on the same one.
fn pin_to_first_cpu() {
    let this_process = Pid::from_raw(0);
    let allowed = sched_getaffinity(this_process).expect("sched_getaffinity");
    let first = (0..CpuSet::count()).find(|&cpu| allowed.is_set(cpu) == Ok(true)).expect("a CPU");
    let mut one = CpuSet::new();
    one.set(first).expect("it is one of the set");
    sched_setaffinity(this_process, &one).expect("sched_setaffinity");
}

/// A role that reports each time it has used so many milliseconds of CPU time.
pub fn counts(args: &[String]) {
    role::receive();
    pin_to_first_cpu();
    let time = Duration::from_millis(args[0].parse().expect("a number"));
    loop {
        burn(time);
        role::send("used");
    }
}

fn usage_ns(group: &Group) -> u64 {
    group.read_stats(CPU).unwrap().cpu_usage_ns
}

/// Returns the first group's share of the time of both, measured while the second one uses so many
/// milliseconds.
fn share(groups: &[Group; 2], second: &mut Member, ms: u64) -> f64 {
    second.expect_line("used");
    let before = groups.each_ref().map(usage_ns);
    (0..ms / 100).for_each(|_| second.expect_line("used"));
    let after = groups.each_ref().map(usage_ns);
    let used = [after[0] - before[0], after[1] - before[1]];
    assert!(used[1] >= ms * 1_000_000 * 9 / 10, "{used:?}");
    used[0] as f64 / (used[0] + used[1]) as f64
}

#[test]
fn a_tenth_of_the_weight_is_a_tenth_of_the_time() {
    let scratch = Scratch::new();
    let weight = |cpu_weight| Limits { cpu_weight: Some(cpu_weight), ..none() };
    let groups = [100, 1_000].map(|of| Group::under(&scratch, &weight(of)));
    let _light = groups[0].start("time::counts", &["60000"]);
    let mut heavy = groups[1].start("time::counts", &["100"]);
    let tenth = share(&groups, &mut heavy, 2_000);
    assert!((0.8..=1.2).contains(&(tenth * 11.0)), "{tenth:.3} of the time of both");
    // The weight of a living agent changes.
    set(&groups[0], &weight(1_000));
    let half = share(&groups, &mut heavy, 1_000);
    assert!((0.8..=1.2).contains(&(half * 2.0)), "{half:.3} of the time of both");
    for group in &groups {
        group.destroy();
    }
}

#[test]
fn an_idle_agent_gets_almost_no_time_beside_a_busy_one_and_all_time_alone() {
    let scratch = Scratch::new();
    let idle = Limits { cpu_idle: Some(true), ..none() };
    let groups = [idle, none()].map(|limits| Group::under(&scratch, &limits));
    let mut idle = groups[0].start("time::counts", &["1000"]);
    let mut busy = groups[1].start("time::counts", &["100"]);
    let rest = share(&groups, &mut busy, 1_500);
    assert!(rest < 0.03, "{rest:.3} of the time of both");
    groups[1].destroy();
    idle.expect_line("used");
    groups[0].destroy();
}

/// A role that repeatedly sleeps for three periods and then uses more CPU time than the quota of one.
pub fn works_at_intervals(_: &[String]) {
    role::receive();
    loop {
        std::thread::sleep(Duration::from_millis(300));
        burn(Duration::from_millis(45));
        role::send("worked");
        role::receive();
    }
}

#[test]
fn unused_quota_can_be_used_in_a_burst() {
    let quota = Limits { cpu_max: Some(CpuMax { millicpu: 300, period_us: 0 }), ..none() };
    let group = Group::new(&quota);
    let mut member = group.start("works_at_intervals", &[]);
    let mut works = || {
        for _ in 0..10 {
            member.expect_line("worked");
            member.send("again");
        }
        ["nr_bursts", "burst_usec", "nr_throttled"].map(|key| group.cgroup.value("cpu.stat", key))
    };
    let [bursts, burst_us, throttled] = works();
    assert_eq!((bursts, burst_us), (0, 0));
    assert!(throttled >= 5, "{throttled}");
    set(&group, &Limits { cpu_burst_us: Some(30_000), ..none() });
    let [bursts, burst_us, now_throttled] = works();
    assert!(bursts >= 5 && burst_us >= 5 * 5_000, "{bursts} bursts, {burst_us} us");
    assert!(now_throttled - throttled < throttled, "{now_throttled} after {throttled}");
    group.destroy();
}

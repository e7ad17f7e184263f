// SPDX-License-Identifier: MIT OR Apache-2.0
//! The limits of CPU time depend on each other: burst and quota, idle and weight.

use super::{burst, check_refused, cpu, has_new_files, none, set};
use crate::common::group::Group;
use agentcg::{CpuMax, Errno, Limits, UNLIMITED};

#[test]
fn a_thousandth_of_a_cpu_has_a_period_of_a_second() {
    let group = Group::plain();
    set(&group, &cpu(1, 0));
    assert_eq!(group.cgroup.read("cpu.max"), "1000 1000000");
    assert_eq!(group.limits().unwrap().cpu_max, Some(CpuMax { millicpu: 1, period_us: 1_000_000 }));
    set(&group, &cpu(9, 0));
    assert_eq!(group.limits().unwrap().cpu_max.unwrap().millicpu, 9);
    // A value that the library did not set, between two thousandths.
    group.cgroup.write("cpu.max", "33333 100000");
    assert_eq!(group.limits().unwrap().cpu_max, Some(CpuMax { millicpu: 334, period_us: 100_000 }));
    group.destroy();
}

#[test]
fn burst_and_quota_change_together_between_any_two_values() {
    if !has_new_files() {
        return;
    }
    let group = Group::plain();
    let all = [(1_000, 100_000), (200, 0), (200, 20_000), (50, 5_000), (UNLIMITED, 900_000), (500, 1)];
    for from in all {
        for to in all {
            set(&group, &burst(from.0, from.1));
            set(&group, &burst(to.0, to.1));
            let limits = group.limits().unwrap();
            let has = (limits.cpu_max.unwrap().millicpu, limits.cpu_burst_us.unwrap());
            assert_eq!(has, to, "from {from:?}");
        }
    }
    group.destroy();
}

#[test]
fn a_quota_below_the_burst_in_force_is_refused_with_an_explanation() {
    if !has_new_files() {
        return;
    }
    let group = Group::new(&burst(500, 30_000));
    let lower = Limits { pids_max: Some(9), ..cpu(200, 0) };
    let message = check_refused(&group, &lower, Errno::ERANGE, None, "cpu.max");
    assert!(message.ends_with("its cpu.max.burst is 30000: lower that with it"), "{message}");
    let more = Limits { cpu_burst_us: Some(60_000), ..none() };
    let message = check_refused(&group, &more, Errno::ERANGE, None, "cpu.max.burst");
    assert!(message.ends_with("its quota is 50000 us: raise cpu_max with it"), "{message}");
    set(&group, &burst(200, 20_000));
    group.destroy();
}

#[test]
fn an_idle_group_accepts_no_weight_until_it_is_no_longer_idle() {
    if !has_new_files() {
        return;
    }
    let group = Group::new(&Limits { cpu_weight: Some(300), ..none() });
    let idle = |on| Limits { cpu_idle: Some(on), ..none() };
    set(&group, &idle(true));
    assert_eq!(group.cgroup.read("cpu.idle"), "1");
    let limits = group.limits().unwrap();
    assert_eq!((limits.cpu_idle, limits.cpu_weight), (Some(true), None));
    set(&group, &limits);
    let weight = Limits { cpu_weight: Some(50), ..none() };
    let message = check_refused(&group, &weight, Errno::EINVAL, None, "cpu.weight");
    assert!(message.ends_with("an idle group has no weight: set cpu_idle to 0 with it"), "{message}");
    check_refused(&group, &Limits { cpu_weight: Some(50), ..idle(true) }, Errno::EINVAL, None, "cpu.idle");
    set(&group, &Limits { cpu_weight: Some(50), ..idle(false) });
    assert_eq!(group.limits().unwrap().cpu_weight, Some(50));
    // The kernel does not remember the weight.
    set(&group, &idle(true));
    set(&group, &idle(false));
    assert_eq!(group.limits().unwrap().cpu_weight, Some(100));
    group.destroy();
}

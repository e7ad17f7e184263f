// SPDX-License-Identifier: MIT OR Apache-2.0
//! The time for which an agent was stalled for lack of a resource, on a kernel that measures it.

use super::{MIB, throttled};
use crate::common::device::Loop;
use crate::common::group::Group;
use crate::common::measured::{ALL, PRESSURE_STATS, available, check_stats};
use crate::common::{deadline, wait_until_stalled};
use agentcg::Limits;
use agentcg::stats::{CPU_PRESSURE, IO_PRESSURE, MEMORY_PRESSURE};

#[test]
fn two_processes_on_a_tenth_of_a_cpu_have_cpu_pressure() {
    let group = Group::new(&throttled(100));
    let members = [0, 1].map(|_| group.start("burner", &[]));
    wait_until_stalled(|| group.read_stats(CPU_PRESSURE).unwrap().cpu_pressure_some_us > 100_000);
    assert_eq!(group.read_stats(ALL).unwrap().mask & PRESSURE_STATS, PRESSURE_STATS);
    group.destroy();
    drop(members);
}

#[test]
fn a_process_over_memory_high_has_memory_pressure() {
    let group = Group::new(&Limits { memory_high: Some(8 * MIB), swap_max: Some(0), ..Limits::default() });
    let member = group.start("memory::hog", &[]);
    wait_until_stalled(|| {
        let s = group.read_stats(MEMORY_PRESSURE).unwrap();
        s.memory_pressure_some_us > 100_000 && s.memory_pressure_full_us > 100_000
    });
    group.destroy();
    drop(member);
}

#[test]
fn only_a_group_that_reads_from_a_device_has_io_pressure() {
    let device = Loop::of_memory(4);
    let [group, other] = [Group::plain(), Group::plain()];
    let members = [group.start("reads_on", &[&device.0]), other.start("sleeper", &[])];
    let waited = |us| {
        wait_until_stalled(|| {
            let s = group.read_stats(IO_PRESSURE).unwrap();
            s.io_pressure_some_us > us && s.io_pressure_full_us > us
        });
    };
    waited(50_000);
    waited(2 * group.read_stats(IO_PRESSURE).unwrap().io_pressure_some_us);
    let now = group.read_stats(ALL).unwrap();
    assert_eq!((now.memory_pressure_some_us, now.memory_pressure_full_us), (0, 0), "{now:?}");
    let others = other.read_stats(IO_PRESSURE).unwrap();
    assert_eq!((others.io_pressure_some_us, others.io_pressure_full_us), (0, 0), "{others:?}");
    group.kill_all(deadline()).unwrap();
    assert!(check_stats(&group).io_pressure_full_us > 50_000);
    group.destroy();
    other.destroy();
    drop(members);
}

#[test]
fn without_pressure_accounting_the_pressure_bits_are_clear() {
    let group = Group::plain();
    for _ in 0..2 {
        assert_eq!(check_stats(&group).mask, available());
        group.cgroup.write("cgroup.pressure", 0);
        for _ in 0..2 {
            assert_eq!(check_stats(&group).mask, available() & !PRESSURE_STATS);
        }
        group.cgroup.write("cgroup.pressure", 1);
    }
    group.destroy();
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The statistics of a group, computed from the kernel's files without the library.

use super::cgroup::{Cgroup, value_in};
use super::group::Group;
use super::{lab, wait_until};
use agentcg::stats::*;
use std::path::Path;

/// The mask for all statistics.
pub const ALL: u64 = u64::MAX;
/// The statistics that need the memory controller.
pub const MEMORY_STATS: u64 = MEMORY | MEMORY_PEAK | SWAP | MEMORY_EVENTS | MEMORY_DETAIL;
/// The statistics that need the pids controller.
pub const PIDS_STATS: u64 = PIDS | PIDS_PEAK | PIDS_EVENTS;
/// The pressure statistics, which need no controller.
pub const PRESSURE_STATS: u64 = CPU_PRESSURE | MEMORY_PRESSURE | IO_PRESSURE;

/// The name of a field, its bit and its value.
pub type Field = (&'static str, u64, fn(&Stats) -> u64);
/// Every field except the time.
pub const FIELDS: [Field; 35] = [
    ("cpu_usage_ns", CPU, |s| s.cpu_usage_ns),
    ("cpu_user_ns", CPU, |s| s.cpu_user_ns),
    ("cpu_system_ns", CPU, |s| s.cpu_system_ns),
    ("cpu_nr_periods", CPU_THROTTLE, |s| s.cpu_nr_periods),
    ("cpu_nr_throttled", CPU_THROTTLE, |s| s.cpu_nr_throttled),
    ("cpu_throttled_ns", CPU_THROTTLE, |s| s.cpu_throttled_ns),
    ("memory_current_bytes", MEMORY, |s| s.memory_current_bytes),
    ("memory_peak_bytes", MEMORY_PEAK, |s| s.memory_peak_bytes),
    ("swap_current_bytes", SWAP, |s| s.swap_current_bytes),
    ("swap_peak_bytes", SWAP, |s| s.swap_peak_bytes),
    ("memory_anon_bytes", MEMORY_DETAIL, |s| s.memory_anon_bytes),
    ("memory_file_bytes", MEMORY_DETAIL, |s| s.memory_file_bytes),
    ("memory_kernel_bytes", MEMORY_DETAIL, |s| s.memory_kernel_bytes),
    ("memory_shmem_bytes", MEMORY_DETAIL, |s| s.memory_shmem_bytes),
    ("memory_events_high", MEMORY_EVENTS, |s| s.memory_events_high),
    ("memory_events_max", MEMORY_EVENTS, |s| s.memory_events_max),
    ("memory_events_oom", MEMORY_EVENTS, |s| s.memory_events_oom),
    ("memory_events_oom_kill", MEMORY_EVENTS, |s| s.memory_events_oom_kill),
    ("memory_events_oom_group_kill", MEMORY_EVENTS, |s| s.memory_events_oom_group_kill),
    ("pids_current", PIDS, |s| s.pids_current),
    ("pids_peak", PIDS_PEAK, |s| s.pids_peak),
    ("pids_events_max", PIDS_EVENTS, |s| s.pids_events_max),
    ("io_read_bytes", IO, |s| s.io_read_bytes),
    ("io_write_bytes", IO, |s| s.io_write_bytes),
    ("io_reads", IO, |s| s.io_reads),
    ("io_writes", IO, |s| s.io_writes),
    ("cpu_pressure_some_us", CPU_PRESSURE, |s| s.cpu_pressure_some_us),
    ("memory_pressure_some_us", MEMORY_PRESSURE, |s| s.memory_pressure_some_us),
    ("memory_pressure_full_us", MEMORY_PRESSURE, |s| s.memory_pressure_full_us),
    ("io_pressure_some_us", IO_PRESSURE, |s| s.io_pressure_some_us),
    ("io_pressure_full_us", IO_PRESSURE, |s| s.io_pressure_full_us),
    ("populated", STATE, |s| s.populated),
    ("frozen", STATE, |s| s.frozen),
    ("nr_descendants", STATE, |s| s.nr_descendants),
    ("nr_dying_descendants", STATE, |s| s.nr_dying_descendants),
];

/// Returns the statistics that are available in this layout, on this kernel, with these controllers of cpu,
/// io, memory and pids.
pub fn available_with(controllers: &[&str]) -> u64 {
    let has = |controller| lab::layout() != "hybrid" && controllers.contains(&controller);
    let one = |there: bool, bits: u64| if there { bits } else { 0 };
    let all = CPU
        | STATE
        | one(has("cpu"), CPU_THROTTLE)
        | one(has("memory"), MEMORY_STATS)
        | one(has("pids"), PIDS_STATS)
        | one(has("io") && lab::layout() != "user", IO)
        | one(Path::new("/proc/pressure").exists(), PRESSURE_STATS);
    let files = [
        ("memory.peak", MEMORY_PEAK),
        ("memory.swap.current", SWAP),
        ("pids.peak", PIDS_PEAK),
        ("io.stat", IO),
        ("cpu.pressure", CPU_PRESSURE),
        ("memory.pressure", MEMORY_PRESSURE),
        ("io.pressure", IO_PRESSURE),
    ];
    files.iter().filter(|(file, _)| lab::lacks(file)).fold(all, |all, (_, bit)| all & !bit)
}

/// Returns the statistics that are available with all controllers.
pub fn available() -> u64 {
    available_with(&["cpu", "io", "memory", "pids"])
}

/// Checks that `read_stats` returns what the files say. Nothing may run in the group: it is read until
/// nothing changes between two readings.
#[track_caller]
pub fn check_stats(group: &Group) -> Stats {
    let mut stable = None;
    wait_until("the stats no longer change", || {
        let before = stats_from_files(&group.cgroup);
        let read = group.read_stats(ALL).unwrap();
        let still = before == stats_from_files(&group.cgroup);
        stable = still.then_some((read, before));
        still
    });
    let (read, expected) = stable.unwrap();
    assert_eq!(Stats { time_ns: 0, ..read }, expected);
    read
}

/// Returns the same as `read_stats`, computed from the files.
pub fn stats_from_files(cgroup: &Cgroup) -> Stats {
    let mut stats = Stats::default();
    state(cgroup, &mut stats);
    cpu(cgroup, &mut stats);
    memory(cgroup, &mut stats);
    pids(cgroup, &mut stats);
    if let Ok(text) = cgroup.try_read("io.stat") {
        stats.mask |= IO;
        let sum =
            |key: &str| text.split_whitespace().filter_map(|word| word.strip_prefix(key)).map(number).sum();
        stats.io_read_bytes = sum("rbytes=");
        stats.io_write_bytes = sum("wbytes=");
        stats.io_reads = sum("rios=");
        stats.io_writes = sum("wios=");
    }
    let pressure = |file: &str| {
        let text = cgroup.try_read(file).ok()?;
        let total = |line: &str| number(line.rsplit_once("total=").expect("a total").1);
        Some((total(text.lines().next()?), text.lines().nth(1).map_or(0, total)))
    };
    if let Some((some, _)) = pressure("cpu.pressure") {
        stats.mask |= CPU_PRESSURE;
        stats.cpu_pressure_some_us = some;
    }
    if let Some((some, full)) = pressure("memory.pressure") {
        stats.mask |= MEMORY_PRESSURE;
        (stats.memory_pressure_some_us, stats.memory_pressure_full_us) = (some, full);
    }
    if let Some((some, full)) = pressure("io.pressure") {
        stats.mask |= IO_PRESSURE;
        (stats.io_pressure_some_us, stats.io_pressure_full_us) = (some, full);
    }
    stats
}

fn state(cgroup: &Cgroup, stats: &mut Stats) {
    stats.mask |= STATE;
    stats.populated = cgroup.value("cgroup.events", "populated");
    stats.frozen = cgroup.value("cgroup.events", "frozen");
    stats.nr_descendants = cgroup.value("cgroup.stat", "nr_descendants");
    stats.nr_dying_descendants = cgroup.value("cgroup.stat", "nr_dying_descendants");
}

fn cpu(cgroup: &Cgroup, stats: &mut Stats) {
    let text = cgroup.read("cpu.stat");
    let value = |key| value_in(&text, key).expect(key);
    stats.mask |= CPU;
    stats.cpu_usage_ns = value("usage_usec") * 1_000;
    stats.cpu_user_ns = value("user_usec") * 1_000;
    stats.cpu_system_ns = value("system_usec") * 1_000;
    if text.contains("nr_periods") {
        stats.mask |= CPU_THROTTLE;
        stats.cpu_nr_periods = value("nr_periods");
        stats.cpu_nr_throttled = value("nr_throttled");
        stats.cpu_throttled_ns = value("throttled_usec") * 1_000;
    }
}

fn memory(cgroup: &Cgroup, stats: &mut Stats) {
    let read = |file| cgroup.try_read(file).ok();
    if let Some(text) = read("memory.current") {
        stats.mask |= MEMORY;
        stats.memory_current_bytes = number(&text);
    }
    if let Some(text) = read("memory.peak") {
        stats.mask |= MEMORY_PEAK;
        stats.memory_peak_bytes = number(&text);
    }
    if let Some(text) = read("memory.swap.current") {
        stats.mask |= SWAP;
        stats.swap_current_bytes = number(&text);
        stats.swap_peak_bytes = read("memory.swap.peak").map_or(0, |text| number(&text));
    }
    if let Some(text) = read("memory.events") {
        let value = |key| value_in(&text, key).expect(key);
        stats.mask |= MEMORY_EVENTS;
        stats.memory_events_high = value("high");
        stats.memory_events_max = value("max");
        stats.memory_events_oom = value("oom");
        stats.memory_events_oom_kill = value("oom_kill");
        stats.memory_events_oom_group_kill = value_in(&text, "oom_group_kill").unwrap_or(0);
    }
    if let Some(text) = read("memory.stat") {
        let value = |key| value_in(&text, key).expect(key);
        let parts =
            || ["kernel_stack", "pagetables", "percpu", "slab"].iter().filter_map(|key| value_in(&text, key));
        stats.mask |= MEMORY_DETAIL;
        stats.memory_anon_bytes = value("anon");
        stats.memory_file_bytes = value("file");
        stats.memory_shmem_bytes = value("shmem");
        stats.memory_kernel_bytes = value_in(&text, "kernel").unwrap_or_else(|| parts().sum());
    }
}

fn pids(cgroup: &Cgroup, stats: &mut Stats) {
    let read = |file| cgroup.try_read(file).ok();
    if let Some(text) = read("pids.current") {
        stats.mask |= PIDS;
        stats.pids_current = number(&text);
    }
    if let Some(text) = read("pids.peak") {
        stats.mask |= PIDS_PEAK;
        stats.pids_peak = number(&text);
    }
    if let Some(text) = read("pids.events") {
        stats.mask |= PIDS_EVENTS;
        stats.pids_events_max = value_in(&text, "max").expect("max");
    }
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| panic!("{text:?} is no number"))
}

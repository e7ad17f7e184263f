// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a group uses, as a person would find it out.

use super::cgroup::Cgroup;
use agentcg::stats::{CPU, CPU_THROTTLE, MEMORY, PIDS, STATE, Stats};

/// The same as `read_stats`, from the files themselves.
pub fn by_hand(cgroup: &Cgroup) -> Stats {
    let mut stats = Stats::default();
    let us = |key| cgroup.value("cpu.stat", key) * 1_000;
    stats.mask |= CPU;
    stats.cpu_usage_ns = us("usage_usec");
    stats.cpu_user_ns = us("user_usec");
    stats.cpu_system_ns = us("system_usec");
    if cgroup.read("cpu.stat").contains("nr_periods") {
        stats.mask |= CPU_THROTTLE;
        stats.cpu_nr_periods = cgroup.value("cpu.stat", "nr_periods");
        stats.cpu_nr_throttled = cgroup.value("cpu.stat", "nr_throttled");
        stats.cpu_throttled_ns = us("throttled_usec");
    }
    if cgroup.has("memory.current") {
        stats.mask |= MEMORY;
        stats.memory_current_bytes = cgroup.number("memory.current");
    }
    if cgroup.has("pids.current") {
        stats.mask |= PIDS;
        stats.pids_current = cgroup.number("pids.current");
    }
    stats.mask |= STATE;
    stats.populated = cgroup.value("cgroup.events", "populated");
    stats.frozen = cgroup.value("cgroup.events", "frozen");
    stats.nr_descendants = cgroup.value("cgroup.stat", "nr_descendants");
    stats.nr_dying_descendants = cgroup.value("cgroup.stat", "nr_dying_descendants");
    stats
}

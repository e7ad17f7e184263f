// SPDX-License-Identifier: MIT OR Apache-2.0
//! The header's section "measuring".

use super::boundary::guard;
use super::error::agentcg_error;
use super::handle::{agent, agentcg};
use super::memory::{Plain, check_struct, give_struct};
use crate::stats;
use nix::errno::Errno;
use std::ffi::c_int;

/// cpu.stat: there even with no controller.
pub const AGENTCG_STAT_CPU: u64 = 1u64 << 0;
/// memory.current.
pub const AGENTCG_STAT_MEMORY: u64 = 1u64 << 1;
/// cpu.stat, with the controller.
pub const AGENTCG_STAT_CPU_THROTTLE: u64 = 1u64 << 2;
/// memory.peak: Linux 5.19.
pub const AGENTCG_STAT_MEMORY_PEAK: u64 = 1u64 << 3;
/// memory.swap.current, and .peak: Linux 6.5.
pub const AGENTCG_STAT_SWAP: u64 = 1u64 << 4;
/// memory.events: of the group and all below it.
pub const AGENTCG_STAT_MEMORY_EVENTS: u64 = 1u64 << 5;
/// memory.stat: may be 2 s old.
pub const AGENTCG_STAT_MEMORY_DETAIL: u64 = 1u64 << 6;
/// pids.current.
pub const AGENTCG_STAT_PIDS: u64 = 1u64 << 7;
/// pids.peak: Linux 6.1.
pub const AGENTCG_STAT_PIDS_PEAK: u64 = 1u64 << 8;
/// pids.events.
pub const AGENTCG_STAT_PIDS_EVENTS: u64 = 1u64 << 9;
/// io.stat.
pub const AGENTCG_STAT_IO: u64 = 1u64 << 10;
/// cpu.pressure: Linux 4.20, built with PSI and booted with it on; no controller needed.
pub const AGENTCG_STAT_CPU_PRESSURE: u64 = 1u64 << 11;
/// memory.pressure: as cpu.pressure.
pub const AGENTCG_STAT_MEMORY_PRESSURE: u64 = 1u64 << 12;
/// io.pressure: as cpu.pressure.
pub const AGENTCG_STAT_IO_PRESSURE: u64 = 1u64 << 13;
/// cgroup.events, cgroup.stat.
pub const AGENTCG_STAT_STATE: u64 = 1u64 << 14;
/// The cheap pair, for polling: one read of each of two files.
pub const AGENTCG_STAT_BASIC: u64 = AGENTCG_STAT_CPU | AGENTCG_STAT_MEMORY | AGENTCG_STAT_CPU_THROTTLE;
pub const AGENTCG_STAT_ALL: u64 = u64::MAX;

pub const AGENTCG_STATS_SIZE_V0: usize = 296;

/// What C calls it.
pub type agentcg_stats = stats::Stats;

// SAFETY: repr(C), and 37 u64 leave no padding.
unsafe impl Plain for agentcg_stats {
    const SIZE_V0: usize = AGENTCG_STATS_SIZE_V0;
}

const _: () = {
    assert!(size_of::<agentcg_stats>() == AGENTCG_STATS_SIZE_V0);
    assert!(stats::CPU == AGENTCG_STAT_CPU);
    assert!(stats::MEMORY == AGENTCG_STAT_MEMORY);
    assert!(stats::CPU_THROTTLE == AGENTCG_STAT_CPU_THROTTLE);
    assert!(stats::MEMORY_PEAK == AGENTCG_STAT_MEMORY_PEAK);
    assert!(stats::SWAP == AGENTCG_STAT_SWAP);
    assert!(stats::MEMORY_EVENTS == AGENTCG_STAT_MEMORY_EVENTS);
    assert!(stats::MEMORY_DETAIL == AGENTCG_STAT_MEMORY_DETAIL);
    assert!(stats::PIDS == AGENTCG_STAT_PIDS);
    assert!(stats::PIDS_PEAK == AGENTCG_STAT_PIDS_PEAK);
    assert!(stats::PIDS_EVENTS == AGENTCG_STAT_PIDS_EVENTS);
    assert!(stats::IO == AGENTCG_STAT_IO);
    assert!(stats::CPU_PRESSURE == AGENTCG_STAT_CPU_PRESSURE);
    assert!(stats::MEMORY_PRESSURE == AGENTCG_STAT_MEMORY_PRESSURE);
    assert!(stats::IO_PRESSURE == AGENTCG_STAT_IO_PRESSURE);
    assert!(stats::STATE == AGENTCG_STAT_STATE);
};

/// Read what which asks for (AGENTCG_STAT_BASIC for a monitoring loop). What
/// this kernel, this placement or this version of the library does not offer
/// is left 0, its bit clear: not an error. A controller that is enabled later is
/// found by the next reading. One file is one consistent snapshot; several are
/// not. Each costs one system call, there or not, once its descriptor is kept,
/// which it is while there are many left: at most 16 a group.
///
/// -EACCES, -EINVAL, -EMFILE, -ENFILE, -ENODEV (the group was removed), -ENOMEM.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn agentcg_read_stats(
    cg: *mut agentcg,
    which: u64,
    ret_stats: *mut agentcg_stats,
    size: usize,
    reterr: *mut agentcg_error,
) -> c_int {
    use Errno::*;
    // SAFETY: the C caller's promises, as the comment above and the conventions say.
    unsafe {
        guard(reterr, &[EACCES, EINVAL, EMFILE, ENFILE, ENODEV, ENOMEM], || {
            let agent = agent(cg)?;
            check_struct(ret_stats, size)?;
            let mut stats = agentcg_stats::default();
            agent.read_stats_into(which, &mut stats)?;
            give_struct(&stats, ret_stats, size);
            Ok(0)
        })
    }
}

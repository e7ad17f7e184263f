// SPDX-License-Identifier: MIT OR Apache-2.0
//! The header's section "measurements".

use super::boundary;
use super::error::agentcg_error;
use super::handle::{agent, agentcg};
use super::memory::{Plain, check_struct, copy_out_struct};
use crate::stats;
use nix::errno::Errno;
use std::ffi::c_int;

/// cpu.stat: cpu_usage_ns, cpu_user_ns, cpu_system_ns. No controller is needed.
pub const AGENTCG_STAT_CPU: u64 = 1u64 << 0;
/// memory.current: memory_current_bytes.
pub const AGENTCG_STAT_MEMORY: u64 = 1u64 << 1;
/// cpu.stat with the cpu controller: cpu_nr_periods, cpu_nr_throttled, cpu_throttled_ns.
pub const AGENTCG_STAT_CPU_THROTTLE: u64 = 1u64 << 2;
/// memory.peak: memory_peak_bytes (Linux 5.19).
pub const AGENTCG_STAT_MEMORY_PEAK: u64 = 1u64 << 3;
/// memory.swap.current: swap_current_bytes. memory.swap.peak: swap_peak_bytes (Linux 6.5).
pub const AGENTCG_STAT_SWAP: u64 = 1u64 << 4;
/// memory.events: memory_events_..., of the group and all cgroups below it.
pub const AGENTCG_STAT_MEMORY_EVENTS: u64 = 1u64 << 5;
/// memory.stat: memory_anon_bytes to memory_shmem_bytes. It may be 2 seconds old.
pub const AGENTCG_STAT_MEMORY_DETAIL: u64 = 1u64 << 6;
/// pids.current: pids_current.
pub const AGENTCG_STAT_PIDS: u64 = 1u64 << 7;
/// pids.peak: pids_peak (Linux 6.1).
pub const AGENTCG_STAT_PIDS_PEAK: u64 = 1u64 << 8;
/// pids.events: pids_events_max.
pub const AGENTCG_STAT_PIDS_EVENTS: u64 = 1u64 << 9;
/// io.stat: io_..., summed over the devices.
pub const AGENTCG_STAT_IO: u64 = 1u64 << 10;
/// cpu.pressure: cpu_pressure_some_us. It needs Linux 4.20 with PSI built in and
/// enabled at boot, and no controller.
pub const AGENTCG_STAT_CPU_PRESSURE: u64 = 1u64 << 11;
/// memory.pressure: memory_pressure_..._us. It needs what cpu.pressure needs.
pub const AGENTCG_STAT_MEMORY_PRESSURE: u64 = 1u64 << 12;
/// io.pressure: io_pressure_..._us. It needs what cpu.pressure needs.
pub const AGENTCG_STAT_IO_PRESSURE: u64 = 1u64 << 13;
/// cgroup.events and cgroup.stat: populated, frozen, nr_descendants, nr_dying_descendants.
pub const AGENTCG_STAT_STATE: u64 = 1u64 << 14;
/// The measurements for polling: they cost one read each of two files.
pub const AGENTCG_STAT_BASIC: u64 = AGENTCG_STAT_CPU | AGENTCG_STAT_MEMORY | AGENTCG_STAT_CPU_THROTTLE;
/// All measurements.
pub const AGENTCG_STAT_ALL: u64 = u64::MAX;

/// The smallest size of agentcg_stats that is accepted.
pub const AGENTCG_STATS_SIZE_V0: usize = 296;

/// The name of the struct in C.
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

/// Measure the group and all cgroups below it. which are AGENTCG_STAT_... bits
/// (AGENTCG_STAT_BASIC for a monitoring loop). size is sizeof(*ret_stats).
///
/// What the kernel, the place or this version of the library does not offer is
/// not an error: its fields are 0 and its bit in ret_stats->mask is clear. A
/// controller that is enabled later is found by the next call. The fields of one
/// file are one consistent snapshot; those of several files are not.
///
/// Each file, present or not, costs one system call once its descriptor is in
/// the descriptor cache. The cache holds up to 16 descriptors for each group,
/// while descriptors are plentiful.
///
/// Returns 0. The errors are the common ones.
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
    // SAFETY: the C caller passes valid pointers, as the header's conventions say.
    unsafe {
        boundary::call(reterr, &[EACCES, EINVAL, EMFILE, ENFILE, ENODEV, ENOMEM], || {
            let agent = agent(cg)?;
            check_struct(ret_stats, size)?;
            let mut stats = agentcg_stats::default();
            agent.read_stats_into(which, &mut stats)?;
            copy_out_struct(&stats, ret_stats, size);
            Ok(0)
        })
    }
}

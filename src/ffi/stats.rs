// SPDX-License-Identifier: MIT OR Apache-2.0
//! The header's section "measuring".

use super::edge::guard;
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
/// pids.current.
pub const AGENTCG_STAT_PIDS: u64 = 1u64 << 7;
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
    assert!(stats::PIDS == AGENTCG_STAT_PIDS);
    assert!(stats::STATE == AGENTCG_STAT_STATE);
};

/// Read what which asks for (AGENTCG_STAT_BASIC for a monitoring loop). What
/// this kernel, this placement or this version of the library does not offer
/// is left 0, its bit clear: not an error. One file is one consistent
/// snapshot; several are not.
///
/// -EINVAL, -EMFILE, -ENFILE, -ENODEV (the group was removed).
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
        guard(reterr, &[EINVAL, EMFILE, ENFILE, ENODEV], || {
            let agent = agent(cg)?;
            check_struct(ret_stats, size)?;
            let mut stats = agentcg_stats::default();
            agent.read_stats_into(which, &mut stats)?;
            give_struct(&stats, ret_stats, size);
            Ok(0)
        })
    }
}

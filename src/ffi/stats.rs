// SPDX-License-Identifier: MIT OR Apache-2.0
//! The header's section "measurements".

use super::boundary;
use super::error::agentcg_error;
use super::handle::{agent, agentcg};
use super::memory::{Plain, check_struct, copy_out_struct};
use crate::stats;
use nix::errno::Errno;
use std::ffi::c_int;

/// The name of the struct in C.
pub type agentcg_stats = stats::Stats;

// SAFETY: repr(C), and fields of u64 alone leave no padding.
unsafe impl Plain for agentcg_stats {
    const SIZE_V0: usize = stats::SIZE_V0;
}

/// Measure the group and all cgroups below it. which is a set of
/// AGENTCG_STAT_... bits (AGENTCG_STAT_BASIC for a monitoring loop). size is
/// sizeof(*ret_stats).
///
/// What the kernel, the place or this version of the library does not offer is
/// not an error: its fields are 0 and its bit in ret_stats->mask is clear. A
/// controller that is enabled later is found by the next call. The fields of one
/// file are one consistent snapshot; those of several files are not.
///
/// Each file, present or not, costs one system call once its descriptor is in
/// the descriptor cache. This function caches up to 16 descriptors for each
/// group, while descriptors are plentiful.
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

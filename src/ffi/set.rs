// SPDX-License-Identifier: MIT OR Apache-2.0
//! The header's section "limits and files of a living group": the limits.

use super::boundary::{guard, invalid};
use super::error::agentcg_error;
use super::handle::{agent, agentcg};
use super::limits::{agentcg_limits, take};
use super::memory::{check_flags, check_struct, give_struct};
use nix::errno::Errno;
use std::ffi::c_int;

/// agentcg_set_limits(): enforce memory_max and memory_high on the spot, by
/// reclaiming and, for memory_max, by killing.
pub const AGENTCG_SET_FORCE: u64 = 1u64 << 0;

/// Change limits: all of them, or, on failure, none. A memory_max under what is
/// in use now is -EBUSY, since the kernel would kill to enforce it; with
/// AGENTCG_SET_FORCE it does. A lower memory_high slows the group down, a lower
/// pids_max refuses new threads: neither ends any.
///
/// Each value is read back. The kernel keeps whole pages, rounded down. Before
/// Linux 6.16 the call may take as long as it takes to reclaim what is over a
/// lower memory_high. cpu_burst_us may not be more than the quota, and an idle
/// group has no cpu_weight: what is in force counts where the other is not set
/// with it. A group that is idle no more has a weight of 100.
///
/// Calls that overlap, in one program or several, are not kept apart: a file
/// ends with the value of one of them, and one that reads back another's may
/// give -ERANGE. Nor from agentcg_kill_all(), which may lift cpu_max for as
/// long as it kills and puts back what it found.
///
/// -E2BIG, -EACCES, -EBUSY, -EINVAL (also: a weight for an idle group), -EMFILE,
/// -ENFILE, -ENODEV (the group was removed), -ENOMEM, -EOPNOTSUPP (a limit's
/// controller is not to be had), -ERANGE (a limit out of range; a burst over the
/// quota). Where the message says "half set" the old values could not all be put
/// back; the next call that uses the limits tries again.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn agentcg_set_limits(
    cg: *mut agentcg,
    limits: *const agentcg_limits,
    size: usize,
    flags: u64,
    reterr: *mut agentcg_error,
) -> c_int {
    use Errno::*;
    let codes = [E2BIG, EACCES, EBUSY, EINVAL, EMFILE, ENFILE, ENODEV, ENOMEM, EOPNOTSUPP, ERANGE];
    // SAFETY: the C caller's promises, as the comment above and the conventions say.
    unsafe {
        guard(reterr, &codes, || {
            let agent = agent(cg)?;
            if limits.is_null() {
                return invalid("limits is NULL");
            }
            check_flags(flags, AGENTCG_SET_FORCE)?;
            agent.set_limits(&take(limits, size)?, flags & AGENTCG_SET_FORCE != 0)?;
            Ok(0)
        })
    }
}

/// The limits as the kernel has them; mask says which exist. AGENTCG_UNLIMITED
/// is no limit. cpu_max_millicpu is rounded up, which gives back each number
/// that was set. An idle group has no cpu_weight. What is in force may be less:
/// the limits of cgroups above count too.
///
/// -EACCES, -EINVAL, -EMFILE, -ENFILE, -ENODEV (the group was removed), -ENOMEM.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn agentcg_get_limits(
    cg: *mut agentcg,
    ret_limits: *mut agentcg_limits,
    size: usize,
    reterr: *mut agentcg_error,
) -> c_int {
    use Errno::*;
    // SAFETY: the C caller's promises, as the comment above and the conventions say.
    unsafe {
        guard(reterr, &[EACCES, EINVAL, EMFILE, ENFILE, ENODEV, ENOMEM], || {
            let agent = agent(cg)?;
            check_struct(ret_limits, size)?;
            give_struct(&agentcg_limits::from(agent.limits()?), ret_limits, size);
            Ok(0)
        })
    }
}

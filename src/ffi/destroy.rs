// SPDX-License-Identifier: MIT OR Apache-2.0
//! The header's section "make, find and end agents": the functions that end a handle.

use super::boundary;
use super::error::agentcg_error;
use super::handle::{self, agent, agent_or_errno, agentcg};
use super::memory::{check_flags, check_struct, copy_out_struct, deadline, is_timeout, waited};
use super::stats::agentcg_stats;
use crate::verdict::Call;
use nix::errno::Errno;
use std::ffi::c_int;

/// agentcg_destroy(): do not kill. If a process lives in the group, fail with
/// -EBUSY.
pub const AGENTCG_DESTROY_IF_EMPTY: u64 = 1u64 << 0;

/// End an agent: kill all processes, wait until they are dead, take the last
/// measurements, remove the group and every cgroup that the agent made inside
/// it, and free the handle. flags is 0 or AGENTCG_DESTROY_IF_EMPTY. ret_final
/// receives the last measurements, size is sizeof(*ret_final); they may be NULL
/// and 0.
///
/// 0 means that the directory is gone. On failure the handle stays valid and
/// nothing is lost: call again. A NULL cg is allowed. If somebody else has
/// removed the group, the call succeeds; -ENODEV is never returned.
///
/// From Linux 6.19.11 to 7.1-rc2, removing a group can hang while its dead
/// processes wait to be reaped. There the call returns -ETIMEDOUT, and the
/// message names the pids to reap.
///
/// Returns 0. Errors, besides the common ones:
///   -EBUSY      AGENTCG_DESTROY_IF_EMPTY is set and the group is not empty.
///   -EDEADLK    The caller is in the group.
///   -ETIMEDOUT  A process lives, or the group exists, after timeout_ms.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn agentcg_destroy(
    cg: *mut agentcg,
    flags: u64,
    timeout_ms: c_int,
    ret_final: *mut agentcg_stats,
    size: usize,
    reterr: *mut agentcg_error,
) -> c_int {
    use Errno::*;
    let codes = [EACCES, EBUSY, EDEADLK, EINVAL, EMFILE, ENFILE, ENOMEM, ETIMEDOUT];
    // SAFETY: the C caller passes valid pointers, as the header's conventions say.
    unsafe {
        let is_valid = is_timeout(timeout_ms) && (ret_final.is_null() == (size == 0));
        let kill = || match agent_or_errno(cg) {
            Ok(agent) if flags == 0 && is_valid => agent.send_kill(Call::Destroy, None),
            _ => {}
        };
        boundary::call_killing(reterr, &codes, kill, || {
            if cg.is_null() {
                return Ok(0);
            }
            let agent = agent(cg)?;
            check_flags(flags, AGENTCG_DESTROY_IF_EMPTY)?;
            let deadline = deadline(timeout_ms)?;
            let measure = !(ret_final.is_null() && size == 0);
            if measure {
                check_struct(ret_final, size)?;
            }
            let last = agent.destroy(flags & AGENTCG_DESTROY_IF_EMPTY != 0, deadline, measure);
            let last = waited(timeout_ms, last)?;
            if measure {
                copy_out_struct(&last, ret_final, size);
            }
            handle::free(cg);
            Ok(0)
        })
    }
}

/// Free the handle, and leave the group and its processes as they are. If the
/// handle was the owner's, the agent is an orphan from then on: agentcg_open()
/// can adopt it, and agentcg_reap() ends it. A NULL cg is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn agentcg_free(cg: *mut agentcg) {
    // SAFETY: the C caller passes valid pointers, as the header's conventions say.
    unsafe {
        boundary::call_always(std::ptr::null_mut(), &[], || {
            handle::free(cg);
            Ok(0)
        })
    };
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The header's section "life": how an agent, or a handle alone, ends.

use super::boundary::{guard, guard_always};
use super::error::agentcg_error;
use super::handle::{self, agent, agentcg};
use super::memory::{check_flags, check_struct, deadline, give_struct, waited};
use super::stats::agentcg_stats;
use nix::errno::Errno;
use std::ffi::c_int;

/// agentcg_destroy(): do not kill: -EBUSY if anything lives in it.
pub const AGENTCG_DESTROY_IF_EMPTY: u64 = 1u64 << 0;

/// Kill all, wait, take the last measurements (ret_final may be NULL with size
/// 0), remove the group and every cgroup the agent made inside it, free the
/// handle. On failure the handle stays valid and nothing is lost: try again.
/// 0 means that the directory is gone. On kernels from 6.19.11 to 7.1-rc2
/// removing a group can hang while its dead wait to be reaped: there that is
/// -ETIMEDOUT, and the message names the pids to reap.
/// NULL is fine, and so is a group that somebody else has removed.
///
/// -EACCES, -EBUSY (AGENTCG_DESTROY_IF_EMPTY, and it is not), -EDEADLK (the
/// caller is inside), -EINVAL, -EMFILE, -ENFILE, -ENOMEM, -ETIMEDOUT.
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
    // SAFETY: the C caller's promises, as the comment above and the conventions say.
    unsafe {
        guard(reterr, &codes, || {
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
                give_struct(&last, ret_final, size);
            }
            handle::free(cg);
            Ok(0)
        })
    }
}

/// Free the handle, leave the cgroup and its processes be: without an owner from
/// now on, so agentcg_open() can take it over, and agentcg_reap() ends it. NULL
/// is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn agentcg_free(cg: *mut agentcg) {
    // SAFETY: the C caller's promises.
    unsafe {
        guard_always(std::ptr::null_mut(), &[], || {
            handle::free(cg);
            Ok(0)
        })
    };
}

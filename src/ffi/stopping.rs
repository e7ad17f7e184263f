// SPDX-License-Identifier: MIT OR Apache-2.0
//! The header's section "stopping".

use super::edge::guard;
use super::error::agentcg_error;
use super::handle::{agent, agentcg};
use super::memory::deadline;
use nix::errno::Errno;
use std::ffi::c_int;

/// Wait until no process lives in it. Zombies count as gone.
///
/// -EINVAL, -EMFILE, -ENFILE, -ENODEV, -ETIMEDOUT.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn agentcg_wait_empty(
    cg: *mut agentcg,
    timeout_ms: c_int,
    reterr: *mut agentcg_error,
) -> c_int {
    use Errno::*;
    // SAFETY: the C caller's promises, as the comment above and the conventions say.
    unsafe {
        guard(reterr, &[EINVAL, EMFILE, ENFILE, ENODEV, ETIMEDOUT], || {
            agent(cg)?.wait_empty(deadline(timeout_ms)?).map(|()| 0)
        })
    }
}

/// SIGKILL for every process in the group and below it, whatever it does to get
/// away: forking, freezing, a main thread that has exited, cgroups of its own,
/// pid namespaces; with cgroup.kill or without. Waits until none lives;
/// timeout_ms 0 sends and does not wait: -ETIMEDOUT if any still lives. The
/// group can be used again after.
///
/// -EACCES, -EDEADLK (the caller is inside), -EINVAL, -EMFILE, -ENFILE, -ENODEV,
/// -ETIMEDOUT (say, a process in uninterruptible sleep).
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn agentcg_kill_all(
    cg: *mut agentcg,
    timeout_ms: c_int,
    reterr: *mut agentcg_error,
) -> c_int {
    use Errno::*;
    let codes = [EACCES, EDEADLK, EINVAL, EMFILE, ENFILE, ENODEV, ETIMEDOUT];
    // SAFETY: the C caller's promises, as the comment above and the conventions say.
    unsafe { guard(reterr, &codes, || agent(cg)?.kill_all(deadline(timeout_ms)?).map(|()| 0)) }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The header's section "processes".

use super::edge::{guard, guard_quietly};
use super::error::agentcg_error;
use super::handle::{agent, agent_quietly, agentcg};
use libc::pid_t;
use nix::errno::Errno;
use std::ffi::c_int;

/// Move a process, all its threads, into the group, and make sure that it is
/// there. Children it has already stay where they are. pid must be 1 or more:
/// 0 would mean the caller.
///
/// -EACCES, -EBUSY, -EINVAL (a kernel thread too), -EMFILE, -ENFILE, -ENODEV
/// (group gone), -EOPNOTSUPP, -ESRCH (gone, or a zombie).
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn agentcg_move_pid(cg: *mut agentcg, pid: pid_t, reterr: *mut agentcg_error) -> c_int {
    use Errno::*;
    let codes = [EACCES, EBUSY, EINVAL, EMFILE, ENFILE, ENODEV, EOPNOTSUPP, ESRCH];
    // SAFETY: the C caller's promises, as the comment above and the conventions say.
    unsafe { guard(reterr, &codes, || agent(cg)?.move_pid(pid).map(|()| 0)) }
}

/// Move the calling process, for use between fork(2) and execve(2).
/// Async-signal-safe. The codes of agentcg_move_pid().
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn agentcg_move_self(cg: *mut agentcg) -> c_int {
    use Errno::*;
    let codes = [EACCES, EBUSY, EINVAL, EMFILE, ENFILE, ENODEV, EOPNOTSUPP];
    // SAFETY: the C caller's promise.
    guard_quietly(&codes, || unsafe { agent_quietly(cg) }?.move_self())
}

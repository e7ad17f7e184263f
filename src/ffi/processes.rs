// SPDX-License-Identifier: MIT OR Apache-2.0
//! The header's section "processes".

use super::boundary::{guard, guard_quietly};
use super::error::agentcg_error;
use super::handle::{agent, agent_quietly, agentcg};
use super::memory::{borrow, check_array, give_array};
use libc::pid_t;
use nix::errno::Errno;
use std::ffi::c_int;

/// Move a process, all its threads, into the group, and make sure that it is
/// there. Children it has already stay where they are. pid must be 1 or more:
/// 0 would mean the caller. It keeps its oom_score_adj: over one with -1000 the
/// OOM killer passes, so that at its memory_max it uses CPU time and is not killed.
///
/// -EACCES, -EBUSY, -EINVAL (a kernel thread too; a realtime policy, where the
/// kernel has RT group scheduling), -EMFILE, -ENFILE, -ENODEV
/// (group gone), -ENOMEM, -EOPNOTSUPP, -ESRCH (gone, or a zombie).
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn agentcg_move_pid(cg: *mut agentcg, pid: pid_t, reterr: *mut agentcg_error) -> c_int {
    use Errno::*;
    let codes = [EACCES, EBUSY, EINVAL, EMFILE, ENFILE, ENODEV, ENOMEM, EOPNOTSUPP, ESRCH];
    // SAFETY: the C caller's promises, as the comment above and the conventions say.
    unsafe { guard(reterr, &codes, || agent(cg)?.move_pid(pid).map(|()| 0)) }
}

/// The same by pidfd, which needs /proc: no other process that was given the pid
/// meanwhile is taken for it without -ESRCH saying so. -EBADF: no pidfd.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn agentcg_move_pidfd(
    cg: *mut agentcg,
    pidfd: c_int,
    reterr: *mut agentcg_error,
) -> c_int {
    use Errno::*;
    let codes = [EACCES, EBADF, EBUSY, EINVAL, EMFILE, ENFILE, ENODEV, ENOMEM, EOPNOTSUPP, ESRCH];
    // SAFETY: the C caller's promises, as the comment above and the conventions say.
    unsafe {
        guard(reterr, &codes, || {
            let agent = agent(cg)?;
            agent.move_pidfd(borrow(pidfd, "pidfd")?).map(|()| 0)
        })
    }
}

/// Move the calling process, for use between fork(2) and execve(2).
/// Async-signal-safe. It keeps its oom_score_adj: see agentcg_move_pid(), whose
/// codes these are.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn agentcg_move_self(cg: *mut agentcg) -> c_int {
    use Errno::*;
    let codes = [EACCES, EBUSY, EINVAL, EMFILE, ENFILE, ENODEV, ENOMEM, EOPNOTSUPP];
    // SAFETY: the C caller's promise.
    guard_quietly(&codes, || unsafe { agent_quietly(cg) }?.move_self())
}

/// 1 if pid is in the group or below it, with any of its threads, 0 if it is not:
/// an escape shows here. Goes by the cgroup's name in /proc/PID/cgroup.
///
/// -EACCES (/proc does not let us read it), -EINVAL (pid is below 1), -EMFILE,
/// -ENFILE, -ENODEV (group gone), -ENOMEM, -ESRCH (gone, a zombie, or hidden from
/// us).
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn agentcg_contains(cg: *mut agentcg, pid: pid_t, reterr: *mut agentcg_error) -> c_int {
    use Errno::*;
    let codes = [EACCES, EINVAL, EMFILE, ENFILE, ENODEV, ENOMEM, ESRCH];
    // SAFETY: the C caller's promises, as the comment above and the conventions say.
    unsafe { guard(reterr, &codes, || agent(cg)?.contains(pid).map(c_int::from)) }
}

/// The processes that live in the group and below it, each once, in ascending
/// order. Fills at most count; returns how many there are, which may be more. pids
/// may be NULL with count 0. Those outside the caller's pid namespace have no pid
/// here and are left out, and so are zombies.
///
/// -EACCES, -EINVAL, -EMFILE, -ENFILE, -ENODEV, -ENOMEM.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn agentcg_pids(
    cg: *mut agentcg,
    pids: *mut pid_t,
    count: usize,
    reterr: *mut agentcg_error,
) -> c_int {
    use Errno::*;
    let codes = [EACCES, EINVAL, EMFILE, ENFILE, ENODEV, ENOMEM];
    // SAFETY: the C caller's promises, as the comment above and the conventions say.
    unsafe {
        guard(reterr, &codes, || {
            let agent = agent(cg)?;
            check_array(pids, count)?;
            give_array(&agent.pids()?, pids, count)
        })
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The header's section "stopping".

use super::boundary::{guard, guard_killing};
use super::error::agentcg_error;
use super::handle::{agent, agent_quietly, agentcg};
use super::memory::{deadline, number, timeout, waited};
use crate::agent::Agent;
use nix::errno::Errno;
use std::ffi::c_int;

/// Park every process in the group and below it, and return when all are parked
/// (an empty group is at once). At the deadline the freeze is undone: -ETIMEDOUT,
/// and all run on, unless somebody had asked for the freeze before. A frozen
/// group can be killed; a process moved into it is parked too.
///
/// -EACCES, -EDEADLK (the caller is inside: nothing was frozen), -EINVAL, -EMFILE,
/// -ENFILE, -ENODEV, -ENOMEM, -EOPNOTSUPP (no cgroup.freeze: before Linux 5.2),
/// -ETIMEDOUT (say, a process in uninterruptible sleep).
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn agentcg_freeze(
    cg: *mut agentcg,
    timeout_ms: c_int,
    reterr: *mut agentcg_error,
) -> c_int {
    use Errno::*;
    let codes = [EACCES, EDEADLK, EINVAL, EMFILE, ENFILE, ENODEV, ENOMEM, EOPNOTSUPP, ETIMEDOUT];
    // SAFETY: the C caller's promises, as the comment above and the conventions say.
    unsafe {
        guard(reterr, &codes, || waited(timeout_ms, agent(cg)?.freeze(deadline(timeout_ms)?)).map(|()| 0))
    }
}

/// Undo agentcg_freeze(), and return when the group goes on. A cgroup inside that
/// the agent has frozen itself stays frozen. -ETIMEDOUT: it will thaw later, or,
/// as the message then says, not before a frozen cgroup above it does.
///
/// -EACCES, -EINVAL, -EMFILE, -ENFILE, -ENODEV, -ENOMEM, -EOPNOTSUPP (no
/// cgroup.freeze: before Linux 5.2), -ETIMEDOUT.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn agentcg_thaw(
    cg: *mut agentcg,
    timeout_ms: c_int,
    reterr: *mut agentcg_error,
) -> c_int {
    use Errno::*;
    let codes = [EACCES, EINVAL, EMFILE, ENFILE, ENODEV, ENOMEM, EOPNOTSUPP, ETIMEDOUT];
    // SAFETY: the C caller's promises, as the comment above and the conventions say.
    unsafe {
        guard(reterr, &codes, || waited(timeout_ms, agent(cg)?.thaw(deadline(timeout_ms)?)).map(|()| 0))
    }
}

/// Signal every process in the group and below it, once each: never each thread,
/// never the caller, should it be inside. Children born meanwhile are signalled
/// too, but this is no way to be rid of those that fork for ever: see
/// agentcg_kill_all(). Frozen processes take it when they thaw. signal 0 sends
/// nothing, as with kill(2). Returns how many took it. Zombies do not count.
///
/// -EACCES (all were signalled but some: they are of another uid, or outside the
/// caller's pid namespace), -EINVAL (no such signal), -EMFILE, -ENFILE, -ENODEV,
/// -ENOMEM.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn agentcg_signal_all(
    cg: *mut agentcg,
    signal: c_int,
    reterr: *mut agentcg_error,
) -> c_int {
    use Errno::*;
    let codes = [EACCES, EINVAL, EMFILE, ENFILE, ENODEV, ENOMEM];
    // SAFETY: the C caller's promises, as the comment above and the conventions say.
    unsafe { guard(reterr, &codes, || agent(cg)?.signal_all(signal).and_then(number)) }
}

/// Wait until no process lives in it. Zombies count as gone.
///
/// -EACCES, -EINVAL, -EMFILE, -ENFILE, -ENODEV, -ENOMEM, -ETIMEDOUT.
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
        guard(reterr, &[EACCES, EINVAL, EMFILE, ENFILE, ENODEV, ENOMEM, ETIMEDOUT], || {
            waited(timeout_ms, agent(cg)?.wait_empty(deadline(timeout_ms)?)).map(|()| 0)
        })
    }
}

/// SIGKILL for every process in the group and below it, whatever it does to get
/// away: forking, freezing, a main thread that has exited, cgroups of its own,
/// closed files, pid namespaces; with cgroup.kill or without. cgroup.kill is
/// written first, which nothing inside the group delays, and which an owner does
/// with no descriptor left. Waits until none lives; timeout_ms 0 sends and does
/// not wait: -ETIMEDOUT if any still lives.
///
/// The group can be used again after. A freeze is undone. Controllers that the
/// agent has enabled for cgroups of its own are disabled, unless a living process
/// owns agents inside. A limit that was lifted meanwhile and could not be put
/// back is an error that says so, and the next call tries again.
///
/// From Linux 6.19 on cgroup.events can say populated for processes that are dead
/// and wait for others to be reaped. They count as gone.
///
/// -EACCES, -EDEADLK (the caller is inside), -EINVAL, -EMFILE, -ENFILE, -ENODEV,
/// -ENOMEM, -ETIMEDOUT (say, a process in uninterruptible sleep).
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn agentcg_kill_all(
    cg: *mut agentcg,
    timeout_ms: c_int,
    reterr: *mut agentcg_error,
) -> c_int {
    use Errno::*;
    let codes = [EACCES, EDEADLK, EINVAL, EMFILE, ENFILE, ENODEV, ENOMEM, ETIMEDOUT];
    // SAFETY: the C caller's promises, as the comment above and the conventions say.
    unsafe {
        let kill = || agent_quietly(cg).map_or((), Agent::send_kill);
        guard_killing(reterr, &codes, kill, || {
            waited(timeout_ms, agent(cg)?.kill_all(deadline(timeout_ms)?)).map(|()| 0)
        })
    }
}

/// Ask all to end: SIGTERM for every process, SIGCONT for those that are stopped,
/// and a thaw of the group and of every cgroup in it. Up to grace_ms for them to
/// go; then as agentcg_kill_all() with timeout_ms, which counts from there. With
/// grace_ms 0 the kill follows at once. Whom no signal of ours reaches is killed
/// after the grace. Returns 1 if it came to the kill, 0 if not.
///
/// -EACCES, -EDEADLK (the caller is inside: nobody was signalled), -EINVAL, -EMFILE,
/// -ENFILE, -ENODEV, -ENOMEM, -ETIMEDOUT (after the kill).
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn agentcg_terminate(
    cg: *mut agentcg,
    grace_ms: c_int,
    timeout_ms: c_int,
    reterr: *mut agentcg_error,
) -> c_int {
    use Errno::*;
    let codes = [EACCES, EDEADLK, EINVAL, EMFILE, ENFILE, ENODEV, ENOMEM, ETIMEDOUT];
    // SAFETY: the C caller's promises, as the comment above and the conventions say.
    unsafe {
        guard(reterr, &codes, || {
            let kill_within = timeout(timeout_ms)?;
            let killed = agent(cg)?.terminate(deadline(grace_ms)?, kill_within);
            waited(timeout_ms, killed).map(c_int::from)
        })
    }
}

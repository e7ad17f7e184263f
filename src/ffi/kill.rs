// SPDX-License-Identifier: MIT OR Apache-2.0
//! The header's section "freeze, signal and kill".

use super::boundary::{self, invalid};
use super::error::agentcg_error;
use super::handle::{agent, agent_or_errno, agentcg};
use super::memory::{deadline, is_timeout, number, timeout, waited};
use crate::agent::kill_all_of;
use crate::verdict::Call;
use nix::errno::Errno;
use std::ffi::c_int;

/// Freeze every process in the group and below it, and return when all are
/// frozen. An empty group is frozen at once. If they are not all frozen within
/// timeout_ms, the freeze is undone and the processes run again, unless somebody
/// had requested the freeze before; the call returns -ETIMEDOUT. A frozen group
/// can be killed. A process that is moved into a frozen group is frozen, too.
///
/// Returns 0. Errors, besides the common ones:
///   -EDEADLK     The caller is in the group. Nothing was frozen.
///   -EOPNOTSUPP  There is no cgroup.freeze (before Linux 5.2).
///   -ETIMEDOUT   For example, a process is in uninterruptible sleep.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn agentcg_freeze(
    cg: *mut agentcg,
    timeout_ms: c_int,
    reterr: *mut agentcg_error,
) -> c_int {
    use Errno::*;
    let codes = [EACCES, EDEADLK, EINVAL, EMFILE, ENFILE, ENODEV, ENOMEM, EOPNOTSUPP, ETIMEDOUT];
    // SAFETY: the C caller passes valid pointers, as the header's conventions say.
    unsafe {
        boundary::call(reterr, &codes, || {
            waited(timeout_ms, agent(cg)?.freeze(deadline(timeout_ms)?)).map(|()| 0)
        })
    }
}

/// Undo agentcg_freeze(), and return when the group runs again. A cgroup inside
/// it that the agent has frozen itself stays frozen.
///
/// Returns 0. Errors, besides the common ones:
///   -EOPNOTSUPP  There is no cgroup.freeze (before Linux 5.2).
///   -ETIMEDOUT   The group will thaw later. If a cgroup above it is frozen, the
///                group stays frozen as long as that one; the message says so.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn agentcg_thaw(
    cg: *mut agentcg,
    timeout_ms: c_int,
    reterr: *mut agentcg_error,
) -> c_int {
    use Errno::*;
    let codes = [EACCES, EINVAL, EMFILE, ENFILE, ENODEV, ENOMEM, EOPNOTSUPP, ETIMEDOUT];
    // SAFETY: the C caller passes valid pointers, as the header's conventions say.
    unsafe {
        boundary::call(reterr, &codes, || {
            waited(timeout_ms, agent(cg)?.thaw(deadline(timeout_ms)?)).map(|()| 0)
        })
    }
}

/// Send a signal to every process in the group and below it, to each once, not
/// to each of its threads. The caller is never signalled, even if it is in the
/// group. Frozen processes receive the signal when they thaw. Signal 0 sends
/// nothing, as with kill(2). Children that are created during the call are
/// signalled, too, but processes that fork all the time are not ended by this:
/// use agentcg_kill_all().
///
/// Returns the number of processes that received the signal. Zombies do not
/// count. Errors, besides the common ones:
///   -EACCES  Also: some processes were not signalled, because they have another
///            uid or are outside the caller's pid namespace. All others were.
///   -EINVAL  Also: signal is not a signal.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn agentcg_signal_all(
    cg: *mut agentcg,
    signal: c_int,
    reterr: *mut agentcg_error,
) -> c_int {
    use Errno::*;
    let codes = [EACCES, EINVAL, EMFILE, ENFILE, ENODEV, ENOMEM];
    // SAFETY: the C caller passes valid pointers, as the header's conventions say.
    unsafe { boundary::call(reterr, &codes, || agent(cg)?.signal_all(signal).and_then(number)) }
}

/// Wait until no process lives in the group. Zombies count as dead.
///
/// Returns 0. Errors, besides the common ones:
///   -ETIMEDOUT  A process is alive after timeout_ms.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn agentcg_wait_empty(
    cg: *mut agentcg,
    timeout_ms: c_int,
    reterr: *mut agentcg_error,
) -> c_int {
    use Errno::*;
    // SAFETY: the C caller passes valid pointers, as the header's conventions say.
    unsafe {
        boundary::call(reterr, &[EACCES, EINVAL, EMFILE, ENFILE, ENODEV, ENOMEM, ETIMEDOUT], || {
            waited(timeout_ms, agent(cg)?.wait_empty(deadline(timeout_ms)?)).map(|()| 0)
        })
    }
}

/// Kill every process in the group and below it with SIGKILL, and wait until all
/// are dead. Forking, freezing, a main thread that has exited, cgroups and pid
/// namespaces of its own, and closed files do not save a process, with
/// cgroup.kill or without. cgroup.kill is written first: nothing inside the
/// group delays that, and an owner does it even if no descriptor is left. With
/// timeout_ms 0 the kill is sent and not waited for: -ETIMEDOUT if a process is
/// still alive.
///
/// The group can be used again afterwards. A freeze is undone. Controllers that
/// the agent has enabled for cgroups of its own are disabled, unless a living
/// process owns agents inside. A limit that was lifted for the kill and could
/// not be restored is an error that says so; the next call tries again.
///
/// From Linux 6.19 on, cgroup.events can say populated because of dead processes
/// that wait for others to be reaped. They count as dead.
///
/// Returns 0. Errors, besides the common ones:
///   -EDEADLK    The caller is in the group.
///   -ETIMEDOUT  For example, a process is in uninterruptible sleep.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn agentcg_kill_all(
    cg: *mut agentcg,
    timeout_ms: c_int,
    reterr: *mut agentcg_error,
) -> c_int {
    use Errno::*;
    let codes = [EACCES, EDEADLK, EINVAL, EMFILE, ENFILE, ENODEV, ENOMEM, ETIMEDOUT];
    // SAFETY: the C caller passes valid pointers, as the header's conventions say.
    unsafe {
        let kill = || match agent_or_errno(cg) {
            Ok(agent) if is_timeout(timeout_ms) => agent.send_kill(Call::KillAll, None),
            _ => {}
        };
        boundary::call_killing(reterr, &codes, kill, || {
            waited(timeout_ms, agent(cg)?.kill_all(deadline(timeout_ms)?)).map(|()| 0)
        })
    }
}

/// Kill the processes of count groups as agentcg_kill_all() does: the kill is
/// sent to all groups before the call waits for the first. cgs is an array of
/// their handles, which may be of several places; it may be NULL if count is 0.
/// timeout_ms is for all of them together. A failure for one group does not keep
/// the others from being killed.
///
/// If ret_codes is not NULL, the result of each group is stored there, in the
/// order of cgs: 0, or the error that agentcg_kill_all() would have returned.
///
/// Returns 0 if every group succeeded, else the error of the first group that
/// did not. reterr describes that error. If a handle or an argument is invalid,
/// or there is no memory to begin, ret_codes is not written. Errors, besides the
/// common ones:
///   -EDEADLK    The caller is in one of the groups.
///   -EINVAL     Also: a handle is invalid. Nothing was killed.
///   -ETIMEDOUT  For example, a process is in uninterruptible sleep.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn agentcg_kill_all_of(
    cgs: *const *mut agentcg,
    count: usize,
    ret_codes: *mut c_int,
    timeout_ms: c_int,
    reterr: *mut agentcg_error,
) -> c_int {
    use Errno::*;
    let codes = [EACCES, EDEADLK, EINVAL, EMFILE, ENFILE, ENODEV, ENOMEM, ETIMEDOUT];
    // SAFETY: the C caller passes valid pointers, as the header's conventions say.
    unsafe {
        let handles = || (0..if cgs.is_null() { 0 } else { count }).map(|at| cgs.add(at).read());
        let agents = || handles().filter_map(|cg| agent_or_errno(cg).ok());
        let kill = || {
            if is_timeout(timeout_ms) && agents().count() == count {
                agents().for_each(|agent| agent.send_kill(Call::KillAllOf, None));
            }
        };
        boundary::call_killing(reterr, &codes, kill, || {
            if cgs.is_null() && count > 0 {
                return invalid("cgs is NULL, but count is not 0");
            }
            let deadline = deadline(timeout_ms)?;
            handles().try_for_each(|cg| agent(cg).map(drop))?;
            let mut first = Ok(0);
            kill_all_of(agents(), deadline, |number, killed| {
                let killed = waited(timeout_ms, killed);
                let code =
                    killed.as_ref().map_or_else(|e| -(boundary::listed(e.errno(), &codes) as c_int), |()| 0);
                if !ret_codes.is_null() {
                    ret_codes.add(number).write(code);
                }
                if let (Err(e), Ok(_)) = (killed, &first) {
                    first = Err(e);
                }
            });
            first
        })
    }
}

/// Ask all processes to end, and kill those that do not. Every process gets
/// SIGTERM, stopped ones get SIGCONT, and the group and every cgroup in it are
/// thawed. If a process lives after grace_ms, the call goes on as
/// agentcg_kill_all() with timeout_ms, which counts from then. With grace_ms 0
/// the kill follows at once. Processes that the caller cannot signal are killed
/// after the grace period.
///
/// Returns 1 if the kill was necessary, 0 if not. Errors, besides the common
/// ones:
///   -EDEADLK    The caller is in the group. No process was signalled.
///   -ENOMEM     The processes are killed after grace_ms nevertheless.
///   -ETIMEDOUT  A process is alive timeout_ms after the kill.
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
    // SAFETY: the C caller passes valid pointers, as the header's conventions say.
    unsafe {
        let kill = || match agent_or_errno(cg) {
            Ok(agent) if is_timeout(grace_ms) && is_timeout(timeout_ms) => {
                let _ = deadline(grace_ms).map(|grace| agent.send_kill(Call::Terminate, Some(grace))); // it is valid
            }
            _ => {}
        };
        boundary::call_killing(reterr, &codes, kill, || {
            let kill_within = timeout(timeout_ms)?;
            let killed = agent(cg)?.terminate(deadline(grace_ms)?, kill_within);
            waited(timeout_ms, killed).map(c_int::from)
        })
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The header's section "processes".

use super::boundary;
use super::error::agentcg_error;
use super::handle::{agent, agent_or_errno, agentcg};
use super::memory::{borrow, check_array, copy_out_array};
use libc::pid_t;
use nix::errno::Errno;
use std::ffi::c_int;

/// Move a process with all its threads into the group, and check that it has
/// arrived. Children that it already has are not moved. pid must be 1 or more;
/// 0, which the kernel takes for the caller, is refused. The process keeps its
/// oom_score_adj: if that is -1000, the OOM killer passes it over, and at
/// memory_max_bytes it uses CPU time instead of being killed.
///
/// Returns 0. Errors, besides the common ones:
///   -EBUSY       The group does not take processes, because the agent has
///                enabled controllers for cgroups of its own.
///   -EINVAL      Also: a kernel thread; a realtime policy, if the kernel has RT
///                group scheduling.
///   -EOPNOTSUPP  The group is in a threaded domain.
///   -ESRCH       The process does not exist, or is a zombie.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn agentcg_move_pid(cg: *mut agentcg, pid: pid_t, reterr: *mut agentcg_error) -> c_int {
    use Errno::*;
    let codes = [EACCES, EBUSY, EINVAL, EMFILE, ENFILE, ENODEV, ENOMEM, EOPNOTSUPP, ESRCH];
    // SAFETY: the C caller passes valid pointers, as the header's conventions say.
    unsafe { boundary::call(reterr, &codes, || agent(cg)?.move_pid(pid).map(|()| 0)) }
}

/// Move a process like agentcg_move_pid(), by its pidfd. This needs /proc.
///
/// Returns 0. Errors, as agentcg_move_pid(), and:
///   -EBADF  pidfd is not a pidfd.
///   -ESRCH  Also: the process exited during the call. The message says if a
///           process that reuses its pid was moved.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn agentcg_move_pidfd(
    cg: *mut agentcg,
    pidfd: c_int,
    reterr: *mut agentcg_error,
) -> c_int {
    use Errno::*;
    let codes = [EACCES, EBADF, EBUSY, EINVAL, EMFILE, ENFILE, ENODEV, ENOMEM, EOPNOTSUPP, ESRCH];
    // SAFETY: the C caller passes valid pointers, as the header's conventions say.
    unsafe {
        boundary::call(reterr, &codes, || {
            let agent = agent(cg)?;
            agent.move_pidfd(borrow(pidfd, "pidfd")?).map(|()| 0)
        })
    }
}

/// Move the calling process into the group. This is for use between fork(2) and
/// execve(2). The process keeps its oom_score_adj: see agentcg_move_pid().
/// Async-signal-safe.
///
/// In a login session (ssh, su, a text console) this returns -EACCES. The agent is
/// in a scope of the user's systemd, and the directory that the scope and the
/// session have in common belongs to root: only systemd can move a process from one
/// to the other, and a child between fork(2) and execve(2) cannot ask it. The same
/// holds for other callers with a place of the kind AGENTCG_PLACE_SYSTEMD.
/// agentcg_spawn() works there. If the child has to be made by fork(2), the parent
/// moves it with agentcg_move_pid(), which asks systemd, and the child waits:
///
///   int go[2];                           // the child reads a byte when it is in the group
///   if (pipe2(go, O_CLOEXEC) < 0)
///       return -errno;
///   pid_t pid = fork();
///   if (pid == 0) {
///       char byte;
///       close(go[1]);                // otherwise it would wait if the parent ends
///       if (read(go[0], &byte, 1) == 1)
///           execv(argv[0], argv);
///       _exit(127);
///   }
///   int rc = pid < 0 ? -errno : agentcg_move_pid(cg, pid, &error);
///   if (rc == 0 && write(go[1], "", 1) != 1)
///       rc = -errno;                 // go[0] is open here, so that there is no SIGPIPE
///   close(go[0]);
///   close(go[1]);                        // after a failure the child ends: wait for it
///
/// Returns 0. Errors, as agentcg_move_pid(). -ESRCH is never returned.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn agentcg_move_self(cg: *mut agentcg) -> c_int {
    use Errno::*;
    let codes = [EACCES, EBUSY, EINVAL, EMFILE, ENFILE, ENODEV, ENOMEM, EOPNOTSUPP];
    // SAFETY: the C caller passes valid pointers, as the header's conventions say.
    boundary::call_without_error(&codes, || unsafe { agent_or_errno(cg) }?.move_self().map(|()| 0))
}

/// Move a process with all its threads out of the agent: from the group, or from
/// a cgroup below it, to the caller's own cgroup. Children that it already has are
/// not moved. A process that is not in the group or below it is not moved.
///
/// From then on the limits of the caller's cgroup apply to the process instead of
/// the agent's, and it does not end with the agent. The memory that it has used
/// stays charged to the group until it is freed, and the statistics of the group
/// keep what it has used. A process of a frozen group thaws. The process keeps
/// its oom_score_adj, and what AGENTCG_SPAWN_CONTAIN has set. If it was the last
/// one, the group is empty (AGENTCG_EVENT_EMPTY).
///
/// The caller must be outside the group; in particular no program that is contained
/// by AGENTCG_SPAWN_CONTAIN gets out of its group in this way. The right to write
/// cgroup.procs is needed in the caller's cgroup and in the nearest cgroup that
/// contains both this one and the group. systemd is not asked.
///
/// The process is looked for in the group immediately before the move. The kernel
/// moves by pid only: if the process ends and is waited for between the two, and a
/// new process gets its pid, that one is moved. The call is -ESRCH, and the message
/// says so.
///
/// Returns 0. Errors, besides the common ones:
///   -EACCES      Also: /proc/PID/cgroup cannot be read, or /proc belongs to
///                another pid namespace.
///   -EBUSY       The caller was moved during the call, and the cgroup in which it
///                was takes no processes any more.
///   -EDEADLK     The calling process is in the group.
///   -EINVAL      Also: pid is less than 1; a kernel thread; a realtime policy, if
///                the kernel has RT group scheduling.
///   -ENODEV      Also: the caller's cgroup is not found in any mount of cgroup2.
///   -EOPNOTSUPP  The caller's cgroup is threaded.
///   -ESRCH       The process is not in the group or below it, does not exist, is
///                a zombie, or is hidden from the caller.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn agentcg_move_out(cg: *mut agentcg, pid: pid_t, reterr: *mut agentcg_error) -> c_int {
    use Errno::*;
    let codes = [EACCES, EBUSY, EDEADLK, EINVAL, EMFILE, ENFILE, ENODEV, ENOMEM, EOPNOTSUPP, ESRCH];
    // SAFETY: the C caller passes valid pointers, as the header's conventions say.
    unsafe { boundary::call(reterr, &codes, || agent(cg)?.move_out(pid).map(|()| 0)) }
}

/// Move a process out of the agent like agentcg_move_out(), by its pidfd.
///
/// Returns 0. Errors, as agentcg_move_out(), and:
///   -EBADF  pidfd is not a pidfd.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn agentcg_move_out_pidfd(
    cg: *mut agentcg,
    pidfd: c_int,
    reterr: *mut agentcg_error,
) -> c_int {
    use Errno::*;
    let codes = [EACCES, EBADF, EBUSY, EDEADLK, EINVAL, EMFILE, ENFILE, ENODEV, ENOMEM, EOPNOTSUPP, ESRCH];
    // SAFETY: the C caller passes valid pointers, as the header's conventions say.
    unsafe {
        boundary::call(reterr, &codes, || {
            let agent = agent(cg)?;
            agent.move_out_pidfd(borrow(pidfd, "pidfd")?).map(|()| 0)
        })
    }
}

/// Return 1 if pid, with any of its threads, is in the group or below it, 0 if
/// it is not. This shows an escape. The cgroup's name in /proc/PID/cgroup
/// decides.
///
/// Errors, besides the common ones:
///   -EACCES  Also: /proc/PID/cgroup cannot be read.
///   -EINVAL  Also: pid is less than 1.
///   -ESRCH   The process does not exist, is a zombie, or is hidden from the
///            caller.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn agentcg_contains(cg: *mut agentcg, pid: pid_t, reterr: *mut agentcg_error) -> c_int {
    use Errno::*;
    let codes = [EACCES, EINVAL, EMFILE, ENFILE, ENODEV, ENOMEM, ESRCH];
    // SAFETY: the C caller passes valid pointers, as the header's conventions say.
    unsafe { boundary::call(reterr, &codes, || agent(cg)?.contains(pid).map(c_int::from)) }
}

/// List the processes that live in the group and below it, each once, in
/// ascending order. At most count pids are written; pids may be NULL if count is
/// 0. Zombies are left out. Processes outside the caller's pid namespace have no
/// pid in it and are left out, too.
///
/// Returns the number of processes, which may be more than count. The errors are
/// the common ones.
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
    // SAFETY: the C caller passes valid pointers, as the header's conventions say.
    unsafe {
        boundary::call(reterr, &codes, || {
            let agent = agent(cg)?;
            check_array(pids, count)?;
            copy_out_array(&agent.pids()?, pids, count)
        })
    }
}

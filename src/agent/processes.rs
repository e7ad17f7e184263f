// SPDX-License-Identifier: MIT OR Apache-2.0
//! Moving processes into the group of an agent, listing them, and the errors of these calls.

use super::Agent;
use crate::cgroupfs::Dir;
use crate::error::{Error, Reason, Result, shown, words};
use crate::place;
use crate::procfs;
use crate::sys::descriptors::{self, occupy_stdio_for_several};
use crate::sys::{self, pidfd_send_signal, retry_transient};
use crate::systemd::{self, Manager};
use nix::errno::Errno;
use nix::unistd::{Pid, getsid};
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

pub(super) const PROCS: &CStr = c"cgroup.procs";
/// The flag of a kernel thread, from include/linux/sched.h.
const PF_KTHREAD: u64 = 0x0020_0000;

/// Why a process was not moved.
#[derive(Debug)]
pub(super) enum Failure {
    /// There is no living process of this pid.
    NoProcess,
    /// It is a kernel thread. Root could move it, to the harm of the whole system.
    KernelThread,
    /// systemd was asked to move it, and failed.
    Systemd(systemd::Failure),
    /// A system call failed.
    Errno(Errno),
}

impl From<Errno> for Failure {
    fn from(e: Errno) -> Self {
        match e {
            Errno::ESRCH => Self::NoProcess,
            e => Self::Errno(e),
        }
    }
}

impl Agent {
    /// Moves a process with all its threads into the group.
    pub fn move_pid(&self, pid: i32) -> Result<()> {
        self.enter(pid)?;
        self.record_start(true);
        Ok(())
    }

    /// Does the work of [`Self::move_pid`] for a child that is being started.
    pub(super) fn enter(&self, pid: i32) -> Result<()> {
        check_pid(pid)?;
        self.restore_overrides()?;
        let by_systemd = || match self.unit() {
            None => Err(Failure::Errno(Errno::EACCES)),
            Some((unit, below)) => {
                let own = if self.open_own()?.is_some() { "/own" } else { "" };
                Manager::connect()
                    .and_then(|manager| manager.attach(&unit, &format!("{below}{own}"), pid))
                    .map_err(Failure::Systemd)
            }
        };
        move_into(self, pid, by_systemd).map_err(|failure| {
            let errno = |e| {
                self.not_moved_for_policy(&format!("process {pid}"), pid, e)
                    .unwrap_or_else(|| self.not_moved(&format!("process {pid}"), e))
            };
            self.refused(pid, failure, errno).on("cgroup.procs")
        })
    }

    /// Returns the error of a process that was not moved. `errno` makes that of a system call.
    pub(super) fn refused(&self, pid: i32, failure: Failure, errno: impl FnOnce(Errno) -> Error) -> Error {
        match failure {
            Failure::Systemd(failure) => self.not_attached(pid, failure),
            Failure::NoProcess => no_process(pid),
            Failure::KernelThread => Error::new(
                Errno::EINVAL,
                format_args!("process {pid} is a kernel thread: kernel threads are not moved"),
            ),
            Failure::Errno(e) => errno(e),
        }
    }

    /// Moves the process of a pidfd. Fails with `ESRCH` if it ended during the call.
    pub fn move_pidfd(&self, pidfd: BorrowedFd<'_>) -> Result<()> {
        let pid = procfs::pid_of(pidfd).map_err(|e| no_process_of_pidfd(e).on("cgroup.procs"))?;
        let moved = self.move_pid(pid);
        // The kernel moves by pid only. If the process has not ended, the pid was its own during the whole call.
        if pidfd_send_signal(pidfd, 0) == Err(Errno::ESRCH) {
            let other_moved = moved.is_ok() && self.contains(pid).unwrap_or(false);
            let and = if other_moved { ", and a new process with its pid was moved" } else { "" };
            let message = format!("process {pid} ended before it was moved{and}");
            return Err(Error::new(Errno::ESRCH, message).on("cgroup.procs"));
        }
        moved
    }

    /// Moves the calling process. Looks for `own`, writes `cgroup.procs`, and does nothing else: it allocates no memory.
    pub fn move_self(&self) -> nix::Result<()> {
        // 0 is the writer itself. Unlike a pid it means the same in each pid namespace.
        // What has been made since the first look is found by the second one. No memory is allocated.
        let moved = self.open_own().and_then(|own| write_pid(&self.dir, b"0", own, || self.open_own()));
        moved.map_err(|e| match e {
            // ENOENT: outside the caller's cgroup namespace. EROFS: mounted read-only since the group was made.
            Errno::ENOENT | Errno::EROFS => Errno::EACCES,
            e => e,
        })
    }

    /// Returns the pids of all living processes in the group and below it, in ascending order.
    pub fn pids(&self) -> Result<Vec<i32>> {
        self.members().pids().map_err(|e| self.failed("read", "cgroup.procs", e))
    }

    /// Returns true if a process is in the group or below it.
    pub fn contains(&self, pid: i32) -> Result<bool> {
        check_pid(pid)?;
        if !self.dir.is_alive() {
            return Err(self.failed("read", "cgroup.procs", Errno::ENODEV));
        }
        self.members().lists_contain(pid).map_err(|e| match e {
            Errno::ESRCH => no_process(pid),
            // With the mount option hidepid.
            Errno::EPERM => Error::new(
                Errno::EACCES,
                format_args!("the caller has no right to read process {pid} in /proc"),
            ),
            e => Error::new(e, format_args!("cannot read /proc/{pid}/cgroup: {}", words(e))),
        })
    }

    /// Returns the error of a process that the caller may not move, and that systemd did not move.
    fn not_attached(&self, pid: i32, failure: systemd::Failure) -> Error {
        let e = place::failed(failure);
        match e.errno() {
            Errno::EACCES | Errno::ENOTCONN => {
                let message = format!("no right to move process {pid}, and {}", e.message());
                Error::new(Errno::EACCES, message).because(e.reason().unwrap_or(Reason::NotDelegated))
            }
            _ => e,
        }
    }

    /// Returns the error if the scheduling policy of a thread is the cause.
    pub(super) fn not_moved_for_policy(&self, process: &str, tid: i32, errno: Errno) -> Option<Error> {
        policy_error(process, tid, errno, &shown(&self.path()))
    }

    pub(super) fn not_moved(&self, process: &str, errno: Errno) -> Error {
        let group = shown(&self.path());
        match errno {
            Errno::EACCES => Error::new(
                errno,
                format_args!(
                    "no right to move {process} to {group}: the caller may not write cgroup.procs of their common ancestor"
                ),
            )
            .because(Reason::NotDelegated),
            // With nsdelegate the kernel hides what is outside the namespace.
            Errno::ENOENT => Error::new(
                Errno::EACCES,
                format_args!("{process} or {group} is outside the caller's cgroup namespace"),
            )
            .because(Reason::OutsideNamespace),
            Errno::EBUSY => Error::new(
                errno,
                format_args!("{group} enables controllers for cgroups inside it, and takes no process"),
            )
            .because(Reason::Populated),
            Errno::EOPNOTSUPP => {
                Error::new(errno, format_args!("{group} is in a threaded domain, and takes no process"))
                    .because(Reason::Threaded)
            }
            e => self.failed("move a process by", "cgroup.procs", e),
        }
    }
}

/// Returns the error if the scheduling policy of a thread is the cause. With RT group scheduling (CONFIG_RT_GROUP_SCHED) the
/// kernel moves no realtime thread into a cgroup without realtime bandwidth. A thread with SCHED_DEADLINE can neither fork nor
/// leave its CPUs.
pub(super) fn policy_error(process: &str, tid: i32, errno: Errno, cgroup: &str) -> Option<Error> {
    let policy = sys::realtime_policy(tid).filter(|_| matches!(errno, Errno::EINVAL | Errno::EAGAIN))?;
    let message = format!(
        "{process} has the policy {policy}, which {cgroup} does not allow: set SCHED_OTHER, or SCHED_RESET_ON_FORK"
    );
    Some(Error::new(errno, message))
}

/// Moves a process with all its threads, and checks that it lives afterwards. Calls `by_systemd` if the calling process may not
/// move it.
fn move_into(
    agent: &Agent,
    pid: i32,
    by_systemd: impl FnOnce() -> std::result::Result<(), Failure>,
) -> std::result::Result<(), Failure> {
    let stdio = occupy_stdio_for_several()?;
    let process = Target::open(pid)?;
    // Decimal without leading zeros: the kernel reads a number that begins with 0 as octal.
    let text = pid.to_string();
    match write_pid(&agent.dir, text.as_bytes(), agent.open_own()?, || agent.open_own_again()) {
        Err(Errno::EACCES) => {
            process.check_lives()?;
            drop(stdio);
            by_systemd()?;
        }
        done => done?,
    }
    // The write moves the threads that are not exiting. It succeeds for a zombie, too, and does not move it. A process
    // that lives after the write was moved.
    process.check_lives()
}

/// Moves a process into the cgroup `own` of a session, or into the group. Calls `again` to find `own` if the group takes no
/// process.
fn write_pid(
    dir: &Dir,
    pid: &[u8],
    own: Option<Dir>,
    again: impl FnOnce() -> nix::Result<Option<Dir>>,
) -> nix::Result<()> {
    match own.map(|own| own.write(PROCS, pid)) {
        // The agent has removed the cgroup, or made it threaded.
        None | Some(Err(Errno::ENODEV | Errno::ENOENT | Errno::EOPNOTSUPP)) => {}
        Some(moved) => return moved,
    }
    match dir.write(PROCS, pid) {
        Err(Errno::EBUSY) => again()?.map_or(Err(Errno::EBUSY), |own| own.write(PROCS, pid)),
        moved => moved,
    }
}

/// A process that is to be moved. It is the same process for as long as this value lives, whatever becomes of its pid.
pub(super) enum Target {
    /// The cheaper way, by a pidfd.
    Pidfd(OwnedFd),
    /// By its file in /proc.
    Proc(procfs::Process),
}

impl Target {
    /// Opens a process that is no kernel thread. It may be a zombie.
    pub(super) fn open(pid: i32) -> std::result::Result<Self, Failure> {
        // A kernel thread is in session 0, as is a process whose session is outside the pid namespace of the caller.
        if matches!(getsid(Some(Pid::from_raw(pid))), Ok(session) if session.as_raw() != 0) {
            // It fails for the id of a thread, before Linux 5.3, and where a seccomp filter does not allow it.
            if let Ok(pidfd) = descriptors::pidfd_open(pid) {
                return Ok(Self::Pidfd(pidfd));
            }
        }
        let process = procfs::Process::open(pid)?;
        if process.stat()?.flags & PF_KTHREAD != 0 {
            return Err(Failure::KernelThread);
        }
        Ok(Self::Proc(process))
    }

    /// Returns true if the process was waited for, so that its pid may be that of another one.
    pub(super) fn is_reaped(&self) -> bool {
        match self {
            Self::Pidfd(pidfd) => pidfd_send_signal(pidfd.as_fd(), 0) == Err(Errno::ESRCH),
            Self::Proc(process) => process.stat().err() == Some(Errno::ESRCH),
        }
    }

    /// Fails if all threads of the process have ended.
    pub(super) fn check_lives(&self) -> std::result::Result<(), Failure> {
        match self {
            Self::Pidfd(pidfd) => match retry_transient(|_| false, || sys::has_ended(pidfd.as_fd()))? {
                true => Err(Failure::NoProcess),
                false => Ok(()),
            },
            Self::Proc(process) => {
                retry_transient(|e| e == Errno::ESRCH, || process.living())?;
                Ok(())
            }
        }
    }
}

pub(super) fn check_pid(pid: i32) -> Result<()> {
    if pid < 1 {
        return Err(Error::new(Errno::EINVAL, format_args!("{pid} is not a pid: a pid is 1 or more"))
            .on("cgroup.procs"));
    }
    Ok(())
}

pub(super) fn no_process_of_pidfd(e: Errno) -> Error {
    match e {
        Errno::EBADF => Error::new(e, "the descriptor is not a pidfd: open one with pidfd_open(2)"),
        Errno::ESRCH => {
            Error::new(e, "the process of the pidfd has ended, or is outside the caller's pid namespace")
        }
        // Only /proc shows the pid of a pidfd.
        Errno::ENOENT => Error::new(Errno::EACCES, "/proc is not mounted, and a pidfd needs it: move by pid"),
        e => Error::new(e, format_args!("cannot read /proc/self/fdinfo: {}", words(e))),
    }
}

fn no_process(pid: i32) -> Error {
    Error::new(
        Errno::ESRCH,
        format_args!("process {pid} has ended, is a zombie, or is hidden from the caller in /proc"),
    )
}

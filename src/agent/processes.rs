// SPDX-License-Identifier: MIT OR Apache-2.0
//! How processes get into an agent's group, what is said where they do not, and who is there.

use super::Agent;
use crate::agent::migrate;
use crate::error::{Error, Reason, Result, shown, words};
use crate::place;
use crate::procfs;
use crate::sys::{self, pidfd_send_signal};
use crate::systemd::{self, Manager};
use nix::errno::Errno;
use std::os::fd::BorrowedFd;

impl Agent {
    /// Move a process, with all its threads, into the group.
    pub fn move_pid(&self, pid: i32) -> Result<()> {
        check_pid(pid)?;
        self.put_back_rest()?;
        let by_systemd = || match &self.unit {
            None => Err(migrate::Failure::Errno(Errno::EACCES)),
            Some(unit) => Manager::connect()
                .and_then(|manager| manager.attach(unit, &format!("/synwire/agents/{}", self.name), pid))
                .map_err(migrate::Failure::Systemd),
        };
        migrate::pid(&self.dir, pid, by_systemd).map_err(|failure| {
            match failure {
                migrate::Failure::Systemd(failure) => self.not_attached(pid, failure),
                migrate::Failure::NoProcess => no_process(pid),
                migrate::Failure::KernelThread => Error::new(
                    Errno::EINVAL,
                    format!("process {pid} is a thread of the kernel, which stays where it is"),
                ),
                migrate::Failure::Errno(e) => self
                    .not_moved_for_policy(&format!("process {pid}"), pid, e)
                    .unwrap_or_else(|| self.not_moved(&format!("process {pid}"), e)),
            }
            .on("cgroup.procs")
        })
    }

    /// The same by a pidfd, whose process no other can be taken for.
    pub fn move_pidfd(&self, pidfd: BorrowedFd<'_>) -> Result<()> {
        let pid = procfs::pid_of(pidfd).map_err(|e| no_process_behind(e).on("cgroup.procs"))?;
        let moved = self.move_pid(pid);
        // The kernel moves by number only. One that has not ended yet had it all the while.
        if pidfd_send_signal(pidfd, 0) == Err(Errno::ESRCH) {
            let stranger = moved.is_ok() && self.contains(pid).unwrap_or(false);
            let and = if stranger { ", and another was given its number, and moved" } else { "" };
            let message = format!("process {pid} has ended while it was to be moved{and}");
            return Err(Error::new(Errno::ESRCH, message).on("cgroup.procs"));
        }
        moved
    }

    /// Where we may not move a process ourselves, and systemd did not do it for us.
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

    /// With RT group scheduling (CONFIG_RT_GROUP_SCHED) the kernel takes no realtime thread into a cgroup without a
    /// share of the realtime that there is, and one with SCHED_DEADLINE neither forks nor leaves its CPUs.
    pub(super) fn not_moved_for_policy(&self, who: &str, tid: i32, errno: Errno) -> Option<Error> {
        let policy = sys::realtime_policy(tid).filter(|_| matches!(errno, Errno::EINVAL | Errno::EAGAIN))?;
        let group = shown(&self.path);
        let message = format!(
            "{who} has {policy}, which {group} does not take: set SCHED_OTHER, or SCHED_RESET_ON_FORK"
        );
        Some(Error::new(errno, message))
    }

    pub(super) fn not_moved(&self, who: &str, errno: Errno) -> Error {
        let group = shown(&self.path);
        match errno {
            Errno::EACCES => Error::new(
                errno,
                format!("no right to move {who} to {group}: cgroup.procs of a cgroup above both is not ours"),
            )
            .because(Reason::NotDelegated),
            // With nsdelegate the kernel hides what lies outside the namespace.
            Errno::ENOENT => {
                Error::new(Errno::EACCES, format!("{who} or {group} is outside our cgroup namespace"))
                    .because(Reason::OutsideNamespace)
            }
            Errno::EBUSY => Error::new(
                errno,
                format!("{group} has controllers on for children of its own and takes no process itself"),
            )
            .because(Reason::Populated),
            Errno::EOPNOTSUPP => {
                Error::new(errno, format!("{group} is in a threaded domain and takes no process"))
                    .because(Reason::Threaded)
            }
            e => self.failed("move a process by", "cgroup.procs", e),
        }
    }

    /// Move the calling process. Does nothing but three system calls.
    pub fn move_self(&self) -> nix::Result<()> {
        migrate::own(&self.dir).map_err(|e| match e {
            // Outside our namespace, or mounted read-only meanwhile: no right either way.
            Errno::ENOENT | Errno::EROFS => Errno::EACCES,
            e => e,
        })
    }

    /// The pids of all that live in it and below it, in order.
    pub fn pids(&self) -> Result<Vec<i32>> {
        self.members().pids().map_err(|e| self.failed("read", "cgroup.procs", e))
    }

    /// Whether a process is in it or below it.
    pub fn contains(&self, pid: i32) -> Result<bool> {
        check_pid(pid)?;
        if !self.dir.is_alive() {
            return Err(self.failed("look into", "cgroup.procs", Errno::ENODEV));
        }
        self.members().lists_contain(pid).map_err(|e| match e {
            Errno::ESRCH => no_process(pid),
            // As the mount option hidepid has it.
            Errno::EPERM => Error::new(Errno::EACCES, format!("/proc does not let us look at process {pid}")),
            e => Error::new(e, format!("cannot read /proc/{pid}/cgroup: {}", words(e))),
        })
    }
}

fn check_pid(pid: i32) -> Result<()> {
    if pid < 1 {
        return Err(Error::new(Errno::EINVAL, format!("{pid} names no process: a pid is 1 or more"))
            .on("cgroup.procs"));
    }
    Ok(())
}

fn no_process_behind(e: Errno) -> Error {
    match e {
        Errno::EBADF => Error::new(e, "the descriptor is no pidfd: pidfd_open(2) gives one"),
        Errno::ESRCH => Error::new(e, "the pidfd's process has ended, or is outside our pid namespace"),
        // Which process it stands for only /proc can tell.
        Errno::ENOENT => {
            Error::new(Errno::EACCES, "no /proc is mounted here, which a pidfd needs: move by pid")
        }
        e => Error::new(e, format!("cannot read /proc/self/fdinfo: {}", words(e))),
    }
}

fn no_process(pid: i32) -> Error {
    Error::new(Errno::ESRCH, format!("process {pid} is gone, a zombie, or hidden from us in /proc"))
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Moving processes from the group of an agent to the cgroup of the calling process.
//!
//! The kernel moves by pid only. The process is opened first, and must live after the look at its cgroup and after the write:
//! in between its pid was its own. If it ends between the last look and the write, and another process gets its pid, that
//! process is moved; the error says so.

use super::Agent;
use super::processes::{Failure, PROCS, Target, check_pid, no_process_of_pidfd, policy_error};
use crate::cgroupfs::{Dir, write_once};
use crate::error::{Error, Reason, Result, shown, words};
use crate::parse;
use crate::place::self_cgroup::{self, SelfCgroup};
use crate::procfs;
use crate::sys;
use crate::sys::deadline::Deadline;
use crate::sys::descriptors::occupy_stdio_for_several;
use crate::sys::retry_transient;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// The cgroup of the calling process, to which processes are moved.
struct Destination {
    own: SelfCgroup,
    dir: Arc<Dir>,
    /// Its `cgroup.procs`.
    procs: OwnedFd,
}

impl Agent {
    /// Moves a process with all its threads, which is in the group or below it, to the cgroup of the calling process.
    pub fn move_out(&self, pid: i32) -> Result<()> {
        self.move_out_if(pid, &|| Ok(())).map_err(|e| e.on("cgroup.procs"))
    }

    /// Moves the process of a pidfd in the same way.
    pub fn move_out_pidfd(&self, pidfd: BorrowedFd<'_>) -> Result<()> {
        let pid = procfs::pid_of(pidfd).map_err(|e| no_process_of_pidfd(e).on("cgroup.procs"))?;
        let lives = || match retry_transient(|_| false, || sys::has_ended(pidfd.as_fd())) {
            Ok(false) => Ok(()),
            Ok(true) => Err(Failure::NoProcess),
            Err(e) => Err(Failure::Errno(e)),
        };
        self.move_out_if(pid, &lives).map_err(|e| e.on("cgroup.procs"))
    }

    /// Does the work of both. `lives` fails if the process that is meant has ended.
    fn move_out_if(&self, pid: i32, lives: &dyn Fn() -> std::result::Result<(), Failure>) -> Result<()> {
        check_pid(pid)?;
        let failed = |e| Error::new(e, format_args!("cannot move process {pid}: {}", words(e)));
        let _stdio = occupy_stdio_for_several().map_err(failed)?;
        if !procfs::shows_own_pid_namespace().map_err(failed)? {
            let message =
                "/proc is not mounted, or belongs to another pid namespace: mount that of the caller";
            return Err(Error::new(Errno::EACCES, message));
        }
        self.check_caller_outside()?;
        let to = self.destination(pid)?;
        let refused = |failure| self.refused(pid, failure, failed);
        let process = Target::open(pid).map_err(refused)?;
        if !self.contains(pid)? {
            let group = shown(&self.path());
            let message = format!("process {pid} is not in {group}, and was not moved");
            return Err(Error::new(Errno::ESRCH, message));
        }
        // Here it is known whose pid it was while its cgroup was read.
        process.check_lives().and_then(|()| lives()).map_err(refused)?;
        // Decimal without leading zeros: the kernel reads a number that begins with 0 as octal.
        let written = write_once(to.procs.as_fd(), pid.to_string().as_bytes());
        match (written, process.check_lives().and_then(|()| lives())) {
            (Ok(()), Ok(())) => Ok(()),
            (Err(e), Ok(())) if e != Errno::ESRCH => Err(self.not_moved_out(pid, &to, e)),
            // The process had ended: the write was without effect, or for a process that has got its pid.
            (written, Ok(()) | Err(Failure::NoProcess)) => {
                let reused =
                    written.is_ok() && process.is_reaped() && to.dir.lists(PROCS, pid).unwrap_or(true);
                let and = if reused { ", and a new process with its pid may have been moved" } else { "" };
                Err(Error::new(Errno::ESRCH, format_args!("process {pid} ended before it was moved{and}")))
            }
            (_, Err(failure)) => Err(refused(failure)),
        }
    }

    /// Fails if the calling process is in the group: its own cgroup is no way out.
    fn check_caller_outside(&self) -> Result<()> {
        let inside = self.killer().contains_caller(Deadline::FOREVER);
        if inside.map_err(|e| self.failed("read", "cgroup.procs", e))? {
            let group = shown(&self.path());
            let message = format!("the calling process is in {group}: nothing was moved; move from outside");
            return Err(Error::new(Errno::EDEADLK, message).because(Reason::CallerInside));
        }
        Ok(())
    }

    /// Opens the cgroup of the calling process.
    fn destination(&self, pid: i32) -> Result<Destination> {
        let own = self_cgroup::find().map_err(|e| match e.reason() {
            Some(Reason::Threaded) => threaded("the caller's cgroup"),
            _ => e,
        })?;
        let opened = own.open(0).and_then(|dir| {
            let procs = dir.open_file(PROCS, OFlag::O_WRONLY)?;
            Ok((dir, procs))
        });
        match opened {
            Ok((dir, procs)) => Ok(Destination { own, dir, procs }),
            Err(e @ (Errno::EACCES | Errno::EROFS)) => {
                let (to, why) = (shown(&path_of(&own)), words(e));
                let message = format!(
                    "process {pid} is not moved to the caller's cgroup {to}, whose cgroup.procs is not writable: {why}"
                );
                let reason = if e == Errno::EROFS { Reason::ReadOnly } else { Reason::NotDelegated };
                Err(Error::new(Errno::EACCES, message).because(reason))
            }
            Err(e) => Err(not_opened(&own, e)),
        }
    }

    /// Returns the error of a process in the group that the kernel has not moved.
    fn not_moved_out(&self, pid: i32, to: &Destination, errno: Errno) -> Error {
        let own = shown(&path_of(&to.own));
        if let Some(e) = policy_error(&format!("process {pid}"), pid, errno, &own) {
            return e;
        }
        match errno {
            Errno::EACCES => {
                let both = common_ancestor(&to.own, pid)
                    .map_or_else(String::new, |path| format!(" {}", shown(&path)));
                let message = format!(
                    "no right to move process {pid} out: the caller may not write cgroup.procs of the cgroup{both} that contains both"
                );
                Error::new(errno, message).because(Reason::NotDelegated)
            }
            // With nsdelegate the kernel hides what is outside the namespace.
            Errno::ENOENT => {
                let message =
                    format!("process {pid} is outside the caller's cgroup namespace: move it from outside");
                Error::new(Errno::EACCES, message).because(Reason::OutsideNamespace)
            }
            Errno::EBUSY => {
                let message = format!(
                    "the caller's cgroup {own} enables controllers for cgroups inside it, and takes no process"
                );
                Error::new(errno, message).because(Reason::Populated)
            }
            Errno::EOPNOTSUPP => threaded(&format!("the caller's cgroup {own}")),
            e => not_opened(&to.own, e),
        }
    }
}

fn threaded(cgroup: &str) -> Error {
    let message =
        format!("{cgroup} is threaded, and takes no process from elsewhere: call from a domain cgroup");
    Error::new(Errno::EOPNOTSUPP, message).because(Reason::Threaded)
}

fn not_opened(own: &SelfCgroup, e: Errno) -> Error {
    let own = shown(&path_of(own));
    Error::new(
        e,
        format_args!("cannot move a process by cgroup.procs of the caller's cgroup {own}: {}", words(e)),
    )
}

/// Returns the path of the calling process's cgroup, as mounted here.
fn path_of(own: &SelfCgroup) -> Vec<u8> {
    own.upwards().next().unwrap_or_default()
}

/// Returns the path of the nearest cgroup that contains the cgroups of both processes, as mounted here: to move a process the
/// kernel demands the right to write its `cgroup.procs`. Returns none if the mount does not show it.
fn common_ancestor(own: &SelfCgroup, pid: i32) -> Option<Vec<u8>> {
    let path = procfs::cgroup_of(&pid.to_string()).ok()??;
    own.upwards().nth(parse::levels_to_common(&own.in_proc, &path)?)
}

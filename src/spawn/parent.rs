// SPDX-License-Identifier: MIT OR Apache-2.0
//! The parent's side of a spawn: a child of the calling process that is inside a cgroup before its program begins.
//!
//! The child shares the memory of the calling process until execve(2), and the calling thread is suspended until then, as
//! with vfork(2). To copy the page tables of a process with a gigabyte takes a hundred times longer than everything else.
//!
//! The child's exit signal is 0. execve(2) changes it to SIGCHLD. Therefore a child that never executes the program sends
//! no signal, and only a wait with __WCLONE or __WALL finds it.

#![allow(unsafe_code)]

use super::child::{ChildReport, ChildSetup, Containment, NAMESPACES, Step, Text, child_main};
use super::clone3::{HAS_OWN_STACK, Stack, clone, clone_into_cgroup};
use super::command::Command;
use super::namespace_holder::NamespaceHolder;
use super::redirect::Redirections;
use super::supervised::{self, Created, Killed, Supervision};
use crate::sys::descriptors::{self, occupy_stdio};
use crate::sys::process::{exit, reap, waitid};
use crate::sys::shared_memory::SharedMemory;
use crate::sys::thread::BlockedSignals;
use nix::errno::Errno;
use std::ffi::{c_int, c_void};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::Duration;

/// How the child gets into the cgroup.
#[derive(Debug, Clone, Copy)]
pub enum Entry<'a> {
    /// clone3(2) creates the child inside the cgroup (Linux 5.7). The descriptor is the cgroup's directory.
    CreatedInside(BorrowedFd<'a>),
    /// The child writes itself into cgroup.procs before anything else. The descriptor is that file, open to write.
    WritesItself(BorrowedFd<'a>),
}

/// What applies to a child in addition to its command.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// The child gets namespaces of its own, which it cannot leave.
    pub containment: Option<&'a Containment>,
    /// The child gets a copy of the caller's memory. This is for a kernel that kills every process that has the memory of
    /// a process that it kills.
    pub copies_memory: bool,
    /// The caller wants a pidfd.
    pub pidfd: bool,
    /// An oom_score_adj of -1000 that the child inherits is set to 0.
    pub raise_oom_score: bool,
    /// How long to wait for the program to begin. None is as long as it takes.
    pub supervision: Option<Supervision<'a>>,
}

/// A child that has executed its program.
#[derive(Debug)]
pub struct Child {
    /// The pid. The caller has to wait for the process.
    pub pid: i32,
    /// The pidfd, if the caller wanted one and the kernel has pidfds.
    pub pidfd: Option<OwnedFd>,
    /// True if the library has seen that the child executes the program. It is false if another thread of the host has
    /// waited for the child: either after the program ended, or after the child was killed in execve(2).
    pub(crate) exec_seen: bool,
}

/// Why no program was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// clone(2), or an allocation that it needs, failed.
    NotCreated(Errno),
    /// This step of the child failed.
    Failed(Step, Errno),
    /// The child was killed at this step, before it executed the program.
    Killed(Step),
    /// A seccomp filter killed the child at this step.
    KilledByFilter(Step),
    /// The group was frozen, and the child was killed for that reason.
    Frozen,
    /// The program did not begin in time, and the child was killed for that reason.
    TimedOut,
    /// The child failed, but its report is not visible because it has no memory in common with the parent. In valgrind
    /// vfork(2) is fork(2).
    NoReport,
}

/// Starts a program. The calling thread is suspended until the program begins or the child has ended, unless the child is
/// supervised.
pub fn start(entry: Entry<'_>, command: &Command<'_>, options: Options<'_>) -> Result<Child, Failure> {
    let (cgroup, procs) = match entry {
        Entry::CreatedInside(cgroup) => (cgroup.as_raw_fd(), -1),
        Entry::WritesItself(procs) => (-1, procs.as_raw_fd()),
    };
    // unshare(2) of a user namespace fails for a process that shares its memory.
    let unshare = options.containment.is_some() && procs >= 0;
    let copies_memory = options.copies_memory || unshare || (cgroup >= 0 && !HAS_OWN_STACK);
    let mut flags = libc::CLONE_VFORK;
    flags |= if copies_memory { 0 } else { libc::CLONE_VM };
    flags |= if options.containment.is_some() && !unshare { NAMESPACES } else { 0 };
    if let Some(supervision) = options.supervision.filter(|_| clone_shares_memory()) {
        let make_setup = |report: &ChildReport| {
            child_setup(command, options, report).map(|setup| ChildSetup { procs, unshare, ..setup })
        };
        let created = supervised::create(supervision, cgroup, flags, make_setup);
        return supervised_child(created.map_err(Failure::NotCreated)?, options);
    }
    let (own_report, shared_report) =
        (ChildReport::default(), copies_memory.then(SharedMemory::<ChildReport>::new).transpose());
    let shared_report = shared_report.map_err(Failure::NotCreated)?;
    let report = shared_report.as_deref().unwrap_or(&own_report);
    let mut setup = child_setup(command, options, report).map_err(Failure::NotCreated)?;
    (setup.procs, setup.unshare) = (procs, unshare);
    let pidfd = AtomicI32::new(-1);
    flags |= if options.pidfd { libc::CLONE_PIDFD } else { 0 };
    let _occupied = options.pidfd.then(occupy_stdio).transpose().map_err(Failure::NotCreated)?;
    let argument = (&raw mut setup).cast::<c_void>();
    let mut stack = Stack::new().map_err(Failure::NotCreated)?;
    let blocked = BlockedSignals::block_all().map_err(Failure::NotCreated)?;
    // SAFETY: this thread is suspended until the child has executed the program or ended. `child_main` takes a
    // `ChildSetup`, and may run in this memory.
    let created = unsafe {
        match cgroup {
            -1 => clone(flags, stack.bytes(), pidfd.as_ptr(), child_main, argument),
            _ => clone_into_cgroup(cgroup, flags, stack.bytes(), pidfd.as_ptr(), child_main, argument),
        }
    };
    drop(blocked);
    let pid = match created {
        Err(Errno::EINTR) => return start(entry, command, options),
        created => created.map_err(Failure::NotCreated)?,
    };
    let pidfd = pidfd.into_inner();
    // SAFETY: the kernel has created this descriptor for this call, under `occupy_stdio`.
    let pidfd = (pidfd >= 0).then(|| unsafe { descriptors::adopt(pidfd) });
    match await_exec(pid, report) {
        Err(Failure::NoReport) if !copies_memory => {
            start(entry, command, Options { copies_memory: true, ..options })
        }
        begun => begun.map(|exec_seen| Child { pid, pidfd, exec_seen }),
    }
}

/// Returns what became of a supervised child.
fn supervised_child(created: Created, options: Options<'_>) -> Result<Child, Failure> {
    let Created { pid, pidfd, killed, report } = created;
    let why = killed.map(|killed| match killed {
        Killed::Frozen => Failure::Frozen,
        Killed::TimedOut => Failure::TimedOut,
    });
    let pid = pid.map_err(|e| why.unwrap_or(Failure::NotCreated(e)))?;
    match (await_exec(pid, &report), why) {
        (Ok(_), Some(why)) => {
            reap(pid);
            Err(why)
        }
        (Err(Failure::Killed(_)), Some(why)) => Err(why),
        (begun, _) => begun.map(|exec_seen| Child { pid, pidfd: pidfd.filter(|_| options.pidfd), exec_seen }),
    }
}

/// The setup of a child that does not enter a cgroup by itself.
pub(super) fn child_setup<'a>(
    command: &'a Command<'a>,
    options: Options<'a>,
    report: &ChildReport,
) -> nix::Result<ChildSetup<'a>> {
    let holder = options.containment.and_then(|containment| containment.namespace_holder.as_ref());
    let holder = holder.map(NamespaceHolder::file);
    Ok(ChildSetup {
        procs: -1,
        raise_oom_score: options.raise_oom_score,
        unshare: false,
        containment: options.containment,
        command,
        redirections: Redirections::new(command, holder)?,
        reports_by_name: false,
        oom_score_adj: command.oom_score_adj.map(Text::of),
        host: command.parent_death_signal.map_or(0, |_| std::process::id()),
        report: &raw const *report,
    })
}

/// Waits until the child has executed the program or ended. Returns true if the child was seen executing the program.
///
/// The child's report has precedence over the result of the wait: a thread that waits for children of every kind (__WALL)
/// may have waited for this child.
pub(super) fn await_exec(pid: i32, report: &ChildReport) -> Result<bool, Failure> {
    let outcome = outcome_of(pid);
    if matches!(outcome, Outcome::Exited | Outcome::Killed(_)) {
        reap(pid);
    }
    match (report.read(), outcome) {
        (_, Outcome::Executed) => Ok(true),
        ((step, Some(e)), _) => Err(Failure::Failed(step, e)),
        (_, Outcome::Exited) => Err(Failure::NoReport),
        ((step, None), Outcome::Killed(libc::SIGSYS)) => Err(Failure::KilledByFilter(step)),
        ((step, None), Outcome::Killed(_)) => Err(Failure::Killed(step)),
        // The child did not get as far as execve(2), unless its report is not visible.
        ((step, None), Outcome::ReapedElsewhere)
            if step < Step::Exec && (step > Step::Start || clone_shares_memory()) =>
        {
            Err(Failure::Killed(step))
        }
        ((_, None), Outcome::ReapedElsewhere) => Ok(false),
    }
}

/// What waitid(2) reports of a child.
enum Outcome {
    /// The child has executed the program. The program may have ended since.
    Executed,
    /// The child exited before it executed the program.
    Exited,
    /// This signal killed the child before it executed the program.
    Killed(c_int),
    /// Another thread has waited for the child.
    ReapedElsewhere,
}

/// Waits until the child has executed the program or ended.
///
/// When clone(2) returns, the child may still prepare: vfork(2) lets the parent continue before it can wait for a dying child,
/// and where vfork(2) is fork(2), as in valgrind, the child may still be running.
fn outcome_of(pid: i32) -> Outcome {
    const INTERVAL: Duration = Duration::from_micros(50);
    loop {
        match stage(libc::P_PID, pid.unsigned_abs()) {
            Stage::Executed => return Outcome::Executed,
            Stage::Preparing => std::thread::sleep(INTERVAL),
            Stage::Ended { code: libc::CLD_EXITED, .. } => return Outcome::Exited,
            Stage::Ended { status, .. } => return Outcome::Killed(status),
            Stage::NoChild(_) => return Outcome::ReapedElsewhere,
        }
    }
}

/// How far a child is, as waitid(2) reports it.
pub(super) enum Stage {
    /// The child has executed the program. The program may have ended since.
    Executed,
    /// The child has neither executed the program nor ended.
    Preparing,
    /// The child has ended before it executed the program. Nobody has waited for it.
    Ended { pid: i32, code: c_int, status: c_int },
    /// There is no such child, or another thread has waited for it.
    NoChild(Errno),
}

/// Returns how far a child is. `kind` and `id` are those of waitid(2).
///
/// A plain wait finds the child only after execve(2) has changed its exit signal to SIGCHLD. Before that, a wait with
/// __WCLONE finds it.
pub(super) fn stage(kind: libc::idtype_t, id: libc::id_t) -> Stage {
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    let has_executed = || match waitid(kind, id, flags).0 {
        Ok(()) => true,
        // A security module hides the child's status. The errno still shows that a child of this kind exists.
        Err(e) => e == Errno::EACCES,
    };
    if has_executed() {
        return Stage::Executed;
    }
    let (result, info) = waitid(kind, id, flags | libc::__WCLONE);
    // SAFETY: the kernel filled in the fields of a child, or left them 0 because none has ended.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    match (result, pid) {
        // The child may have executed the program between the two calls.
        (Err(_) | Ok(()), 0) if has_executed() => Stage::Executed,
        (Err(e), _) => Stage::NoChild(e),
        (Ok(()), 0) => Stage::Preparing,
        (Ok(()), _) => Stage::Ended { pid, code: info.si_code, status },
    }
}

/// Returns true if a child of clone(2) with CLONE_VM shares the memory of its parent. In valgrind it has a copy.
fn clone_shares_memory() -> bool {
    extern "C" fn set_true(flag: *mut c_void) -> c_int {
        // SAFETY: `flag` points to an `AtomicBool` of the parent, which is suspended until this process has ended.
        unsafe { &*flag.cast::<AtomicBool>() }.store(true, Ordering::Release);
        exit(0)
    }
    static SEEN: AtomicBool = AtomicBool::new(false);
    if SEEN.load(Ordering::Relaxed) {
        return true;
    }
    let flag = AtomicBool::new(false);
    let argument = (&raw const flag).cast_mut().cast::<c_void>();
    let (Ok(mut stack), Ok(_blocked)) = (Stack::new(), BlockedSignals::block_all()) else { return true };
    // SAFETY: this thread is suspended until the child has ended. The child writes to `flag` and to its stack.
    let created =
        unsafe { clone(libc::CLONE_VM | libc::CLONE_VFORK, stack.bytes(), null_mut(), set_true, argument) };
    if let Ok(pid) = created {
        reap(pid);
    }
    if flag.load(Ordering::Acquire) {
        SEEN.store(true, Ordering::Relaxed);
        return true;
    }
    // If no child could be created, the usual case is assumed.
    created.is_err()
}

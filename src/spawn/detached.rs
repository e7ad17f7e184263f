// SPDX-License-Identifier: MIT OR Apache-2.0
//! A program that is not a child of the calling process.
//!
//! An intermediary starts the program and exits at once, so that the kernel gives the program to init or to the nearest
//! subreaper. Both processes share the caller's memory until execve(2), and the calling thread is suspended until then, as
//! with vfork(2). The intermediary's exit signal is 0: the caller gets no SIGCHLD, and only a wait with __WCLONE or __WALL
//! finds the intermediary.

#![allow(unsafe_code)]

use super::child::{ChildReport, ChildSetup, Step, child_main};
use super::clone3::{HAS_OWN_STACK, Stack, clone, clone_into_cgroup, clone_into_cgroup_autoreap};
use super::command::Command;
use super::parent::{Entry, Failure, Options, child_setup};
use crate::sys::process::{exit, wait};
use crate::sys::shared_memory::SharedMemory;
use crate::sys::syscall::syscall;
use crate::sys::thread::BlockedSignals;
use nix::errno::Errno;
use std::ffi::{c_int, c_void};
use std::os::fd::{AsRawFd, RawFd};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicI32, Ordering};

/// The memory that the three processes share, even where CLONE_VM copies the memory, as in valgrind.
#[derive(Default)]
#[repr(C)]
struct SharedState {
    report: ChildReport,
    pid: AtomicI32,
    outcome: AtomicI32,
}

/// Values of [`SharedState::outcome`]. A positive value is the errno with which clone(2) failed.
const NOT_STARTED: c_int = 0;
const EXECUTED: c_int = -1;
const EXITED: c_int = -2;
const KILLED: c_int = -3;

struct Intermediary<'a> {
    shared: *const SharedState,
    /// The directory of the cgroup in which the child is created, or -1.
    cgroup: RawFd,
    stack: Stack,
    setup: ChildSetup<'a>,
}

/// Starts a program, inside a cgroup if there is an `entry`. Returns the pid once the program has begun.
pub fn start(entry: Option<Entry<'_>>, command: &Command<'_>) -> Result<i32, Failure> {
    let shared = SharedMemory::<SharedState>::new().map_err(Failure::NotCreated)?;
    // The guard keeps the host's oom_score_adj: if the OOM killer must not choose the host, it must not choose the guard.
    let options = Options {
        containment: None,
        raise_oom_score: false,
        copies_memory: false,
        pidfd: false,
        supervision: None,
    };
    let mut intermediary = Intermediary {
        shared: shared.as_ptr(),
        cgroup: -1,
        stack: Stack::new().map_err(Failure::NotCreated)?,
        setup: child_setup(command, options, &shared.report).map_err(Failure::NotCreated)?,
    };
    // A guard that is short of descriptors could not do its work.
    intermediary.setup.redirections.fail_if_short();
    match entry {
        Some(Entry::CreatedInside(cgroup)) => intermediary.cgroup = cgroup.as_raw_fd(),
        Some(Entry::WritesItself(procs)) => intermediary.setup.procs = procs.as_raw_fd(),
        None => {}
    }
    run(&mut intermediary).map_err(Failure::NotCreated)?;
    let (step, errno) = shared.report.read();
    match shared.outcome.load(Ordering::Acquire) {
        EXECUTED => Ok(shared.pid.load(Ordering::Acquire)),
        EXITED => Err(errno.map_or(Failure::NoReport, |e| Failure::Failed(step, e))),
        KILLED => Err(Failure::Killed(step)),
        NOT_STARTED => Err(Failure::Killed(Step::Start)),
        e => Err(Failure::NotCreated(Errno::from_raw(e))),
    }
}

/// Creates the intermediary and waits until it has ended.
fn run(intermediary: &mut Intermediary<'_>) -> nix::Result<()> {
    // CLONE_FILES would do as well, because no process here needs a table of descriptors of its own. But valgrind ends the
    // host for it.
    let flags = libc::CLONE_VM | libc::CLONE_VFORK;
    let mut stack = Stack::new()?;
    let pid = loop {
        // The host's signal handlers must not run in the children.
        let _blocked = BlockedSignals::block_all()?;
        let argument = (&raw mut *intermediary).cast::<c_void>();
        // SAFETY: this thread is suspended until the intermediary has ended. `intermediary_main` takes an `Intermediary`,
        // and may run in this memory.
        match unsafe { clone(flags, stack.bytes(), null_mut(), intermediary_main, argument) } {
            Err(Errno::EINTR) => {}
            created => break created?,
        }
    };
    // ECHILD: another thread of the host waits for children of every kind. The outcome is in `shared`.
    let _ = wait(pid);
    Ok(())
}

extern "C" fn intermediary_main(intermediary: *mut c_void) -> c_int {
    // SAFETY: the host keeps both until this process has ended.
    let (intermediary, shared) = unsafe {
        let intermediary = &mut *intermediary.cast::<Intermediary<'_>>();
        let shared = &*intermediary.shared;
        (intermediary, shared)
    };
    let flags = libc::CLONE_VM | libc::CLONE_VFORK;
    let setup = (&raw mut intermediary.setup).cast::<c_void>();
    let stack = intermediary.stack.bytes();
    let created = loop {
        // SAFETY: this process is suspended until its child has executed the program or ended. `child_main` takes a
        // `ChildSetup`, and may run in this memory.
        let created = unsafe {
            match intermediary.cgroup {
                -1 => clone(flags, stack, null_mut(), child_main, setup),
                cgroup if HAS_OWN_STACK => {
                    match clone_into_cgroup_autoreap(cgroup, flags, stack, child_main, setup) {
                        Err(Errno::EINVAL) => {
                            clone_into_cgroup(cgroup, flags, stack, null_mut(), child_main, setup)
                        }
                        created => created,
                    }
                }
                cgroup => clone_into_cgroup(cgroup, libc::CLONE_VFORK, stack, null_mut(), child_main, setup),
            }
        };
        if created != Err(Errno::EINTR) {
            break created;
        }
    };
    let outcome = match created {
        Ok(pid) => {
            shared.pid.store(pid, Ordering::Release);
            outcome_of(pid, &shared.report)
        }
        Err(e) => e as c_int,
    };
    shared.outcome.store(outcome, Ordering::Release);
    exit(0)
}

/// Waits until the child has executed the program or ended. execve(2) changes the child's exit signal to SIGCHLD, so that a
/// wait with __WCLONE no longer finds the child. A child that ends before that is waited for here: it would otherwise
/// become a zombie of the host, if the host is a subreaper.
fn outcome_of(pid: i32, report: &ChildReport) -> c_int {
    static INTERVAL: libc::timespec = libc::timespec { tv_sec: 0, tv_nsec: 50_000 };
    let mut status: c_int = 0;
    let flags = libc::WNOHANG | libc::__WCLONE;
    loop {
        match syscall(libc::SYS_wait4, [pid as isize, (&raw mut status) as isize, flags as isize, 0, 0]) {
            // vfork(2) lets the parent continue before it can wait for a dying child. Where vfork(2) is fork(2), as in
            // valgrind, the child may still be running.
            Ok(0) => {
                let _ = syscall(libc::SYS_nanosleep, [(&raw const INTERVAL) as isize, 0, 0, 0, 0]);
            }
            Ok(_) if libc::WIFEXITED(status) => return EXITED,
            Ok(_) => return KILLED,
            Err(Errno::EINTR) => {}
            // The child has executed the program, or the kernel has reaped it (CLONE_AUTOREAP).
            Err(_) => {
                return match report.read() {
                    (_, Some(_)) => EXITED,
                    (Step::Exec, None) => EXECUTED,
                    (_, None) => KILLED,
                };
            }
        }
    }
}

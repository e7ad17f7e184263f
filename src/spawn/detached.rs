// SPDX-License-Identifier: MIT OR Apache-2.0
//! A program that is not a child of the calling process.
//!
//! An intermediary process starts it and ends at once, so that the kernel gives it to init, or to the nearest
//! subreaper. Both share the caller's memory until execve(2) and the calling thread is suspended meanwhile, as with
//! vfork(2). The exit signal of the intermediary process is 0: no SIGCHLD, and only a wait with __WCLONE finds it.

#![allow(unsafe_code)]

use super::child::{ChildSetup, Report, Step, child_main};
use super::clone3::{self, HAS_OWN_STACK};
use super::parent::{Command, Entry, Failure, Options, Stack, clone, setup};
use crate::sys::process::{exit, wait};
use crate::sys::shared_memory::SharedMemory;
use crate::sys::syscall::call;
use crate::sys::thread::BlockedSignals;
use nix::errno::Errno;
use std::ffi::{c_int, c_void};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicI32, Ordering};

/// What the processes share even where CLONE_VM copies the memory, as valgrind has it.
#[derive(Default)]
#[repr(C)]
struct SharedState {
    report: Report,
    pid: AtomicI32,
    outcome: AtomicI32,
}

/// Values of [`SharedState::outcome`]; a positive value is the errno of the clone(2) that failed.
const NOT_STARTED: c_int = 0;
const BEGUN: c_int = -1;
const EXITED: c_int = -2;
const KILLED: c_int = -3;

struct Intermediary<'a> {
    shared: *const SharedState,
    /// The cgroup's directory, or -1.
    born_in: RawFd,
    stack: Stack,
    setup: ChildSetup<'a>,
}

/// Start the program, inside a cgroup if `way` names one, with `passed` as its descriptors 3 and 4 (see
/// [`ChildSetup::passed`]). Returns its pid once it has begun.
pub fn start(way: Option<Entry<'_>>, command: &Command<'_>, passed: [RawFd; 2]) -> Result<i32, Failure> {
    let shared = SharedMemory::<SharedState>::new().map_err(Failure::NotCreated)?;
    // A host that is not to be chosen by the OOM killer has a guard that is not either.
    let options =
        Options { containment: None, raise_oom_score: false, copied: false, pidfd: false, watched: None };
    let mut intermediary = Intermediary {
        shared: shared.as_ptr(),
        born_in: -1,
        stack: Stack::new().map_err(Failure::NotCreated)?,
        setup: setup(command, options, &shared.report),
    };
    intermediary.setup.passed = Some(passed);
    match way {
        Some(Entry::BornInside(dir)) => intermediary.born_in = dir.as_raw_fd(),
        Some(Entry::WritesItself(procs)) => intermediary.setup.enter = procs.as_raw_fd(),
        None => {}
    }
    run(&mut intermediary).map_err(Failure::NotCreated)?;
    let (step, errno) = shared.report.read();
    match shared.outcome.load(Ordering::Acquire) {
        BEGUN => Ok(shared.pid.load(Ordering::Acquire)),
        EXITED => Err(errno.map_or(Failure::NoReport, |e| Failure::Failed(step, e))),
        KILLED => Err(Failure::Killed(step)),
        NOT_STARTED => Err(Failure::Killed(Step::Start)),
        e => Err(Failure::NotCreated(Errno::from_raw(e))),
    }
}

/// Run the intermediary process to its end.
fn run(intermediary: &mut Intermediary<'_>) -> nix::Result<()> {
    // Without CLONE_FILES, though nothing here needs a table of descriptors of its own: valgrind ends the host for it.
    let flags = libc::CLONE_VM | libc::CLONE_VFORK;
    let mut stack = Stack::new()?;
    let pid = loop {
        // The host's handlers are not to run in the children.
        let _blocked = BlockedSignals::block_all()?;
        // SAFETY: this thread stands still until the child has ended, which keeps to `intermediary_main`.
        let argument = (&raw mut *intermediary).cast::<c_void>();
        match unsafe { clone(flags, stack.bytes(), null_mut(), intermediary_main, argument) } {
            Err(Errno::EINTR) => {}
            made => break made?,
        }
    };
    // ECHILD: another thread of the host waits for children of every kind. The outcome is in `shared`.
    let _ = wait(pid);
    Ok(())
}

extern "C" fn intermediary_main(intermediary: *mut c_void) -> c_int {
    // SAFETY: both are there until we have ended.
    let (intermediary, shared) = unsafe {
        let intermediary = &mut *intermediary.cast::<Intermediary<'_>>();
        let shared = &*intermediary.shared;
        (intermediary, shared)
    };
    let flags = libc::CLONE_VM | libc::CLONE_VFORK;
    let setup = (&raw mut intermediary.setup).cast::<c_void>();
    let stack = intermediary.stack.bytes();
    let made = loop {
        // SAFETY: this process stands still until its child has exec'd or ended, and the child keeps to `child_main`.
        let made = unsafe {
            match intermediary.born_in {
                -1 => clone(flags, stack, null_mut(), child_main, setup),
                cgroup if HAS_OWN_STACK => {
                    match clone3::start_reaped(cgroup, flags, stack, child_main, setup) {
                        Err(Errno::EINVAL) => {
                            clone3::start(cgroup, flags, stack, null_mut(), child_main, setup)
                        }
                        made => made,
                    }
                }
                cgroup => clone3::start(cgroup, libc::CLONE_VFORK, stack, null_mut(), child_main, setup),
            }
        };
        if made != Err(Errno::EINTR) {
            break made;
        }
    };
    let outcome = match made {
        Ok(pid) => {
            shared.pid.store(pid, Ordering::Release);
            outcome_of(pid, &shared.report)
        }
        Err(e) => e as c_int,
    };
    shared.outcome.store(outcome, Ordering::Release);
    exit(0)
}

/// Whether the child has become the program. execve(2) makes its exit signal SIGCHLD, so that a wait with __WCLONE
/// finds it no more. A child that ended before is waited for here: it would be a zombie of the host's, if that is a
/// subreaper.
fn outcome_of(pid: i32, report: &Report) -> c_int {
    static PAUSE: libc::timespec = libc::timespec { tv_sec: 0, tv_nsec: 50_000 };
    let mut status: c_int = 0;
    let flags = libc::WNOHANG | libc::__WCLONE;
    loop {
        match call(libc::SYS_wait4, [pid as isize, (&raw mut status) as isize, flags as isize, 0, 0]) {
            // vfork(2) lets its parent go on before a dying child can be waited for. And where it is only fork(2), as
            // in valgrind, the child may not have got so far.
            Ok(0) => {
                let _ = call(libc::SYS_nanosleep, [(&raw const PAUSE) as isize, 0, 0, 0, 0]);
            }
            Ok(_) if libc::WIFEXITED(status) => return EXITED,
            Ok(_) => return KILLED,
            Err(Errno::EINTR) => {}
            // Or it has ended, and needed nobody to wait for it.
            Err(_) => {
                return match report.read() {
                    (_, Some(_)) => EXITED,
                    (Step::Exec, None) => BEGUN,
                    (_, None) => KILLED,
                };
            }
        }
    }
}

/// Wait for one that is the caller's child after all and has ended: the caller is a subreaper, or the init of its pid
/// namespace.
pub fn reap(pidfd: BorrowedFd<'_>) {
    let id = pidfd.as_fd().as_raw_fd().unsigned_abs();
    let flags = libc::WEXITED | libc::WNOHANG | libc::__WALL;
    // SAFETY: no result is asked for. ECHILD: it was not ours.
    unsafe { libc::waitid(libc::P_PIDFD, id, null_mut(), flags) };
}

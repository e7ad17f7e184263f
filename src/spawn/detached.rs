// SPDX-License-Identifier: MIT OR Apache-2.0
//! A program that is not a child of the calling process.
//!
//! An intermediate process starts it and ends at once, so that the kernel gives it to init, or to the nearest
//! subreaper. Both share the caller's memory until execve(2) and the calling thread is suspended meanwhile, as with
//! vfork(2). The exit signal of the intermediate process is 0: no SIGCHLD, and only a wait with __WCLONE finds it.

#![allow(unsafe_code)]

use super::child::{Orders, Report, Step, live};
use super::clone3::{self, HAS_OWN_STACK};
use super::parent::{Care, Failure, Program, Stack, Way, clone, orders};
use crate::sys::process::{exit, wait};
use crate::sys::shared::Shared;
use crate::sys::signals::Blocked;
use crate::sys::syscall::call;
use nix::errno::Errno;
use std::ffi::{c_int, c_void};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicI32, Ordering};

/// What the processes share even where CLONE_VM copies the memory, as valgrind has it.
#[derive(Default)]
#[repr(C)]
struct Common {
    report: Report,
    pid: AtomicI32,
    outcome: AtomicI32,
}

/// Values of [`Common::outcome`]; a positive value is the errno of the clone(2) that failed.
const NOT_STARTED: c_int = 0;
const BEGUN: c_int = -1;
const EXITED: c_int = -2;
const KILLED: c_int = -3;

struct Intermediate<'a> {
    common: *const Common,
    /// The cgroup's directory, or -1.
    born_in: RawFd,
    stack: Stack,
    orders: Orders<'a>,
}

/// Start the program, inside a cgroup if `way` names one, with `passed` as its descriptors 3 and 4 (see
/// [`Orders::passed`]). Returns its pid once it has begun.
pub fn start(way: Option<Way<'_>>, program: &Program<'_>, passed: [RawFd; 2]) -> Result<i32, Failure> {
    let common = Shared::<Common>::new().map_err(Failure::NotMade)?;
    // A host that is not to be chosen by the OOM killer has a guard that is not either.
    let care = Care { containment: None, raise_oom_score: false, copied: false, pidfd: false, watched: None };
    let mut intermediate = Intermediate {
        common: common.as_ptr(),
        born_in: -1,
        stack: Stack::new().map_err(Failure::NotMade)?,
        orders: orders(program, care, &common.report),
    };
    intermediate.orders.passed = Some(passed);
    match way {
        Some(Way::Born(dir)) => intermediate.born_in = dir.as_raw_fd(),
        Some(Way::Enters(procs)) => intermediate.orders.enter = procs.as_raw_fd(),
        None => {}
    }
    run(&mut intermediate).map_err(Failure::NotMade)?;
    let (step, errno) = common.report.read();
    match common.outcome.load(Ordering::Acquire) {
        BEGUN => Ok(common.pid.load(Ordering::Acquire)),
        EXITED => Err(errno.map_or(Failure::Mute, |e| Failure::Stopped(step, e))),
        KILLED => Err(Failure::Killed(step)),
        NOT_STARTED => Err(Failure::Killed(Step::Unborn)),
        e => Err(Failure::NotMade(Errno::from_raw(e))),
    }
}

/// Run the intermediate process to its end.
fn run(intermediate: &mut Intermediate<'_>) -> nix::Result<()> {
    // Without CLONE_FILES, though nothing here needs a table of descriptors of its own: valgrind ends the host for it.
    let flags = libc::CLONE_VM | libc::CLONE_VFORK;
    let mut stack = Stack::new()?;
    let pid = loop {
        // The host's handlers are not to run in the children.
        let _blocked = Blocked::all()?;
        // SAFETY: this thread stands still until the child has ended, which keeps to `start_and_end`.
        let argument = (&raw mut *intermediate).cast::<c_void>();
        match unsafe { clone(flags, stack.bytes(), null_mut(), start_and_end, argument) } {
            Err(Errno::EINTR) => {}
            made => break made?,
        }
    };
    // ECHILD: another thread of the host waits for children of every kind. The outcome is in `common`.
    let _ = wait(pid);
    Ok(())
}

extern "C" fn start_and_end(intermediate: *mut c_void) -> c_int {
    // SAFETY: both are there until we have ended.
    let (intermediate, common) = unsafe {
        let intermediate = &mut *intermediate.cast::<Intermediate<'_>>();
        let common = &*intermediate.common;
        (intermediate, common)
    };
    let flags = libc::CLONE_VM | libc::CLONE_VFORK;
    let orders = (&raw mut intermediate.orders).cast::<c_void>();
    let stack = intermediate.stack.bytes();
    let made = loop {
        // SAFETY: this process stands still until its child has exec'd or ended, and the child keeps to `live`.
        let made = unsafe {
            match intermediate.born_in {
                -1 => clone(flags, stack, null_mut(), live, orders),
                cgroup if HAS_OWN_STACK => match clone3::start_reaped(cgroup, flags, stack, live, orders) {
                    Err(Errno::EINVAL) => clone3::start(cgroup, flags, stack, null_mut(), live, orders),
                    made => made,
                },
                cgroup => clone3::start(cgroup, libc::CLONE_VFORK, stack, null_mut(), live, orders),
            }
        };
        if made != Err(Errno::EINTR) {
            break made;
        }
    };
    let outcome = match made {
        Ok(pid) => {
            common.pid.store(pid, Ordering::Release);
            outcome_of(pid, &common.report)
        }
        Err(e) => e as c_int,
    };
    common.outcome.store(outcome, Ordering::Release);
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

// SPDX-License-Identifier: MIT OR Apache-2.0
//! A child of the host's whom another has to put into the cgroup: systemd, where the kernel does not let us.
//!
//! While it is fetched it has to wait, and so the host's thread cannot stand still for it, which is how it would be
//! known whether the program has begun. So one goes between: a copy of the host, which waits, is fetched, and then
//! from inside bears the child as vfork(2) does, as a child of the host's (CLONE_PARENT).

#![allow(unsafe_code)]

use super::child::{NAMESPACES, Orders, Report, live};
use super::parent::{
    Care, Child, Failure, Program, Stack, clone, has_begun, is_there, orders, reap, reap_by,
};
use crate::sys::descriptors::{self, hold_stdio};
use crate::sys::pidfd_send_signal;
use crate::sys::shared::Shared;
use crate::sys::signals::Blocked;
use crate::sys::syscall::call;
use std::ffi::{c_int, c_void};
use std::os::fd::AsFd;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// What the host and the one between have in common.
#[derive(Default)]
#[repr(C)]
struct Common {
    report: Report,
    word: AtomicU32,
    /// The child's, once the kernel has made it, in the table of descriptors that both have; -1 until then.
    pidfd: AtomicI32,
}

/// The host's word: not yet, go on, or end.
const WAIT: u32 = 0;
const GO: u32 = 1;
const END: u32 = 2;

struct Between<'a> {
    common: *const Common,
    host: u32,
    flags: c_int,
    orders: Orders<'a>,
    stack: Stack,
}

/// Start the program in the cgroup into which `fetch` puts the process that it is given.
pub fn start<E>(
    program: &Program<'_>,
    care: Care<'_>,
    fetch: impl FnOnce(i32) -> Result<(), E>,
    is_frozen: impl Fn() -> bool,
) -> Result<Result<Child, Failure>, E> {
    // The pidfd comes into the table of descriptors that both have.
    let _held = match hold_stdio() {
        Ok(held) => held,
        Err(e) => return Ok(Err(Failure::NotMade(e))),
    };
    let made = begin(program, care);
    let (pid, common) = match made {
        Ok(made) => made,
        Err(e) => return Ok(Err(e)),
    };
    let fetched = fetch(pid);
    common.word.store(if fetched.is_ok() { GO } else { END }, Ordering::Release);
    let everybody = i32::MAX;
    // SAFETY: the word is live, and waking reads nothing else.
    unsafe { libc::syscall(libc::SYS_futex, &raw const common.word, libc::FUTEX_WAKE, everybody) };
    let was_frozen = wait_for(pid, is_frozen);
    fetched?;
    let pidfd = common.pidfd.load(Ordering::Acquire);
    // SAFETY: the kernel has just made it for us.
    let pidfd = (pidfd >= 0).then(|| unsafe { descriptors::made(pidfd) });
    if let Some(pidfd) = pidfd.as_ref().filter(|_| was_frozen) {
        // It has died already, or is frozen.
        let _ = pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL);
        reap_by(pidfd);
        return Ok(Err(Failure::Frozen));
    }
    Ok(match (common.report.pid.load(Ordering::Acquire), common.report.read()) {
        (0, (_, Some(e))) => Err(Failure::NotMade(e)),
        (0, (step, None)) => {
            // Killed before its first instruction.
            pidfd.iter().for_each(reap_by);
            Err(if was_frozen { Failure::Frozen } else { Failure::Killed(step) })
        }
        (pid, _) => {
            let pidfd = pidfd.filter(|_| care.pidfd);
            has_begun(pid, &common.report).map(|seen| Child { pid, pidfd, seen })
        }
    })
}

/// Wait for the one between. If the cgroup in which it stands is frozen at two looks that follow one another, it is killed.
/// Returns true then.
fn wait_for(pid: i32, is_frozen: impl Fn() -> bool) -> bool {
    const LONGEST_NAP: Duration = Duration::from_millis(10);
    const LOOK: Duration = Duration::from_millis(100);
    let (mut nap, mut was_frozen, mut looked) = (Duration::from_micros(50), false, Instant::now());
    while is_there(pid) {
        std::thread::sleep(nap);
        nap = (nap * 2).min(LONGEST_NAP);
        if looked.elapsed() < LOOK {
            continue;
        }
        let is_frozen = is_frozen();
        if is_frozen && was_frozen {
            // It has ended already, or does now.
            let _ = crate::sys::kill(pid, libc::SIGKILL);
            reap(pid);
            return true;
        }
        (was_frozen, looked) = (is_frozen, Instant::now());
    }
    reap(pid);
    false
}

fn begin(program: &Program<'_>, care: Care<'_>) -> Result<(i32, Shared<Common>), Failure> {
    let common = Shared::<Common>::new().map_err(Failure::NotMade)?;
    common.pidfd.store(-1, Ordering::Relaxed);
    let mut flags = libc::CLONE_VFORK | libc::CLONE_VM | libc::CLONE_PARENT | libc::CLONE_PIDFD;
    flags |= if care.containment.is_some() { NAMESPACES } else { 0 };
    let mut between = Between {
        common: common.as_ptr(),
        host: std::process::id(),
        flags,
        orders: orders(program, care, &common.report),
        stack: Stack::new().map_err(Failure::NotMade)?,
    };
    let argument = (&raw mut between).cast::<c_void>();
    let mut stack = Stack::new().map_err(Failure::NotMade)?;
    let _blocked = Blocked::all().map_err(Failure::NotMade)?;
    // SAFETY: it has a copy of everything but the descriptors, and keeps to `go_between`.
    let made = unsafe { clone(libc::CLONE_FILES, stack.bytes(), null_mut(), go_between, argument) };
    made.map(|pid| (pid, common)).map_err(Failure::NotMade)
}

extern "C" fn go_between(between: *mut c_void) -> c_int {
    // SAFETY: it is a copy of the host's, and `common` is there for as long as the host waits for us.
    let (between, common) = unsafe {
        let between = &mut *between.cast::<Between<'_>>();
        let common = &*between.common;
        (between, common)
    };
    let dies_with_host = [libc::PR_SET_PDEATHSIG as isize, libc::SIGKILL as isize, 0, 0, 0];
    let _cannot_fail = call(libc::SYS_prctl, dies_with_host);
    if call(libc::SYS_getppid, [0; 5]).map(i32::unsigned_abs) != Ok(between.host) {
        return 0;
    }
    let word = (&raw const common.word) as isize;
    while common.word.load(Ordering::Acquire) == WAIT {
        let _looked_at_again = call(libc::SYS_futex, [word, libc::FUTEX_WAIT as isize, WAIT as isize, 0, 0]);
    }
    if common.word.load(Ordering::Acquire) == GO {
        let (pidfd, orders) = (common.pidfd.as_ptr(), (&raw mut between.orders).cast::<c_void>());
        // SAFETY: we stand still until the child has exec'd or ended, and it keeps to `live`.
        let made = unsafe { clone(between.flags, between.stack.bytes(), pidfd, live, orders) };
        if let Err(e) = made {
            common.report.failed(e);
        }
    }
    0
}

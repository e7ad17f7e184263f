// SPDX-License-Identifier: MIT OR Apache-2.0
//! A child of the host's whom another has to put into the cgroup: systemd, where the kernel does not let us.
//!
//! While it is moved it has to wait, and so the host's thread cannot stand still for it, which is how it would be
//! known whether the program has begun. So one goes intermediary: a copy of the host, which waits, is fetched, and then
//! from inside bears the child as vfork(2) does, as a child of the host's (CLONE_PARENT).

#![allow(unsafe_code)]

use super::child::{ChildSetup, NAMESPACES, Report, child_main};
use super::parent::{
    Child, Command, Failure, Options, Stack, clone, has_begun, is_there, reap, reap_by, setup,
};
use crate::sys::descriptors::{self, hold_stdio};
use crate::sys::pidfd_send_signal;
use crate::sys::shared_memory::SharedMemory;
use crate::sys::syscall::call;
use crate::sys::thread::BlockedSignals;
use std::ffi::{c_int, c_void};
use std::os::fd::AsFd;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// What the host and the one between have in common.
#[derive(Default)]
#[repr(C)]
struct SharedState {
    report: Report,
    word: AtomicU32,
    /// The child's, once the kernel has made it, in the table of descriptors that both have; -1 until then.
    pidfd: AtomicI32,
}

/// The host's word: not yet, go on, or end.
const WAIT: u32 = 0;
const GO: u32 = 1;
const END: u32 = 2;

struct Intermediary<'a> {
    shared: *const SharedState,
    host: u32,
    flags: c_int,
    setup: ChildSetup<'a>,
    stack: Stack,
}

/// Start the program in the cgroup into which `fetch` puts the process that it is given.
pub fn start<E>(
    command: &Command<'_>,
    options: Options<'_>,
    move_in: impl FnOnce(i32) -> Result<(), E>,
    is_frozen: impl Fn() -> bool,
) -> Result<Result<Child, Failure>, E> {
    // The pidfd comes into the table of descriptors that both have.
    let _held = match hold_stdio() {
        Ok(held) => held,
        Err(e) => return Ok(Err(Failure::NotCreated(e))),
    };
    let made = begin(command, options);
    let (pid, shared) = match made {
        Ok(made) => made,
        Err(e) => return Ok(Err(e)),
    };
    let moved = move_in(pid);
    shared.word.store(if moved.is_ok() { GO } else { END }, Ordering::Release);
    let everybody = i32::MAX;
    // SAFETY: the word is live, and waking reads nothing else.
    unsafe { libc::syscall(libc::SYS_futex, &raw const shared.word, libc::FUTEX_WAKE, everybody) };
    let was_frozen = wait_for(pid, is_frozen);
    moved?;
    let pidfd = shared.pidfd.load(Ordering::Acquire);
    // SAFETY: the kernel has just made it for us.
    let pidfd = (pidfd >= 0).then(|| unsafe { descriptors::made(pidfd) });
    if let Some(pidfd) = pidfd.as_ref().filter(|_| was_frozen) {
        // It has died already, or is frozen.
        let _ = pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL);
        reap_by(pidfd);
        return Ok(Err(Failure::Frozen));
    }
    Ok(match (shared.report.pid.load(Ordering::Acquire), shared.report.read()) {
        (0, (_, Some(e))) => Err(Failure::NotCreated(e)),
        (0, (step, None)) => {
            // Killed before its first instruction.
            pidfd.iter().for_each(reap_by);
            Err(if was_frozen { Failure::Frozen } else { Failure::Killed(step) })
        }
        (pid, _) => {
            let pidfd = pidfd.filter(|_| options.pidfd);
            has_begun(pid, &shared.report).map(|seen| Child { pid, pidfd, seen })
        }
    })
}

/// Wait for the one intermediary. If the cgroup in which it stands is frozen at two looks that follow one another, it is killed.
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

fn begin(command: &Command<'_>, options: Options<'_>) -> Result<(i32, SharedMemory<SharedState>), Failure> {
    let shared = SharedMemory::<SharedState>::new().map_err(Failure::NotCreated)?;
    shared.pidfd.store(-1, Ordering::Relaxed);
    let mut flags = libc::CLONE_VFORK | libc::CLONE_VM | libc::CLONE_PARENT | libc::CLONE_PIDFD;
    flags |= if options.containment.is_some() { NAMESPACES } else { 0 };
    let mut intermediary = Intermediary {
        shared: shared.as_ptr(),
        host: std::process::id(),
        flags,
        setup: setup(command, options, &shared.report),
        stack: Stack::new().map_err(Failure::NotCreated)?,
    };
    let argument = (&raw mut intermediary).cast::<c_void>();
    let mut stack = Stack::new().map_err(Failure::NotCreated)?;
    let _blocked = BlockedSignals::block_all().map_err(Failure::NotCreated)?;
    // SAFETY: it has a copy of everything but the descriptors, and keeps to `intermediary_main`.
    let made = unsafe { clone(libc::CLONE_FILES, stack.bytes(), null_mut(), intermediary_main, argument) };
    made.map(|pid| (pid, shared)).map_err(Failure::NotCreated)
}

extern "C" fn intermediary_main(intermediary: *mut c_void) -> c_int {
    // SAFETY: it is a copy of the host's, and `shared` is there for as long as the host waits for us.
    let (intermediary, shared) = unsafe {
        let intermediary = &mut *intermediary.cast::<Intermediary<'_>>();
        let shared = &*intermediary.shared;
        (intermediary, shared)
    };
    let dies_with_host = [libc::PR_SET_PDEATHSIG as isize, libc::SIGKILL as isize, 0, 0, 0];
    let _cannot_fail = call(libc::SYS_prctl, dies_with_host);
    if call(libc::SYS_getppid, [0; 5]).map(i32::unsigned_abs) != Ok(intermediary.host) {
        return 0;
    }
    let word = (&raw const shared.word) as isize;
    while shared.word.load(Ordering::Acquire) == WAIT {
        let _looked_at_again = call(libc::SYS_futex, [word, libc::FUTEX_WAIT as isize, WAIT as isize, 0, 0]);
    }
    if shared.word.load(Ordering::Acquire) == GO {
        let (pidfd, setup) = (shared.pidfd.as_ptr(), (&raw mut intermediary.setup).cast::<c_void>());
        // SAFETY: we stand still until the child has exec'd or ended, and it keeps to `child_main`.
        let made = unsafe { clone(intermediary.flags, intermediary.stack.bytes(), pidfd, child_main, setup) };
        if let Err(e) = made {
            shared.report.failed(e);
        }
    }
    0
}

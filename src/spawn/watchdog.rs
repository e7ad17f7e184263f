// SPDX-License-Identifier: MIT OR Apache-2.0
//! A process that kills a child which is frozen before it executes its program.
//!
//! The calling thread is suspended until the child executes the program or ends. In a group that is frozen during that time
//! the child does neither, and only SIGKILL ends the wait. The library creates no threads, so a process that shares the
//! host's memory and descriptors sends the signal.
//!
//! The watchdog takes up to a third of the time that the fastest program takes. It is used only for groups that are known
//! to be frozen at times.

#![allow(unsafe_code)]

use super::clone3::{Stack, clone};
use crate::parse;
use crate::sys::process::reap;
use crate::sys::syscall::syscall;
use std::ffi::{c_int, c_void};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};

/// The files that show whether the group is frozen, open to read.
#[derive(Debug, Clone, Copy)]
pub struct FreezeFds<'a> {
    /// The file cgroup.freeze.
    pub freeze: BorrowedFd<'a>,
    /// The file cgroup.events.
    pub events: BorrowedFd<'a>,
}

/// The memory that the watchdog shares with the calling thread.
struct SharedState<'a> {
    /// 1 when the work is done. The watchdog waits for it by futex(2).
    done: AtomicU32,
    killed: AtomicBool,
    pidfd: &'a AtomicI32,
    freeze: RawFd,
    events: RawFd,
    host: i32,
}

/// The time between two checks. A group that is frozen only for a moment, as by a kill without cgroup.kill, is found
/// frozen at one check at most.
static INTERVAL: libc::timespec = libc::timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// Runs `work`, which starts a child and stores its pidfd in `pidfd`, while a watchdog runs. The watchdog kills the child
/// if two successive checks find the group frozen. Returns the result of `work`, and true if the child was killed. The
/// caller has blocked all signals.
pub(super) fn run_guarded<T>(
    files: FreezeFds<'_>,
    pidfd: &AtomicI32,
    work: impl FnOnce() -> T,
) -> nix::Result<(T, bool)> {
    let shared = SharedState {
        done: AtomicU32::new(0),
        killed: AtomicBool::new(false),
        pidfd,
        freeze: files.freeze.as_raw_fd(),
        events: files.events.as_raw_fd(),
        host: syscall(libc::SYS_getpid, [0; 5])?,
    };
    let mut stack = Stack::new()?;
    let flags = libc::CLONE_VM | libc::CLONE_FILES | libc::CLONE_FS;
    let argument = (&raw const shared).cast_mut().cast::<c_void>();
    // SAFETY: `shared` and `stack` live until the watchdog has been waited for. It uses no other memory.
    let watchdog = unsafe { clone(flags, stack.bytes(), null_mut(), watchdog_main, argument) }?;
    let result = work();
    shared.done.store(1, Ordering::Release);
    let word = (&raw const shared.done) as isize;
    // It wakes the watchdog, if that is waiting.
    let _ = syscall(libc::SYS_futex, [word, libc::FUTEX_WAKE as isize, i32::MAX as isize, 0, 0]);
    reap(watchdog);
    Ok((result, shared.killed.load(Ordering::Acquire)))
}

extern "C" fn watchdog_main(shared: *mut c_void) -> c_int {
    // SAFETY: the parent keeps the state until this process has ended.
    let shared = unsafe { &*shared.cast::<SharedState<'_>>() };
    // It cannot fail: the signal is valid.
    let _ = syscall(libc::SYS_prctl, [libc::PR_SET_PDEATHSIG as isize, libc::SIGKILL as isize, 0, 0, 0]);
    let word = (&raw const shared.done) as isize;
    let mut was_frozen = false;
    loop {
        // The result does not matter: a check that comes early does no harm.
        let wait = [word, libc::FUTEX_WAIT as isize, 0, (&raw const INTERVAL) as isize, 0];
        let _ = syscall(libc::SYS_futex, wait);
        if shared.done.load(Ordering::Acquire) != 0 || syscall(libc::SYS_getppid, [0; 5]) != Ok(shared.host) {
            return 0;
        }
        let is_frozen = file_has(shared.freeze, |text| text.starts_with(b"1"))
            || file_has(shared.events, |text| parse::value(text, b"frozen") == Some(1));
        let pidfd = shared.pidfd.load(Ordering::Acquire);
        if is_frozen && was_frozen && pidfd >= 0 {
            shared.killed.store(true, Ordering::Release);
            // ESRCH: the child has ended.
            let _ = syscall(libc::SYS_pidfd_send_signal, [pidfd as isize, libc::SIGKILL as isize, 0, 0, 0]);
        }
        was_frozen = is_frozen;
    }
}

/// Returns false also for a file that cannot be read, as after the group was removed.
fn file_has(fd: RawFd, predicate: impl FnOnce(&[u8]) -> bool) -> bool {
    let mut buf = [0u8; 256];
    let read = [fd as isize, buf.as_mut_ptr() as isize, buf.len() as isize, 0, 0];
    let length = syscall(libc::SYS_pread64, read).ok().and_then(|length| usize::try_from(length).ok());
    length.and_then(|length| buf.get(..length)).is_some_and(predicate)
}

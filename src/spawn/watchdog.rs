// SPDX-License-Identifier: MIT OR Apache-2.0
//! A way out of a wait that may have no end. The host's thread stands still until its child executes a program or dies,
//! and a child in a cgroup that is frozen meanwhile does neither. Only SIGKILL for the child ends that. The library makes no
//! threads, so a process with the host's memory and descriptors sends it.
//!
//! It costs as much as a third of the fastest program, and so is only there for groups that somebody freezes.

#![allow(unsafe_code)]

use super::parent::{Stack, clone, reap};
use crate::parse;
use crate::sys::syscall::call;
use std::ffi::{c_int, c_void};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};

/// The files that tell whether the group is frozen, open to read.
#[derive(Debug, Clone, Copy)]
pub struct FreezeFiles<'a> {
    /// cgroup.freeze
    pub asked: BorrowedFd<'a>,
    /// cgroup.events
    pub events: BorrowedFd<'a>,
}

/// In memory that both have.
struct Shared<'a> {
    over: AtomicU32,
    killed: AtomicBool,
    pidfd: &'a AtomicI32,
    asked: RawFd,
    events: RawFd,
    host: i32,
}

/// Intermediary two looks. Who freezes a group for a moment only, as a kill without cgroup.kill does, is not in the way.
static LOOK: libc::timespec = libc::timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// Do `work`, which starts a child and leaves its pidfd there. The child is killed if the group is frozen at two looks that
/// follow one another. Returns true with the result if it was. All signals are blocked for the calling thread.
pub(super) fn guard<T>(
    files: FreezeFiles<'_>,
    pidfd: &AtomicI32,
    work: impl FnOnce() -> T,
) -> nix::Result<(T, bool)> {
    let shared = Shared {
        over: AtomicU32::new(0),
        killed: AtomicBool::new(false),
        pidfd,
        asked: files.asked.as_raw_fd(),
        events: files.events.as_raw_fd(),
        host: call(libc::SYS_getpid, [0; 5])?,
    };
    let mut stack = Stack::new()?;
    let flags = libc::CLONE_VM | libc::CLONE_FILES | libc::CLONE_FS;
    let argument = (&raw const shared).cast_mut().cast::<c_void>();
    // SAFETY: it keeps to `watch`, and what it uses stays until it was waited for.
    let pid = unsafe { clone(flags, stack.bytes(), null_mut(), watch, argument) }?;
    let done = work();
    shared.over.store(1, Ordering::Release);
    let word = (&raw const shared.over) as isize;
    // Nobody may be waiting.
    let _ = call(libc::SYS_futex, [word, libc::FUTEX_WAKE as isize, i32::MAX as isize, 0, 0]);
    reap(pid);
    Ok((done, shared.killed.load(Ordering::Acquire)))
}

extern "C" fn watch(shared: *mut c_void) -> c_int {
    // SAFETY: who made us keeps it until we have ended.
    let shared = unsafe { &*shared.cast::<Shared<'_>>() };
    // It cannot fail.
    let _ = call(libc::SYS_prctl, [libc::PR_SET_PDEATHSIG as isize, libc::SIGKILL as isize, 0, 0, 0]);
    let word = (&raw const shared.over) as isize;
    let mut was_frozen = false;
    loop {
        // A look too early does no harm.
        let wait = [word, libc::FUTEX_WAIT as isize, 0, (&raw const LOOK) as isize, 0];
        let _ = call(libc::SYS_futex, wait);
        if shared.over.load(Ordering::Acquire) != 0 || call(libc::SYS_getppid, [0; 5]) != Ok(shared.host) {
            return 0;
        }
        let is_frozen = reads(shared.asked, |text| text.starts_with(b"1"))
            || reads(shared.events, |text| parse::value(text, b"frozen") == Some(1));
        let pidfd = shared.pidfd.load(Ordering::Acquire);
        if is_frozen && was_frozen && pidfd >= 0 {
            shared.killed.store(true, Ordering::Release);
            // It may have died already.
            let _ = call(libc::SYS_pidfd_send_signal, [pidfd as isize, libc::SIGKILL as isize, 0, 0, 0]);
        }
        was_frozen = is_frozen;
    }
}

/// False, too, for a file that cannot be read: with the group it goes.
fn reads(fd: RawFd, has: impl FnOnce(&[u8]) -> bool) -> bool {
    let mut buf = [0u8; 256];
    let read = [fd as isize, buf.as_mut_ptr() as isize, buf.len() as isize, 0, 0];
    let length = call(libc::SYS_pread64, read).ok().and_then(|length| usize::try_from(length).ok());
    length.and_then(|length| buf.get(..length)).is_some_and(has)
}

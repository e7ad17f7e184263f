// SPDX-License-Identifier: MIT OR Apache-2.0
//! A descriptor that threads share without a lock.

use nix::errno::Errno;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, Ordering};

/// A cell for one descriptor. It is set at most once, and dropping the cell closes the descriptor. The cell has no lock,
/// which a fork could leave locked in the child.
#[derive(Debug)]
pub struct OnceFd(AtomicI32);

const EMPTY: RawFd = -1;

impl OnceFd {
    /// Creates an empty cell.
    pub const fn new() -> Self {
        Self(AtomicI32::new(EMPTY))
    }

    /// Returns the descriptor, if the cell is set.
    pub fn get(&self) -> Option<BorrowedFd<'_>> {
        match self.0.load(Ordering::Acquire) {
            EMPTY => None,
            // SAFETY: `set` gave the descriptor's ownership to this cell. Only drop closes it, and the borrow does not
            // outlive the cell.
            fd => Some(unsafe { BorrowedFd::borrow_raw(fd) }),
        }
    }

    /// Sets the cell. If another thread has set it before, `fd` is closed, and the descriptor of the other thread is
    /// returned.
    pub fn set(&self, fd: OwnedFd) -> Option<BorrowedFd<'_>> {
        let raw = fd.as_raw_fd();
        if self.0.compare_exchange(EMPTY, raw, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            // The cell owns it from now on.
            let _ = fd.into_raw_fd();
        }
        self.get()
    }

    /// Replaces the open file behind the cell's descriptor, whose number stays the same. A thread that is reading from the
    /// old file completes its read.
    pub fn replace(&self, fd: BorrowedFd<'_>) -> nix::Result<()> {
        match self.0.load(Ordering::Acquire) {
            EMPTY => Err(Errno::EBADF),
            // SAFETY: the cell owns the number and continues to own it: dup3(2) replaces the file atomically.
            own => Errno::result(unsafe { libc::dup3(fd.as_raw_fd(), own, libc::O_CLOEXEC) }).map(drop),
        }
    }
}

impl Drop for OnceFd {
    fn drop(&mut self) {
        let fd = *self.0.get_mut();
        if fd != EMPTY {
            // SAFETY: `set` made this cell the only owner of the descriptor.
            drop(unsafe { OwnedFd::from_raw_fd(fd) });
        }
    }
}

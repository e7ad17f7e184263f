// SPDX-License-Identifier: MIT OR Apache-2.0
//! Locks on files: flock(2), and fcntl(2)'s locks of open file descriptions.

use super::retry::retry_on_eintr;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use std::ffi::c_int;
use std::os::fd::{AsRawFd, BorrowedFd};

/// How flock(2) holds a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum Lock {
    /// One open file holds the lock.
    Exclusive = libc::LOCK_EX,
    /// Several open files can hold the lock.
    Shared = libc::LOCK_SH,
    /// The lock is released.
    None = libc::LOCK_UN,
}

/// Changes a lock by flock(2), without waiting. Returns false if another open file holds a conflicting lock. A lock that
/// this open file held before is released in that case as well.
pub fn flock(fd: BorrowedFd<'_>, lock: Lock) -> nix::Result<bool> {
    // SAFETY: the call takes two integers. nix's Flock would own the descriptor.
    match retry_on_eintr(|| {
        Errno::result(unsafe { libc::flock(fd.as_raw_fd(), lock as i32 | libc::LOCK_NB) })
    }) {
        Ok(_) => Ok(true),
        Err(Errno::EWOULDBLOCK) => Ok(false),
        // The kernel has no memory for the lock.
        Err(Errno::ENOLCK) => Err(Errno::ENOMEM),
        Err(e) => Err(e),
    }
}

/// A lock on the whole file.
fn whole_file(kind: c_int) -> libc::flock {
    // SAFETY: all zeros are a valid `flock`: from the start to the end of the file.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = kind as libc::c_short;
    lock
}

/// Takes a shared lock that belongs to the open file (F_OFD_SETLK). Only a process that has the open file can release it,
/// and the last close of the open file does.
pub fn share_lock(fd: BorrowedFd<'_>) -> nix::Result<()> {
    match fcntl(fd, FcntlArg::F_OFD_SETLK(&whole_file(libc::F_RDLCK))) {
        // The kernel has no memory for the lock.
        Err(Errno::ENOLCK) => Err(Errno::ENOMEM),
        result => result.map(drop),
    }
}

/// Returns true if another open file has a shared lock on the file.
pub fn is_share_locked(fd: BorrowedFd<'_>) -> nix::Result<bool> {
    let mut lock = whole_file(libc::F_WRLCK);
    fcntl(fd, FcntlArg::F_OFD_GETLK(&mut lock))?;
    Ok(c_int::from(lock.l_type) != libc::F_UNLCK)
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! What processes of the library's own do at their end, and before they become others.

use nix::errno::Errno;
use std::os::fd::RawFd;

/// The exit status of a child with an exit signal of 0.
pub(super) fn wait(pid: i32) -> nix::Result<i32> {
    let mut status = 0;
    loop {
        // SAFETY: status is an int of ours.
        match Errno::result(unsafe { libc::waitpid(pid, &raw mut status, libc::__WCLONE) }) {
            Ok(_) if libc::WIFEXITED(status) => return Ok(libc::WEXITSTATUS(status)),
            Ok(_) => return Err(Errno::ECHILD),
            Err(Errno::EINTR) => {}
            Err(e) => return Err(e),
        }
    }
}

/// At once, without the host's handlers for exit(3).
pub(super) fn exit(status: i32) -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(status) }
}

/// Close every descriptor from this one on. By syscall(3), since the calling thread may have been cancelled.
///
/// # Safety
/// Nobody else in this process uses them.
pub(super) unsafe fn close_from(first: RawFd) {
    // SAFETY: the caller's promise.
    unsafe {
        // Linux 5.9
        if libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) == 0 {
            return;
        }
        let mut limit = libc::rlimit { rlim_cur: 1024, rlim_max: 1024 };
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        let most = RawFd::try_from(limit.rlim_max).unwrap_or(RawFd::MAX).min(1 << 20);
        for fd in first..most {
            libc::syscall(libc::SYS_close, fd);
        }
    }
}

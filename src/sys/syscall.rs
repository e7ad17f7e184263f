// SPDX-License-Identifier: MIT OR Apache-2.0
//! System calls by syscall(3), for processes that share the host's memory. libc's own functions may be cancellation
//! points, and the thread that created such a process may have been cancelled.

use super::retry::retry_on_eintr;
use nix::errno::Errno;
use std::ffi::{CStr, c_int, c_void};
use std::os::fd::RawFd;
use std::ptr::null;

/// openat(2), close-on-exec.
pub fn open(directory: RawFd, path: &CStr, flags: c_int) -> nix::Result<RawFd> {
    let flags = (flags | libc::O_CLOEXEC) as isize;
    syscall(libc::SYS_openat, [directory as isize, path.as_ptr() as isize, flags, 0, 0])
}

/// write(2). A short write is not an error; the files of the kernel take a short text as a whole.
pub fn write(fd: RawFd, text: &[u8]) -> nix::Result<()> {
    syscall(libc::SYS_write, [fd as isize, text.as_ptr() as isize, text.len() as isize, 0, 0]).map(drop)
}

/// Duplicates a descriptor, close-on-exec, to a number that is at least `lowest`.
pub fn dup_at_least(fd: RawFd, lowest: RawFd) -> nix::Result<RawFd> {
    syscall(libc::SYS_fcntl, [fd as isize, libc::F_DUPFD_CLOEXEC as isize, lowest as isize, 0, 0])
}

/// close(2), whose result does not matter: the number is free whatever it is, EINTR included.
pub fn close(fd: RawFd) {
    let _ = syscall_once(libc::SYS_close, [fd as isize, 0, 0, 0, 0]);
}

/// Makes a system call whose result fits into an int, again as long as a signal interrupts it.
pub fn syscall(number: libc::c_long, arguments: [isize; 5]) -> nix::Result<i32> {
    retry_on_eintr(|| syscall_once(number, arguments))
}

fn syscall_once(number: libc::c_long, [a, b, c, d, e]: [isize; 5]) -> nix::Result<i32> {
    let sixth = null::<c_void>();
    // SAFETY: each caller passes the arguments that its system call takes. None of these calls takes six.
    let result = Errno::result(unsafe { libc::syscall(number, a, b, c, d, e, sixth) })?;
    i32::try_from(result).map_err(|_| Errno::EOVERFLOW)
}

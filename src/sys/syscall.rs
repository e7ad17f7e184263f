// SPDX-License-Identifier: MIT OR Apache-2.0
//! System calls by syscall(3), for processes that share the host's memory: libc's own functions are cancellation points,
//! and the thread that made such a process may have been cancelled.

use nix::errno::Errno;
use std::ffi::{CStr, c_int, c_void};
use std::os::fd::RawFd;
use std::ptr::null;

pub fn open(directory: RawFd, path: &CStr, flags: c_int) -> nix::Result<RawFd> {
    let flags = (flags | libc::O_CLOEXEC) as isize;
    call(libc::SYS_openat, [directory as isize, path.as_ptr() as isize, flags, 0, 0])
}

pub fn write(fd: RawFd, text: &[u8]) -> nix::Result<()> {
    call(libc::SYS_write, [fd as isize, text.as_ptr() as isize, text.len() as isize, 0, 0]).map(drop)
}

pub fn above(fd: RawFd, count: RawFd) -> nix::Result<RawFd> {
    call(libc::SYS_fcntl, [fd as isize, libc::F_DUPFD_CLOEXEC as isize, count as isize, 0, 0])
}

pub fn close(fd: RawFd) {
    // The number is free whatever the call returns, EINTR too.
    let _ = call_once(libc::SYS_close, [fd as isize, 0, 0, 0, 0]);
}

/// What these system calls give fits into an int.
pub fn call(number: libc::c_long, arguments: [isize; 5]) -> nix::Result<i32> {
    loop {
        match call_once(number, arguments) {
            Err(Errno::EINTR) => {}
            done => return done,
        }
    }
}

fn call_once(number: libc::c_long, [a, b, c, d, e]: [isize; 5]) -> nix::Result<i32> {
    let nothing = null::<c_void>();
    // SAFETY: each caller passes what its call takes; none of those here takes six.
    let result = Errno::result(unsafe { libc::syscall(number, a, b, c, d, e, nothing) })?;
    i32::try_from(result).map_err(|_| Errno::EOVERFLOW)
}

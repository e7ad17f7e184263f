// SPDX-License-Identifier: MIT OR Apache-2.0
//! System calls by syscall(3), for processes that share the host's memory. libc's own functions may be cancellation
//! points, and the thread that created such a process may have been cancelled.

use super::retry::retry_on_eintr;
use nix::errno::Errno;
use std::ffi::{CStr, c_int, c_void};
use std::os::fd::RawFd;
use std::ptr::null;
use std::sync::atomic::{AtomicU32, Ordering};

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

/// Has the calling process killed when its parent ends. Returns false if that is no longer the process `parent`.
pub fn end_with_parent(parent: u32) -> bool {
    set_parent_death_signal(libc::SIGKILL);
    syscall(libc::SYS_getppid, [0; 5]).map(i32::unsigned_abs) == Ok(parent)
}

/// Undoes [`end_with_parent`].
pub fn outlive_parent() {
    set_parent_death_signal(0);
}

fn set_parent_death_signal(signal: c_int) {
    // It cannot fail: the signal is valid.
    let _ = syscall(libc::SYS_prctl, [libc::PR_SET_PDEATHSIG as isize, signal as isize, 0, 0, 0]);
}

/// Waits while the word, which several processes share, has this value.
pub fn wait_while(word: &AtomicU32, value: u32) {
    while word.load(Ordering::Acquire) == value {
        // The result does not matter: the loop reads the word again.
        let arguments = [word.as_ptr() as isize, libc::FUTEX_WAIT as isize, value as isize, 0, 0];
        let _ = syscall(libc::SYS_futex, arguments);
    }
}

/// Stores a value and wakes all that [`wait_while`] it was another.
pub fn store_and_wake(word: &AtomicU32, value: u32) {
    word.store(value, Ordering::Release);
    // It cannot fail: the word lives.
    let arguments = [word.as_ptr() as isize, libc::FUTEX_WAKE as isize, i32::MAX as isize, 0, 0];
    let _ = syscall(libc::SYS_futex, arguments);
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

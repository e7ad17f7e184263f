// SPDX-License-Identifier: MIT OR Apache-2.0
//! The island of unsafe code under the library: system calls that nix lacks, a descriptor that threads share
//! without a lock, a program beside the host program.

#![allow(unsafe_code)]

pub mod deadline;
pub mod descriptors;
pub mod fork_id;
pub mod fork_mutex;
pub mod getdents;
pub mod guard;
pub mod inotify;
pub mod kernel;
pub mod kernfile;
pub mod library_path;
pub mod process;
pub mod random;
#[cfg(feature = "c-library")]
pub mod reserve_allocator;
pub mod seqpacket;
pub mod shared_memory;
pub mod syscall;
pub mod thread;
pub mod try_alloc;

pub use descriptors::pidfd_open;

use nix::errno::Errno;
use std::ffi::{CStr, c_int};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, Ordering};

/// A place for one descriptor, filled at most once and emptied by drop. There is no lock in it that
/// a fork could leave locked in the child.
#[derive(Debug)]
pub struct OnceFd(AtomicI32);

const EMPTY: RawFd = -1;

impl OnceFd {
    /// Nothing in it.
    pub const fn new() -> Self {
        Self(AtomicI32::new(EMPTY))
    }

    /// What is in it.
    pub fn get(&self) -> Option<BorrowedFd<'_>> {
        match self.0.load(Ordering::Acquire) {
            EMPTY => None,
            // SAFETY: the number was put there by `keep`, which gave the descriptor's ownership to
            // this slot; only drop closes it, and the borrow does not outlive the slot.
            fd => Some(unsafe { BorrowedFd::borrow_raw(fd) }),
        }
    }

    /// Put `fd` in; if another thread was faster `fd` is closed and the other's is the answer.
    pub fn keep(&self, fd: OwnedFd) -> Option<BorrowedFd<'_>> {
        let raw = fd.as_raw_fd();
        if self.0.compare_exchange(EMPTY, raw, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            let _owned_by_the_slot = fd.into_raw_fd();
        }
        self.get()
    }

    /// Put another open file under the number that is in it. Who is reading by the old one goes on to its end.
    pub fn replace(&self, fd: BorrowedFd<'_>) -> nix::Result<()> {
        match self.0.load(Ordering::Acquire) {
            EMPTY => Err(Errno::EBADF),
            // SAFETY: the number is this slot's, and stays so: dup3(2) changes what is behind it at one stroke.
            own => Errno::result(unsafe { libc::dup3(fd.as_raw_fd(), own, libc::O_CLOEXEC) }).map(drop),
        }
    }
}

impl Drop for OnceFd {
    fn drop(&mut self) {
        let fd = *self.0.get_mut();
        if fd != EMPTY {
            // SAFETY: `keep` made this slot the one owner of the descriptor.
            drop(unsafe { OwnedFd::from_raw_fd(fd) });
        }
    }
}

/// The name of a thread's scheduling policy if it is one of those that come before all others; 0 is the calling thread.
pub fn realtime_policy(tid: i32) -> Option<&'static str> {
    // SAFETY: the call takes an integer.
    match unsafe { libc::sched_getscheduler(tid) } & !libc::SCHED_RESET_ON_FORK {
        libc::SCHED_FIFO => Some("SCHED_FIFO"),
        libc::SCHED_RR => Some("SCHED_RR"),
        libc::SCHED_DEADLINE => Some("SCHED_DEADLINE"),
        _ => None,
    }
}

/// Returns true if a seccomp filter holds for the calling thread, and so for its children.
pub fn is_filtered() -> bool {
    // SAFETY: the call takes integers. A filter that refuses it is one.
    unsafe { libc::prctl(libc::PR_GET_SECCOMP, 0, 0, 0, 0) != 0 }
}

/// pidfd_send_signal(2), Linux 5.1.
pub fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: c_int) -> nix::Result<()> {
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: the descriptor is open for as long as it is borrowed; a null siginfo is allowed.
    let done = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, no_info, 0) };
    Errno::result(done).map(drop)
}

/// How flock(2) is to hold a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum Lock {
    /// Alone.
    Exclusive = libc::LOCK_EX,
    /// With others that share it.
    Shared = libc::LOCK_SH,
    /// Not any more.
    None = libc::LOCK_UN,
}

/// flock(2), without waiting: false if another's lock stands against it. One held before is given up all
/// the same.
pub fn flock(fd: BorrowedFd<'_>, lock: Lock) -> nix::Result<bool> {
    loop {
        // SAFETY: the call takes two integers.
        match Errno::result(unsafe { libc::flock(fd.as_raw_fd(), lock as i32 | libc::LOCK_NB) }) {
            Ok(_) => return Ok(true),
            Err(Errno::EWOULDBLOCK) => return Ok(false),
            Err(Errno::EINTR) => {}
            // The kernel has no memory for it.
            Err(Errno::ENOLCK) => return Err(Errno::ENOMEM),
            Err(e) => return Err(e),
        }
    }
}

/// kill(2) for one process: nix has no name for real-time signals. `EINVAL` for 0 and below, which would
/// be our own process group and everybody.
pub fn kill(pid: i32, signal: c_int) -> nix::Result<()> {
    if pid < 1 {
        return Err(Errno::EINVAL);
    }
    // SAFETY: the call takes two integers.
    Errno::result(unsafe { libc::kill(pid, signal) }).map(drop)
}

/// getxattr(2): whether the attribute is there and is just this.
pub fn has_xattr(path: &CStr, name: &CStr, value: &[u8]) -> bool {
    let mut buf = [0u8; 16];
    // SAFETY: both strings end with NUL, and the kernel writes at most the buffer's length.
    let size = unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), buf.as_mut_ptr().cast(), buf.len()) };
    usize::try_from(size).is_ok_and(|size| buf.get(..size) == Some(value))
}

/// setxattr(2), on what a descriptor is open for.
pub fn set_xattr(fd: BorrowedFd<'_>, name: &CStr, value: &[u8]) -> nix::Result<()> {
    // SAFETY: the name ends with NUL, and the kernel reads no more than the value's length.
    let done =
        unsafe { libc::fsetxattr(fd.as_raw_fd(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    Errno::result(done).map(drop)
}

/// getxattr(2), of what a descriptor is open for: the value, if it fits.
pub fn get_xattr<'b>(fd: BorrowedFd<'_>, name: &CStr, buf: &'b mut [u8]) -> nix::Result<&'b [u8]> {
    // SAFETY: the name ends with NUL, and the kernel writes at most the buffer's length.
    let size = unsafe { libc::fgetxattr(fd.as_raw_fd(), name.as_ptr(), buf.as_mut_ptr().cast(), buf.len()) };
    let size = usize::try_from(size).map_err(|_| Errno::last())?;
    Ok(buf.get(..size).unwrap_or_default())
}

/// The same of what a path leads to, which takes no descriptor.
pub fn get_xattr_at<'b>(path: &CStr, name: &CStr, buf: &'b mut [u8]) -> nix::Result<&'b [u8]> {
    // SAFETY: both strings end with NUL, and the kernel writes at most the buffer's length.
    let size = unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), buf.as_mut_ptr().cast(), buf.len()) };
    let size = usize::try_from(size).map_err(|_| Errno::last())?;
    Ok(buf.get(..size).unwrap_or_default())
}

/// setxattr(2), on what a path leads to.
pub fn set_xattr_at(path: &CStr, name: &CStr, value: &[u8]) -> nix::Result<()> {
    // SAFETY: both strings end with NUL, and the kernel reads no more than the value's length.
    let done = unsafe { libc::setxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    Errno::result(done).map(drop)
}

/// A lock on all of a file, by fcntl(2), that belongs to the open file.
fn whole_file(kind: c_int) -> libc::flock {
    // SAFETY: all zeros are a flock: from the start, to the end, of no process.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = kind as libc::c_short;
    lock
}

/// Share a lock on an open file. Nobody can release it but who has the open file, and the last close does.
pub fn share_lock(fd: BorrowedFd<'_>) -> nix::Result<()> {
    let lock = whole_file(libc::F_RDLCK);
    // SAFETY: the kernel reads the struct, which lives.
    match Errno::result(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) }) {
        // The kernel has no memory for it.
        Err(Errno::ENOLCK) => Err(Errno::ENOMEM),
        done => done.map(drop),
    }
}

/// True if somebody shares a lock on the file, by another open file than this one.
pub fn is_share_locked(fd: BorrowedFd<'_>) -> nix::Result<bool> {
    let mut lock = whole_file(libc::F_WRLCK);
    // SAFETY: the kernel reads and writes the struct, which lives.
    Errno::result(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_OFD_GETLK, &raw mut lock) })?;
    Ok(c_int::from(lock.l_type) != libc::F_UNLCK)
}

/// getxattr(2) for its length alone: `ENODATA` if there is none such.
pub fn xattr_size(fd: BorrowedFd<'_>, name: &CStr) -> nix::Result<()> {
    // SAFETY: the name ends with NUL; with a length of 0 the kernel writes nothing.
    let size = unsafe { libc::fgetxattr(fd.as_raw_fd(), name.as_ptr(), std::ptr::null_mut(), 0) };
    Errno::result(size).map(drop)
}

/// A call whose failure would leave something half done, made again where the cause may pass. `is_final`: an errno that
/// another try would give again.
pub fn retry_transient<T>(
    is_final: impl Fn(Errno) -> bool,
    mut call: impl FnMut() -> nix::Result<T>,
) -> nix::Result<T> {
    const TRIES: usize = 3;
    let mut done = call();
    for _ in 1..TRIES {
        match done {
            Err(e) if !is_final(e) => done = call(),
            _ => break,
        }
    }
    done
}

/// A call that a signal may interrupt, made again until none does.
pub fn retry_on_eintr<T>(mut call: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            done => return done,
        }
    }
}

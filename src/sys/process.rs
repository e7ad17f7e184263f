// SPDX-License-Identifier: MIT OR Apache-2.0
//! What processes of the library's own do at their end, and before they become others.

use super::getdents::for_each_link;
use super::syscall::call;
use nix::errno::Errno;
use std::ffi::c_int;
use std::os::fd::{BorrowedFd, RawFd};
use std::ptr::null_mut;

/// The exit status of a child with an exit signal of 0. ECHILD if it was killed.
pub fn wait(pid: i32) -> nix::Result<i32> {
    let status = wait_status(pid)?;
    if libc::WIFEXITED(status) { Ok(libc::WEXITSTATUS(status)) } else { Err(Errno::ECHILD) }
}

/// How a child with an exit signal of 0 ended, as waitpid(2) tells it.
pub fn wait_status(pid: i32) -> nix::Result<c_int> {
    let mut status = 0;
    loop {
        // SAFETY: status is an int of ours.
        match Errno::result(unsafe { libc::waitpid(pid, &raw mut status, libc::__WCLONE) }) {
            Ok(_) => return Ok(status),
            Err(Errno::EINTR) => {}
            Err(e) => return Err(e),
        }
    }
}

/// At once, without the host's handlers for exit(3).
pub fn exit(status: i32) -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(status) }
}

/// Close every descriptor from this one on. It runs between vfork(2) and execve(2), in memory that is the host's too: it
/// allocates nothing and makes system calls by syscall(3), since the calling thread may have been cancelled.
///
/// # Safety
/// Nobody else in this process uses them.
pub unsafe fn close_from(first: RawFd) {
    // Linux 5.9, where no seccomp filter refuses it.
    let all = [first as isize, libc::c_uint::MAX as isize, 0, 0, 0];
    if call(libc::SYS_close_range, all).is_ok() {
        return;
    }
    // SAFETY: the caller's promise.
    unsafe {
        if close_listed(first).is_err() {
            (first..table_size()).for_each(|fd| close(fd));
        }
    }
}

/// Those that /proc lists.
///
/// # Safety
/// As [`close_from`].
unsafe fn close_listed(first: RawFd) -> nix::Result<()> {
    let list = match open_list() {
        // The limit was lowered after others were opened: one that is to be closed makes room.
        Err(Errno::EMFILE) => {
            // SAFETY: the caller's promise.
            unsafe { close(first) };
            open_list()?
        }
        list => list?,
    };
    let mut complete = false;
    // SAFETY: it is open until the end of this function.
    let listed = for_each_link(unsafe { BorrowedFd::borrow_raw(list) }, |name| {
        match name.to_str().ok().and_then(|name| name.parse::<RawFd>().ok()) {
            Some(number) if number == list => complete = true,
            // The list goes by number: to close one that was listed hides no other.
            // SAFETY: the caller's promise.
            Some(number) if number >= first => unsafe { close(number) },
            _ => {}
        }
        Ok(())
    });
    // SAFETY: it was opened above.
    unsafe { close(list) };
    // What stands there may be no procfs, or that of another process.
    listed.and(if complete { Ok(()) } else { Err(Errno::ENOENT) })
}

fn open_list() -> nix::Result<RawFd> {
    let flags = (libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC) as isize;
    let path = c"/proc/self/fd".as_ptr() as isize;
    call(libc::SYS_openat, [libc::AT_FDCWD as isize, path, flags, 0, 0])
}

/// # Safety
/// Nobody else in this process uses it.
unsafe fn close(fd: RawFd) {
    let _may_be_closed = call(libc::SYS_close, [fd as isize, 0, 0, 0, 0]);
}

/// Without /proc: a number above that of every open descriptor. RLIMIT_NOFILE does not bound them, since it may have been
/// lowered after they were opened; and where it is a thousand million, to close all numbers below it takes minutes.
///
/// select(2) with the largest number of descriptors reads one bit for each that the process's table has room for, and is EFAULT
/// if the set ends before that, which it does here with the memory.
fn table_size() -> RawFd {
    /// Bits for 2^27 descriptors, for which the kernel's table takes 1 GiB.
    const LARGEST_SET: usize = 1 << 24;
    /// As large as pages are on any architecture.
    const GAP: usize = 1 << 16;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new mapping, where the kernel likes.
    let sets = unsafe { libc::mmap(null_mut(), LARGEST_SET + GAP, libc::PROT_NONE, flags, -1, 0) };
    if sets == libc::MAP_FAILED {
        return most_by_limit();
    }
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: the mapping above. The kernel reads zeros from it, and writes zeros back.
    let readable = unsafe { libc::mprotect(sets, LARGEST_SET, access) };
    let end = sets as isize + LARGEST_SET as isize;
    let mut bytes = if readable == 0 { size_of::<u64>() } else { LARGEST_SET + 1 };
    let mut size = None;
    while bytes <= LARGEST_SET {
        let mut no_time = [0u64; 2];
        let set = end - bytes as isize;
        let looked =
            call(libc::SYS_pselect6, [libc::c_int::MAX as isize, set, 0, 0, no_time.as_mut_ptr() as isize]);
        match looked {
            Err(Errno::EFAULT) => bytes *= 2,
            Ok(_) => {
                size = RawFd::try_from(bytes * 8).ok();
                break;
            }
            Err(_) => break,
        }
    }
    // SAFETY: the mapping above.
    unsafe { libc::munmap(sets, LARGEST_SET + GAP) };
    size.unwrap_or_else(most_by_limit)
}

/// Where that cannot be found out: the limit, or the largest that the kernel allows by default (fs.nr_open).
fn most_by_limit() -> RawFd {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a struct of ours, which the kernel fills in.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    RawFd::try_from(limit.rlim_max).unwrap_or(RawFd::MAX).max(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::super::fork_id::tests::in_a_child;
    use super::*;
    use nix::sys::resource::{Resource, getrlimit, setrlimit};

    fn is_open(fd: RawFd) -> bool {
        call(libc::SYS_fcntl, [fd as isize, libc::F_GETFD as isize, 0, 0, 0]).is_ok()
    }

    /// Runs `end` in a child that has these open, and the limit lowered to 64 afterwards.
    fn in_a_child_with(open: &[RawFd], end: impl Fn() -> bool) {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        let held = in_a_child(|| {
            setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
            for &fd in open {
                // SAFETY: two integers.
                assert_eq!(unsafe { libc::dup2(libc::STDERR_FILENO, fd) }, fd);
            }
            setrlimit(Resource::RLIMIT_NOFILE, 64, 64).unwrap();
            u8::from(end() && (0..3).all(is_open) && !open.iter().any(|&fd| fd >= 3 && is_open(fd)))
        });
        assert_eq!(held, 1);
    }

    #[test]
    fn every_listed_descriptor_is_closed_also_above_a_limit_that_was_lowered() {
        // SAFETY: the child uses none of them.
        in_a_child_with(&[3, 64, 900, 4000], || unsafe { close_listed(3) } == Ok(()));
        let full: Vec<RawFd> = (3..70).collect();
        // SAFETY: as above.
        in_a_child_with(&full, || unsafe { close_listed(3) } == Ok(()));
    }

    #[test]
    fn the_size_of_the_table_is_above_every_descriptor_and_no_more_than_some() {
        in_a_child_with(&[], || (64..=1 << 20).contains(&table_size()));
        for highest in [70, 900, 4000] {
            in_a_child_with(&[highest], || {
                let size = table_size();
                // SAFETY: the child uses none of them.
                (3..size).for_each(|fd| unsafe { close(fd) });
                (highest + 1..=4 * highest).contains(&size)
            });
        }
    }
}

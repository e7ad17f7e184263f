// SPDX-License-Identifier: MIT OR Apache-2.0
//! Closing all descriptors but some, in a child between vfork(2) and execve(2).

use super::getdents::for_each_symlink;
use super::syscall::{close, open, syscall};
use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit};
use std::os::fd::{BorrowedFd, RawFd};
use std::ptr::null_mut;

/// Closes every descriptor that is not in `kept`, which is sorted. The child may share the host's memory, so this function
/// allocates nothing.
///
/// # Safety
/// Nothing else in this process uses these descriptors.
pub unsafe fn close_all_but(kept: &[RawFd]) {
    // It fails before Linux 5.9, and if a seccomp filter refuses it.
    if close_ranges(kept).is_ok() {
        return;
    }
    if close_listed(kept).is_err() {
        (0..table_size()).filter(|&number| !is_in(kept, number)).for_each(close);
    }
}

fn is_in(kept: &[RawFd], number: RawFd) -> bool {
    kept.binary_search(&number).is_ok()
}

/// Closes what is between two numbers, and what is above the last one.
fn close_ranges(kept: &[RawFd]) -> nix::Result<()> {
    let close_range =
        |first: RawFd, last: isize| syscall(libc::SYS_close_range, [first as isize, last, 0, 0, 0]).map(drop);
    let mut first = 0;
    for &number in kept {
        if number > first {
            close_range(first, number as isize - 1)?;
        }
        first = number.saturating_add(1);
    }
    close_range(first, libc::c_uint::MAX as isize)
}

/// Closes the descriptors that /proc lists.
fn close_listed(kept: &[RawFd]) -> nix::Result<()> {
    let list = match open_list() {
        // The process has more descriptors than a limit that was lowered later. Closing one makes room.
        Err(Errno::EMFILE) => {
            (0..=RawFd::MAX).find(|&number| !is_in(kept, number)).into_iter().for_each(close);
            open_list()?
        }
        list => list?,
    };
    let mut complete = false;
    // SAFETY: the descriptor is open until the end of this function.
    let listed = for_each_symlink(unsafe { BorrowedFd::borrow_raw(list) }, |name| {
        match name.to_str().ok().and_then(|name| name.parse::<RawFd>().ok()) {
            Some(number) if number == list => complete = true,
            // The kernel lists the descriptors by number: closing one that was listed hides no other.
            Some(number) if !is_in(kept, number) => close(number),
            _ => {}
        }
        Ok(())
    });
    close(list);
    // A directory that does not list `list` is not of procfs, or shows another process.
    listed.and(if complete { Ok(()) } else { Err(Errno::ENOENT) })
}

fn open_list() -> nix::Result<RawFd> {
    open(libc::AT_FDCWD, c"/proc/self/fd", libc::O_RDONLY | libc::O_DIRECTORY)
}

/// Returns a number above every open descriptor, without /proc. RLIMIT_NOFILE is no such number: it may have been lowered
/// after descriptors were opened. It may also be a thousand million, and to close all numbers below that takes minutes.
///
/// select(2) with the largest number of descriptors reads one bit for each descriptor that the process's table has room
/// for. It fails with EFAULT if the set ends before that. Here the set ends where the accessible memory ends.
fn table_size() -> RawFd {
    /// Bits for 2^27 descriptors. The kernel's table for that many takes 1 GiB.
    const LARGEST_SET: usize = 1 << 24;
    /// The largest page of any architecture.
    const GAP: usize = 1 << 16;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: the kernel chooses the address of the new mapping.
    let sets = unsafe { libc::mmap(null_mut(), LARGEST_SET + GAP, libc::PROT_NONE, flags, -1, 0) };
    if sets == libc::MAP_FAILED {
        return largest_by_limit();
    }
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: the mapping was created above. The kernel reads zeros from it and writes zeros to it.
    let readable = unsafe { libc::mprotect(sets, LARGEST_SET, access) };
    let end = sets as isize + LARGEST_SET as isize;
    let mut bytes = if readable == 0 { size_of::<u64>() } else { LARGEST_SET + 1 };
    let mut size = None;
    while bytes <= LARGEST_SET {
        let mut no_time = [0u64; 2];
        let set = end - bytes as isize;
        let arguments = [libc::c_int::MAX as isize, set, 0, 0, no_time.as_mut_ptr() as isize];
        match syscall(libc::SYS_pselect6, arguments) {
            Err(Errno::EFAULT) => bytes *= 2,
            Ok(_) => {
                size = RawFd::try_from(bytes * 8).ok();
                break;
            }
            Err(_) => break,
        }
    }
    // SAFETY: the mapping was created above, and nothing else refers to it.
    unsafe { libc::munmap(sets, LARGEST_SET + GAP) };
    size.unwrap_or_else(largest_by_limit)
}

/// Returns the hard limit, or the largest number that the kernel allows by default (fs.nr_open) if that is larger.
fn largest_by_limit() -> RawFd {
    let hard = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(_, hard)| hard);
    RawFd::try_from(hard).unwrap_or(RawFd::MAX).max(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::super::fork_id::tests::in_a_child;
    use super::*;
    use nix::sys::resource::setrlimit;

    const STDIO: [RawFd; 3] = [0, 1, 2];

    fn is_open(fd: RawFd) -> bool {
        syscall(libc::SYS_fcntl, [fd as isize, libc::F_GETFD as isize, 0, 0, 0]).is_ok()
    }

    /// Runs `close_all` in a child that has these descriptors open and a limit that was lowered to 64 afterwards. The child
    /// uses none of them.
    fn in_a_child_with(open: &[RawFd], close_all: impl Fn() -> bool) {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        let closed = in_a_child(|| {
            setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
            for &fd in open {
                // SAFETY: the call takes two integers.
                assert_eq!(unsafe { libc::dup2(libc::STDERR_FILENO, fd) }, fd);
            }
            setrlimit(Resource::RLIMIT_NOFILE, 64, 64).unwrap();
            u8::from(close_all() && (0..3).all(is_open) && !open.iter().any(|&fd| fd >= 3 && is_open(fd)))
        });
        assert_eq!(closed, 1);
    }

    #[test]
    fn every_listed_descriptor_is_closed_also_above_a_limit_that_was_lowered() {
        in_a_child_with(&[3, 64, 900, 4000], || close_listed(&STDIO) == Ok(()));
        let full: Vec<RawFd> = (3..70).collect();
        in_a_child_with(&full, || close_listed(&STDIO) == Ok(()));
    }

    #[test]
    fn the_size_of_the_table_is_above_every_descriptor_and_no_more_than_some() {
        in_a_child_with(&[], || (64..=1 << 20).contains(&table_size()));
        for highest in [70, 900, 4000] {
            in_a_child_with(&[highest], || {
                let size = table_size();
                (3..size).for_each(close);
                (highest + 1..=4 * highest).contains(&size)
            });
        }
    }

    #[test]
    fn the_descriptors_between_those_that_are_kept_are_closed() {
        const OPEN: [RawFd; 5] = [3, 4, 5, 63, 900];
        const KEPT: [RawFd; 5] = [0, 1, 2, 4, 63];
        for close_others in [close_ranges, close_listed] {
            let closed = in_a_child(|| {
                for fd in OPEN {
                    // SAFETY: the call takes two integers.
                    assert_eq!(unsafe { libc::dup2(libc::STDERR_FILENO, fd) }, fd);
                }
                let done = close_others(&KEPT) == Ok(());
                u8::from(done && (0..1000).all(|fd| is_open(fd) == KEPT.contains(&fd)))
            });
            assert_eq!(closed, 1);
        }
    }
}

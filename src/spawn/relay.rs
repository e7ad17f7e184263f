// SPDX-License-Identifier: MIT OR Apache-2.0
//! Work that comes to its end though the kernel kills whoever does it.
//!
//! A process over its RLIMIT_CPU is killed at the next tick of the clock that finds it at work. So the calling process
//! sleeps, and children do the work, one after the other: each has the time until its first tick. To copy a process
//! takes a good part of a tick. That, too, is done by a child, which shares the memory of the caller as with vfork(2)
//! and costs little to make. It has a parent of its kind, and that one again, each of which makes another when it is
//! killed: the caller itself is seldom at work.

#![allow(unsafe_code)]

use super::clone3::clone;
use crate::sys::process::{exit, wait_status};
use crate::sys::try_alloc;
use nix::errno::Errno;
use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr::null_mut;

/// How many processes wait for the one that does the work, the caller among them.
const WAITING: usize = 4;
/// The workers use it as the stack of an ordinary program.
const STACK_BYTES: usize = 256 << 10;

/// Their numbers, from the caller on.
pub type Waiting = [i32; WAITING];

struct Relay<'a> {
    work: &'a mut dyn FnMut(&Waiting),
    /// A part for each but the caller.
    stack: &'a mut [MaybeUninit<u8>],
    waiting: Waiting,
    /// How many of them there are just now.
    depth: usize,
    /// How many workers there may still be.
    left: u32,
    ended: bool,
    refused: Option<Errno>,
}

/// Have this done by children of a process with one thread, by `most` of them at the most. What one of them has changed
/// in memory the next one does not see. They are told who waits. The error is that of a child that could not be made.
pub fn run(most: u32, work: &mut dyn FnMut(&Waiting)) -> nix::Result<()> {
    let mut stack: Vec<u8> = try_alloc::with_capacity((WAITING - 1) * STACK_BYTES)?;
    let mut relay = Relay {
        work,
        stack: stack.spare_capacity_mut(),
        waiting: [0; WAITING],
        depth: 0,
        left: most,
        ended: false,
        refused: None,
    };
    wait_or_copy((&raw mut relay).cast());
    relay.refused.map_or(Ok(()), Err)
}

/// The life of those who wait. They share their memory, and change nothing there but the relay.
extern "C" fn wait_or_copy(argument: *mut c_void) -> c_int {
    // SAFETY: our caller, or our parent, stands still until our end.
    let relay = unsafe { &mut *argument.cast::<Relay<'_>>() };
    let depth = relay.depth;
    if let Some(place) = relay.waiting.get_mut(depth) {
        // SAFETY: the call has no conditions.
        *place = unsafe { libc::getpid() };
    }
    while relay.left > 0 && !relay.ended && relay.refused.is_none() {
        // What a child that was killed has left there.
        relay.depth = depth + 1;
        let made = if relay.depth < WAITING { sharing(relay) } else { copied(relay) };
        match made {
            Ok(worker_status) => relay.ended |= worker_status.is_some_and(|status| !is_killed(status)),
            Err(e) => relay.refused = Some(e),
        }
    }
    0
}

fn is_killed(status: c_int) -> bool {
    libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL
}

/// A child of the same kind, which has ended when this returns.
fn sharing(relay: &mut Relay<'_>) -> nix::Result<Option<c_int>> {
    let argument = (&raw mut *relay).cast::<c_void>();
    let at = (relay.depth - 1) * STACK_BYTES;
    let stack = relay.stack.get_mut(at..at + STACK_BYTES).ok_or(Errno::ENOMEM)?;
    // SAFETY: with CLONE_VFORK this process stands still until the child has ended, which keeps to `wait_or_copy`.
    let child =
        unsafe { clone(libc::CLONE_VM | libc::CLONE_VFORK, stack, null_mut(), wait_or_copy, argument) }?;
    // Whether there is more to do the relay says.
    let _ = wait_status(child);
    Ok(None)
}

/// A worker. Returns how it ended.
fn copied(relay: &mut Relay<'_>) -> nix::Result<Option<c_int>> {
    relay.left -= 1;
    // As fork(2), without what the C library does beside it.
    // SAFETY: the caller has one thread, which stands still at a place of ours: the copy can do all that it could.
    match Errno::result(unsafe { libc::syscall(libc::SYS_clone, 0, 0, 0, 0, 0) })? {
        0 => {
            (relay.work)(&relay.waiting);
            exit(0);
        }
        worker => wait_status(c_int::try_from(worker).map_err(|_| Errno::ESRCH)?).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::shared_memory::SharedMemory;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// In a process of its own, which has one thread. Returns its exit status.
    fn alone(test: impl FnOnce() -> bool) -> c_int {
        // SAFETY: the child does nothing but the test, and ends.
        match unsafe { libc::fork() } {
            0 => exit(if test() { 0 } else { 1 }),
            child => {
                let mut status = 0;
                // SAFETY: status is an int of ours.
                assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
                status
            }
        }
    }

    fn kill(pid: i32) {
        // SAFETY: integers only.
        unsafe { libc::kill(pid, libc::SIGKILL) };
    }

    #[test]
    fn whoever_is_killed_has_a_successor() {
        let count = SharedMemory::<AtomicU32>::new().expect("shared memory");
        let done = alone(|| {
            let run = run(100, &mut |waiting| {
                let number = count.fetch_add(1, Ordering::SeqCst) as usize;
                if number < 2 * WAITING {
                    // All below one of those who wait, the worker among them.
                    waiting.iter().skip(1 + number / 2).for_each(|&pid| kill(pid));
                    kill(std::process::id().cast_signed());
                }
            });
            run.is_ok()
        });
        assert_eq!((done, count.load(Ordering::SeqCst)), (0, 2 * WAITING as u32 + 1));
    }

    #[test]
    fn it_ends_with_a_worker_that_was_not_killed_and_with_the_last() {
        for (number, expected) in [(libc::SIGKILL, 7), (libc::SIGTERM, 1)] {
            let count = SharedMemory::<AtomicU32>::new().expect("shared memory");
            let done = alone(|| {
                run(7, &mut |_| {
                    count.fetch_add(1, Ordering::SeqCst);
                    // SAFETY: integers only.
                    unsafe { libc::raise(number) };
                })
                .is_ok()
            });
            assert_eq!((done, count.load(Ordering::SeqCst)), (0, expected));
        }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs work to its end even if the kernel kills the processes that do it.
//!
//! The kernel kills a process that has exceeded its RLIMIT_CPU at the next tick of the clock that finds it running.
//! Therefore the calling process sleeps, and children do the work one after the other: each has the time until its first
//! tick. Copying a process takes a large part of a tick, so that a child does this as well. Such a child shares the memory
//! of the caller, as with vfork(2), and takes little time to create. It has a parent of the same kind, and so on: each of
//! them creates another child when its child is killed. The caller itself seldom runs.

#![allow(unsafe_code)]

use crate::spawn::clone3::clone;
use crate::sys::process::{exit, wait_status};
use crate::sys::try_alloc;
use nix::errno::Errno;
use nix::time::ClockId;
use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr::null_mut;
use std::time::Duration;

/// The number of processes that wait for the worker, including the caller.
const WAITING: usize = 4;
/// The ticks of the CPUs are not exactly at the same time.
const AFTER_TICK: Duration = Duration::from_micros(50);
/// The size of a stack in bytes. A worker runs ordinary code on it.
const STACK_BYTES: usize = 256 << 10;

/// Sleeps until just after the next tick, so that the caller can run for nearly a whole tick before the kernel kills it. The
/// coarse clock has the time of the last tick, and its resolution is the time from one to the next.
pub fn sleep_until_tick() {
    let time = |clock: ClockId| clock.now().map(Duration::from);
    let tick = ClockId::CLOCK_MONOTONIC_COARSE.res().map(Duration::from);
    let (Ok(tick), Ok(last), Ok(now)) =
        (tick, time(ClockId::CLOCK_MONOTONIC_COARSE), time(ClockId::CLOCK_MONOTONIC))
    else {
        return;
    };
    // A tick may be missing, on an idle CPU or on one that was not scheduled by its hypervisor.
    let since = now.saturating_sub(last).as_nanos().checked_rem(tick.as_nanos()).unwrap_or_default();
    std::thread::sleep(tick.saturating_sub(Duration::from_nanos(since as u64)) + AFTER_TICK);
}

struct Relay<'a> {
    work: &'a mut dyn FnMut(&[i32]),
    /// The stacks of the waiting processes except the caller, one after the other.
    stack: &'a mut [MaybeUninit<u8>],
    /// Their pids. The first is the caller's.
    waiting: [i32; WAITING],
    /// The number of waiting processes that exist.
    depth: usize,
    /// The number of workers that may still be created.
    left: u32,
    ended: bool,
    refused: Option<Errno>,
}

/// Runs `work` in children of the calling process, which has one thread, and in at most `most` of them. A worker does not see
/// what an earlier worker has changed in memory. `work` gets the pids of the waiting processes. An error is that of a child
/// that could not be created.
pub fn run(most: u32, work: &mut dyn FnMut(&[i32])) -> nix::Result<()> {
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

/// The main function of a waiting process. These processes share their memory, and change only the `Relay` in it.
extern "C" fn wait_or_copy(argument: *mut c_void) -> c_int {
    // SAFETY: the caller or the parent is suspended until this function has returned.
    let relay = unsafe { &mut *argument.cast::<Relay<'_>>() };
    let depth = relay.depth;
    if let Some(place) = relay.waiting.get_mut(depth) {
        // SAFETY: the call has no preconditions.
        *place = unsafe { libc::getpid() };
    }
    while relay.left > 0 && !relay.ended && relay.refused.is_none() {
        // A child that was killed may have left another depth.
        relay.depth = depth + 1;
        let result = if relay.depth < WAITING { run_waiting(relay) } else { run_worker(relay) };
        match result {
            Ok(worker_status) => relay.ended |= worker_status.is_some_and(|status| !is_killed(status)),
            Err(e) => relay.refused = Some(e),
        }
    }
    0
}

fn is_killed(status: c_int) -> bool {
    libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL
}

/// Creates a waiting process, and returns when it has ended.
fn run_waiting(relay: &mut Relay<'_>) -> nix::Result<Option<c_int>> {
    let argument = (&raw mut *relay).cast::<c_void>();
    let at = (relay.depth - 1) * STACK_BYTES;
    let stack = relay.stack.get_mut(at..at + STACK_BYTES).ok_or(Errno::ENOMEM)?;
    // SAFETY: this process is suspended until the child has ended (CLONE_VFORK). `wait_or_copy` takes a `Relay`, and may run
    // in this memory.
    let child =
        unsafe { clone(libc::CLONE_VM | libc::CLONE_VFORK, stack, null_mut(), wait_or_copy, argument) }?;
    // The status does not matter: the `Relay` shows whether there is more to do.
    let _ = wait_status(child);
    Ok(None)
}

/// Creates a worker, waits for it and returns its status.
fn run_worker(relay: &mut Relay<'_>) -> nix::Result<Option<c_int>> {
    relay.left -= 1;
    // The system call runs no handlers of pthread_atfork(3).
    // SAFETY: the calling process has one thread, and this thread holds no lock of libc: the copy can do what it could.
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

    /// Runs `test` in a process that has one thread. Returns its status.
    fn in_a_process(test: impl FnOnce() -> bool) -> c_int {
        // SAFETY: the child runs `test` and exits.
        match unsafe { libc::fork() } {
            0 => exit(if test() { 0 } else { 1 }),
            child => {
                let mut status = 0;
                // SAFETY: the kernel writes one int.
                assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
                status
            }
        }
    }

    fn kill(pid: i32) {
        // SAFETY: the call takes integers.
        unsafe { libc::kill(pid, libc::SIGKILL) };
    }

    #[test]
    fn a_killed_process_has_a_successor() {
        let count = SharedMemory::<AtomicU32>::new().expect("shared memory");
        let done = in_a_process(|| {
            let run = run(100, &mut |waiting| {
                let number = count.fetch_add(1, Ordering::SeqCst) as usize;
                if number < 2 * WAITING {
                    // Kill all processes below one of the waiting ones, including the worker.
                    waiting.iter().skip(1 + number / 2).for_each(|&pid| kill(pid));
                    kill(nix::unistd::getpid().as_raw());
                }
            });
            run.is_ok()
        });
        assert_eq!((done, count.load(Ordering::SeqCst)), (0, 2 * WAITING as u32 + 1));
    }

    /// The CPU that counts the ticks may be late on a busy machine.
    #[test]
    fn ticks_pass_while_it_sleeps() {
        let clock = ClockId::CLOCK_MONOTONIC_COARSE;
        let last = || Duration::from(clock.now().expect("a time"));
        let before = last();
        for _ in 0..10 {
            sleep_until_tick();
        }
        let ticks = (last() - before).as_nanos() / Duration::from(clock.res().expect("a tick")).as_nanos();
        assert!(ticks >= 5, "{ticks} ticks");
    }

    #[test]
    fn it_ends_with_a_worker_that_was_not_killed_and_with_the_last() {
        for (number, expected) in [(libc::SIGKILL, 7), (libc::SIGTERM, 1)] {
            let count = SharedMemory::<AtomicU32>::new().expect("shared memory");
            let done = in_a_process(|| {
                run(7, &mut |_| {
                    count.fetch_add(1, Ordering::SeqCst);
                    // SAFETY: the call takes integers.
                    unsafe { libc::raise(number) };
                })
                .is_ok()
            });
            assert_eq!((done, count.load(Ordering::SeqCst)), (0, expected));
        }
    }
}

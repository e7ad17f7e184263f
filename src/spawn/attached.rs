// SPDX-License-Identifier: MIT OR Apache-2.0
//! A child of the host that systemd has to move into the cgroup, because the host has no right to do it.
//!
//! The child has to wait while it is moved. The host's thread cannot be suspended during that time, and its suspension is
//! how the host learns that the program has begun. Therefore an intermediary, a process with a copy of the host's memory,
//! waits and is moved. It then creates the child inside its cgroup as vfork(2) does, but as a child of the host
//! (CLONE_PARENT).

#![allow(unsafe_code)]

use super::child::{ChildReport, ChildSetup, NAMESPACES, child_main};
use super::clone3::{Stack, clone};
use super::command::Command;
use super::parent::{Child, Failure, Options, await_exec, child_setup};
use super::supervised;
use crate::sys::deadline::Deadline;
use crate::sys::descriptors::{self, occupy_stdio};
use crate::sys::process::{has_not_ended, kill, pidfd_send_signal, reap, reap_pidfd};
use crate::sys::shared_memory::SharedMemory;
use crate::sys::syscall::{end_with_parent, store_and_wake, wait_while};
use crate::sys::thread::BlockedSignals;
use std::ffi::{c_int, c_void};
use std::os::fd::AsFd;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The memory that the host shares with the intermediary.
#[derive(Default)]
#[repr(C)]
struct SharedState {
    report: ChildReport,
    /// The host's decision, for which the intermediary waits by futex(2).
    decision: AtomicU32,
    /// The child's pidfd, in the table of descriptors that both share; -1 until the child is created.
    pidfd: AtomicI32,
}

/// Values of [`SharedState::decision`].
const UNDECIDED: u32 = 0;
const CREATE_CHILD: u32 = 1;
const EXIT: u32 = 2;

struct Intermediary<'a> {
    shared: *const SharedState,
    host: u32,
    flags: c_int,
    setup: ChildSetup<'a>,
    stack: Stack,
}

/// Starts a program inside the cgroup into which `move_in` moves the process of the given pid. `is_frozen` returns true if
/// that cgroup is frozen.
pub fn start<E>(
    command: &Command<'_>,
    options: Options<'_>,
    move_in: impl FnOnce(i32) -> Result<(), E>,
    is_frozen: impl Fn() -> bool,
) -> Result<Result<Child, Failure>, E> {
    // The kernel stores the pidfd in the table of descriptors that both processes share.
    let _occupied = match occupy_stdio() {
        Ok(occupied) => occupied,
        Err(e) => return Ok(Err(Failure::NotCreated(e))),
    };
    let (pid, shared) = match create_intermediary(command, options) {
        Ok(created) => created,
        Err(e) => return Ok(Err(e)),
    };
    let moved = move_in(pid);
    store_and_wake(&shared.decision, if moved.is_ok() { CREATE_CHILD } else { EXIT });
    let deadline = options.supervision.map_or(Deadline::FOREVER, |supervision| supervision.deadline);
    let ended = wait_for_intermediary(pid, deadline, is_frozen);
    let was_frozen = ended == Ended::Frozen;
    moved?;
    let pidfd = shared.pidfd.load(Ordering::Acquire);
    // SAFETY: the kernel has created this descriptor for the intermediary, which shared this table and has ended.
    let pidfd = (pidfd >= 0).then(|| unsafe { descriptors::adopt(pidfd) });
    if ended == Ended::NotInTime {
        supervised::kill(pid, pidfd);
        return Ok(Err(Failure::TimedOut));
    }
    if let Some(pidfd) = pidfd.as_ref().filter(|_| was_frozen) {
        // ESRCH: the child has ended.
        let _ = pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL);
        reap_pidfd(pidfd.as_fd());
        return Ok(Err(Failure::Frozen));
    }
    Ok(match (shared.report.pid.load(Ordering::Acquire), shared.report.read()) {
        (0, (_, Some(e))) => Err(Failure::NotCreated(e)),
        (0, (step, None)) => {
            // The child or the intermediary was killed before the child's first instruction.
            pidfd.iter().for_each(|pidfd| reap_pidfd(pidfd.as_fd()));
            Err(if was_frozen { Failure::Frozen } else { Failure::Killed(step) })
        }
        (pid, _) => {
            let pidfd = pidfd.filter(|_| options.pidfd);
            await_exec(pid, &shared.report).map(|exec_seen| Child { pid, pidfd, exec_seen })
        }
    })
}

/// How the wait for the intermediary ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    ByItself,
    /// Two successive checks found its cgroup frozen, and it was killed.
    Frozen,
    /// The deadline passed. It still lives.
    NotInTime,
}

/// Waits until the intermediary has ended.
fn wait_for_intermediary(pid: i32, deadline: Deadline, is_frozen: impl Fn() -> bool) -> Ended {
    const LONGEST_SLEEP: Duration = Duration::from_millis(10);
    const CHECK_INTERVAL: Duration = Duration::from_millis(100);
    let (mut sleep, mut was_frozen, mut checked) = (Duration::from_micros(50), false, Instant::now());
    while has_not_ended(pid) {
        if deadline.passed() {
            return Ended::NotInTime;
        }
        std::thread::sleep(sleep);
        sleep = (sleep * 2).min(LONGEST_SLEEP);
        if checked.elapsed() < CHECK_INTERVAL {
            continue;
        }
        let is_frozen = is_frozen();
        if is_frozen && was_frozen {
            // ESRCH: it has ended, and another thread of the host has waited for it.
            let _ = kill(pid, libc::SIGKILL);
            reap(pid);
            return Ended::Frozen;
        }
        (was_frozen, checked) = (is_frozen, Instant::now());
    }
    reap(pid);
    Ended::ByItself
}

fn create_intermediary(
    command: &Command<'_>,
    options: Options<'_>,
) -> Result<(i32, SharedMemory<SharedState>), Failure> {
    let shared = SharedMemory::<SharedState>::new().map_err(Failure::NotCreated)?;
    shared.pidfd.store(-1, Ordering::Relaxed);
    let mut flags = libc::CLONE_VFORK | libc::CLONE_VM | libc::CLONE_PARENT | libc::CLONE_PIDFD;
    flags |= if options.containment.is_some() { NAMESPACES } else { 0 };
    let mut intermediary = Intermediary {
        shared: shared.as_ptr(),
        host: std::process::id(),
        flags,
        setup: child_setup(command, options, &shared.report).map_err(Failure::NotCreated)?,
        stack: Stack::new().map_err(Failure::NotCreated)?,
    };
    let argument = (&raw mut intermediary).cast::<c_void>();
    let mut stack = Stack::new().map_err(Failure::NotCreated)?;
    let _blocked = BlockedSignals::block_all().map_err(Failure::NotCreated)?;
    // SAFETY: the intermediary has a copy of all memory except `shared`, which lives until the host has waited for it.
    let created = unsafe { clone(libc::CLONE_FILES, stack.bytes(), null_mut(), intermediary_main, argument) };
    created.map(|pid| (pid, shared)).map_err(Failure::NotCreated)
}

extern "C" fn intermediary_main(intermediary: *mut c_void) -> c_int {
    // SAFETY: `intermediary` is this process's copy. `shared` lives until the host has waited for this process.
    let (intermediary, shared) = unsafe {
        let intermediary = &mut *intermediary.cast::<Intermediary<'_>>();
        let shared = &*intermediary.shared;
        (intermediary, shared)
    };
    if !end_with_parent(intermediary.host) {
        return 0;
    }
    wait_while(&shared.decision, UNDECIDED);
    if shared.decision.load(Ordering::Acquire) == CREATE_CHILD {
        let (pidfd, setup) = (shared.pidfd.as_ptr(), (&raw mut intermediary.setup).cast::<c_void>());
        // SAFETY: this process is suspended until the child has executed the program or ended. `child_main` takes a
        // `ChildSetup`, and may run in this memory.
        let created =
            unsafe { clone(intermediary.flags, intermediary.stack.bytes(), pidfd, child_main, setup) };
        if let Err(e) = created {
            // The kernel may have stored the number of a pidfd that it has taken back.
            shared.pidfd.store(-1, Ordering::Release);
            shared.report.fail(e);
        }
    }
    0
}

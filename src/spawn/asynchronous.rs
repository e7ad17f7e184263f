// SPDX-License-Identifier: MIT OR Apache-2.0
//! A child for whose program the calling thread does not wait at all.
//!
//! The child has a copy of the host's memory, because the host continues to run and may end. The host moves it into the
//! cgroup before it returns, as a kill of the group must reach the child from then on, while clone3(2) into a cgroup may be
//! refused or kill the child (see [`super::clone3`]). The child waits until it is moved.
//!
//! Nothing is kept in the host: the kernel shows the result of the start. Until execve(2) the child's exit signal is 0, so that
//! only a wait with __WCLONE finds it. If a step fails, the child's name is the report.

#![allow(unsafe_code)]

use super::child::{ChildReport, ChildSetup, Step, child_main};
use super::clone3::{Stack, clone};
use super::command::Command;
use super::parent::{Child, Failure, Options, Stage, child_setup, stage};
use crate::procfs;
use crate::sys::descriptors::{self, occupy_stdio};
use crate::sys::process::{kill, reap, waitid};
use crate::sys::shared_memory::SharedMemory;
use crate::sys::syscall::{end_with_parent, outlive_parent, store_and_wake, wait_while};
use crate::sys::thread::BlockedSignals;
use nix::errno::Errno;
use std::ffi::{c_int, c_void};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::AtomicU32;

/// What the child does before the steps of every child.
struct Setup<'a> {
    shared: *const SharedState,
    host: u32,
    child: ChildSetup<'a>,
}

#[derive(Default)]
struct SharedState {
    /// 1 when the child is in its cgroup. The child waits for it by futex(2).
    is_moved: AtomicU32,
}

/// Starts a program. `move_in` moves the process of the given pid into the cgroup. Fails with `NotCreated(ENOSYS)` if the
/// kernel has no pidfds that can be waited for (before Linux 5.4).
pub fn start<E>(
    command: &Command<'_>,
    options: Options<'_>,
    move_in: impl FnOnce(i32) -> Result<(), E>,
) -> Result<Result<Child, Failure>, E> {
    let (pid, pidfd, shared) = match create(command, options) {
        Ok(created) => created,
        Err(e) => return Ok(Err(Failure::NotCreated(e))),
    };
    let pidfd = pidfd.filter(|pidfd| {
        waitid(libc::P_PIDFD, pidfd.as_raw_fd().unsigned_abs(), libc::WEXITED | libc::WNOHANG | libc::__WALL)
            .0
            .is_ok()
    });
    let moved = if pidfd.is_some() { move_in(pid) } else { Ok(()) };
    if pidfd.is_none() || moved.is_err() {
        // ESRCH: it has ended, and another thread of the host has waited for it.
        let _ = kill(pid, libc::SIGKILL);
        reap(pid);
        return moved.map(|()| Err(Failure::NotCreated(Errno::ENOSYS)));
    }
    store_and_wake(&shared.is_moved, 1);
    Ok(Ok(Child { pid, pidfd, exec_seen: false }))
}

fn create(
    command: &Command<'_>,
    options: Options<'_>,
) -> nix::Result<(i32, Option<OwnedFd>, SharedMemory<SharedState>)> {
    let _occupied = occupy_stdio()?;
    let shared = SharedMemory::<SharedState>::new()?;
    // The child uses its copy of the report.
    let report = ChildReport::default();
    let mut setup = Setup {
        shared: shared.as_ptr(),
        host: std::process::id(),
        child: ChildSetup {
            unshare: options.containment.is_some(),
            reports_by_name: true,
            ..child_setup(command, options, &report)?
        },
    };
    let argument = (&raw mut setup).cast::<c_void>();
    let mut stack = Stack::new()?;
    let mut pidfd = -1;
    let _blocked = BlockedSignals::block_all()?;
    // SAFETY: the child has a copy of all memory but `shared`, which it keeps mapped itself.
    let pid = unsafe { clone(libc::CLONE_PIDFD, stack.bytes(), &raw mut pidfd, main, argument) }?;
    // SAFETY: the kernel has created this descriptor for this call, under `occupy_stdio`.
    let pidfd = (pidfd >= 0).then(|| unsafe { descriptors::adopt(pidfd) });
    Ok((pid, pidfd, shared))
}

extern "C" fn main(setup: *mut c_void) -> c_int {
    // SAFETY: this is the child's copy, and the shared memory stays mapped in it.
    let (setup, shared) = unsafe {
        let setup = &mut *setup.cast::<Setup<'_>>();
        let shared = &*setup.shared;
        (setup, shared)
    };
    if !end_with_parent(setup.host) {
        return 0;
    }
    wait_while(&shared.is_moved, 0);
    outlive_parent();
    child_main((&raw mut setup.child).cast::<c_void>())
}

/// What became of a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The program has begun. It may have ended since.
    Begun,
    /// The child still prepares.
    InProgress,
    /// The program does not begin, and nothing is left of the child.
    NotBegun(Failure),
    /// There is no such child, or it was waited for.
    NoChild(Errno),
}

/// Returns what became of a child, by its pidfd.
pub fn outcome(pidfd: BorrowedFd<'_>) -> Outcome {
    let id = pidfd.as_raw_fd().unsigned_abs();
    let (pid, code, status) = match stage(libc::P_PIDFD, id) {
        Stage::Executed => return Outcome::Begun,
        Stage::Preparing => return Outcome::InProgress,
        Stage::NoChild(e) => return Outcome::NoChild(e),
        Stage::Ended { pid, code, status } => (pid, code, status),
    };
    let failure = match (code, status) {
        (libc::CLD_EXITED, errno @ 1..) => {
            let step = step_in_name(pid).unwrap_or(Step::Start);
            Failure::Failed(step, Errno::from_raw(errno))
        }
        (_, libc::SIGSYS) => Failure::KilledByFilter(Step::Start),
        _ => Failure::Killed(Step::Start),
    };
    // ECHILD: another thread has called this function, too.
    let _ = waitid(libc::P_PIDFD, id, libc::WEXITED | libc::WNOHANG | libc::__WCLONE);
    Outcome::NotBegun(failure)
}

/// Returns the step at which a child has failed, from the name that it has given itself.
fn step_in_name(pid: i32) -> Option<Step> {
    Step::from_name(procfs::text_of(&format!("/proc/{pid}/comm")).as_bytes())
}

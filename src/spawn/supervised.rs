// SPDX-License-Identifier: MIT OR Apache-2.0
//! The creation of a child for which the calling thread waits only for a time.
//!
//! With vfork(2) the kernel suspends the calling thread until the child executes its program or ends. In a group that is
//! frozen or throttled, an agent could hold its host in this way. Here an intermediary is suspended instead: a process
//! outside of the group that shares the memory and the descriptors of the host, and creates the child as a child of the
//! host (CLONE_PARENT). The calling thread waits for the end of the intermediary, and kills the child if that takes too
//! long. A child in a throttled group may need a long time to end, too. It is then abandoned: the calling thread returns,
//! and the memory that the two processes use is kept until both have ended.
//!
//! The processes wake each other four times, which takes longer than everything else if each one is on another CPU.
//! Therefore this is used only for groups that are known to be throttled or frozen at times, and if the caller asks for it.

#![allow(unsafe_code)]

use super::child::{ChildReport, ChildSetup, child_main};
use super::clone3::{Stack, clone, clone_into_cgroup};
use crate::sys::deadline::Deadline;
use crate::sys::descriptors::{self, occupy_stdio};
use crate::sys::fork_mutex::ForkMutex;
use crate::sys::pidfd_open;
use crate::sys::process::{pidfd_send_signal, reap, reap_pidfd_if_ended, waitid};
use crate::sys::shared_memory::SharedMemory;
use crate::sys::syscall::{end_with_parent, syscall};
use crate::sys::thread::BlockedSignals;
use crate::sys::try_alloc;
use nix::errno::Errno;
use std::ffi::{c_int, c_void};
use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

/// How a child is supervised until its program begins.
#[derive(Clone, Copy)]
pub struct Supervision<'a> {
    /// When the child is killed.
    pub deadline: Deadline,
    /// Returns true if the group is frozen. The child is killed if two successive checks find it frozen.
    pub is_frozen: &'a dyn Fn() -> bool,
}

impl fmt::Debug for Supervision<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervision").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

/// Why the child was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Killed {
    /// The group was frozen.
    Frozen,
    /// The deadline passed.
    TimedOut,
}

/// The result of [`create`].
pub(super) struct Created {
    /// The pid, or why there is no child.
    pub pid: nix::Result<i32>,
    pub pidfd: Option<OwnedFd>,
    pub killed: Option<Killed>,
    pub report: SharedMemory<ChildReport>,
}

/// What the intermediary and the child use.
struct State<'a> {
    /// The child's report, in memory that they share even if the child has a copy of everything else.
    report: SharedMemory<ChildReport>,
    /// The child's pid, or a negative errno; 0 until clone(2) returns.
    created: AtomicI32,
    /// The child's pidfd, in the table of descriptors that the host and the intermediary share; -1 until the child exists.
    pidfd: AtomicI32,
    host: u32,
    /// The directory of the cgroup in which the child is created, or -1.
    cgroup: RawFd,
    flags: c_int,
    setup: ChildSetup<'a>,
    stack: Stack,
    intermediary_stack: Stack,
}

/// The time between two checks whether the group is frozen. A group that is frozen only for a moment, as by a kill without
/// cgroup.kill, is found frozen at one check at most.
const INTERVAL: Duration = Duration::from_millis(100);
/// How long a killed child may take to end before it is abandoned.
const GRACE: Duration = Duration::from_millis(100);

/// Creates a child, inside the cgroup of this directory if it is not -1, and waits until it has executed its program or
/// ended, was killed, or was abandoned. `flags` are those of clone(2). `make_setup` gets the child's report.
pub(super) fn create<'a>(
    supervision: Supervision<'_>,
    cgroup: RawFd,
    flags: c_int,
    make_setup: impl FnOnce(&ChildReport) -> nix::Result<ChildSetup<'a>>,
) -> nix::Result<Created> {
    let _occupied = occupy_stdio()?;
    let report = SharedMemory::<ChildReport>::new()?;
    let setup = make_setup(&report)?;
    let state = try_alloc::boxed(State {
        report,
        created: AtomicI32::new(0),
        pidfd: AtomicI32::new(-1),
        host: std::process::id(),
        cgroup,
        flags: flags | libc::CLONE_PARENT | libc::CLONE_PIDFD | libc::CLONE_VFORK,
        setup,
        stack: Stack::new()?,
        intermediary_stack: Stack::new()?,
    })?;
    // While the two processes use the state, this thread uses only its atomic integers.
    let state = Box::into_raw(state);
    let mut intermediary_pidfd = -1;
    // The host's signal handlers must not run in the two processes. They must not run in this thread either: they could
    // change errno, which lies in memory that the child shares.
    let _blocked = BlockedSignals::block_all()?;
    let flags = libc::CLONE_VM | libc::CLONE_FILES | libc::CLONE_FS | libc::CLONE_PIDFD;
    // SAFETY: the intermediary uses nothing but `state`, which is kept until it has ended. The stack is not used otherwise.
    let intermediary = unsafe {
        let stack = (*state).intermediary_stack.bytes();
        clone(flags, stack, &raw mut intermediary_pidfd, intermediary_main, state.cast::<c_void>())
    };
    let intermediary = match intermediary {
        Ok(pid) => pid,
        Err(e) => {
            // SAFETY: there is no other process that uses it.
            drop(unsafe { Box::from_raw(state) });
            return Err(e);
        }
    };
    // SAFETY: the kernel has created this descriptor for this call, under `occupy_stdio`.
    let intermediary_pidfd =
        (intermediary_pidfd >= 0).then(|| unsafe { descriptors::adopt(intermediary_pidfd) });
    let (killed, has_ended) = match &intermediary_pidfd {
        // SAFETY: the state is there, and an atomic integer may be used by several processes.
        Some(pidfd) => supervise(supervision, pidfd.as_fd(), unsafe { &(*state).pidfd }),
        // Before Linux 5.2 there are no pidfds, and the child is not supervised.
        None => (None, true),
    };
    if has_ended {
        reap(intermediary);
    }
    // SAFETY: `into_raw` returned it. If the child was abandoned, only its lifetime is used from now on.
    let state = unsafe { Box::from_raw(state) };
    let pidfd = state.pidfd.load(Ordering::Acquire);
    // The number is stored, but no descriptor is created, if clone(2) fails.
    let exists = pidfd >= 0 && (!has_ended || state.created.load(Ordering::Acquire) > 0);
    // SAFETY: the kernel has created this descriptor for the intermediary, which shares the table, under `occupy_stdio`.
    let pidfd = exists.then(|| unsafe { descriptors::adopt(pidfd) });
    if has_ended {
        let pid = match state.created.load(Ordering::Acquire) {
            // The intermediary was killed.
            0 => Err(Errno::ECANCELED),
            e @ ..0 => Err(Errno::from_raw(-e)),
            pid => Ok(pid),
        };
        let State { report, .. } = *state;
        return Ok(Created { pid, pidfd, killed, report });
    }
    keep(Abandoned {
        intermediary,
        intermediary_pidfd,
        pidfd,
        // SAFETY: only the lifetime changes. What `setup` refers to is not used any more: the child does not return to its
        // own code, because it is killed, and the intermediary is suspended until the child has ended.
        _state: Some(unsafe { std::mem::transmute::<Box<State<'_>>, Box<State<'static>>>(state) }),
    });
    Ok(Created { pid: Err(Errno::ETIMEDOUT), pidfd: None, killed, report: SharedMemory::new()? })
}

/// Waits for the end of the intermediary, and kills the child if necessary. Returns true if the intermediary has ended.
///
/// While the child may run, this thread makes only system calls that succeed: a failure would change errno, which the child
/// may be about to read.
fn supervise(
    supervision: Supervision<'_>,
    intermediary: BorrowedFd<'_>,
    pidfd: &AtomicI32,
) -> (Option<Killed>, bool) {
    let (mut was_frozen, mut checked) = (false, Instant::now());
    loop {
        let left = supervision.deadline.left().unwrap_or(INTERVAL);
        if has_ended(intermediary, left.min(INTERVAL)) {
            return (None, true);
        }
        let mut killed = supervision.deadline.passed().then_some(Killed::TimedOut);
        if killed.is_none() && checked.elapsed() >= INTERVAL {
            let is_frozen = (supervision.is_frozen)();
            killed = (is_frozen && was_frozen).then_some(Killed::Frozen);
            (was_frozen, checked) = (is_frozen, Instant::now());
        }
        let pidfd = pidfd.load(Ordering::Acquire);
        if killed.is_none() {
            continue;
        }
        // The kernel stores the number before it creates the child, and takes it back if that fails.
        if pidfd < 0 || !is_child(pidfd) {
            // The intermediary, which is outside of the group, is in clone(2) or about to end.
            let _ = has_ended(intermediary, Duration::from_millis(1));
            continue;
        }
        // SAFETY: it is the child's pidfd, which only this thread takes from the state.
        let pidfd = unsafe { BorrowedFd::borrow_raw(pidfd) };
        // ESRCH: the child has ended.
        let _ = pidfd_send_signal(pidfd, libc::SIGKILL);
        return (killed, has_ended(intermediary, GRACE));
    }
}

/// Returns true if this is the pidfd of a child of the host that nobody has waited for.
fn is_child(pidfd: RawFd) -> bool {
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | libc::__WALL;
    // ENOSYS, EINVAL: before Linux 5.4 there is no P_PIDFD.
    !matches!(waitid(libc::P_PIDFD, pidfd.unsigned_abs(), flags).0, Err(Errno::EBADF | Errno::ECHILD))
}

/// Waits until a process has ended, at most for this time.
fn has_ended(pidfd: BorrowedFd<'_>, wait: Duration) -> bool {
    let mut poll = libc::pollfd { fd: pidfd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let mut time = libc::timespec {
        tv_sec: wait.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_nsec: wait.subsec_nanos().into(),
    };
    let arguments = [(&raw mut poll) as isize, 1, (&raw mut time) as isize, 0, 0];
    syscall(libc::SYS_ppoll, arguments).is_ok_and(|ready| ready > 0)
}

extern "C" fn intermediary_main(state: *mut c_void) -> c_int {
    // SAFETY: the host keeps the state until this process has ended, and uses only its atomic integers.
    let state = unsafe { &mut *state.cast::<State<'_>>() };
    if !end_with_parent(state.host) {
        return 0;
    }
    let (pidfd, setup) = (state.pidfd.as_ptr(), (&raw mut state.setup).cast::<c_void>());
    let created = loop {
        // SAFETY: this process is suspended until the child has executed the program or ended. `child_main` takes a
        // `ChildSetup`, and may run in this memory.
        let created = unsafe {
            match state.cgroup {
                -1 => clone(state.flags, state.stack.bytes(), pidfd, child_main, setup),
                cgroup => {
                    clone_into_cgroup(cgroup, state.flags, state.stack.bytes(), pidfd, child_main, setup)
                }
            }
        };
        if created != Err(Errno::EINTR) {
            break created;
        }
    };
    state.created.store(created.unwrap_or_else(|e| -(e as i32)), Ordering::Release);
    0
}

/// A child that was killed, and its intermediary.
struct Abandoned {
    intermediary: i32,
    intermediary_pidfd: Option<OwnedFd>,
    pidfd: Option<OwnedFd>,
    /// None if the two processes have memory of their own.
    _state: Option<Box<State<'static>>>,
}

// SAFETY: the pointers in the state are used only by the two processes.
unsafe impl Send for Abandoned {}

impl Abandoned {
    /// Waits for both processes if they have ended. Returns true if they have.
    fn reap_if_ended(&self) -> bool {
        let pidfds = [&self.intermediary_pidfd, &self.pidfd];
        if !pidfds.into_iter().flatten().all(|pidfd| has_ended(pidfd.as_fd(), Duration::ZERO)) {
            return false;
        }
        // ECHILD: another thread has waited for it. Its pid is not reused before that.
        let _ = waitid(
            libc::P_PID,
            self.intermediary.unsigned_abs(),
            libc::WEXITED | libc::WNOHANG | libc::__WCLONE,
        );
        self.pidfd.iter().for_each(|pidfd| reap_pidfd_if_ended(pidfd.as_fd()));
        true
    }
}

/// The children of this process that were killed because their programs did not begin in time, and that have not ended yet.
/// They may end after the handle of their agent was freed. A forked child has none.
static ABANDONED: ForkMutex<Vec<Abandoned>> = ForkMutex::new();

fn keep(abandoned: Abandoned) {
    let mut all = ABANDONED.lock();
    if try_alloc::reserve(&mut all, 1).is_ok() {
        all.push(abandoned);
    } else {
        // The memory must not be freed before the two processes have ended.
        std::mem::forget(abandoned);
    }
}

/// Kills an intermediary that has memory of its own, and its child. Waits for them, or keeps them if that takes long.
pub(super) fn kill(intermediary: i32, pidfd: Option<OwnedFd>) {
    let abandoned =
        Abandoned { intermediary, intermediary_pidfd: pidfd_open(intermediary).ok(), pidfd, _state: None };
    for pidfd in [&abandoned.intermediary_pidfd, &abandoned.pidfd].into_iter().flatten() {
        // ESRCH: it has ended.
        let _ = pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL);
    }
    let deadline = Deadline::after(GRACE);
    while !abandoned.reap_if_ended() {
        if deadline.passed() {
            return keep(abandoned);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Waits for the abandoned children that have ended.
pub fn reap_abandoned() {
    let mut all = ABANDONED.lock();
    all.retain(|abandoned| !abandoned.reap_if_ended());
    // An empty list keeps no memory.
    if all.is_empty() {
        *all = Vec::new();
    }
}

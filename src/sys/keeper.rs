// SPDX-License-Identifier: MIT OR Apache-2.0
//! A process beside the host program that outlives it, and learns of its end.
//!
//! Made by clone(2) alone: no handler that the host registered for fork(2) runs, and the host may have
//! any number of threads, whose locks are for ever locked in the child. So it calls nothing that locks, and
//! its memory is from an arena of its own. It is a grandchild, handed to init at once, so that it is
//! nobody's zombie. The child between shares the host's memory, since to copy the page tables of a host
//! with a gigabyte takes longer than all else here, and once is enough. It sends no SIGCHLD (its exit signal
//! is 0), and only a wait with __WCLONE, ours, sees it.

use super::process::{close_from, exit, wait};
use super::shed::{Ballast, Needed, Span};
use super::signals::Blocked;
use super::{allocator, clone_into};
use nix::errno::Errno;
use std::ffi::{c_int, c_void};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr::{null, null_mut};

/// What the process does: it is given its end of the line, the host's pidfd, and the host's memory to get rid
/// of when there is time. When it returns the process ends.
pub type Life = fn(BorrowedFd<'_>, Option<BorrowedFd<'_>>, Ballast);

/// What it first says on the line: its pid, and what went wrong with it.
pub type FirstWords = [i32; 2];

/// What the child between knows, and its word back.
#[derive(Clone, Copy)]
struct Birth {
    line: RawFd,
    host: RawFd,
    cgroup: RawFd,
    life: Life,
    needed: Needed,
    outcome: i32,
}

/// Start one, inside a cgroup if it is named. `line` is its end of a socket, `host` a pidfd of ours.
pub fn start(
    line: OwnedFd,
    host: Option<OwnedFd>,
    cgroup: Option<BorrowedFd<'_>>,
    life: Life,
) -> nix::Result<()> {
    let stack = Stack::new()?;
    let mut birth = Birth {
        line: line.as_raw_fd(),
        host: host.as_ref().map_or(-1, AsRawFd::as_raw_fd),
        cgroup: cgroup.map_or(-1, |cgroup| cgroup.as_raw_fd()),
        life,
        needed: Needed::find(),
        outcome: Errno::ESRCH as i32,
    };
    birth.needed.keep(stack.span());
    // The host's handlers are not to run in the children.
    let blocked = Blocked::all()?;
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_FILES;
    // SAFETY: until the child has ended this thread stands still; the child has a stack of its own, and
    // writes to nothing but that and `birth`.
    let between =
        Errno::result(unsafe { libc::clone(bear, stack.top(), flags, (&raw mut birth).cast::<c_void>()) });
    drop(blocked);
    // Another thread of the host may wait for all its children, of whatever kind, and take this one's end.
    let _told_by_outcome = wait(between?);
    match birth.outcome {
        0 => Ok(()),
        e => Err(Errno::from_raw(e)),
    }
}

/// The child between.
extern "C" fn bear(birth: *mut c_void) -> c_int {
    let birth = birth.cast::<Birth>();
    // SAFETY: it lives on the stack of the thread that waits for us.
    unsafe {
        let born = if (*birth).cgroup < 0 { clone() } else { clone_into::fork((*birth).cgroup) };
        match born {
            Ok(0) => keep(*birth),
            Ok(_) => (*birth).outcome = 0,
            Err(e) => (*birth).outcome = e as i32,
        }
    }
    exit(0)
}

/// fork(2), with an exit signal of 0.
fn clone() -> nix::Result<i32> {
    // No flags, no stack of its own, no exit signal: whichever of them comes first, it is 0.
    // SAFETY: without CLONE_VM the child has a copy of everything; what it may call is said above.
    let pid = Errno::result(unsafe { libc::syscall(libc::SYS_clone, 0, 0, 0, 0, 0) })?;
    i32::try_from(pid).map_err(|_| Errno::ESRCH)
}

/// Wait for the end of one that is the host's own child after all, and is seen to have ended: the host has
/// asked to be given orphans (PR_SET_CHILD_SUBREAPER), or is the init of its container.
pub fn reap(pidfd: BorrowedFd<'_>) {
    let id = pidfd.as_raw_fd().unsigned_abs();
    let flags = libc::WEXITED | libc::WNOHANG | libc::__WALL;
    // SAFETY: no result is asked for. ECHILD: it was not ours.
    unsafe { libc::waitid(libc::P_PIDFD, id, null_mut(), flags) };
}

const LINE: RawFd = 0;
const HOST: RawFd = 1;
/// So that what is opened later is not taken for one of the three by anybody.
const THIRD: RawFd = 2;

/// The life of the keeper. Signals stay blocked: those of the host's terminal are not for it.
fn keep(birth: Birth) -> ! {
    // SAFETY: system calls, with strings that end with NUL.
    unsafe {
        libc::setsid();
        libc::prctl(libc::PR_SET_NAME, c"agentcg-keeper".as_ptr());
        libc::chdir(c"/".as_ptr());
    }
    // SAFETY: one thread, which has what it needs on its own stack.
    let done = unsafe { keep_nothing_else(birth) };
    let line = if done.is_ok() { LINE } else { birth.line };
    let says: FirstWords =
        [i32::try_from(std::process::id()).unwrap_or(0), done.as_ref().map_or_else(|&e| e as i32, |_| 0)];
    // SAFETY: the descriptors stay open until the process ends.
    unsafe {
        libc::write(line, says.as_ptr().cast(), size_of_val(&says));
        if let Ok(ballast) = done {
            let host = (birth.host >= 0).then(|| BorrowedFd::borrow_raw(HOST));
            (birth.life)(BorrowedFd::borrow_raw(LINE), host, ballast);
        }
    }
    exit(0)
}

/// Keep two of the host's descriptors, and know what of its memory is needed.
///
/// # Safety
/// In a process with one thread, which drops nothing that it had before.
unsafe fn keep_nothing_else(mut birth: Birth) -> nix::Result<Ballast> {
    allow_all_descriptors();
    // Moved to where nothing is in their way: above all others first, then down.
    // SAFETY: descriptors and memory are this process's own, and by the caller's promise not used by it.
    unsafe {
        let line = Errno::result(libc::fcntl(birth.line, libc::F_DUPFD, THIRD + 1))?;
        let host = match birth.host {
            ..0 => line,
            host => Errno::result(libc::fcntl(host, libc::F_DUPFD, THIRD + 1))?,
        };
        for (from, to) in [(line, LINE), (host, HOST), (host, THIRD)] {
            Errno::result(libc::dup2(from, to))?;
        }
        close_from(THIRD + 1);
        birth.needed.keep(allocator::set_apart()?);
        Ok(Ballast::all_but(birth.needed))
    }
}

/// One for each agent.
fn allow_all_descriptors() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a struct of ours, read and written. Where it is refused there are as many as the host has.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}

/// What both children run on. The host's own copy of it is gone when this is dropped.
struct Stack(*mut c_void);

impl Stack {
    /// What is not touched is not there.
    const BYTES: usize = 256 << 10;

    fn new() -> nix::Result<Self> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_STACK;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping, where the kernel likes.
        let stack = unsafe { libc::mmap(null::<c_void>().cast_mut(), Self::BYTES, access, flags, -1, 0) };
        if stack == libc::MAP_FAILED { Err(Errno::last()) } else { Ok(Self(stack)) }
    }

    fn span(&self) -> Span {
        Span(self.0 as usize, self.0 as usize + Self::BYTES)
    }

    fn top(&self) -> *mut c_void {
        self.0.wrapping_byte_add(Self::BYTES)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: our own mapping, on which nobody runs any more.
        unsafe { libc::munmap(self.0, Self::BYTES) };
    }
}

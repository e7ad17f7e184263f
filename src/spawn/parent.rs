// SPDX-License-Identifier: MIT OR Apache-2.0
//! A child of the host's that is in a cgroup before its program begins.
//!
//! It has the host's memory until execve(2) and the host's thread stands still meanwhile, as with vfork(2): to copy
//! the page tables of a host with a gigabyte takes a hundred times longer than all else. Its exit signal is 0, which
//! execve(2) makes SIGCHLD: a child that never becomes the program is nobody's but ours, and only our wait sees it.

#![allow(unsafe_code)]

use super::child::{ChildSetup, Containment, NAMESPACES, Report, Step, child_main};
use super::clone3::{self, ChildMain, HAS_OWN_STACK};
use super::watchdog::{self, FreezeFiles};
use crate::sys::descriptors::{self, hold_stdio};
use crate::sys::shared_memory::SharedMemory;
use crate::sys::thread::BlockedSignals;
use crate::sys::try_alloc;
use nix::errno::Errno;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::Duration;

/// Strings as execve(2) takes them.
#[derive(Debug, Clone)]
pub struct Strings<'a>(Vec<*const c_char>, PhantomData<&'a CStr>);

impl<'a> Strings<'a> {
    /// These.
    pub fn new(all: impl IntoIterator<Item = &'a CStr>) -> nix::Result<Self> {
        let mut strings = Vec::new();
        try_alloc::extend(&mut strings, all.into_iter().map(CStr::as_ptr).chain([null()]))?;
        Ok(Self(strings, PhantomData))
    }

    /// Those that are listed there.
    ///
    /// # Safety
    /// `list` is an array that ends with NULL, its strings end with NUL and stay as they are for `'a`.
    pub unsafe fn listed(list: *const *const c_char) -> nix::Result<Self> {
        let mut all = Vec::new();
        // SAFETY: the caller's promise.
        while let Some(one) = unsafe { (*list.add(all.len())).as_ref() } {
            try_alloc::push(&mut all, &raw const *one)?;
        }
        try_alloc::push(&mut all, null())?;
        Ok(Self(all, PhantomData))
    }

    /// The last of them.
    pub fn last(&self) -> Option<&CStr> {
        let last = self.0.iter().rev().nth(1)?;
        // SAFETY: none but the one at the end is NULL, and all are as `new` and `listed` have them.
        Some(unsafe { CStr::from_ptr(*last) })
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len() - 1
    }

    /// None at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn as_ptr(&self) -> *const *const c_char {
        self.0.as_ptr()
    }
}

/// What a child is to become.
#[derive(Debug)]
pub struct Command<'a> {
    /// Paths, tried in turn.
    pub program: Strings<'a>,
    /// Its arguments, its name first.
    pub arguments: Strings<'a>,
    /// Its environment.
    pub environment: Strings<'a>,
    /// A session of its own.
    pub new_session: bool,
    /// Its working directory, if not ours.
    pub directory: Option<BorrowedFd<'a>>,
    /// [`super::child::INHERIT`], [`super::child::DEVNULL`] or a descriptor.
    pub stdio: [RawFd; 3],
}

/// How the child gets into the cgroup.
#[derive(Debug, Clone, Copy)]
pub enum Entry<'a> {
    /// Born there (5.7): the cgroup's directory.
    BornInside(BorrowedFd<'a>),
    /// By its own first act: the cgroup's cgroup.procs, open to write.
    WritesItself(BorrowedFd<'a>),
}

/// What else is to be known about it.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// In namespaces of its own.
    pub containment: Option<&'a Containment>,
    /// With a copy of the host's memory: who kills all that have the child's memory must not mean the host.
    pub copied: bool,
    /// A pidfd is wanted.
    pub pidfd: bool,
    /// If it has an oom_score_adj of -1000 from the host, it is set to 0.
    pub raise_oom_score: bool,
    /// The group may be frozen before the program begins.
    pub watched: Option<FreezeFiles<'a>>,
}

/// One that has become the program.
#[derive(Debug)]
pub struct Child {
    /// The caller is to wait for it.
    pub pid: i32,
    /// If it was wanted.
    pub pidfd: Option<OwnedFd>,
    /// The library has seen it as the program. If not, another thread of the host has waited for it: after the program
    /// ended, or after the child was killed in execve(2).
    pub(crate) seen: bool,
}

/// Why there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// clone(2) or what it takes was refused.
    NotCreated(Errno),
    /// The child could not do this.
    Failed(Step, Errno),
    /// It was killed before it had become the program, and when it had got so far.
    Killed(Step),
    /// A seccomp filter killed it at this step.
    KilledByFilter(Step),
    /// The group was frozen, and it was killed for that.
    Frozen,
    /// It could not do something, but had no memory of ours to say what in: in valgrind vfork(2) is fork(2).
    NoReport,
}

/// How much a child uses is known, and small: it calls nothing that it does not know.
const STACK_BYTES: usize = 64 << 10;

/// What a new child runs on. Not touched by us, so that only the pages that it uses are there.
pub(super) struct Stack(Vec<u8>);

impl Stack {
    pub fn new() -> nix::Result<Self> {
        try_alloc::with_capacity(STACK_BYTES).map(Self)
    }

    pub fn bytes(&mut self) -> &mut [MaybeUninit<u8>] {
        self.0.spare_capacity_mut()
    }
}

/// Start the program.
pub fn start(way: Entry<'_>, command: &Command<'_>, options: Options<'_>) -> Result<Child, Failure> {
    let enter = if let Entry::WritesItself(procs) = way { procs.as_raw_fd() } else { -1 };
    // unshare(2) is for those that share nothing.
    let unshare = options.containment.is_some() && enter >= 0;
    let born = matches!(way, Entry::BornInside(_));
    let copied = options.copied || unshare || (born && !HAS_OWN_STACK);
    let mut flags = libc::CLONE_VFORK;
    flags |= if copied { 0 } else { libc::CLONE_VM };
    flags |= if options.containment.is_some() && !unshare { NAMESPACES } else { 0 };
    let (own, common) = (Report::default(), copied.then(SharedMemory::<Report>::new).transpose());
    let common = common.map_err(Failure::NotCreated)?;
    let report = common.as_deref().unwrap_or(&own);
    let mut setup = setup(command, options, report);
    (setup.enter, setup.unshare) = (enter, unshare);
    let watched = options.watched.filter(|_| shares_memory());
    let pidfd = AtomicI32::new(-1);
    let makes_pidfd = options.pidfd || watched.is_some();
    flags |= if makes_pidfd { libc::CLONE_PIDFD } else { 0 };
    let _held = makes_pidfd.then(hold_stdio).transpose().map_err(Failure::NotCreated)?;
    let argument = (&raw mut setup).cast::<c_void>();
    let mut stack = Stack::new().map_err(Failure::NotCreated)?;
    let blocked = BlockedSignals::block_all().map_err(Failure::NotCreated)?;
    // SAFETY: this thread stands still until the child has exec'd or ended, and the child keeps to `child_main`.
    let mut make = || unsafe {
        match way {
            Entry::BornInside(dir) => {
                clone3::start(dir.as_raw_fd(), flags, stack.bytes(), pidfd.as_ptr(), child_main, argument)
            }
            Entry::WritesItself(_) => clone(flags, stack.bytes(), pidfd.as_ptr(), child_main, argument),
        }
    };
    let (made, was_frozen) = match watched {
        None => (make(), false),
        Some(files) => watchdog::guard(files, &pidfd, make).map_err(Failure::NotCreated)?,
    };
    drop(blocked);
    let pid = match made {
        Err(Errno::EINTR) => return start(way, command, options),
        // The watchdog has the same errno as this thread.
        Err(_) if watched.is_some() && enter >= 0 => {
            return start(way, command, Options { watched: None, ..options });
        }
        made => made.map_err(Failure::NotCreated)?,
    };
    let pidfd = pidfd.into_inner();
    // SAFETY: the kernel has just made it for us.
    let pidfd = (pidfd >= 0).then(|| unsafe { descriptors::made(pidfd) });
    match has_begun(pid, report) {
        Err(Failure::NoReport) if !copied => start(way, command, Options { copied: true, ..options }),
        Ok(_) if was_frozen => {
            reap(pid);
            Err(Failure::Frozen)
        }
        Err(Failure::Killed(_)) if was_frozen => Err(Failure::Frozen),
        begun => begun.map(|seen| Child { pid, pidfd: pidfd.filter(|_| options.pidfd), seen }),
    }
}

pub(super) fn setup<'a>(command: &'a Command<'_>, options: Options<'a>, report: &Report) -> ChildSetup<'a> {
    ChildSetup {
        enter: -1,
        raise_oom_score: options.raise_oom_score,
        unshare: false,
        containment: options.containment,
        new_session: command.new_session,
        directory: command.directory.map_or(-1, |fd| fd.as_raw_fd()),
        stdio: command.stdio,
        passed: None,
        files: command.program.as_ptr(),
        argv: command.arguments.as_ptr(),
        envp: command.environment.as_ptr(),
        report: &raw const *report,
    }
}

/// clone(2) without an exit signal, on that stack. The kernel leaves a pidfd at `pidfd` if the flags ask for one.
///
/// # Safety
/// As of [`clone3::start`].
pub(super) unsafe fn clone(
    flags: c_int,
    stack: &mut [MaybeUninit<u8>],
    pidfd: *mut c_int,
    child_main: ChildMain,
    argument: *mut c_void,
) -> nix::Result<i32> {
    let end = stack.as_mut_ptr().wrapping_add(stack.len());
    let top = end.wrapping_sub(end as usize % 16).cast::<c_void>();
    // SAFETY: the caller's promise.
    match i32::try_from(unsafe { clone3::clone(flags, top, pidfd, child_main, argument) }) {
        Ok(pid @ 1..) => Ok(pid),
        Ok(e) => Err(Errno::from_raw(-e)),
        Err(_) => Err(Errno::ESRCH),
    }
}

/// The child has become the program, or has come to nothing. Returns true if it was seen as the program.
///
/// What the child wrote is believed first: a thread that waits for children of every kind (__WALL) may have waited for
/// this one, whatever became of it.
pub(super) fn has_begun(pid: i32, report: &Report) -> Result<bool, Failure> {
    let outcome = outcome_of(pid);
    if matches!(outcome, Outcome::Exited | Outcome::Killed(_)) {
        reap(pid);
    }
    match (report.read(), outcome) {
        (_, Outcome::Begun) => Ok(true),
        ((step, Some(e)), _) => Err(Failure::Failed(step, e)),
        (_, Outcome::Exited) => Err(Failure::NoReport),
        ((step, None), Outcome::Killed(libc::SIGSYS)) => Err(Failure::KilledByFilter(step)),
        ((step, None), Outcome::Killed(_)) => Err(Failure::Killed(step)),
        // It did not get as far as execve(2), unless what it writes is not seen.
        ((step, None), Outcome::Taken) if step < Step::Exec && (step > Step::Start || shares_memory()) => {
            Err(Failure::Killed(step))
        }
        ((_, None), Outcome::Taken) => Ok(false),
    }
}

/// What a wait says of a child.
enum Outcome {
    /// It is the program, or was.
    Begun,
    /// It has exited before.
    Exited,
    /// This signal has killed it before.
    Killed(c_int),
    /// Somebody else has waited for it.
    Taken,
}

/// A plain wait is not for our child until execve(2) has made its exit signal SIGCHLD; until then one with __WCLONE is.
/// By then vfork(2) has let us go on, but a dying child does so before it can be waited for; and where
/// vfork(2) is only fork(2), as in valgrind, it may not yet have got so far.
fn outcome_of(pid: i32) -> Outcome {
    const NAP: Duration = Duration::from_micros(50);
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    let is_begun = || match waitid(pid, flags).0 {
        Ok(()) => true,
        // A security module hides how it ends. It does not hide what kind of child it is.
        Err(e) => e == Errno::EACCES,
    };
    loop {
        if is_begun() {
            return Outcome::Begun;
        }
        let (done, info) = waitid(pid, flags | libc::__WCLONE);
        // SAFETY: the kernel filled in that of a child, or left 0 for "none has ended".
        let (ended, status) = unsafe { (info.si_pid(), info.si_status()) };
        match (done, ended) {
            // It may have become the program between the two calls.
            (Err(_), _) if is_begun() => return Outcome::Begun,
            (Err(_), _) => return Outcome::Taken,
            (Ok(()), 0) => std::thread::sleep(NAP),
            (Ok(()), _) if info.si_code == libc::CLD_EXITED => return Outcome::Exited,
            (Ok(()), _) => return Outcome::Killed(status),
        }
    }
}

/// Returns true if a child of clone(2) with CLONE_VM has the memory of the caller. In valgrind it has a copy.
fn shares_memory() -> bool {
    extern "C" fn mark(word: *mut c_void) -> c_int {
        // SAFETY: the caller keeps it.
        unsafe { &*word.cast::<AtomicBool>() }.store(true, Ordering::Release);
        crate::sys::process::exit(0)
    }
    static SEEN: AtomicBool = AtomicBool::new(false);
    if SEEN.load(Ordering::Relaxed) {
        return true;
    }
    let word = AtomicBool::new(false);
    let argument = (&raw const word).cast_mut().cast::<c_void>();
    let (Ok(mut stack), Ok(_blocked)) = (Stack::new(), BlockedSignals::block_all()) else { return true };
    // SAFETY: this thread stands still until the child has ended, which writes nothing else.
    let made =
        unsafe { clone(libc::CLONE_VM | libc::CLONE_VFORK, stack.bytes(), null_mut(), mark, argument) };
    if let Ok(pid) = made {
        reap(pid);
    }
    if word.load(Ordering::Acquire) {
        SEEN.store(true, Ordering::Relaxed);
        return true;
    }
    // Without a child nothing is known: it is the usual case.
    made.is_err()
}

/// It ends, or has. Another thread of the host may wait for all its children, of whatever kind, and be first.
pub(super) fn reap(pid: i32) {
    while waitid(pid, libc::WEXITED | libc::__WALL).0 == Err(Errno::EINTR) {}
}

/// The same of the process behind a pidfd (5.4).
pub(super) fn reap_by(pidfd: &OwnedFd) {
    let id = pidfd.as_raw_fd().unsigned_abs();
    while waitid_of(libc::P_PIDFD, id, libc::WEXITED | libc::__WALL).0 == Err(Errno::EINTR) {}
}

/// Returns true for a child of whatever kind that has not ended.
pub(super) fn is_there(pid: i32) -> bool {
    let (done, info) = waitid(pid, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | libc::__WALL);
    // SAFETY: the kernel filled in that of a child, or left 0 for "none has ended".
    done == Err(Errno::EINTR) || (done.is_ok() && unsafe { info.si_pid() } == 0)
}

fn waitid(pid: i32, flags: c_int) -> (nix::Result<()>, libc::siginfo_t) {
    waitid_of(libc::P_PID, pid.unsigned_abs(), flags)
}

fn waitid_of(kind: libc::idtype_t, id: libc::id_t, flags: c_int) -> (nix::Result<()>, libc::siginfo_t) {
    // SAFETY: all zero is a siginfo_t, and it is ours.
    unsafe {
        let mut info = std::mem::zeroed();
        let done = libc::waitid(kind, id, &raw mut info, flags);
        (Errno::result(done).map(drop), info)
    }
}

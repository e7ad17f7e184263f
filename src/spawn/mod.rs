// SPDX-License-Identifier: MIT OR Apache-2.0
//! Programs that are in a group before they begin, and so is all that they ever start.
//!
//! Three ways, the next where one is closed: born there (`CLONE_INTO_CGROUP`, Linux 5.7); a child that writes itself
//! into `cgroup.procs` (where seccomp filters turn clone3(2) down, and where kernels of 2025-26 kill what is
//! born in a group in which `cgroup.kill` was used); a child that is fetched, by systemd, where the kernel lets
//! nobody else move it.

pub mod attached;
pub mod child;
pub mod clone3;
pub mod command;
pub mod contain;
pub mod detached;
pub mod namespace_holder;
pub mod parent;
pub mod relay;
pub mod watchdog;

use crate::cgroupfs::{CachedFile, Dir};
use crate::kill::freeze;
use crate::parse;
use crate::sys;
use crate::sys::deadline::Deadline;
use crate::sys::kernel;
use child::{Containment, Step};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use parent::{Child, Command, Entry, Options};
use std::ffi::CStr;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;
use watchdog::FreezeFiles;

const PROCS: &CStr = c"cgroup.procs";

/// Why nothing was started. Nothing is left behind.
#[derive(Debug)]
pub enum Failure<E> {
    /// The group is frozen, or to be: a child would not get as far as its program.
    Frozen,
    /// The child was refused, by the group or by the system.
    NotCreated(Errno),
    /// As many as may be are in it.
    PidsLimit,
    /// The child could not do this.
    Failed(Step, Errno),
    /// Somebody killed it before its program began.
    Killed,
    /// A seccomp filter killed it at this step.
    KilledByFilter(Step),
    /// Its memory limit leaves too little to begin in.
    OutOfMemory,
    /// It could not be fetched.
    NotMoved(E),
    /// A file of the group was refused.
    Errno(Errno),
}

/// What is known of a group in which programs are started, and the files of it that are looked at each time: to
/// open them too would take as long as a fifteenth of all the rest.
#[derive(Debug)]
pub struct SpawnCache {
    /// What is born in it is killed at once, as was seen before.
    kills_born_inside: AtomicBool,
    freeze_files: freeze::FreezeFiles,
    oom_group: CachedFile,
    memory_events: CachedFile,
    /// Somebody freezes it, as was seen or said before.
    may_be_frozen: AtomicBool,
    /// Children under way that nobody would kill if it were frozen.
    unwatched: AtomicU32,
}

impl Default for SpawnCache {
    /// Nothing, and nothing is opened yet.
    fn default() -> Self {
        Self {
            kills_born_inside: AtomicBool::new(false),
            freeze_files: freeze::FreezeFiles::default(),
            oom_group: CachedFile::new(c"memory.oom.group"),
            memory_events: CachedFile::new(c"memory.events"),
            may_be_frozen: AtomicBool::new(false),
            unwatched: AtomicU32::new(0),
        }
    }
}

impl SpawnCache {
    /// To be called before the group is frozen: a spawn under way could otherwise have to wait for the thaw. The first
    /// call waits until none is, for a second at most.
    pub fn expect_freeze(&self, deadline: Deadline) {
        const NAP: Duration = Duration::from_micros(100);
        let deadline = deadline.at_most(Duration::from_secs(1));
        if !self.may_be_frozen.swap(true, Ordering::SeqCst) {
            while self.unwatched.load(Ordering::SeqCst) > 0 && !deadline.passed() {
                std::thread::sleep(NAP);
            }
        }
    }
}

/// Counts a child under way.
struct Unwatched<'a>(&'a AtomicU32);

impl<'a> Unwatched<'a> {
    /// None for a group that is frozen at times.
    fn enter(cache: &'a SpawnCache) -> Option<Self> {
        cache.unwatched.fetch_add(1, Ordering::SeqCst);
        let counted = Self(&cache.unwatched);
        (!cache.may_be_frozen.load(Ordering::SeqCst)).then_some(counted)
    }
}

impl Drop for Unwatched<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A group, and what is known of it.
#[derive(Debug)]
pub struct Spawner<'a> {
    /// Its directory.
    pub dir: &'a Dir,
    /// And more.
    pub cache: &'a SpawnCache,
    /// Is to be fetched if we may not put it there.
    pub moved_by_systemd: bool,
}

impl Spawner<'_> {
    /// Start the program. `fetch` puts a process into the group.
    pub fn start<E>(
        &self,
        command: &Command<'_>,
        containment: Option<&Containment>,
        pidfd: bool,
        move_in: impl FnOnce(i32) -> Result<(), E>,
    ) -> Result<Child, Failure<E>> {
        let unwatched = Unwatched::enter(self.cache);
        if self.cache.freeze_files.is_in_force(self.dir).map_err(Failure::Errno)? {
            self.cache.may_be_frozen.store(true, Ordering::SeqCst);
            return Err(Failure::Frozen);
        }
        let files = if unwatched.is_none() {
            freeze::FreezeFiles::open(self.dir).map_err(Failure::Errno)?
        } else {
            None
        };
        let watched = files
            .as_ref()
            .map(|(asked, events)| FreezeFiles { asked: asked.as_fd(), events: events.as_fd() });
        // An OOM kill of the whole group kills all that have a victim's memory, which until execve(2) would be
        // us. For a single victim the kernel passes over those that vfork(2) made.
        let mut buf = [0; 32];
        let oom_group = self.cache.oom_group.read(self.dir, &mut buf).map_err(Failure::Errno)?;
        let dies_with_all = oom_group.is_some_and(|text| text.starts_with(b"1"));
        // A filter that kills by SIGSYS has the kernel dump core.
        let dumps_with_all =
            containment.is_some() && sys::is_filtered() && kernel::core_dump_kills_all_who_share();
        let copied = dies_with_all || dumps_with_all;
        let before = if oom_group.is_some() { self.memory_events()? } else { MemoryEvents::default() };
        let options = Options { containment, copied, pidfd, raise_oom_score: true, watched };
        let mut done = Err(parent::Failure::NotCreated(Errno::ENOSYS));
        if !self.cache.kills_born_inside.load(Ordering::Relaxed) {
            done = parent::start(Entry::BornInside(self.dir.as_fd()), command, options);
            if done.as_ref().err() == Some(&parent::Failure::NotCreated(Errno::EACCES))
                && self.dir.restore_write(PROCS)
            {
                done = parent::start(Entry::BornInside(self.dir.as_fd()), command, options);
            }
            if done.as_ref().err() == Some(&parent::Failure::Killed(Step::Start)) {
                self.cache.kills_born_inside.store(true, Ordering::Relaxed);
                done = Err(parent::Failure::NotCreated(Errno::ENOSYS));
            }
        }
        // A seccomp filter, an older kernel, or no right to make namespaces, of which the other way will tell.
        if let Err(parent::Failure::NotCreated(Errno::ENOSYS | Errno::EPERM | Errno::EINVAL)) = done {
            done = self.by_entering(command, options)?;
        }
        if self.moved_by_systemd {
            if let Err(
                parent::Failure::NotCreated(Errno::EACCES)
                | parent::Failure::Failed(Step::Enter, Errno::EACCES),
            ) = done
            {
                let is_frozen = || self.cache.freeze_files.is_in_force(self.dir).unwrap_or(false);
                done = attached::start(command, options, move_in, is_frozen).map_err(Failure::NotMoved)?;
            }
        }
        if may_be_for_memory(&done) && self.memory_events()?.is_beyond(before, &done) {
            return Err(Failure::OutOfMemory);
        }
        done.map_err(|failure| match failure {
            parent::Failure::NotCreated(e) => Failure::NotCreated(e),
            parent::Failure::Failed(step, e) => Failure::Failed(step, e),
            parent::Failure::Killed(_) | parent::Failure::NoReport => Failure::Killed,
            parent::Failure::KilledByFilter(step) => Failure::KilledByFilter(step),
            parent::Failure::Frozen => Failure::Frozen,
        })
    }

    fn memory_events<E>(&self) -> Result<MemoryEvents, Failure<E>> {
        let mut buf = [0; 256];
        let text = self.cache.memory_events.read(self.dir, &mut buf).map_err(Failure::Errno)?;
        let value = |key| text.and_then(|text| parse::value(text, key)).unwrap_or(0);
        Ok(MemoryEvents { reached: value(b"max"), out: value(b"oom"), killed: value(b"oom_kill") })
    }

    fn by_entering<E>(
        &self,
        command: &Command<'_>,
        options: Options<'_>,
    ) -> Result<Result<Child, parent::Failure>, Failure<E>> {
        // Who moves in is not counted against the limit by the kernel, only who is born there.
        if self.is_full()? {
            return Err(Failure::PidsLimit);
        }
        match self.dir.open_file(PROCS, OFlag::O_WRONLY) {
            Ok(procs) => Ok(parent::start(Entry::WritesItself(procs.as_fd()), command, options)),
            Err(Errno::EACCES) => Ok(Err(parent::Failure::Failed(Step::Enter, Errno::EACCES))),
            Err(e) => Err(Failure::Errno(e)),
        }
    }

    fn is_full<E>(&self) -> Result<bool, Failure<E>> {
        let (mut now, mut most) = ([0; 32], [0; 32]);
        let now = self.read(c"pids.current", &mut now)?.and_then(parse::number);
        let most = self.read(c"pids.max", &mut most)?.and_then(parse::limit);
        Ok(matches!((now, most), (Some(now), Some(most)) if now >= most))
    }

    /// Nothing where the file's controller is off.
    fn read<'b, E>(&self, file: &CStr, buf: &'b mut [u8]) -> Result<Option<&'b [u8]>, Failure<E>> {
        match self.dir.read(file, buf) {
            Ok(text) => Ok(Some(text)),
            Err(Errno::ENOENT) => Ok(None),
            Err(e) => Err(Failure::Errno(e)),
        }
    }
}

/// How often memory has run out in the group.
#[derive(Debug, Clone, Copy, Default)]
struct MemoryEvents {
    reached: u64,
    out: u64,
    killed: u64,
}

impl MemoryEvents {
    /// More of those have come that can be the cause.
    fn is_beyond(self, before: Self, done: &Result<Child, parent::Failure>) -> bool {
        match done {
            Err(parent::Failure::Failed(..)) => self.reached > before.reached || self.out > before.out,
            _ => self.killed > before.killed,
        }
    }
}

/// Returns true for what the kernel says where it finds no memory: execve(2) says E2BIG then, /proc ENOENT.
fn may_be_for_memory(done: &Result<Child, parent::Failure>) -> bool {
    match done {
        Ok(child) => !child.seen,
        Err(parent::Failure::Failed(Step::Exec, e)) => matches!(e, Errno::ENOMEM | Errno::E2BIG),
        Err(parent::Failure::Failed(_, e)) => matches!(e, Errno::ENOMEM | Errno::ENOENT),
        Err(parent::Failure::Killed(_) | parent::Failure::NoReport) => true,
        Err(
            parent::Failure::NotCreated(_) | parent::Failure::KilledByFilter(_) | parent::Failure::Frozen,
        ) => false,
    }
}

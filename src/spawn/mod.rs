// SPDX-License-Identifier: MIT OR Apache-2.0
//! Programs that are inside a group before they begin. All processes that such a program starts are inside as well.
//!
//! There are three ways, tried in this order:
//! * clone3(2) creates the child inside the group (CLONE_INTO_CGROUP, Linux 5.7).
//! * The child writes itself into `cgroup.procs`. This is for seccomp filters that refuse clone3(2), and for kernels of
//!   2025-26 that kill a process created in a group in which `cgroup.kill` was used.
//! * systemd moves the child, where the kernel allows nobody else to move it.
//!
//! ```text
//! attached detached          a child that systemd moves; a program that is not a child
//! asynchronous               a child for which the calling thread does not wait
//! contain parent             what containment needs; the parent's side
//! supervised                 the parent's side if the calling thread waits only for a time
//! child                      the child's side
//! namespace_holder redirect  the process that holds a user namespace; the descriptors of the program
//! clone3 pipes               clone(2) and clone3(2); the pipes to a program
//! command                    the program, its arguments and its environment
//! ```
//!
//! A file uses only files of the lines below its own.

pub mod asynchronous;
pub mod attached;
pub mod child;
pub mod clone3;
pub mod command;
pub mod contain;
pub mod detached;
pub mod namespace_holder;
pub mod parent;
pub mod pipes;
mod redirect;
pub mod supervised;

use crate::cgroupfs::{CachedFile, Dir, NamedFile};
use crate::kill::freeze;
use crate::parse;
use crate::procfs;
use crate::stats;
use crate::sys::deadline::Deadline;
use crate::sys::descriptors::occupy_stdio_for_several;
use crate::sys::kernel;
use crate::sys::thread::is_filtered;
use child::{Containment, Step};
use command::{BeginTimeout, Command};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use parent::{Child, Entry, Options};
use std::ffi::CStr;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;
use supervised::Supervision;

const PROCS: &CStr = c"cgroup.procs";

/// Why no program was started. No process is left behind.
#[derive(Debug)]
pub enum Failure<E> {
    /// The group is frozen or about to be frozen: a child would not get as far as its program.
    Frozen,
    /// The program did not begin in time.
    TimedOut,
    /// The group or the system refused to create the child.
    NotCreated(Errno),
    /// The group contains as many processes as its pids.max allows.
    PidsLimit,
    /// This step of the child failed.
    Failed(Step, Errno),
    /// The child was killed before its program began.
    Killed,
    /// A seccomp filter killed the child at this step.
    KilledByFilter(Step),
    /// The group's memory limit leaves too little memory to begin.
    OutOfMemory,
    /// The child could not be moved into the group.
    NotMoved(E),
    /// A file of the group could not be opened or read.
    Errno(Errno),
}

impl<E> From<parent::Failure> for Failure<E> {
    fn from(failure: parent::Failure) -> Self {
        match failure {
            parent::Failure::NotCreated(e) => Self::NotCreated(e),
            parent::Failure::Failed(step, e) => Self::Failed(step, e),
            parent::Failure::Killed(_) | parent::Failure::NoReport => Self::Killed,
            parent::Failure::KilledByFilter(step) => Self::KilledByFilter(step),
            parent::Failure::Frozen => Self::Frozen,
            parent::Failure::TimedOut => Self::TimedOut,
        }
    }
}

/// What the library remembers of a group in which it starts programs, and the files that it reads at each start. To open
/// these files each time would take up to a fifteenth of the time of everything else.
#[derive(Debug, Default)]
pub struct SpawnCache {
    /// True once the kernel has killed a child that was created in the group.
    kills_created_inside: AtomicBool,
    freeze: CachedFile,
    oom_group: CachedFile,
    /// True once the group was seen frozen, or [`SpawnCache::expect_freeze`] was called.
    may_be_frozen: AtomicBool,
    /// The number of spawns in progress whose child would not be killed if the group were frozen.
    unwatched: AtomicU32,
    cpu_max: CachedFile,
}

impl Drop for SpawnCache {
    fn drop(&mut self) {
        supervised::reap_abandoned();
    }
}

impl SpawnCache {
    /// Call this before the group is frozen: a spawn in progress could otherwise have to wait for the thaw. The first call
    /// waits until no unwatched spawn is in progress, for one second at most.
    pub fn expect_freeze(&self, deadline: Deadline) {
        const INTERVAL: Duration = Duration::from_micros(100);
        let deadline = deadline.at_most(Duration::from_secs(1));
        if !self.may_be_frozen.swap(true, Ordering::SeqCst) {
            while self.unwatched.load(Ordering::SeqCst) > 0 && !deadline.passed() {
                std::thread::sleep(INTERVAL);
            }
        }
    }
}

/// Counts a spawn in progress that is not supervised.
struct UnwatchedSpawn<'a>(&'a AtomicU32);

impl<'a> UnwatchedSpawn<'a> {
    /// Returns None if the group may be frozen: then the spawn needs supervision.
    fn begin(cache: &'a SpawnCache) -> Option<Self> {
        cache.unwatched.fetch_add(1, Ordering::SeqCst);
        let counted = Self(&cache.unwatched);
        (!cache.may_be_frozen.load(Ordering::SeqCst)).then_some(counted)
    }
}

impl Drop for UnwatchedSpawn<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Starts programs inside a group.
#[derive(Debug)]
pub struct Spawner<'a> {
    /// The group's directory.
    pub dir: &'a Dir,
    /// The cgroup in which the program starts: the group, or one inside it without limits of its own.
    pub entry: &'a Dir,
    /// What the library remembers of the group.
    pub cache: &'a SpawnCache,
    /// The files of the group's statistics.
    pub stats_files: &'a stats::Files,
    /// The group's `cgroup.events`.
    pub events: NamedFile<'a>,
    /// True if systemd can move a child into the group where the library has no right to do it.
    pub moved_by_systemd: bool,
}

impl Spawner<'_> {
    /// Starts a program. `move_in` moves the process of the given pid into the group.
    pub fn start<E>(
        &self,
        command: &Command<'_>,
        containment: Option<&Containment>,
        pidfd: bool,
        move_in: impl FnOnce(i32) -> Result<(), E>,
    ) -> Result<Child, Failure<E>> {
        supervised::reap_abandoned();
        let unwatched = UnwatchedSpawn::begin(self.cache);
        // The first spawn in a group opens the files that the later ones read.
        let opens_files = !self.cache.freeze.is_open();
        let stdio = opens_files.then(occupy_stdio_for_several).transpose().map_err(Failure::Errno)?;
        self.check_not_frozen()?;
        let is_frozen = || self.is_frozen().unwrap_or(false);
        let is_supervised = match command.begin {
            BeginTimeout::Within(_) => true,
            BeginTimeout::Default => unwatched.is_none() || self.was_throttled()?,
            BeginTimeout::Forever => unwatched.is_none(),
        };
        let supervision =
            is_supervised.then(|| Supervision { deadline: command.begin.deadline(), is_frozen: &is_frozen });
        // A freeze does not have to wait for a supervised spawn.
        let _unwatched = unwatched.filter(|_| !is_supervised);
        // With memory.oom.group an OOM kill reaches every process that has the memory of a victim, and until execve(2)
        // the host has the child's memory. When the kernel kills a single victim, it excludes children of vfork(2).
        let mut buf = [0; 32];
        let oom_group = self
            .cache
            .oom_group
            .named(c"memory.oom.group")
            .read(self.dir, &mut buf)
            .map_err(Failure::Errno)?;
        let is_oom_group = oom_group.is_some_and(|text| text.starts_with(b"1"));
        // A seccomp filter that kills by SIGSYS makes the kernel dump core.
        let dumps_core =
            containment.is_some() && is_filtered() && kernel::core_dump_kills_processes_with_same_memory();
        // A change of its ids makes a process not dumpable, and with it each process that has the same memory.
        let changes_ids = command.uid.is_some() || command.gid.is_some();
        let copies_memory = is_oom_group || dumps_core || changes_ids;
        let before = if oom_group.is_some() { self.memory_events()? } else { MemoryEvents::default() };
        drop(stdio);
        let raise_oom_score = procfs::oom_score_adj_may_be_least();
        let options = Options { containment, copies_memory, pidfd, raise_oom_score, supervision };
        let mut result = Err(parent::Failure::NotCreated(Errno::ENOSYS));
        if !self.cache.kills_created_inside.load(Ordering::Relaxed) {
            result = parent::start(Entry::CreatedInside(self.entry.as_fd()), command, options);
            if result.as_ref().err() == Some(&parent::Failure::NotCreated(Errno::EACCES))
                && self.entry.restore_write(PROCS)
            {
                result = parent::start(Entry::CreatedInside(self.entry.as_fd()), command, options);
            }
            if result.as_ref().err() == Some(&parent::Failure::Killed(Step::Start)) {
                self.cache.kills_created_inside.store(true, Ordering::Relaxed);
                result = Err(parent::Failure::NotCreated(Errno::ENOSYS));
            }
        }
        // A seccomp filter or an older kernel refuses clone3(2), or the caller must not create namespaces. In the last
        // case the second way reports the reason.
        if let Err(parent::Failure::NotCreated(Errno::ENOSYS | Errno::EPERM | Errno::EINVAL)) = result {
            result = self.start_by_write(command, options)?;
        }
        if self.moved_by_systemd {
            if let Err(
                parent::Failure::NotCreated(Errno::EACCES)
                | parent::Failure::Failed(Step::Enter, Errno::EACCES),
            ) = result
            {
                result = attached::start(command, options, move_in, is_frozen).map_err(Failure::NotMoved)?;
            }
        }
        if may_be_out_of_memory(&result) && self.memory_events()?.explain(&result, before) {
            return Err(Failure::OutOfMemory);
        }
        result.map_err(Failure::from)
    }

    /// Starts a program and does not wait until it begins: [`asynchronous::outcome`] returns the result. The child has a
    /// pidfd. `move_in` moves the process of the given pid into the group.
    pub fn start_async<E>(
        &self,
        command: &Command<'_>,
        containment: Option<&Containment>,
        move_in: impl FnOnce(i32) -> Result<(), E>,
    ) -> Result<Child, Failure<E>> {
        self.check_not_frozen()?;
        if self.is_full()? {
            return Err(Failure::PidsLimit);
        }
        let options = Options {
            containment,
            copies_memory: true,
            pidfd: true,
            raise_oom_score: true,
            supervision: None,
        };
        let child = asynchronous::start(command, options, move_in).map_err(Failure::NotMoved)?;
        child.map_err(Failure::from)
    }

    fn is_frozen(&self) -> nix::Result<bool> {
        let is_inside = !std::ptr::eq(self.dir, self.entry);
        Ok(freeze::is_in_force(self.dir, &self.cache.freeze, self.events)?
            || (is_inside && self.entry_is_frozen()?))
    }

    /// An agent can freeze a cgroup inside its group.
    fn entry_is_frozen(&self) -> nix::Result<bool> {
        let (freeze, events) = (CachedFile::new(), CachedFile::new());
        freeze::is_in_force(self.entry, &freeze, events.named(c"cgroup.events"))
    }

    /// Fails if the group is frozen, and remembers that.
    fn check_not_frozen<E>(&self) -> Result<(), Failure<E>> {
        if self.is_frozen().map_err(Failure::Errno)? {
            self.cache.may_be_frozen.store(true, Ordering::SeqCst);
            return Err(Failure::Frozen);
        }
        Ok(())
    }

    /// Returns true if the group's own cpu.max has stopped its processes at some time. Until then no process inside has used
    /// so much that another one has to wait.
    fn was_throttled<E>(&self) -> Result<bool, Failure<E>> {
        let mut buf = [0; 1024];
        let text = self.cache.cpu_max.named(c"cpu.max").read(self.dir, &mut buf).map_err(Failure::Errno)?;
        if text.and_then(parse::cpu_max).is_none_or(|(quota, _)| quota == parse::UNLIMITED) {
            return Ok(false);
        }
        let text = self.stats_files.cpu_stat().read(self.dir, &mut buf).map_err(Failure::Errno)?;
        Ok(text.and_then(|text| parse::value(text, b"nr_throttled")).is_some_and(|times| times > 0))
    }

    fn memory_events<E>(&self) -> Result<MemoryEvents, Failure<E>> {
        let mut buf = [0; 256];
        let text = self.stats_files.memory_events().read(self.dir, &mut buf).map_err(Failure::Errno)?;
        let value = |key| text.and_then(|text| parse::value(text, key)).unwrap_or(0);
        Ok(MemoryEvents { max: value(b"max"), oom: value(b"oom"), oom_kill: value(b"oom_kill") })
    }

    fn start_by_write<E>(
        &self,
        command: &Command<'_>,
        options: Options<'_>,
    ) -> Result<Result<Child, parent::Failure>, Failure<E>> {
        // The kernel applies pids.max to processes that are created in the group, not to those that move into it.
        if self.is_full()? {
            return Err(Failure::PidsLimit);
        }
        match self.entry.open_file(PROCS, OFlag::O_WRONLY) {
            Ok(procs) => Ok(parent::start(Entry::WritesItself(procs.as_fd()), command, options)),
            Err(Errno::EACCES) => Ok(Err(parent::Failure::Failed(Step::Enter, Errno::EACCES))),
            Err(e) => Err(Failure::Errno(e)),
        }
    }

    fn is_full<E>(&self) -> Result<bool, Failure<E>> {
        let (mut current, mut max) = ([0; 32], [0; 32]);
        let current = self.read(c"pids.current", &mut current)?.and_then(parse::number);
        let max = self.read(c"pids.max", &mut max)?.and_then(parse::limit);
        Ok(matches!((current, max), (Some(current), Some(max)) if current >= max))
    }

    /// Returns None if the file's controller is disabled.
    fn read<'b, E>(&self, file: &CStr, buf: &'b mut [u8]) -> Result<Option<&'b [u8]>, Failure<E>> {
        match self.dir.read(file, buf) {
            Ok(text) => Ok(Some(text)),
            Err(Errno::ENOENT) => Ok(None),
            Err(e) => Err(Failure::Errno(e)),
        }
    }
}

/// Counters of the group's memory.events.
#[derive(Debug, Clone, Copy, Default)]
struct MemoryEvents {
    max: u64,
    oom: u64,
    oom_kill: u64,
}

impl MemoryEvents {
    /// Returns true if a counter that can explain the failure has increased.
    fn explain(self, result: &Result<Child, parent::Failure>, before: Self) -> bool {
        match result {
            Err(parent::Failure::Failed(..)) => self.max > before.max || self.oom > before.oom,
            _ => self.oom_kill > before.oom_kill,
        }
    }
}

/// Returns true if want of memory can be the cause. Without memory execve(2) may fail with E2BIG, and /proc with ENOENT.
fn may_be_out_of_memory(result: &Result<Child, parent::Failure>) -> bool {
    match result {
        Ok(child) => !child.exec_seen,
        Err(parent::Failure::Failed(Step::Exec, e)) => matches!(e, Errno::ENOMEM | Errno::E2BIG),
        Err(parent::Failure::Failed(_, e)) => matches!(e, Errno::ENOMEM | Errno::ENOENT),
        Err(parent::Failure::Killed(_) | parent::Failure::NoReport) => true,
        Err(
            parent::Failure::NotCreated(_)
            | parent::Failure::KilledByFilter(_)
            | parent::Failure::Frozen
            | parent::Failure::TimedOut,
        ) => false,
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Killing every process in a group.
//!
//! `cgroup.kill` (Linux 5.14) is written first, with as few system calls as possible: no member can delay it. It sends
//! SIGKILL to all processes at once, but does not wait. It misses a process whose main thread has exited (kernels up to
//! late 2026) and, before kill_seq (6.14 and later stable kernels), a process that is being forked. The processes that
//! survive it are killed one by one, by a sweep, in a frozen group, because frozen processes cannot fork. Without
//! `cgroup.kill` only the sweep kills.

pub mod freeze;
mod kill_overrides;
pub mod members;
pub mod remove;
pub mod reuse;
pub mod signal;
pub mod terminate;

use crate::cgroupfs::events_file::Events;
use crate::cgroupfs::overrides::Overrides;
use crate::cgroupfs::{self, CachedFile, Dir, FileError, NamedFile, write_once};
use crate::kill::members::{Members, NamespaceCache, Process, or_if_gone};
use crate::parse;
use crate::procfs;
use crate::sys::deadline::Deadline;
use crate::sys::fork_mutex::ForkMutex;
use crate::sys::kernel;
use crate::sys::try_alloc;
use crate::verdict::{Call, Ledger};
use kill_overrides::KillOverrides;
use libc::SIGKILL;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Why killing a group failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The calling process is in the group. Nothing was killed.
    CallerInside,
    /// Processes live at the deadline: they are in uninterruptible sleep, or the caller cannot signal them.
    Alive(Survivors),
    /// All processes are dead, but the value of this file could not be restored. The next call tries again.
    NotRestored(FileError),
    /// Reading or writing a file failed.
    Errno(Errno),
}

impl From<Errno> for Failure {
    fn from(e: Errno) -> Self {
        Self::Errno(e)
    }
}

/// Which processes the sweep could not kill.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Survivors {
    /// Some are outside the caller's pid namespace: the kernel lists them as pid 0.
    pub unnameable: bool,
    /// Some are of another uid, or in cgroups that the caller may not read.
    pub forbidden: bool,
}

/// The files that an owner keeps open, so that it can kill when no descriptor is left. Any process of its uid can lower
/// its RLIMIT_NOFILE.
///
/// They are opened when the group is made, and not when the first process enters: a forked child that moves itself cannot open
/// a file in its parent, and another process may move one in.
#[derive(Debug, Default)]
pub struct KillFiles {
    kill: Option<OwnedFd>,
    /// The statistics and spawns read it, too. A handle that does not own the group opens it for them.
    events: CachedFile,
    /// Kept open for [`procfs::with_own_cgroup`], which finds out if the caller is in the group.
    _own_files: Option<procfs::OwnFiles>,
}

impl KillFiles {
    /// Opens the files, unless the process has few descriptors left. Then they are opened when the group is killed. Fails
    /// with `ENODEV` if the group was removed.
    pub fn open(dir: &Dir) -> nix::Result<Self> {
        if !cgroupfs::worth_keeping(dir.as_fd().as_raw_fd()) {
            return Ok(Self::default());
        }
        let kill = match dir.open_file(KILL, OFlag::O_WRONLY) {
            // Before Linux 5.14.
            Err(Errno::ENOENT) => None,
            opened => Some(opened?),
        };
        let events = dir.open_file(c"cgroup.events", OFlag::O_RDONLY)?;
        Ok(Self { kill, events: CachedFile::opened(events), _own_files: Some(procfs::keep_own_files()?) })
    }

    /// Returns `cgroup.events`.
    pub fn events(&self) -> NamedFile<'_> {
        self.events.named(c"cgroup.events")
    }

    /// Returns true if `cgroup.events` is open.
    pub fn has_events(&self) -> bool {
        self.events.is_open()
    }
}

/// The state of a group that killing keeps from call to call.
#[derive(Debug, Default)]
pub struct KillState {
    /// The open files, none in a handle that does not own the group.
    pub files: KillFiles,
    /// The files that are changed temporarily while members are killed.
    pub overrides: Arc<Overrides>,
    /// The cgroup namespace that is known to contain the group.
    pub namespace: NamespaceCache,
    /// The signals that were sent to all processes, for the verdict.
    pub ledger: ForkMutex<Ledger>,
}

/// Kills the processes of a group.
#[derive(Debug)]
pub struct Killer<'a> {
    /// The group and the cgroups inside it.
    pub members: Members<'a>,
    /// The state of the group.
    pub state: &'a KillState,
    /// The call that kills.
    pub call: Call,
}

/// What the first step of a kill did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begun {
    /// No process lives in the group.
    Empty,
    /// cgroup.kill was written.
    Sent,
    /// cgroup.kill was not written: the kernel does not have it, or the write failed with this error.
    NotSent(Option<Errno>),
}

const KILL: &CStr = c"cgroup.kill";
/// After cgroup.kill was written: between two counts of the living processes.
const KILL_FILE_WAIT: Duration = Duration::from_millis(50);
/// The time to wait for `populated` before the lists are read.
const LISTS_AFTER: Duration = Duration::from_millis(10);
/// Between two readings of the lists while the library waits for an empty group.
const LISTS_EVERY: Duration = Duration::from_millis(20);
/// How many readings in a row must be empty, because a process that changes its cgroup can be in none of the lists.
const EMPTY_READINGS: u32 = 3;
/// The least time of the first sweep, which may exceed the deadline: without cgroup.kill only the sweep sends signals.
const FIRST_SWEEP: Duration = Duration::from_millis(500);
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);
/// For a group that cannot fork. A sweep of a thousand processes makes six thousand system calls.
const LONGEST_PAUSE_WITHOUT_FORKS: Duration = Duration::from_millis(200);
/// The pause after a sweep of such a group, in multiples of the duration of the sweep.
const PAUSE_PER_SWEEP: u32 = 20;

impl Killer<'_> {
    /// Kills all processes in the group and in the cgroups inside it, and waits until none lives. Returns false if there
    /// was none.
    pub fn kill_all(&self, deadline: Deadline) -> Result<bool, Failure> {
        let (sent, refused) = match self.begin(deadline)? {
            Begun::Empty => return Ok(false),
            Begun::Sent => (true, None),
            Begun::NotSent(refused) => (false, refused),
        };
        let events = self.events()?;
        let overrides = KillOverrides::begin(&self.state.overrides, self.members.dir);
        let outcome =
            match sent.then(|| self.wait_for_death(&events, deadline.at_most(KILL_FILE_WAIT), &overrides)) {
                Some(Ok(true)) => Ok(()),
                Some(Err(e)) => Err(e.into()),
                Some(Ok(false)) | None => self.sweep_until_dead(&events, deadline, sent, refused, &overrides),
            };
        let restored = overrides.restore();
        outcome?;
        restored.map_err(Failure::NotRestored).map(|()| true)
    }

    /// Writes cgroup.kill if processes live in the group and the caller is not one of them.
    pub fn begin(&self, deadline: Deadline) -> Result<Begun, Failure> {
        if self.contains_caller(deadline)? {
            return Err(Failure::CallerInside);
        }
        match self.events().and_then(|events| events.state()) {
            // cgroup.kill is not written in an empty group: most kernels of 2025-26 kill every process that is later
            // created in a cgroup whose cgroup.kill was written (kernel commit 8e3599202166).
            Ok(state) if !state.populated => return Ok(Begun::Empty),
            Err(Errno::ENODEV) => return Err(Errno::ENODEV.into()),
            _ => {}
        }
        // Before the signal: another thread may ask for the verdict as soon as a process is dead.
        self.state.ledger.lock().sends(SIGKILL, self.call);
        match self.send() {
            Ok(true) => Ok(Begun::Sent),
            Ok(false) => Ok(Begun::NotSent(None)),
            Err(e @ Errno::ENODEV) => Err(e.into()),
            Err(e @ Errno::EACCES) if !self.members.dir.is_own() => Err(e.into()),
            // Access could not be restored, or an agent removes it repeatedly. The sweep can kill that agent.
            Err(e) => Ok(Begun::NotSent(Some(e))),
        }
    }

    /// Waits until no process lives in the group. Returns false at the deadline.
    pub fn wait_empty(&self, deadline: Deadline) -> nix::Result<bool> {
        let events = Events::open(self.members.dir).or_else(|e| self.cached_events().ok_or(e))?;
        if !kernel::populated_outlives_death() {
            return events.wait(deadline, |now| !now.populated);
        }
        loop {
            if events.wait(deadline.at_most(LISTS_EVERY), |now| !now.populated)?
                || self.lists_stay_empty(EMPTY_READINGS, deadline)?
            {
                return Ok(true);
            }
            if deadline.passed() {
                return Ok(false);
            }
        }
    }

    /// Returns true if the calling process is in the group.
    pub fn contains_caller(&self, deadline: Deadline) -> nix::Result<bool> {
        self.members.contains_caller(deadline.at_least(FIRST_SWEEP), &self.state.namespace)
    }

    /// Finds out if the caller's cgroup namespace contains the group. [`Self::contains_caller`] needs that, and may
    /// have no memory to find it out.
    pub fn cache_namespace(&self) {
        let _ = self.members.is_in_cgroup_namespace(&self.state.namespace);
    }

    /// Returns `cgroup.events` by the cached descriptor, or opens it if none is cached.
    pub fn events(&self) -> nix::Result<Events<'_>> {
        self.cached_events().map_or_else(|| Events::open(self.members.dir), Ok)
    }

    fn cached_events(&self) -> Option<Events<'_>> {
        self.state.files.events.descriptor().map(Events::cached)
    }

    /// Writes `cgroup.kill`. Returns false if the file does not exist (before 5.14) or the group is threaded.
    pub fn send(&self) -> nix::Result<bool> {
        let dir = self.members.dir;
        let cached = self.state.files.kill.as_ref().map(|fd| write_once(fd.as_fd(), b"1"));
        let sent = match cached {
            Some(sent @ (Ok(()) | Err(Errno::EOPNOTSUPP))) => sent,
            _ => dir.write(KILL, b"1"),
        };
        match sent {
            Ok(()) => Ok(true),
            Err(Errno::ENOENT | Errno::EOPNOTSUPP) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Waits until all processes are dead, after cgroup.kill was written. Returns false at the deadline.
    fn wait_for_death(
        &self,
        events: &Events<'_>,
        deadline: Deadline,
        overrides: &KillOverrides<'_>,
    ) -> nix::Result<bool> {
        Ok(events.wait(deadline.at_most(LISTS_AFTER), |now| !now.populated)?
            || self.are_dead(events, deadline, overrides)?
            || events.wait(deadline, |now| !now.populated)?)
    }

    fn sweep_until_dead(
        &self,
        events: &Events<'_>,
        deadline: Deadline,
        mut sent: bool,
        mut refused: Option<Errno>,
        overrides: &KillOverrides<'_>,
    ) -> Result<(), Failure> {
        overrides.unthrottle(deadline);
        if sent && self.wait_while_dying(events, deadline)? {
            return Ok(());
        }
        let mut pause = FIRST_PAUSE;
        // After cgroup.kill most processes of the first sweep are dying already.
        let mut prevent_forks = !sent;
        let mut until = deadline.at_least(FIRST_SWEEP);
        loop {
            let cannot_fork = prevent_forks && overrides.prevent_forks(events, deadline);
            prevent_forks = true;
            let start = Instant::now();
            let mut survivors = Survivors::default();
            match self.sweep(until) {
                Ok(found) => survivors = found,
                Err(Errno::ENODEV) => return Err(Errno::ENODEV.into()),
                // No descriptor or no memory is left, perhaps only for a moment. cgroup.kill was written before.
                Err(e) => refused = Some(e),
            }
            until = deadline;
            if sent || refused.is_some() {
                sent |= self.send() == Ok(true);
            }
            let rest = if cannot_fork { start.elapsed() * PAUSE_PER_SWEEP } else { Duration::ZERO };
            if events.wait(deadline.at_most(pause.max(rest)), |now| !now.populated)?
                || self.are_dead(events, deadline, overrides)?
            {
                return Ok(());
            }
            if deadline.passed() {
                return Err(match refused {
                    Some(e) if !sent => Failure::Errno(e),
                    _ => Failure::Alive(survivors),
                });
            }
            if pause >= LONGEST_PAUSE
                && overrides.thaw()
                && events.wait(deadline.at_most(pause), |now| !now.populated)?
            {
                return Ok(());
            }
            pause = (pause * 2).min(if cannot_fork { LONGEST_PAUSE_WITHOUT_FORKS } else { LONGEST_PAUSE });
        }
    }

    /// Returns true if no process lives: the group is not populated or, on kernels where it stays populated after all
    /// processes have died, no cgroup lists a process.
    ///
    /// A process that changes its cgroup while the lists are read can be in none of them. A frozen process makes no
    /// further system call. Therefore only the first reading after the freeze can miss it.
    fn are_dead(
        &self,
        events: &Events<'_>,
        deadline: Deadline,
        overrides: &KillOverrides<'_>,
    ) -> nix::Result<bool> {
        if !events.state()?.populated {
            return Ok(true);
        }
        Ok(kernel::populated_outlives_death()
            && self.lists_stay_empty(1, deadline)?
            && overrides.freeze()
            && self.lists_stay_empty(EMPTY_READINGS, deadline)?)
    }

    /// As [`Members::lists_stay_empty`], with at least the time to read the lists once.
    fn lists_stay_empty(&self, readings: u32, deadline: Deadline) -> nix::Result<bool> {
        self.members.lists_stay_empty(readings, deadline.at_least(KILL_FILE_WAIT * readings))
    }

    /// Waits while the processes that cgroup.kill has reached become fewer. A thousand of them need more time to die
    /// than a process that it has missed may be given. Returns true if none is left.
    fn wait_while_dying(&self, events: &Events<'_>, deadline: Deadline) -> nix::Result<bool> {
        let mut before = usize::MAX;
        loop {
            if events.wait(deadline.at_most(KILL_FILE_WAIT), |now| !now.populated)? {
                return Ok(true);
            }
            let mut now = 0;
            let counted = self.members.each_cgroup(deadline, &mut |dir| {
                let procs = or_if_gone(dir.read_all(c"cgroup.procs"), Vec::new())?;
                now += parse::ids(&procs).count();
                Ok(())
            });
            if counted.is_err() || now >= before || deadline.passed() {
                return Ok(false);
            }
            before = now;
        }
    }

    /// Sends SIGKILL to each process that any cgroup lists. `cgroup.threads` is read, too, because only it lists a
    /// process whose main thread was dead when the process was moved.
    fn sweep(&self, deadline: Deadline) -> nix::Result<Survivors> {
        let mut survivors = Survivors::default();
        let own = std::process::id();
        let complete = self.members.each_cgroup(deadline, &mut |dir| {
            let procs = or_if_gone(dir.read_all(c"cgroup.procs"), Vec::new())?;
            let threads = or_if_gone(dir.read_all(c"cgroup.threads"), Vec::new())?;
            let mut ids = Vec::new();
            try_alloc::extend(&mut ids, parse::ids(&procs).chain(parse::ids(&threads)))?;
            ids.sort_unstable();
            ids.dedup();
            for id in ids {
                match id {
                    // Never kill(0): that is the process group of the calling process.
                    ..=0 => survivors.unnameable = true,
                    _ if u32::try_from(id) == Ok(own) => {}
                    _ => {
                        survivors.forbidden |= {
                            let one = Process { pid: id, thread: id };
                            self.members.signal(one, SIGKILL) == Err(Errno::EPERM)
                        }
                    }
                }
            }
            Ok(())
        })?;
        survivors.forbidden |= !complete && !deadline.passed();
        Ok(survivors)
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The end of every process in a group, for certain.
//!
//! `cgroup.kill` (5.14) is written first, by the shortest way: nothing that members can do delays it. It reaches all
//! processes at once, but only sends. It misses a process whose main thread has exited (kernels up to late 2026), and
//! before kill_seq (6.14 and stable kernels after it) one whose fork was under way. So what still lives after it is swept
//! up one by one, frozen so that it cannot fork away. Without the file the sweep is all there is.

pub mod freeze;
mod kill_overrides;
pub mod members;
pub mod remove;
pub mod reuse;
pub mod signal;
pub mod terminate;

use crate::cgroupfs::events_file::Events;
use crate::cgroupfs::overrides::Overrides;
use crate::cgroupfs::{self, Dir, FileError, write_once};
use crate::kill::members::{Members, PathsKnown, Process, ignore_gone};
use crate::parse;
use crate::procfs;
use crate::sys::deadline::Deadline;
use crate::sys::kernel;
use crate::sys::try_alloc;
use kill_overrides::Overridden;
use libc::SIGKILL;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Why not all are dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The caller is in it. Nothing was killed.
    CallerInside,
    /// Something lives at the deadline: in uninterruptible sleep, or out of the caller's reach.
    Alive(Survivors),
    /// All are dead. This file could not be put back to what it held before; the next call tries again.
    NotPutBack(FileError),
    /// A file that is needed was refused.
    Errno(Errno),
}

impl From<Errno> for Failure {
    fn from(e: Errno) -> Self {
        Self::Errno(e)
    }
}

/// Who could not be killed one by one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Survivors {
    /// Outside the caller's pid namespace: they show as pid 0.
    pub unnameable: bool,
    /// Of another uid, or in cgroups that are closed to the caller.
    pub forbidden: bool,
}

/// What an owner keeps open, so that it can kill with no descriptor left: any process of its uid can lower its
/// RLIMIT_NOFILE.
#[derive(Debug, Default)]
pub struct KillFiles {
    kill: Option<OwnedFd>,
    events: Option<OwnedFd>,
    /// Says whether the caller is inside. It is held for [`procfs::with_own_cgroup`].
    _own_cgroup: Option<procfs::OwnCgroup>,
}

impl KillFiles {
    /// Open them, unless the descriptors that the process may have become few: then a group is opened when it is killed.
    /// `cgroup.kill` may be missing (before 5.14).
    pub fn open(dir: &Dir) -> nix::Result<Self> {
        if !cgroupfs::worth_keeping(dir.as_fd().as_raw_fd()) {
            return Ok(Self::default());
        }
        let kill = match dir.open_file(KILL, OFlag::O_WRONLY) {
            Err(Errno::ENOENT) => None,
            opened => Some(opened?),
        };
        let events = dir.open_file(c"cgroup.events", OFlag::O_RDONLY)?;
        Ok(Self { kill, events: Some(events), _own_cgroup: Some(procfs::keep_own_cgroup()?) })
    }
}

/// What killing needs to know of a group from call to call.
#[derive(Debug, Default)]
pub struct KillState {
    /// Empty in a handle that does not own the group.
    pub files: KillFiles,
    /// What is changed while members are killed.
    pub overrides: Arc<Overrides>,
    /// Whether the caller's path tells that it is outside.
    pub paths_known: PathsKnown,
}

/// A group whose processes are to end.
#[derive(Debug)]
pub struct Killing<'a> {
    /// The group.
    pub members: Members<'a>,
    /// What is known of it.
    pub state: &'a KillState,
}

const KILL: &CStr = c"cgroup.kill";
/// After cgroup.kill, how often to look whether the living become fewer.
const KILL_FILE_WAIT: Duration = Duration::from_millis(50);
/// How long `populated` is waited for before the lists are read.
const LISTS_AFTER: Duration = Duration::from_millis(10);
/// Between two readings of the lists of a group that is waited for.
const LISTS_EVERY: Duration = Duration::from_millis(20);
/// How often the lists must be empty one after the other, since a process that changes its cgroup can be in none of them.
const EMPTY_READINGS: u32 = 3;
/// The first sweep goes on for so long even where no time is left to wait: without cgroup.kill it is what sends.
const FIRST_SWEEP: Duration = Duration::from_millis(500);
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);
/// Where nobody can fork there is no hurry: a sweep of a thousand makes six thousand system calls.
const LONGEST_PAUSE_PINNED: Duration = Duration::from_millis(200);
const PAUSE_PER_SWEEP: u32 = 20;

impl Killing<'_> {
    /// Kill all in the group and below it, and wait until none lives.
    pub fn kill_all(&self, deadline: Deadline) -> Result<(), Failure> {
        if self.hold_caller(deadline)? {
            return Err(Failure::CallerInside);
        }
        match self.events().and_then(|events| events.state()) {
            // An empty group is left alone: most kernels of 2025-26 kill what is born in a cgroup whose cgroup.kill was
            // written (kernel commit 8e3599202166).
            Ok(state) if !state.populated => return Ok(()),
            Err(Errno::ENODEV) => return Err(Errno::ENODEV.into()),
            _ => {}
        }
        let (sent, refused) = match self.send() {
            Ok(sent) => (sent, None),
            // Restoring access failed, or an agent takes it away again and again. That agent can be killed all the same.
            Err(e @ Errno::ENODEV) => return Err(e.into()),
            Err(e @ Errno::EACCES) if !self.members.dir.is_own() => return Err(e.into()),
            Err(e) => (false, Some(e)),
        };
        let events = self.events()?;
        let changed = Overridden::begin(&self.state.overrides, self.members.dir);
        let outcome = match sent.then(|| self.die_within(&events, deadline.at_most(KILL_FILE_WAIT), &changed))
        {
            Some(Ok(true)) => Ok(()),
            Some(Err(e)) => Err(e.into()),
            Some(Ok(false)) | None => self.finish(&events, deadline, sent, refused, &changed),
        };
        let put_back = changed.end();
        outcome?;
        put_back.map_err(Failure::NotPutBack)
    }

    /// Wait until no process lives in the group. Returns false at the deadline.
    pub fn wait_empty(&self, deadline: Deadline) -> nix::Result<bool> {
        let events = Events::open(self.members.dir).or_else(|e| self.kept_events().ok_or(e))?;
        if !kernel::populated_outlives_death() {
            return events.wait(deadline, |now| !now.populated);
        }
        loop {
            if events.wait(deadline.at_most(LISTS_EVERY), |now| !now.populated)?
                || self.list_nobody_for(EMPTY_READINGS, deadline)?
            {
                return Ok(true);
            }
            if deadline.passed() {
                return Ok(false);
            }
        }
    }

    /// True if the calling process is in the group.
    pub fn hold_caller(&self, deadline: Deadline) -> nix::Result<bool> {
        self.members.hold_caller(deadline.at_least(FIRST_SWEEP), &self.state.paths_known)
    }

    /// Find out what [`Self::hold_caller`] needs to know, which it may have no memory for later.
    pub fn learn_paths(&self) {
        // Asked again where it cannot be told now.
        let _ = self.members.paths_tell(&self.state.paths_known);
    }

    /// `cgroup.events`: the descriptor that is kept, if one is.
    pub fn events(&self) -> nix::Result<Events<'_>> {
        self.kept_events().map_or_else(|| Events::open(self.members.dir), Ok)
    }

    fn kept_events(&self) -> Option<Events<'_>> {
        self.state.files.events.as_ref().map(|fd| Events::cached(fd.as_fd()))
    }

    /// Write `cgroup.kill`. Returns false if there is none that takes it: before 5.14, or in a threaded group.
    pub fn send(&self) -> nix::Result<bool> {
        let dir = self.members.dir;
        let kept = self.state.files.kill.as_ref().map(|fd| write_once(fd.as_fd(), b"1"));
        let sent = match kept {
            Some(sent @ (Ok(()) | Err(Errno::EOPNOTSUPP))) => sent,
            _ => dir.write(KILL, b"1"),
        };
        match sent {
            Ok(()) => Ok(true),
            Err(Errno::ENOENT | Errno::EOPNOTSUPP) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// After cgroup.kill was written: wait until all are dead.
    fn die_within(
        &self,
        events: &Events<'_>,
        deadline: Deadline,
        changed: &Overridden<'_>,
    ) -> nix::Result<bool> {
        Ok(events.wait(deadline.at_most(LISTS_AFTER), |now| !now.populated)?
            || self.are_dead(events, deadline, changed)?
            || events.wait(deadline, |now| !now.populated)?)
    }

    fn finish(
        &self,
        events: &Events<'_>,
        deadline: Deadline,
        mut sent: bool,
        mut refused: Option<Errno>,
        changed: &Overridden<'_>,
    ) -> Result<(), Failure> {
        changed.unthrottle(deadline);
        if sent && self.wait_while_dying(events, deadline)? {
            return Ok(());
        }
        let mut pause = FIRST_PAUSE;
        // Where there is a kill file, most of those in the first round are dying by themselves.
        let mut pin_now = !sent;
        let mut until = deadline.at_least(FIRST_SWEEP);
        loop {
            let pinned = pin_now && changed.pin(events, deadline);
            pin_now = true;
            let start = Instant::now();
            let mut survivors = Survivors::default();
            match self.sweep(until) {
                Ok(found) => survivors = found,
                Err(Errno::ENODEV) => return Err(Errno::ENODEV.into()),
                // With no descriptor or memory left for a moment, or for longer: cgroup.kill was written already.
                Err(e) => refused = Some(e),
            }
            until = deadline;
            if sent || refused.is_some() {
                sent |= self.send() == Ok(true);
            }
            let rest = if pinned { start.elapsed() * PAUSE_PER_SWEEP } else { Duration::ZERO };
            if events.wait(deadline.at_most(pause.max(rest)), |now| !now.populated)?
                || self.are_dead(events, deadline, changed)?
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
                && changed.loosen()
                && events.wait(deadline.at_most(pause), |now| !now.populated)?
            {
                return Ok(());
            }
            pause = (pause * 2).min(if pinned { LONGEST_PAUSE_PINNED } else { LONGEST_PAUSE });
        }
    }

    /// True if none lives: nothing is populated or, where that can outlive death, no cgroup lists anybody.
    ///
    /// A process that changes its cgroup while the lists are read can be in none of them. A frozen one makes no further
    /// system call, so that of two readings after the freeze at most the first can miss it.
    fn are_dead(
        &self,
        events: &Events<'_>,
        deadline: Deadline,
        changed: &Overridden<'_>,
    ) -> nix::Result<bool> {
        if !events.state()?.populated {
            return Ok(true);
        }
        Ok(kernel::populated_outlives_death()
            && self.list_nobody_for(1, deadline)?
            && changed.freeze()
            && self.list_nobody_for(EMPTY_READINGS, deadline)?)
    }

    /// True if no cgroup lists anybody, so many times in a row, and nobody is on the way out. What cannot be read now may be
    /// read later.
    fn list_nobody_for(&self, readings: u32, deadline: Deadline) -> nix::Result<bool> {
        for _ in 0..readings {
            match self.members.list_nobody(deadline.at_least(KILL_FILE_WAIT)) {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                Err(e @ Errno::ENODEV) => return Err(e),
                Err(_) => return Ok(false),
            }
        }
        // From Linux 7.0 on the lists leave out who exits, while its files are open still.
        Ok(!procfs::any_exits_in(self.members.mark))
    }

    /// Give those that cgroup.kill reached time to die, as long as they become fewer: a thousand of them need longer than
    /// one that it has missed may have. Returns true if none is left.
    fn wait_while_dying(&self, events: &Events<'_>, deadline: Deadline) -> nix::Result<bool> {
        let mut before = usize::MAX;
        loop {
            if events.wait(deadline.at_most(KILL_FILE_WAIT), |now| !now.populated)? {
                return Ok(true);
            }
            let mut now = 0;
            let counted = self.members.each_cgroup(deadline, |dir| {
                let procs = ignore_gone(dir.read_all(c"cgroup.procs"), Vec::new())?;
                now += parse::ids(&procs).count();
                Ok(())
            });
            if counted.is_err() || now >= before || deadline.passed() {
                return Ok(false);
            }
            before = now;
        }
    }

    /// SIGKILL for each process that any cgroup lists. Processes whose main thread was dead when they
    /// were moved here stand in `cgroup.threads` alone.
    fn sweep(&self, deadline: Deadline) -> nix::Result<Survivors> {
        let mut survivors = Survivors::default();
        let own = std::process::id();
        let complete = self.members.each_cgroup(deadline, |dir| {
            let procs = ignore_gone(dir.read_all(c"cgroup.procs"), Vec::new())?;
            let threads = ignore_gone(dir.read_all(c"cgroup.threads"), Vec::new())?;
            let mut ids = Vec::new();
            try_alloc::extend(&mut ids, parse::ids(&procs).chain(parse::ids(&threads)))?;
            ids.sort_unstable();
            ids.dedup();
            for id in ids {
                match id {
                    // Never kill(0): that is our own process group.
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

// SPDX-License-Identifier: MIT OR Apache-2.0
//! What happens in a group, told by one descriptor: an epoll instance over the group's own files, which the kernel
//! notifies.
//!
//! A notification says that a file has changed, and a read says what it says now. What came and went between two
//! reads shows as a notification without a difference. The kernel notifies at most once in 10 ms a file (up to 20
//! where its clock ticks so), puts off what comes earlier, and drops what it has put off when the group is removed; the
//! removal itself wakes nobody. So after each notification the watcher looks again once that time has passed, and at an
//! empty group, which alone can be removed, at growing intervals. Who removes it with this library wakes it
//! ([`crate::events::final_counters`]), and from Linux 7.1 on so does the kernel ([`removals`]).
//!
//! A group is empty if nothing lives in it. From Linux 6.19 on `populated` can stay 1 for tasks that have ended, and no
//! notification comes of their end. There a populated group is looked at at growing intervals, too.

mod counters;
pub mod final_counters;
mod removals;
mod sources;
mod token;

use crate::cgroupfs::events_file::State;
use crate::cgroupfs::{Dir, FileError};
use crate::kill::members::Members;
use crate::sys::deadline::Deadline;
use crate::sys::descriptors;
use crate::sys::kernel;
use counters::Counters;
use final_counters::Counts;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags, EpollTimeout};
pub use removals::Alarm;
use removals::Removal;
use sources::Sources;
use std::sync::Arc;
use std::time::Duration;
use token::{ALARM, REMOVALS, STATE};

/// The last process is gone.
pub const EMPTY: u64 = 1 << 0;
/// A process came into the empty group.
pub const POPULATED: u64 = 1 << 1;
/// All are parked.
pub const FROZEN: u64 = 1 << 2;
/// They go on.
pub const THAWED: u64 = 1 << 3;
/// A process was killed, for there was no memory.
pub const OOM_KILL: u64 = 1 << 4;
/// `memory.high` was reached.
pub const MEMORY_HIGH: u64 = 1 << 5;
/// `memory.max` was reached.
pub const MEMORY_MAX: u64 = 1 << 6;
/// A fork was refused.
pub const PIDS_MAX: u64 = 1 << 7;
/// The group was removed.
pub const GONE: u64 = 1 << 8;

/// Past the time for which the kernel puts off a notification, in two steps.
const SETTLE: Duration = Duration::from_millis(12);
const LOOKS_TO_SETTLE: u32 = 2;
/// What may be spent on the lists of a group, however many cgroups the agent has made in it.
const LONGEST_READING: Duration = Duration::from_millis(20);
const READINGS: u32 = 3;
const LONGEST_INTERVAL: Duration = Duration::from_secs(4);

/// What is listened to in one group.
#[derive(Debug)]
pub struct Watch {
    epoll: Arc<Epoll>,
    alarm: Arc<Alarm>,
    /// Where the kernel may report the removal.
    removal: Option<Removal>,
    which: u64,
    /// Nothing while nothing is listened to.
    sources: Option<Sources>,
    /// What the last look has shown: `cgroup.events` as it reads, and with `populated` as [`Watch`] means it.
    read: State,
    state: State,
    counts: Counts,
    /// The group is empty, and that was told.
    told_empty: bool,
    /// Found, but not yet told.
    pending: u64,
    /// A look that has not come to its end is due, and what it has to account for: a notification of `cgroup.events`.
    due: bool,
    notified: bool,
    gone: bool,
    /// Looks since the last notification, and the time to the next.
    quiet: u32,
    interval: Duration,
}

impl Watch {
    /// Nothing is listened to yet.
    pub fn new() -> nix::Result<Self> {
        let epoll = descriptors::epoll()?;
        let alarm = Alarm::new()?;
        epoll.add(&alarm, EpollEvent::new(EpollFlags::EPOLLIN, ALARM))?;
        Ok(Self {
            epoll: Arc::new(epoll),
            alarm: Arc::new(alarm),
            removal: None,
            which: 0,
            sources: None,
            read: State { populated: false, frozen: false },
            state: State { populated: false, frozen: false },
            counts: Counts::default(),
            told_empty: false,
            pending: 0,
            due: false,
            notified: false,
            gone: false,
            quiet: 0,
            interval: SETTLE,
        })
    }

    /// Readable when there may be something to tell.
    pub fn epoll(&self) -> &Arc<Epoll> {
        &self.epoll
    }

    /// What is listened to.
    pub fn which(&self) -> u64 {
        self.which
    }

    /// Listen to these from now on, and not to others. What was found of them before is still told. On failure all is
    /// as it was.
    pub fn choose(&mut self, dir: &Dir, which: u64) -> Result<(), FileError> {
        self.pending |= self.find(dir)?;
        if which != 0 {
            self.turn_to(dir, which)?;
        } else if let Some(old) = self.sources.take() {
            old.ignore(&self.epoll);
            self.end_removal();
        }
        (self.which, self.pending) = (which, self.pending & which);
        self.look_again(dir, true);
        Ok(())
    }

    fn turn_to(&mut self, dir: &Dir, which: u64) -> Result<(), FileError> {
        let (memory, pids) = (which & (OOM_KILL | MEMORY_HIGH | MEMORY_MAX) != 0, which & PIDS_MAX != 0);
        let mut counts = self.counts;
        let counters = Counters::open(dir, &self.epoll, memory, pids, &mut counts)?;
        let state = if let Some(sources) = &mut self.sources {
            sources.count(counters, &self.epoll)?;
            self.state
        } else {
            let (fresh, read) = Sources::open(dir, &self.epoll, counters)?;
            self.removal = self.watch_removal(dir);
            self.sources = Some(fresh);
            self.read = read;
            State { populated: is_populated(dir, read), ..read }
        };
        // What happened before it was listened to is no event.
        self.pending |= self.compare(dir, self.read, state, counts, false)? & self.which;
        Ok(())
    }

    /// Nothing where the kernel has no more to give: the looks at growing intervals find the removal, too.
    fn watch_removal(&self, dir: &Dir) -> Option<Removal> {
        let removal = Removal::watch(dir, &self.alarm).ok()?;
        let readable = EpollEvent::new(EpollFlags::EPOLLIN, REMOVALS);
        self.epoll.add(removal.inotify(), readable).is_ok().then_some(removal)
    }

    fn end_removal(&mut self) {
        if let Some(removal) = self.removal.take() {
            let _ = self.epoll.delete(removal.inotify()); // ENOENT: it was given up
        }
    }

    /// Make the descriptor readable: something has changed that the kernel does not notify of.
    pub fn ring(&self) {
        if self.sources.is_some() {
            self.alarm.ring();
        }
    }

    /// The events since the last look. `ENODEV` once the group is gone and that was told.
    pub fn look(&mut self, dir: &Dir) -> Result<u64, FileError> {
        let found = self.find(dir)?;
        let told = (self.pending | found) & self.which;
        self.pending = 0;
        if told == 0 && self.gone {
            return Err((Errno::ENODEV, c"cgroup.events"));
        }
        Ok(told)
    }

    /// What is new. If that cannot be read now, the descriptor is readable again in a moment, and the next look finds it.
    fn find(&mut self, dir: &Dir) -> Result<u64, FileError> {
        if self.sources.is_none() {
            return Ok(0);
        }
        let found = self.find_now(dir);
        if self.due {
            self.alarm.ring_after(SETTLE);
        }
        found
    }

    fn find_now(&mut self, dir: &Dir) -> Result<u64, FileError> {
        let Some(sources) = &mut self.sources else { return Ok(0) };
        let mut ready = [EpollEvent::empty(); 5];
        let count = match self.epoll.wait(&mut ready, EpollTimeout::ZERO) {
            // A signal: the next look finds the same.
            Err(Errno::EINTR) => 0,
            other => other.map_err(|e| (e, c"cgroup.events"))?,
        };
        let ready = ready.iter().take(count).fold(0, |sum, one| sum | one.data());
        if ready & REMOVALS != 0 {
            removals::pass_on();
        }
        let rung = self.alarm.take();
        self.due |= rung || ready & !REMOVALS != 0;
        self.notified |= ready & STATE != 0;
        // An end that was found before, while other events were chosen, may be over.
        if !self.due && self.pending & EMPTY == 0 {
            return Ok(0);
        }
        if ready & ALARM != 0 || rung {
            self.alarm.expire();
        }
        let mut counts = self.counts;
        let found = match sources.read(dir, &self.epoll, self.notified, &mut self.counts, &mut counts) {
            // Of one file ENODEV may mean that its controller was disabled just now.
            Err((Errno::ENODEV, _)) if dir.is_alive() => {
                self.due = true;
                return Ok(0);
            }
            Err((Errno::ENODEV, _)) => self.end(dir)?,
            other => {
                let read = other?;
                let state = State { populated: is_populated(dir, read), ..read };
                let found = self.compare(dir, read, state, counts, self.notified)?;
                self.look_again(dir, rung || ready & !(ALARM | REMOVALS) != 0);
                found
            }
        };
        (self.due, self.notified) = (false, false);
        Ok(found)
    }

    /// What is new in what was read, of which the kernel had notified or not. On failure nothing is taken note of.
    fn compare(
        &mut self,
        dir: &Dir,
        read: State,
        mut state: State,
        counts: Counts,
        notified: bool,
    ) -> Result<u64, FileError> {
        let unchanged = read == self.read && state == self.state;
        let odd = (notified && unchanged) || (!state.populated && state.frozen != self.state.frozen);
        let ends = odd && final_counters::left(dir).map_err(|e| (e, c""))?.is_some();
        if !state.populated && ends {
            // Whoever is about to remove it has woken us.
            state.frozen = self.state.frozen;
        }
        self.read = read;
        let was = std::mem::replace(&mut self.state, state);
        let mut found = self.compare_counts(counts);
        if was.populated != state.populated {
            found |= if state.populated { POPULATED } else { EMPTY };
        }
        if was.frozen != state.frozen {
            found |= if state.frozen { FROZEN } else { THAWED };
        }
        if notified && unchanged && !ends {
            // It came and went, or the kernel had put this off and it is seen already. Rather told twice than never.
            found |= if state.populated { FROZEN | THAWED } else { POPULATED | EMPTY };
        }
        if state.populated {
            // An end that is over is none to act on.
            self.pending &= !EMPTY;
        }
        self.told_empty = !state.populated && (self.told_empty || found & EMPTY != 0);
        Ok(found)
    }

    fn compare_counts(&mut self, counts: Counts) -> u64 {
        let was = std::mem::replace(&mut self.counts, counts);
        // A controller that was disabled and enabled again counts from 0.
        let has_grown = |was: u64, now: u64| now > was || (now < was && now > 0);
        let grown = [
            (has_grown(was.oom_kill, counts.oom_kill), OOM_KILL),
            (has_grown(was.high, counts.high), MEMORY_HIGH),
            (has_grown(was.max, counts.max), MEMORY_MAX),
            (has_grown(was.pids_max, counts.pids_max), PIDS_MAX),
        ];
        grown.iter().filter(|(grown, _)| *grown).fold(0, |sum, (_, event)| sum | event)
    }

    /// The group is removed. What happened in its last moments its remover may have left word of.
    fn end(&mut self, dir: &Dir) -> Result<u64, FileError> {
        let left = final_counters::left(dir).map_err(|e| (e, c""))?;
        let mut found = left.map_or(0, |last| self.compare_counts(last)) | GONE;
        if !self.told_empty {
            found |= EMPTY;
        }
        if let Some(sources) = self.sources.take() {
            sources.ignore(&self.epoll);
        }
        if let Some(removal) = &self.removal {
            removal.found();
        }
        self.end_removal();
        self.gone = true;
        self.alarm.take();
        self.alarm.expire();
        self.alarm.silence();
        Ok(found)
    }

    fn look_again(&mut self, dir: &Dir, notified: bool) {
        (self.quiet, self.interval) = match (notified, self.quiet) {
            (true, _) => (0, SETTLE),
            (false, quiet) if quiet + 1 < LOOKS_TO_SETTLE => (quiet + 1, SETTLE),
            (false, quiet) => (quiet.saturating_add(1), (self.interval * 3 / 2).min(LONGEST_INTERVAL)),
        };
        let may_end =
            self.read.populated && self.which & (EMPTY | GONE) != 0 && kernel::populated_outlives_death();
        let may_go =
            !self.state.populated && (self.which & GONE != 0 || final_counters::left(dir) != Ok(None));
        if self.sources.is_some() && (self.quiet < LOOKS_TO_SETTLE || may_end || may_go) {
            self.alarm.ring_after(self.interval);
        } else {
            self.alarm.silence();
        }
    }
}

/// Whether something lives in the group of which `cgroup.events` says this.
fn is_populated(dir: &Dir, read: State) -> bool {
    if !read.populated || !kernel::populated_outlives_death() {
        return read.populated;
    }
    // Most have processes at their top. A process that changes its cgroup is missed by one reading, not by all.
    let members = Members { dir, mark: b"" };
    let deadline = Deadline::after(LONGEST_READING);
    !(0..READINGS)
        .all(|_| dir.is_empty(c"cgroup.procs") != Ok(false) && members.list_nobody(deadline) == Ok(true))
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reports the events of a group through one descriptor: an epoll instance over the files of the group.
//!
//! A notification of the kernel says that a file has changed; a read returns the present state. If a state has changed and
//! changed back between two reads, there is a notification without a difference. The kernel notifies each file at most
//! once in 10 ms (20 ms with a slow clock tick). It delays a notification that comes earlier, and drops a delayed one when
//! the group is removed. The removal itself notifies nobody. Therefore the watch reads again when that time has passed
//! after a notification, and reads an empty group, the only kind that can be removed, at growing intervals. A remover that
//! uses this library wakes the watch ([`final_counters`]). From Linux 7.1 on the kernel does, too ([`removals`]).
//!
//! A group is empty if no process lives in it. From Linux 6.19 on `populated` can stay 1 for tasks that have ended, and the
//! kernel does not notify when they go. On these kernels the watch reads a populated group at growing intervals, too.

mod counters;
pub mod final_counters;
mod removals;
mod sources;
mod stalls;

use crate::cgroupfs::events_file::State;
use crate::cgroupfs::{Dir, FileError};
use crate::kill::members::Members;
use crate::stats::Files;
use crate::sys::deadline::Deadline;
use crate::sys::descriptors;
use crate::sys::kernel;
use counters::Counters;
use final_counters::Counts;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags, EpollTimeout};
use removals::Removal;
pub use removals::Wakeup;
use sources::{STATE, Sources};
use stalls::Stalls;
pub use stalls::{Kind as StallKind, Resource, Threshold};
use std::sync::Arc;
use std::time::Duration;

// The header has these constants, with the prefix AGENTCG_EVENT_ (build.rs).

/// The last process in the group is gone.
pub const EMPTY: u64 = 1u64 << 0;
/// A process came into the empty group.
pub const POPULATED: u64 = 1u64 << 1;
/// All processes are frozen.
pub const FROZEN: u64 = 1u64 << 2;
/// The processes run again.
pub const THAWED: u64 = 1u64 << 3;
/// The OOM killer killed a process in the group or below it.
pub const OOM_KILL: u64 = 1u64 << 4;
/// memory_high_bytes was reached in the group or below it.
pub const MEMORY_HIGH: u64 = 1u64 << 5;
/// memory_max_bytes was reached in the group or below it.
pub const MEMORY_MAX: u64 = 1u64 << 6;
/// A fork was refused in the group or below it.
pub const PIDS_MAX: u64 = 1u64 << 7;
/// The group was removed.
pub const GONE: u64 = 1u64 << 8;
/// Processes have waited for as long as agentcg_watch_stall() says.
pub const STALLED: u64 = 1u64 << 9;

/// The bits of the other sources in the epoll instance: [`sources::STATE`], [`counters::COUNTER`].
const WAKEUP: u64 = 1 << 2;
const REMOVALS: u64 = 1 << 3;

/// Two of these intervals are longer than the kernel delays a notification.
const SETTLE: Duration = Duration::from_millis(12);
const READS_TO_SETTLE: u32 = 2;
/// The longest time to read the lists of a group, however many cgroups the agent has made in it.
const LONGEST_READING: Duration = Duration::from_millis(20);
const READINGS: u32 = 3;
const LONGEST_INTERVAL: Duration = Duration::from_secs(4);

/// The watch of one group.
#[derive(Debug)]
pub struct Watch {
    epoll: Arc<Epoll>,
    wakeup: Arc<Wakeup>,
    /// The kernel's reports of the removal, if there are any.
    removal: Option<Removal>,
    which: u64,
    /// `None` while no event is selected.
    sources: Option<Sources>,
    /// The content of `cgroup.events` at the last read.
    read: State,
    /// The same, with `populated` false if only tasks that have ended are left.
    state: State,
    counts: Counts,
    stalls: Stalls,
    /// The group is empty, and EMPTY was reported.
    empty_reported: bool,
    /// Events that were found and not yet reported.
    pending: u64,
    /// A read is due that failed or has not been made.
    due: bool,
    /// The kernel has notified `cgroup.events` since the last successful read.
    notified: bool,
    gone: bool,
    /// The number of reads since the last notification, and the interval to the next.
    quiet: u32,
    interval: Duration,
    /// The time of the next read, on the monotonic clock, if the timer is also that of stalls.
    read_at: Option<Duration>,
}

impl Watch {
    /// Makes a watch without selected events.
    pub fn new() -> nix::Result<Self> {
        let epoll = descriptors::epoll()?;
        let wakeup = Wakeup::new()?;
        epoll.add(&wakeup, EpollEvent::new(EpollFlags::EPOLLIN, WAKEUP))?;
        Ok(Self {
            epoll: Arc::new(epoll),
            wakeup: Arc::new(wakeup),
            removal: None,
            which: 0,
            sources: None,
            read: State { populated: false, frozen: false },
            state: State { populated: false, frozen: false },
            counts: Counts::default(),
            stalls: Stalls::default(),
            empty_reported: false,
            pending: 0,
            due: false,
            notified: false,
            gone: false,
            quiet: 0,
            interval: SETTLE,
            read_at: None,
        })
    }

    /// Returns the epoll instance, which is readable when there may be events.
    pub fn epoll(&self) -> &Arc<Epoll> {
        &self.epoll
    }

    /// Returns the selected events.
    pub fn which(&self) -> u64 {
        self.which
    }

    /// Selects the events to report, in place of those selected before. Reports events of them that were found before. A
    /// failure changes nothing.
    pub fn select(&mut self, members: Members<'_>, files: &Files, which: u64) -> Result<(), FileError> {
        self.pending |= self.find(members, files)?;
        if which & !self.which & STALLED != 0 {
            self.stalls.restart(members.dir, files);
        }
        if which != 0 {
            self.open_sources(members, which)?;
        } else if let Some(old) = self.sources.take() {
            old.remove_from(&self.epoll);
            self.end_removal();
        }
        (self.which, self.pending) = (which, self.pending & which);
        self.schedule(members.dir, true);
        Ok(())
    }

    fn open_sources(&mut self, members: Members<'_>, which: u64) -> Result<(), FileError> {
        let (memory, pids) = (which & (OOM_KILL | MEMORY_HIGH | MEMORY_MAX) != 0, which & PIDS_MAX != 0);
        let dir = members.dir;
        let mut counts = self.counts;
        let counters = Counters::open(dir, &self.epoll, memory, pids, &mut counts)?;
        let state = if let Some(sources) = &mut self.sources {
            sources.replace_counters(counters, &self.epoll)?;
            self.state
        } else {
            let (fresh, read) = Sources::open(dir, &self.epoll, counters)?;
            self.removal = self.watch_removal(dir);
            self.sources = Some(fresh);
            self.read = read;
            State { populated: is_populated(members, read), ..read }
        };
        // A condition that held before an event was selected is no event.
        self.pending |= self.compare(dir, self.read, state, counts, false)? & self.which;
        Ok(())
    }

    /// Asks the kernel to report the removal. Without its reports the reads at growing intervals find the removal.
    fn watch_removal(&self, dir: &Dir) -> Option<Removal> {
        let removal = Removal::watch(dir, &self.wakeup).ok()?;
        let readable = EpollEvent::new(EpollFlags::EPOLLIN, REMOVALS);
        self.epoll.add(removal.inotify(), readable).is_ok().then_some(removal)
    }

    fn end_removal(&mut self) {
        if let Some(removal) = self.removal.take() {
            let _ = self.epoll.delete(removal.inotify()); // ENOENT: the instance was closed.
        }
    }

    /// Reports STALLED when this resource is missing for as long as `threshold` says. Fails with `ENOENT` or `ENODATA` if the
    /// kernel does not measure it for this group.
    pub fn watch_stall(
        &mut self,
        members: Members<'_>,
        files: &Files,
        resource: Resource,
        kind: StallKind,
        threshold: Threshold,
    ) -> Result<(), FileError> {
        self.stalls.watch(members.dir, files, resource, kind, threshold)?;
        self.reschedule(members.dir);
        Ok(())
    }

    /// Ends the watch of this resource and kind, if there is one.
    pub fn end_stall(&mut self, members: Members<'_>, resource: Resource, kind: StallKind) {
        self.stalls.end(resource, kind);
        if self.stalls.is_empty() {
            self.pending &= !STALLED;
        }
        self.reschedule(members.dir);
    }

    /// Sets the timer again after a change of the watches of stalls.
    fn reschedule(&mut self, dir: &Dir) {
        if self.sources.is_some() {
            self.schedule(dir, true);
        }
    }

    /// Returns true if the totals of stalls have to be read.
    fn watches_stalls(&self) -> bool {
        self.which & STALLED != 0 && self.sources.is_some() && !self.stalls.is_empty()
    }

    /// Makes the descriptor readable, for a change of which the kernel does not notify.
    pub fn wake(&self) {
        if self.sources.is_some() {
            self.wakeup.wake();
        }
    }

    /// Returns the events since the last call. Fails with `ENODEV` if the group was removed and GONE was reported.
    pub fn next(&mut self, members: Members<'_>, files: &Files) -> Result<u64, FileError> {
        let found = self.find(members, files)?;
        let reported = (self.pending | found) & self.which;
        self.pending = 0;
        if reported == 0 && self.gone {
            return Err((Errno::ENODEV, c"cgroup.events"));
        }
        Ok(reported)
    }

    /// Finds new events. If the files cannot be read now, the descriptor becomes readable again a moment later, and the next
    /// call finds the events.
    fn find(&mut self, members: Members<'_>, files: &Files) -> Result<u64, FileError> {
        if self.sources.is_none() {
            return Ok(0);
        }
        let found = self.find_now(members, files);
        if self.due {
            self.wakeup.wake_after(SETTLE);
        }
        found
    }

    fn find_now(&mut self, members: Members<'_>, files: &Files) -> Result<u64, FileError> {
        let dir = members.dir;
        let mut ready = [EpollEvent::empty(); 5];
        let count = match self.epoll.wait(&mut ready, EpollTimeout::ZERO) {
            // The next call finds the same.
            Err(Errno::EINTR) => 0,
            other => other.map_err(|e| (e, c"cgroup.events"))?,
        };
        let ready = ready.iter().take(count).fold(0, |sum, one| sum | one.data());
        if ready & REMOVALS != 0 {
            removals::dispatch();
        }
        let woken = self.wakeup.take_woken();
        let look_at = self.watches_stalls().then(stalls::now);
        // The timer of the reads is also that of the looks.
        let read_is_due = look_at.is_none_or(|now| self.read_at.is_some_and(|at| at <= now));
        self.due |= woken || ready & !(REMOVALS | WAKEUP) != 0 || (ready & WAKEUP != 0 && read_is_due);
        self.notified |= ready & STATE != 0;
        if let Some(now) = look_at {
            let pending = &mut self.pending;
            let complete = self.stalls.look(dir, files, now, || *pending |= STALLED);
            // A file is missing if accounting was switched off, or if the group was removed.
            self.due |= !complete && !dir.is_alive();
        }
        // EMPTY that was found earlier, while other events were selected, may no longer hold.
        if !self.due && self.pending & EMPTY == 0 {
            if ready & WAKEUP != 0 {
                let left = self.read_at.map(|at| at.saturating_sub(stalls::now()));
                self.set_timer(left);
            }
            return Ok(0);
        }
        if ready & WAKEUP != 0 || woken {
            self.wakeup.acknowledge();
        }
        let Some(sources) = &mut self.sources else { return Ok(0) };
        let mut counts = self.counts;
        let found = match sources.read(dir, &self.epoll, self.notified, &mut self.counts, &mut counts) {
            // A controller may just have been disabled.
            Err((Errno::ENODEV, _)) if dir.is_alive() => {
                self.due = true;
                return Ok(0);
            }
            Err((Errno::ENODEV, _)) => self.end(dir)?,
            other => {
                let read = other?;
                let state = State { populated: is_populated(members, read), ..read };
                let found = self.compare(dir, read, state, counts, self.notified)?;
                self.schedule(dir, woken || ready & !(WAKEUP | REMOVALS) != 0);
                found
            }
        };
        (self.due, self.notified) = (false, false);
        Ok(found)
    }

    /// Returns the events between the last state and the one that was read. `notified`: the kernel has notified
    /// `cgroup.events`. A failure changes nothing.
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
        let ends = odd && final_counters::read(dir).map_err(|e| (e, c""))?.is_some();
        if !state.populated && ends {
            // The remover changes cgroup.freeze to wake the watch.
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
            // The state has changed and changed back, or the notification was delayed and the change is reported already.
            // Report it twice rather than never.
            found |= if state.populated { FROZEN | THAWED } else { POPULATED | EMPTY };
        }
        if state.populated {
            // EMPTY does not hold any more.
            self.pending &= !EMPTY;
        }
        self.empty_reported = !state.populated && (self.empty_reported || found & EMPTY != 0);
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

    /// Ends the watch of a group that was removed. Its final counters show what happened in its last moments.
    fn end(&mut self, dir: &Dir) -> Result<u64, FileError> {
        let last = final_counters::read(dir).map_err(|e| (e, c""))?;
        let mut found = last.map_or(0, |last| self.compare_counts(last)) | GONE;
        if !self.empty_reported {
            found |= EMPTY;
        }
        if let Some(sources) = self.sources.take() {
            sources.remove_from(&self.epoll);
        }
        if let Some(removal) = &self.removal {
            removal.found();
        }
        self.end_removal();
        self.gone = true;
        self.wakeup.take_woken();
        self.wakeup.acknowledge();
        self.wakeup.cancel();
        Ok(found)
    }

    /// Sets the time of the next read.
    fn schedule(&mut self, dir: &Dir, notified: bool) {
        (self.quiet, self.interval) = match (notified, self.quiet) {
            (true, _) => (0, SETTLE),
            (false, quiet) if quiet + 1 < READS_TO_SETTLE => (quiet + 1, SETTLE),
            (false, quiet) => (quiet.saturating_add(1), (self.interval * 3 / 2).min(LONGEST_INTERVAL)),
        };
        let may_end =
            self.read.populated && self.which & (EMPTY | GONE) != 0 && kernel::populated_outlives_death();
        let may_go =
            !self.state.populated && (self.which & GONE != 0 || final_counters::read(dir) != Ok(None));
        let reads = self.sources.is_some() && (self.quiet < READS_TO_SETTLE || may_end || may_go);
        self.set_timer(reads.then_some(self.interval));
    }

    /// Sets the timer for the next read and for the next look at the totals of stalls.
    fn set_timer(&mut self, read_in: Option<Duration>) {
        let stall_in = if self.watches_stalls() { self.stalls.next_look() } else { None };
        // Without stalls every expiry is a read.
        self.read_at = stall_in.and(read_in).map(|wait| stalls::now().saturating_add(wait));
        match read_in.into_iter().chain(stall_in).min() {
            // 0 would cancel the timer.
            Some(wait) => self.wakeup.wake_after(wait.max(Duration::from_nanos(1))),
            None => self.wakeup.cancel(),
        }
    }
}

/// Returns true if a process lives in the group of which `cgroup.events` has this state.
fn is_populated(members: Members<'_>, read: State) -> bool {
    read.populated
        && !(kernel::populated_outlives_death()
            && members.lists_stay_empty(READINGS, Deadline::after(LONGEST_READING)) == Ok(true))
}

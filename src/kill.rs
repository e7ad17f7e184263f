// SPDX-License-Identifier: MIT OR Apache-2.0
//! The end of everything in a group, for certain.
//!
//! `cgroup.kill` (5.14) reaches all at once, but only sends; it misses a process whose main thread has
//! exited (kernels up to late 2026), and before kill_seq (6.14 and stable kernels after it) one whose
//! fork was under way. So it is written first, and what still lives is swept up one by one, frozen so
//! that it cannot fork away. Without the file the sweep is all there is.

mod grip;

use crate::deadline::Deadline;
use crate::events::Events;
use crate::members::{Members, Process, ignore_gone};
use crate::parse;
use crate::sys::fallible;
use grip::Grip;
use libc::SIGKILL;
use nix::errno::Errno;
use std::time::{Duration, Instant};

/// Why not all are dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// We are in it ourselves. Nothing was killed.
    CallerInside,
    /// Something lives at the deadline: in uninterruptible sleep, or out of our reach.
    Alive(Survivors),
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
    /// Outside our pid namespace: they show as pid 0.
    pub unnameable: bool,
    /// Of another uid.
    pub forbidden: bool,
}

/// After cgroup.kill, how often to look whether the living become fewer.
const KILL_FILE_WAIT: Duration = Duration::from_millis(50);
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);
/// Where nobody can fork there is no hurry: a sweep of a thousand makes six thousand system calls.
const LONGEST_PAUSE_PINNED: Duration = Duration::from_millis(200);
const PAUSE_PER_SWEEP: u32 = 20;

impl Members<'_> {
    /// Kill all in the group and below it, and wait until none lives.
    pub fn kill_all(&self, deadline: Deadline) -> Result<(), Failure> {
        self.with_rights(deadline, || self.kill_all_that_is_open(deadline))
    }

    /// Try, and again where files of ours were closed to us. Who closes them all the time is dead sooner or later.
    pub fn with_rights<T>(
        &self,
        deadline: Deadline,
        attempt: impl Fn() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        loop {
            match attempt() {
                Err(Failure::Errno(Errno::EACCES)) if !deadline.passed() && self.dir.take_back()? => {}
                done => return done,
            }
        }
    }

    fn kill_all_that_is_open(&self, deadline: Deadline) -> Result<(), Failure> {
        let listed = self.listed()?;
        if listed.caller {
            return Err(Failure::CallerInside);
        }
        if !listed.anyone && !Events::open(self.dir)?.state()?.populated {
            return Ok(());
        }
        let has_kill_file = self.write_kill_file()?;
        // Not before: one process alone dies in little more time than the kernel takes to open this.
        let events = Events::open(self.dir)?;
        if has_kill_file && events.wait(deadline.at_most(KILL_FILE_WAIT), |now| !now.populated)? {
            return Ok(());
        }
        let mut grip = Grip::on(self.dir);
        let outcome = self.finish(&events, deadline, has_kill_file, &mut grip);
        let released = grip.release();
        outcome?;
        Ok(released?)
    }

    fn finish(
        &self,
        events: &Events,
        deadline: Deadline,
        has_kill_file: bool,
        grip: &mut Grip<'_>,
    ) -> Result<(), Failure> {
        grip.unthrottle()?;
        if has_kill_file && self.wait_while_dying(events, deadline)? {
            return Ok(());
        }
        let mut pause = FIRST_PAUSE;
        // Where there is a kill file, most of those in the first round are dying by themselves.
        let mut pin_now = !has_kill_file;
        loop {
            let pinned = pin_now && grip.pin(events, deadline)?;
            pin_now = true;
            let start = Instant::now();
            let survivors = self.sweep()?;
            if has_kill_file {
                self.write_kill_file()?;
            }
            let rest = if pinned { start.elapsed() * PAUSE_PER_SWEEP } else { Duration::ZERO };
            if events.wait(deadline.at_most(pause.max(rest)), |now| !now.populated)? {
                return Ok(());
            }
            if deadline.passed() {
                return Err(Failure::Alive(survivors));
            }
            if pause >= LONGEST_PAUSE
                && grip.loosen()?
                && events.wait(deadline.at_most(pause), |now| !now.populated)?
            {
                return Ok(());
            }
            pause = (pause * 2).min(if pinned { LONGEST_PAUSE_PINNED } else { LONGEST_PAUSE });
        }
    }

    /// Give those that cgroup.kill reached time to die, as long as they become fewer: a thousand of
    /// them need longer than one that it has missed may have. Tells whether none is left.
    fn wait_while_dying(&self, events: &Events, deadline: Deadline) -> nix::Result<bool> {
        let mut before = usize::MAX;
        loop {
            if events.wait(deadline.at_most(KILL_FILE_WAIT), |now| !now.populated)? {
                return Ok(true);
            }
            let mut now = 0;
            self.each_cgroup(|dir| {
                let procs = ignore_gone(dir.read_all(c"cgroup.procs"), Vec::new())?;
                now += parse::ids(&procs).count();
                Ok(())
            })?;
            if now >= before || deadline.passed() {
                return Ok(false);
            }
            before = now;
        }
    }

    /// Tells whether there is one.
    fn write_kill_file(&self) -> nix::Result<bool> {
        match self.dir.write(c"cgroup.kill", b"1") {
            Ok(()) => Ok(true),
            // Before 5.14; or the agent has made its group threaded.
            Err(Errno::ENOENT | Errno::EOPNOTSUPP) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// SIGKILL for each process that any cgroup lists. Processes whose main thread was dead when they
    /// were moved here stand in `cgroup.threads` alone.
    fn sweep(&self) -> nix::Result<Survivors> {
        let mut survivors = Survivors::default();
        let own = std::process::id();
        self.each_cgroup(|dir| {
            let procs = ignore_gone(dir.read_all(c"cgroup.procs"), Vec::new())?;
            let threads = ignore_gone(dir.read_all(c"cgroup.threads"), Vec::new())?;
            let mut ids = Vec::new();
            fallible::extend(&mut ids, parse::ids(&procs).chain(parse::ids(&threads)))?;
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
                            self.signal(one, SIGKILL) == Err(Errno::EPERM)
                        }
                    }
                }
            }
            Ok(())
        })?;
        Ok(survivors)
    }
}

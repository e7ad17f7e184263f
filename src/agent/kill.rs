// SPDX-License-Identifier: MIT OR Apache-2.0
//! How an agent ends, for certain, and what is said where it does not.

use super::Agent;
use crate::cgroupfs::events_file::Events;
use crate::error::{Error, Reason, Result, shown, words};
use crate::events::final_counters::{self, FinalCounters};
use crate::kill;
use crate::kill::remove;
use crate::kill::reuse;
use crate::procfs;
use crate::stats::Stats;
use crate::sys::deadline::Deadline;
use crate::sys::kernel;
use nix::errno::Errno;
use std::time::Duration;

/// Above us a rmdir may meet EBUSY for a while after the last process has gone.
const FIRST_RETRY: Duration = Duration::from_micros(100);
const LAST_RETRY: Duration = Duration::from_millis(10);
/// What may go on after the deadline: with a timeout of 0, too, what can be removed at once is removed.
const A_TREE: Duration = Duration::from_millis(500);

impl Agent {
    /// Wait until no process lives in it.
    pub fn wait_empty(&self, deadline: Deadline) -> Result<()> {
        let empty =
            self.killing().wait_empty(deadline).map_err(|e| self.failed("read", "cgroup.events", e))?;
        if empty {
            return Ok(());
        }
        let group = shown(&self.path);
        Err(Error::new(Errno::ETIMEDOUT, format!("processes still live in {group}")).on("cgroup.events"))
    }

    /// Send the kill where no memory is left for anything else: three system calls, and nothing is allocated.
    pub fn send_kill(&self) {
        let killing = self.killing();
        if killing.contains_caller(Deadline::within(Some(Duration::ZERO))) == Ok(false) {
            let _ = killing.send(); // The caller is told of the memory.
        }
    }

    /// The same after `grace`, unless all have ended by then. To ask them to end takes memory.
    pub fn send_kill_after(&self, grace: Deadline) {
        let killing = self.killing();
        if killing.contains_caller(Deadline::within(Some(Duration::ZERO))) != Ok(false) {
            return;
        }
        let ended = killing.events().and_then(|events| events.wait(grace, |now| !now.populated));
        if ended != Ok(true) {
            let _ = killing.send(); // The caller is told of the memory.
        }
    }

    /// Kill all in it and below it, and wait until none lives. The group can be used again after.
    pub fn kill_all(&self, deadline: Deadline) -> Result<()> {
        let killed = self.killing().kill_all(deadline).map_err(|failure| self.not_killed(failure));
        self.after_kill(killed, deadline)
    }

    pub(super) fn not_killed(&self, failure: kill::Failure) -> Error {
        let group = shown(&self.path);
        match failure {
            kill::Failure::CallerInside => {
                Error::new(Errno::EDEADLK, format!("we ourselves are in {group}: nothing was killed; kill it from outside"))
                    .because(Reason::CallerInside)
            }
            kill::Failure::Alive(who) if who.forbidden => {
                Error::new(Errno::EACCES, format!("processes of another uid live on in {group}, and cgroup.kill is not there to reach them"))
                    .because(Reason::NotDelegated)
            }
            kill::Failure::Alive(who) if who.unnameable => {
                Error::new(Errno::ETIMEDOUT, format!("processes outside our pid namespace live on in {group}: only cgroup.kill (5.14) reaches them"))
            }
            kill::Failure::Alive(_) => {
                Error::new(Errno::ETIMEDOUT, format!("killed, but not yet gone: processes still live in {group}, perhaps in uninterruptible sleep"))
            }
            kill::Failure::NotRestored(e) => return self.not_put_back(e),
            kill::Failure::Errno(e) => self.failed("kill all by", "cgroup.kill", e),
        }
        .on("cgroup.kill")
    }

    /// Leave the group as it was before the call, and usable if all in it were killed.
    pub(super) fn after_kill<T>(&self, killed: Result<T>, deadline: Deadline) -> Result<T> {
        let put_back = self.put_back_rest();
        let outcome = killed?;
        put_back?;
        let killing = self.killing();
        let events = killing.events().map_err(|e| self.failed("read", "cgroup.events", e))?;
        self.ring_for_the_dead(&events);
        match reuse::make_usable(&self.dir, &events, deadline) {
            Err((Errno::ENODEV, _)) | Ok(()) => Ok(outcome),
            // With no descriptor left nothing can be started there either. That it is frozen was seen, and is told.
            Err((Errno::EMFILE | Errno::ENFILE, file)) if file != c"cgroup.freeze" => Ok(outcome),
            Err(e) => Err(self.failed_on("reset", e)),
        }
    }

    /// All are dead, of which the kernel notifies nobody while `populated` stays 1: have those look who watch.
    fn ring_for_the_dead(&self, events: &Events<'_>) {
        if kernel::populated_outlives_death() && events.state().is_ok_and(|state| state.populated) {
            final_counters::wake_watchers(&self.dir);
            if let Some(watch) = &*self.watch.lock() {
                watch.wake();
            }
        }
    }

    /// Kill all, wait, measure a last time, remove the group and all below it. On failure it stays, and
    /// this can be called again. With `if_empty` nothing is killed.
    pub fn destroy(&self, if_empty: bool, deadline: Deadline, measure: bool) -> Result<Stats> {
        let name = self.name.path_inside();
        let mut retry = FIRST_RETRY;
        let mut last = Stats::default();
        // Most are empty when they are given up, and then the kernel removes them at the first word.
        if !measure && !final_counters::is_requested(&self.dir) && remove::leaf(&self.dir, name).is_ok() {
            self.end();
            return Ok(last);
        }
        let mut final_counters: Option<FinalCounters<'_>> = None;
        loop {
            match self.empty(if_empty, deadline) {
                Ok(()) => {
                    if measure {
                        last = self.read_stats(u64::MAX).or_else(gone_is_nothing(last))?;
                        last.frozen = final_counters
                            .as_ref()
                            .and_then(FinalCounters::was_frozen)
                            .map_or(last.frozen, u64::from);
                    }
                    final_counters = final_counters.or_else(|| FinalCounters::publish(&self.dir));
                }
                // Somebody else has removed it: nothing of it is left.
                Err(e) if e.reason() == Some(Reason::Gone) => {
                    self.end();
                    return Ok(last);
                }
                Err(e) => return Err(e),
            }
            let removed = remove::tree(&self.dir, name, deadline.at_least(A_TREE));
            match removed {
                Ok(()) => {
                    self.end();
                    return Ok(last);
                }
                Err(Errno::EBUSY) if !deadline.passed() => {
                    std::thread::sleep(deadline.left().map_or(retry, |left| left.min(retry)));
                    retry = (retry * 2).min(LAST_RETRY);
                }
                Err(e) => return Err(self.not_removed(e)),
            }
        }
    }

    fn empty(&self, if_empty: bool, deadline: Deadline) -> Result<()> {
        if !if_empty {
            return match self.killing().kill_all(deadline) {
                // It is about to be removed with what it held.
                Err(kill::Failure::NotRestored(_)) => Ok(()),
                killed => killed.map_err(|failure| self.not_killed(failure)),
            };
        }
        let empty = self.killing().wait_empty(Deadline::after(Duration::ZERO));
        if empty.map_err(|e| self.failed("read", "cgroup.events", e))? {
            return Ok(());
        }
        let group = shown(&self.path);
        Err(Error::new(Errno::EBUSY, format!("processes live in {group}")).on("cgroup.events"))
    }

    fn not_removed(&self, errno: Errno) -> Error {
        let group = shown(&self.path);
        match errno {
            Errno::EBUSY => Error::new(Errno::ETIMEDOUT, self.not_yet_removed(&group)),
            Errno::EACCES => {
                Error::new(errno, format!("no right to remove {group}: its parent is not ours to write"))
                    .because(Reason::NotDelegated)
            }
            e => Error::new(e, format!("cannot remove {group}: {}", words(e))),
        }
    }

    /// Dead processes that wait for others to be reaped keep a group from Linux 6.19 on.
    fn not_yet_removed(&self, group: &str) -> String {
        let mut zombies = procfs::zombies_in(self.name.mark(), 8);
        zombies.sort_unstable();
        if zombies.is_empty() {
            return format!("all is dead in {group}, but the kernel does not remove it yet: try again");
        }
        let pids: Vec<String> = zombies.iter().map(i32::to_string).collect();
        format!(
            "all is dead in {group}, but its zombies must be reaped before it can be removed: pid {}",
            pids.join(", ")
        )
    }

    /// It is removed, and what of the tree was for it alone.
    fn end(&self) {
        remove::above(&self.dir);
        self.owner.clear();
    }
}

fn gone_is_nothing(last: Stats) -> impl Fn(Error) -> Result<Stats> {
    move |e| if e.reason() == Some(Reason::Gone) { Ok(last) } else { Err(e) }
}

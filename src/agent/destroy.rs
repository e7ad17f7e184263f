// SPDX-License-Identifier: MIT OR Apache-2.0
//! Destroying an agent: killing its processes, measuring a last time, and removing the group.

use super::Agent;
use crate::error::{Error, Reason, Result, shown, words};
use crate::events::final_counters::{self, FinalCounters};
use crate::kill;
use crate::kill::remove;
use crate::place::Layout;
use crate::procfs;
use crate::stats::Stats;
use crate::sys::deadline::Deadline;
use crate::verdict::{Call, Remover, Verdict};
use nix::errno::Errno;
use std::time::Duration;

/// After the last process has ended, rmdir(2) may fail with `EBUSY` for a while. It is repeated after pauses that grow
/// from the first to the last.
const FIRST_RETRY: Duration = Duration::from_micros(100);
const LAST_RETRY: Duration = Duration::from_millis(10);
/// The least time for removing the group, which may exceed the deadline: a timeout of 0 removes what can be removed at
/// once.
const LEAST_TIME_TO_REMOVE: Duration = Duration::from_millis(500);

impl Agent {
    /// Kills all processes, waits until they are dead, and removes the group and all cgroups inside it. With `measure`,
    /// returns the statistics from just before the removal. With `if_empty`, kills nothing. On failure the group stays,
    /// and the call can be repeated.
    pub fn destroy(&self, if_empty: bool, deadline: Deadline, measure: bool) -> Result<Stats> {
        self.destroy_for(Remover::Destroy, if_empty, deadline, measure, None)
    }

    /// Destroys an orphan like [`Self::destroy`].
    pub(super) fn remove(&self, remover: Remover, deadline: Deadline) -> Result<()> {
        self.destroy_for(remover, false, deadline, false, None).map(drop)
    }

    /// Destroys the agent like [`Self::destroy`], and returns the verdict on its main program as well. With a wait status
    /// that is the verdict before the kill, since the program has ended. Without one it is that of the moment at which the
    /// group is empty.
    pub fn destroy_explained(
        &self,
        if_empty: bool,
        deadline: Deadline,
        wait_status: Option<i32>,
        measure: bool,
    ) -> Result<(Stats, Verdict)> {
        let before = wait_status.map(|status| self.explain(Some(status))).transpose().inspect_err(|e| {
            // A shortage does not keep the processes alive. The next call gives the verdict.
            if !if_empty && e.errno() != Errno::EINVAL {
                self.send_kill(Call::None, None);
            }
        })?;
        let mut verdict = None;
        let judge: Option<&mut Option<Verdict>> = if before.is_none() { Some(&mut verdict) } else { None };
        let last = self.destroy_for(Remover::Destroy, if_empty, deadline, measure, judge)?;
        let verdict = before.or(verdict).map_or_else(|| self.explain(None), Ok)?;
        Ok((last, verdict))
    }

    fn destroy_for(
        &self,
        remover: Remover,
        if_empty: bool,
        deadline: Deadline,
        measure: bool,
        mut verdict: Option<&mut Option<Verdict>>,
    ) -> Result<Stats> {
        let name = self.name.path_inside();
        let mut retry = FIRST_RETRY;
        let mut last = Stats::default();
        // Most groups are empty when they are destroyed: then one rmdir(2) is enough.
        if !measure
            && verdict.is_none()
            && !final_counters::is_requested(&self.dir)
            && self.remove_empty_leaf().is_ok()
        {
            self.finish_removal();
            return Ok(last);
        }
        let mut final_counters: Option<FinalCounters<'_>> = None;
        let mut has_killed = false;
        loop {
            match self.make_empty(remover, if_empty, deadline) {
                Ok(killed) => {
                    has_killed |= killed;
                    if measure {
                        last = self.read_stats(u64::MAX).or_else(|e| unless_gone(e, last))?;
                        last.frozen = final_counters
                            .as_ref()
                            .and_then(FinalCounters::was_frozen)
                            .map_or(last.frozen, u64::from);
                    }
                    if let Some(verdict) = verdict.as_deref_mut() {
                        *verdict = Some(self.explain(None)?);
                    }
                    let by = if has_killed { remover } else { Remover::Unknown };
                    final_counters = final_counters.or_else(|| FinalCounters::publish(&self.dir, by));
                }
                // Another process has removed the group.
                Err(e) if e.reason() == Some(Reason::Gone) => {
                    self.finish_removal();
                    return Ok(last);
                }
                Err(e) => return Err(e),
            }
            match remove::tree(&self.dir, name, deadline.at_least(LEAST_TIME_TO_REMOVE)) {
                Ok(()) => {
                    self.finish_removal();
                    return Ok(last);
                }
                Err(Errno::EBUSY) if !deadline.passed() => {
                    std::thread::sleep(deadline.left().map_or(retry, |left| left.min(retry)));
                    retry = (retry * 2).min(LAST_RETRY);
                }
                // The group of a session, which its processes may have closed.
                Err(Errno::EACCES) if self.layout == Layout::Session && self.dir.restore_parent() => {}
                Err(e) => return Err(self.not_removed(e)),
            }
        }
    }

    /// Removes the group if no process lives in it and no cgroup is inside. Succeeds if it was removed before.
    fn remove_empty_leaf(&self) -> nix::Result<()> {
        let name = self.name.path_inside();
        if !self.kill_state.files.has_events() {
            return remove::leaf(&self.dir, name);
        }
        // The open file shows all that `leaf` finds out with two calls: the group exists, so that its name leads to it,
        // and rmdir(2) returns. It also spares a group that is not empty the attempt.
        match self.killer().events()?.state() {
            Ok(state) if state.populated => Err(Errno::EBUSY),
            Ok(_) => match self.place_path.agents() {
                Some(agents) => agents.remove(self.name.as_c_str()),
                None => self.dir.remove(name),
            },
            Err(Errno::ENODEV) => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Kills all processes or, with `if_empty`, fails with `EBUSY` if there are any. Returns true if there were any.
    fn make_empty(&self, remover: Remover, if_empty: bool, deadline: Deadline) -> Result<bool> {
        if !if_empty {
            let call = if remover == Remover::Reap { Call::Reap } else { Call::Destroy };
            return match self.killer_for(call).kill_all(deadline) {
                // The group and its files are about to be removed.
                Err(kill::Failure::NotRestored(_)) => Ok(true),
                killed => killed.map_err(|failure| self.not_killed(failure)),
            };
        }
        let empty = self.killer().wait_empty(Deadline::after(Duration::ZERO));
        if empty.map_err(|e| self.failed("read", "cgroup.events", e))? {
            return Ok(false);
        }
        let group = shown(&self.path());
        Err(Error::new(Errno::EBUSY, format_args!("processes live in {group}")).on("cgroup.events"))
    }

    fn not_removed(&self, errno: Errno) -> Error {
        let group = shown(&self.path());
        match errno {
            Errno::EBUSY => Error::new(Errno::ETIMEDOUT, self.not_yet_removed(&group)),
            Errno::EACCES => Error::new(
                errno,
                format_args!("no right to remove {group}: the caller may not write its parent"),
            )
            .because(Reason::NotDelegated),
            e => Error::new(e, format_args!("cannot remove {group}: {}", words(e))),
        }
    }

    /// Returns the message of a removal that timed out. From Linux 6.19 on, zombies keep their group from being
    /// removed.
    fn not_yet_removed(&self, group: &str) -> String {
        let mut zombies = procfs::zombies_in(self.name.component(), 8);
        zombies.sort_unstable();
        if zombies.is_empty() {
            return format!(
                "all processes in {group} are dead, but the kernel does not remove it yet: try again"
            );
        }
        let pids: Vec<String> = zombies.iter().map(i32::to_string).collect();
        format!(
            "all processes in {group} are dead, but its zombies must be reaped before it can be removed: pid {}",
            pids.join(", ")
        )
    }

    /// Removes the directories above the removed group that no other agent uses, and ends the ownership.
    fn finish_removal(&self) {
        // Above a child of a session is the session.
        if self.layout == Layout::Tree {
            remove::above(&self.dir, self.place_path.agents().as_deref());
        }
        self.owner.clear();
    }
}

/// Returns the statistics from before if the error is that the group was removed.
fn unless_gone(e: Error, before: Stats) -> Result<Stats> {
    if e.reason() == Some(Reason::Gone) { Ok(before) } else { Err(e) }
}

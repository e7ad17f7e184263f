// SPDX-License-Identifier: MIT OR Apache-2.0
//! Freezing, signalling and killing the processes of an agent, and the errors of these calls.

use super::Agent;
use crate::cgroupfs::events_file::Events;
use crate::error::{Error, Reason, Result, shown};
use crate::events::final_counters;
use crate::kill;
use crate::kill::freeze;
use crate::kill::reuse;
use crate::sys::deadline::Deadline;
use crate::sys::kernel;
use crate::verdict::Call;
use nix::errno::Errno;
use std::time::Duration;

impl Agent {
    /// Freezes all processes and waits until they are frozen. On failure the earlier state is restored.
    pub fn freeze(&self, deadline: Deadline) -> Result<()> {
        self.restore_overrides()?;
        self.spawn_cache.expect_freeze(deadline);
        self.members()
            .freeze(&self.kill_state.overrides, deadline)
            .map_err(|failure| self.not_frozen("freeze all processes by", failure))
    }

    /// Thaws all processes and waits until they have thawed.
    pub fn thaw(&self, deadline: Deadline) -> Result<()> {
        self.restore_overrides()?;
        self.members()
            .thaw(&self.kill_state.overrides, deadline)
            .map_err(|failure| self.not_frozen("thaw all processes by", failure))
    }

    fn not_frozen(&self, verb: &str, failure: freeze::Failure) -> Error {
        use freeze::Failure;
        let group = shown(&self.path());
        let timed_out = |message: String| Error::new(Errno::ETIMEDOUT, message);
        match failure {
            Failure::CallerInside => Error::new(
                Errno::EDEADLK,
                format_args!("the calling process is in {group}: nothing was frozen; freeze it from outside"),
            )
            .because(Reason::CallerInside),
            Failure::NoFreezer => Error::new(
                Errno::EOPNOTSUPP,
                format_args!("{group} has no cgroup.freeze: freezing and thawing need Linux 5.2"),
            ),
            Failure::StillRunning => timed_out(format!(
                "not all processes in {group} were frozen in time (uninterruptible sleep?): the freeze was undone"
            )),
            Failure::StillFrozen { by_ancestor: true } => {
                timed_out(format!("a cgroup above {group} is frozen: thaw that one"))
            }
            Failure::StillFrozen { by_ancestor: false } => timed_out(format!(
                "{group} was thawed, but its cgroup.events does not report that yet: wait longer"
            )),
            Failure::Errno(e) => self.failed(verb, "cgroup.freeze", e),
        }
        .on("cgroup.freeze")
    }

    /// Signals every process in the group and below it, except the calling process, once. Returns the number of
    /// processes that received the signal.
    pub fn signal_all(&self, signal: i32) -> Result<usize> {
        if !(0..=libc::SIGRTMAX()).contains(&signal) {
            let most = libc::SIGRTMAX();
            return Err(Error::new(
                Errno::EINVAL,
                format_args!("{signal} is not a signal: give 0 to {most}"),
            ));
        }
        let before = self.kill_state.ledger.lock().sends(signal, Call::SignalAll);
        let sent = self
            .members()
            .signal_all(signal, Deadline::FOREVER)
            .map_err(|e| self.failed("read", "cgroup.procs", e))?;
        if sent.count == 0 {
            self.kill_state.ledger.lock().sent_to_nobody(signal, before);
        }
        let (group, count) = (shown(&self.path()), sent.count);
        let not_all = |reason: &str| {
            let message = format!(
                "signalled {count} processes in {group}, but some {reason}: only agentcg_kill_all() reaches those"
            );
            Err(Error::new(Errno::EACCES, message).on("cgroup.procs"))
        };
        if sent.forbidden {
            return not_all("are of another uid").map_err(|e| e.because(Reason::NotDelegated));
        }
        if sent.unnameable {
            return not_all("are outside the caller's pid namespace");
        }
        if sent.unreadable {
            return not_all("are in cgroups that the caller may not read")
                .map_err(|e| e.because(Reason::NotDelegated));
        }
        Ok(count)
    }

    /// Waits until no process lives in the group.
    pub fn wait_empty(&self, deadline: Deadline) -> Result<()> {
        let empty =
            self.killer().wait_empty(deadline).map_err(|e| self.failed("read", "cgroup.events", e))?;
        if empty {
            return Ok(());
        }
        let group = shown(&self.path());
        Err(Error::new(Errno::ETIMEDOUT, format_args!("processes live in {group} after the timeout"))
            .on("cgroup.events"))
    }

    /// Kills all processes in the group and below it, and waits until none lives. The group can be used again
    /// afterwards.
    pub fn kill_all(&self, deadline: Deadline) -> Result<()> {
        self.kill_all_for(Call::KillAll, deadline)
    }

    /// Does the work of [`Self::kill_all`] for another call.
    pub(super) fn kill_all_for(&self, call: Call, deadline: Deadline) -> Result<()> {
        let killed = self.killer_for(call).kill_all(deadline).map_err(|failure| self.not_killed(failure));
        self.after_kill(killed, deadline).map(|_| ())
    }

    /// Sends SIGTERM to all processes and kills those that live at `grace`. The kill may take `kill_within`, or any
    /// time if that is `None`. Returns true if processes had to be killed.
    pub fn terminate(&self, grace: Deadline, kill_within: Option<Duration>) -> Result<bool> {
        let ended = self
            .killer_for(Call::Terminate)
            .terminate(grace, kill_within)
            .map_err(|failure| self.not_killed(failure));
        self.after_kill(ended, Deadline::within(kill_within))
    }

    /// Sends the kill when a call cannot begin for want of memory. With `grace`, first waits until then for all processes
    /// to end, but sends no SIGTERM, which takes memory. Without it, makes three system calls and allocates nothing.
    pub fn send_kill(&self, call: Call, grace: Option<Deadline>) {
        let killer = self.killer_for(call);
        if killer.contains_caller(Deadline::after(Duration::ZERO)) != Ok(false) {
            return;
        }
        let end_by = |grace| killer.events()?.wait(grace, |now| !now.populated);
        if grace.map(end_by) != Some(Ok(true)) {
            self.kill_state.ledger.lock().sends(libc::SIGKILL, call);
            let _ = killer.send(); // The call returns -ENOMEM either way.
        }
    }

    pub(super) fn not_killed(&self, failure: kill::Failure) -> Error {
        use kill::Failure;
        let group = shown(&self.path());
        match failure {
            Failure::CallerInside => Error::new(
                Errno::EDEADLK,
                format_args!("the calling process is in {group}: nothing was killed; kill it from outside"),
            )
            .because(Reason::CallerInside),
            Failure::Alive(survivors) if survivors.forbidden => Error::new(
                Errno::EACCES,
                format_args!("cannot kill processes of another uid in {group}: cgroup.kill (Linux 5.14) is not available"),
            )
            .because(Reason::NotDelegated),
            Failure::Alive(survivors) if survivors.unnameable => Error::new(
                Errno::ETIMEDOUT,
                format_args!(
                    "processes outside the caller's pid namespace live in {group}: only cgroup.kill (Linux 5.14) reaches them"
                ),
            ),
            Failure::Alive(_) => Error::new(
                Errno::ETIMEDOUT,
                format_args!(
                    "processes in {group} were killed but are not dead yet (uninterruptible sleep?): wait longer"
                ),
            ),
            Failure::NotRestored(e) => return self.not_restored(e),
            Failure::Errno(e) => self.failed("kill all processes by", "cgroup.kill", e),
        }
        .on("cgroup.kill")
    }

    /// Restores the files that the kill has changed and, unless it failed, makes the group usable again. The result and
    /// `outcome` are true if processes were killed.
    pub(super) fn after_kill(&self, outcome: Result<bool>, deadline: Deadline) -> Result<bool> {
        let restored = self.restore_overrides();
        let killed = outcome?;
        restored?;
        let killer = self.killer();
        let events = killer.events().map_err(|e| self.failed("read", "cgroup.events", e))?;
        self.wake_watchers_after_death(&events);
        match reuse::make_usable(&self.dir, &events, killed, deadline) {
            Err((Errno::ENODEV, _)) | Ok(()) => Ok(killed),
            // Without a free descriptor no program can be started in the group anyway. A freeze that remains was read,
            // and is reported.
            Err((Errno::EMFILE | Errno::ENFILE, file)) if file != c"cgroup.freeze" => Ok(killed),
            Err(e) => Err(self.failed_on("reset", e)),
        }
    }

    /// Makes the watchers look if all processes are dead but `populated` stays 1: then the kernel notifies nobody.
    fn wake_watchers_after_death(&self, events: &Events<'_>) {
        if kernel::populated_outlives_death() && events.state().is_ok_and(|state| state.populated) {
            final_counters::wake_watchers(&self.dir);
            if let Some(watch) = &self.rare.lock().watch {
                watch.wake();
            }
        }
    }
}

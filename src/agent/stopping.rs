// SPDX-License-Identifier: MIT OR Apache-2.0
//! How an agent is held, signalled and brought to its end, and what is said where it is not.

use super::Agent;
use crate::error::{Error, Reason, Result, shown};
use crate::kill::freeze::Failure;
use crate::sys::deadline::Deadline;
use nix::errno::Errno;
use std::time::Duration;

impl Agent {
    /// Return when all of it is parked; else it is as it was.
    pub fn freeze(&self, deadline: Deadline) -> Result<()> {
        self.put_back_rest()?;
        self.spawning.expect_freeze(deadline);
        self.members()
            .freeze(&self.killing.overrides, deadline)
            .map_err(|failure| self.not_frozen("freeze all by", failure))
    }

    /// Return when it goes on.
    pub fn thaw(&self, deadline: Deadline) -> Result<()> {
        self.put_back_rest()?;
        self.members()
            .thaw(&self.killing.overrides, deadline)
            .map_err(|failure| self.not_frozen("thaw all by", failure))
    }

    fn not_frozen(&self, verb: &str, failure: Failure) -> Error {
        let group = shown(&self.path);
        let timed_out = |message: String| Error::new(Errno::ETIMEDOUT, message);
        match failure {
            Failure::CallerInside => {
                Error::new(Errno::EDEADLK, format!("we ourselves are in {group}: nothing was frozen; freeze it from outside"))
                    .because(Reason::CallerInside)
            }
            Failure::NoFreezer => {
                Error::new(Errno::EOPNOTSUPP, format!("{group} has no cgroup.freeze: freezing and thawing need Linux 5.2"))
            }
            Failure::StillRunning => timed_out(format!(
                "not all processes in {group} were parked in time, perhaps one in uninterruptible sleep: it is left as it was"
            )),
            Failure::StillFrozen { by_ancestor: true } => {
                timed_out(format!("{group} stays frozen with a cgroup above it: that one has to be thawed"))
            }
            Failure::StillFrozen { by_ancestor: false } => {
                timed_out(format!("{group} is to thaw, but its cgroup.events still says frozen: wait longer"))
            }
            Failure::Errno(e) => self.failed(verb, "cgroup.freeze", e),
        }
        .on("cgroup.freeze")
    }

    /// Signal every process in it and below it but ourselves, once each. Tells how many took it.
    pub fn signal_all(&self, signal: i32) -> Result<usize> {
        if !(0..=libc::SIGRTMAX()).contains(&signal) {
            let most = libc::SIGRTMAX();
            return Err(Error::new(Errno::EINVAL, format!("{signal} is no signal: 0 to {most}")));
        }
        let sent = self
            .members()
            .signal_all(signal, Deadline::FOREVER)
            .map_err(|e| self.failed("read", "cgroup.procs", e))?;
        let (group, count) = (shown(&self.path), sent.count);
        let some = |who: &str| {
            let message = format!(
                "signalled {count} in {group}, but some are {who}: only agentcg_kill_all() reaches those"
            );
            Err(Error::new(Errno::EACCES, message).on("cgroup.procs"))
        };
        if sent.forbidden {
            return some("of another uid").map_err(|e| e.because(Reason::NotDelegated));
        }
        if sent.unnameable {
            return some("outside our pid namespace");
        }
        if sent.unreadable {
            return some("in cgroups that are closed to us").map_err(|e| e.because(Reason::NotDelegated));
        }
        Ok(count)
    }

    /// Ask all to end, and kill those that have not by `grace`, which may take `kill_within`, or for
    /// ever. Tells whether any had to be killed.
    pub fn terminate(&self, grace: Deadline, kill_within: Option<Duration>) -> Result<bool> {
        let ended = self.killing().terminate(grace, kill_within).map_err(|failure| self.not_killed(failure));
        self.after_kill(ended, Deadline::within(kill_within))
    }
}

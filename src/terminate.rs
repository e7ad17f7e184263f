// SPDX-License-Identifier: MIT OR Apache-2.0
//! Asking all of a group to end, and killing those that do not.

use crate::deadline::Deadline;
use crate::events::Events;
use crate::kill::Failure;
use crate::members::Members;
use nix::errno::Errno;
use std::time::Duration;

impl Members<'_> {
    /// SIGTERM for all, and time until `grace` to go; then [`Members::kill_all`], which has
    /// `kill_within` from there on, or for ever. Tells whether it came to that.
    pub fn terminate(&self, grace: Deadline, kill_within: Option<Duration>) -> Result<bool, Failure> {
        self.with_rights(grace, || self.terminate_what_is_open(grace, kill_within))
    }

    fn terminate_what_is_open(
        &self,
        grace: Deadline,
        kill_within: Option<Duration>,
    ) -> Result<bool, Failure> {
        let events = Events::open(self.dir)?;
        if !events.state()?.populated {
            return Ok(false);
        }
        if self.holds_caller()? {
            return Err(Failure::CallerInside);
        }
        self.ask_to_end()?;
        match events.wait(grace, |now| !now.populated) {
            // All of it went, and then somebody removed the group.
            Ok(true) | Err(Errno::ENODEV) => return Ok(false),
            waited => waited?,
        };
        self.kill_all(Deadline::within(kill_within))?;
        Ok(true)
    }

    /// Whom a signal does not reach, of another uid or without a pid here, `cgroup.kill` will.
    fn ask_to_end(&self) -> nix::Result<()> {
        self.signal_all(libc::SIGTERM)?;
        // A stopped process takes no signal before this one, a frozen one none before it is thawed.
        self.signal_all(libc::SIGCONT)?;
        self.each_cgroup(|dir| {
            // No freezer (before 5.2); or a cgroup made by another uid, whose members die frozen.
            let _frozen_or_not = dir.write(c"cgroup.freeze", b"0");
            Ok(())
        })
    }
}

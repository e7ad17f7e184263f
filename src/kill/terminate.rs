// SPDX-License-Identifier: MIT OR Apache-2.0
//! Asking all of a group to end, and killing those that do not.

use crate::kill::{Failure, Killing};
use crate::sys::deadline::Deadline;
use nix::errno::Errno;
use std::time::Duration;

impl Killing<'_> {
    /// SIGTERM for all, and time until `grace` to go; then [`Killing::kill_all`], which has
    /// `kill_within` from there on, or for ever. Returns true if it came to that.
    pub fn terminate(&self, grace: Deadline, kill_within: Option<Duration>) -> Result<bool, Failure> {
        if !self.events()?.state()?.populated {
            return Ok(false);
        }
        if self.hold_caller(grace)? {
            return Err(Failure::CallerInside);
        }
        if let Err(e @ Errno::ENODEV) = self.ask_to_end(grace) {
            return Err(e.into());
        }
        match self.wait_empty(grace) {
            // All of it went, and then somebody removed the group.
            Ok(true) | Err(Errno::ENODEV) => return Ok(false),
            // It could not be seen. cgroup.kill needs no look.
            Ok(false) | Err(_) => {}
        }
        self.kill_all(Deadline::within(kill_within))?;
        Ok(true)
    }

    /// Whom a signal does not reach, of another uid or without a pid here, `cgroup.kill` will. So it is with one that
    /// could not be asked at all.
    fn ask_to_end(&self, grace: Deadline) -> nix::Result<()> {
        self.members.signal_all(libc::SIGTERM, grace)?;
        // A stopped process takes no signal before this one, a frozen one none before it is thawed.
        self.members.signal_all(libc::SIGCONT, grace)?;
        self.members.each_cgroup(grace, |dir| {
            // No freezer (before 5.2); or a cgroup made by another uid, whose members die frozen.
            let _ = dir.write(c"cgroup.freeze", b"0");
            Ok(())
        })?;
        Ok(())
    }
}

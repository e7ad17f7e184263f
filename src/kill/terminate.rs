// SPDX-License-Identifier: MIT OR Apache-2.0
//! Asking all processes of a group to end with SIGTERM, then killing those that have not.

use crate::kill::{Failure, Killer};
use crate::sys::deadline::Deadline;
use nix::errno::Errno;
use std::time::Duration;

impl Killer<'_> {
    /// Sends SIGTERM to all processes and waits until `grace` for them to end. Then calls [`Killer::kill_all`] with a
    /// timeout of `kill_within`, or none. Returns true if processes had to be killed.
    pub fn terminate(&self, grace: Deadline, kill_within: Option<Duration>) -> Result<bool, Failure> {
        if !self.events()?.state()?.populated {
            return Ok(false);
        }
        if self.contains_caller(grace)? {
            return Err(Failure::CallerInside);
        }
        self.state.ledger.lock().sends(libc::SIGTERM, self.call);
        if let Err(e @ Errno::ENODEV) = self.ask_to_end(grace) {
            return Err(e.into());
        }
        match self.wait_empty(grace) {
            // ENODEV: all processes ended, and another process removed the group.
            Ok(true) | Err(Errno::ENODEV) => return Ok(false),
            // After an error, too: cgroup.kill works without reading the lists.
            Ok(false) | Err(_) => {}
        }
        self.kill_all(Deadline::within(kill_within))?;
        Ok(true)
    }

    /// Sends SIGTERM and makes all processes run. Processes that cannot be signalled, because they are of another uid
    /// or outside the pid namespace, are killed by `cgroup.kill` later.
    fn ask_to_end(&self, grace: Deadline) -> nix::Result<()> {
        self.members.signal_all(libc::SIGTERM, grace)?;
        // A stopped process handles SIGTERM only after SIGCONT, a frozen one only after it is thawed.
        self.members.signal_all(libc::SIGCONT, grace)?;
        self.members.each_cgroup(grace, &mut |dir| {
            // ENOENT: no freezer (before 5.2). EACCES: a cgroup of another uid, whose members are killed frozen.
            let _ = dir.write(c"cgroup.freeze", b"0");
            Ok(())
        })?;
        Ok(())
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sending one signal to every process of a group, once.

use crate::cgroupfs::events_file::Events;
use crate::kill::members::{Ids, Members};
use crate::sys::deadline::Deadline;
use crate::sys::try_alloc;
use nix::errno::Errno;
use std::ffi::c_int;

/// The result of [`Members::signal_all`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    /// The number of processes that were signalled.
    pub count: usize,
    /// Some processes are of another uid.
    pub forbidden: bool,
    /// Some processes are outside the caller's pid namespace, where they have no pid.
    pub unnameable: bool,
    /// Some cgroups cannot be read by the calling process.
    pub unreadable: bool,
}

/// A child that is forked during a pass is signalled in the next one; mostly two passes are enough. Without this bound
/// a process that survives the signal and forks all the time would keep the call from returning.
const MOST_PASSES: usize = 32;

impl Members<'_> {
    /// Signals all processes except the calling one, until a pass finds no new process. Signal 0 sends nothing and
    /// counts the processes that can be signalled, as in kill(2).
    pub fn signal_all(&self, signal: c_int, deadline: Deadline) -> nix::Result<Sent> {
        let mut sent = Sent::default();
        // This fails if the group was removed. The scan ignores cgroups that were removed.
        if !Events::open(self.dir)?.state()?.populated {
            return Ok(sent);
        }
        let own = i32::try_from(std::process::id()).map_err(|_| Errno::ESRCH)?;
        let mut seen = Ids::default();
        for _ in 0..MOST_PASSES {
            let scan = self.scan(deadline, &mut seen)?;
            sent.unnameable |= scan.unnameable;
            sent.unreadable = !scan.complete;
            if scan.processes.is_empty() {
                break;
            }
            for process in scan.processes.into_iter().filter(|process| process.pid != own) {
                match self.signal(process, signal) {
                    Ok(signalled) => sent.count += usize::from(signalled),
                    Err(Errno::EPERM) => sent.forbidden = true,
                    Err(e) => return Err(e),
                }
            }
        }
        Ok(sent)
    }

    /// Returns the pids of all living processes of the group in ascending order. Processes outside the caller's pid
    /// namespace are left out.
    pub fn pids(&self) -> nix::Result<Vec<i32>> {
        if !Events::open(self.dir)?.state()?.populated {
            return Ok(Vec::new());
        }
        let scan = self.scan(Deadline::FOREVER, &mut Ids::default())?;
        if !scan.complete {
            return Err(Errno::EACCES);
        }
        let mut pids = Vec::new();
        try_alloc::extend(&mut pids, scan.processes.iter().map(|process| process.pid))?;
        pids.sort_unstable();
        Ok(pids)
    }
}

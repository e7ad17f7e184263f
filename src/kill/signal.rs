// SPDX-License-Identifier: MIT OR Apache-2.0
//! One signal for every process of a group, once each.

use crate::cgroupfs::events_file::Events;
use crate::kill::members::{Ids, Members};
use crate::sys::deadline::Deadline;
use crate::sys::try_alloc;
use nix::errno::Errno;
use std::ffi::c_int;

/// What came of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    /// How many took it.
    pub count: usize,
    /// Some are of another uid.
    pub forbidden: bool,
    /// Some are outside our pid namespace, and have no pid here to be signalled by.
    pub unnameable: bool,
    /// Some are in cgroups that the calling process may not read.
    pub closed: bool,
}

/// Who forks while we look has a child that gets the signal in the next pass, and most are caught by
/// the second. One that does nothing but fork, and lives on with the signal, would hold us for ever.
const MOST_PASSES: usize = 32;

impl Members<'_> {
    /// Signal all but ourselves, until a look finds nobody new. 0 sends nothing: it counts who would
    /// take a signal, as kill(2) does.
    pub fn signal_all(&self, signal: c_int, deadline: Deadline) -> nix::Result<Sent> {
        let mut sent = Sent::default();
        // Gone is told here: on the way what has vanished is nobody.
        if !Events::open(self.dir)?.state()?.populated {
            return Ok(sent);
        }
        let own = i32::try_from(std::process::id()).map_err(|_| Errno::ESRCH)?;
        let mut known = Ids::default();
        for _ in 0..MOST_PASSES {
            let census = self.census(deadline, &mut known)?;
            sent.unnameable |= census.unnameable;
            sent.closed = !census.complete;
            if census.processes.is_empty() {
                break;
            }
            for process in census.processes.into_iter().filter(|process| process.pid != own) {
                match self.signal(process, signal) {
                    Ok(taken) => sent.count += usize::from(taken),
                    Err(Errno::EPERM) => sent.forbidden = true,
                    Err(e) => return Err(e),
                }
            }
        }
        Ok(sent)
    }

    /// The pids of all that live in the group, in order. Who has none in our pid namespace is left out.
    pub fn pids(&self) -> nix::Result<Vec<i32>> {
        if !Events::open(self.dir)?.state()?.populated {
            return Ok(Vec::new());
        }
        let census = self.census(Deadline::FOREVER, &mut Ids::default())?;
        if !census.complete {
            return Err(Errno::EACCES);
        }
        let mut pids = Vec::new();
        try_alloc::extend(&mut pids, census.processes.iter().map(|process| process.pid))?;
        pids.sort_unstable();
        Ok(pids)
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Freezing and thawing all processes of a group (`cgroup.freeze`, Linux 5.2).
//!
//! A write to the file is only a request. `frozen` in `cgroup.events` becomes 1 when all processes are frozen; in an
//! empty group that is at once. The library writes only the file of the group: a cgroup inside the group that the agent
//! has frozen stays frozen when the group thaws.

use crate::cgroupfs::events_file::Events;
use crate::cgroupfs::overrides::Overrides;
use crate::cgroupfs::{CachedFile, Dir, NamedFile};
use crate::kill::members::{Members, NamespaceCache};
use crate::parse;
use crate::sys::deadline::Deadline;
use nix::errno::Errno;
use std::ffi::CStr;

const FREEZE: &CStr = c"cgroup.freeze";

/// Why a group was not frozen or thawed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The calling process is in the group, and would never return. Nothing was frozen.
    CallerInside,
    /// The kernel has no freezer.
    NoFreezer,
    /// Not all processes were frozen at the deadline. The earlier state was restored.
    StillRunning,
    /// The thaw was requested, but not all processes had thawed at the deadline.
    StillFrozen {
        /// A cgroup above the group is frozen.
        by_ancestor: bool,
    },
    /// Reading or writing a file failed.
    Errno(Errno),
}

impl From<Errno> for Failure {
    fn from(e: Errno) -> Self {
        Self::Errno(e)
    }
}

impl Members<'_> {
    /// Freezes the group and waits until all processes are frozen.
    pub fn freeze(&self, overrides: &Overrides, deadline: Deadline) -> Result<(), Failure> {
        let events = Events::open(self.dir)?;
        events.state()?;
        if self.contains_caller(deadline, &NamespaceCache::default())? {
            return Err(Failure::CallerInside);
        }
        // The permanent value, not the temporary freeze of another thread that kills.
        let requested = overrides.permanent_value(FREEZE, |buf| self.dir.read(FREEZE, buf), is_one);
        let was_requested = match requested {
            Err(Errno::ENOENT) => return Err(Failure::NoFreezer),
            requested => requested?,
        };
        overrides.write(self.dir, FREEZE, b"1")?;
        let frozen = events.wait(deadline, |now| now.frozen);
        if frozen == Ok(true) {
            return Ok(());
        }
        // Another caller may have requested the freeze and may be waiting for it.
        let undone = if was_requested { Ok(()) } else { overrides.write(self.dir, FREEZE, b"0") };
        frozen?;
        undone?;
        Err(Failure::StillRunning)
    }

    /// Thaws the group and waits until all processes have thawed.
    pub fn thaw(&self, overrides: &Overrides, deadline: Deadline) -> Result<(), Failure> {
        let events = Events::open(self.dir)?;
        events.state()?;
        match overrides.write(self.dir, FREEZE, b"0") {
            Err(Errno::ENOENT) => return Err(Failure::NoFreezer),
            written => written?,
        }
        if events.wait(deadline, |now| !now.frozen)? {
            return Ok(());
        }
        Err(Failure::StillFrozen { by_ancestor: self.is_frozen_from_above()? })
    }

    /// Returns true if a cgroup above the group is frozen. That freezes the group whatever its own file says.
    fn is_frozen_from_above(&self) -> nix::Result<bool> {
        let mut above = self.dir.child(c"..")?;
        // The root of the hierarchy, and a directory above the mount, have no such file.
        while let Some(requested) = is_requested(&above)? {
            if requested {
                return Ok(true);
            }
            above = above.child(c"..")?;
        }
        Ok(false)
    }
}

/// Returns true if a process that enters the group stops: the group or a cgroup above it is frozen, or a freeze of the group
/// was requested. Returns false for a group that was removed. `freeze` is its cgroup.freeze, `events` its cgroup.events.
pub fn is_in_force(dir: &Dir, freeze: &CachedFile, events: NamedFile<'_>) -> nix::Result<bool> {
    let requested = freeze.named(FREEZE).read(dir, &mut [0; 16])?.is_some_and(is_one);
    let mut buf = [0; 256];
    Ok(requested || events.read(dir, &mut buf)?.is_some_and(|text| parse::value(text, b"frozen") == Some(1)))
}

fn is_one(text: &[u8]) -> bool {
    text.starts_with(b"1")
}

/// Returns true if `cgroup.freeze` requests a freeze, and `None` if the file does not exist.
fn is_requested(dir: &Dir) -> nix::Result<Option<bool>> {
    let mut buf = [0; 16];
    match dir.read(FREEZE, &mut buf) {
        Ok(text) => Ok(Some(is_one(text))),
        Err(Errno::ENOENT) => Ok(None),
        Err(e) => Err(e),
    }
}

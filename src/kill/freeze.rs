// SPDX-License-Identifier: MIT OR Apache-2.0
//! Parking all of a group in the kernel, and letting it go on (`cgroup.freeze`, Linux 5.2).
//!
//! Writing to the file only asks; `frozen` in `cgroup.events` tells when it is so, of an empty group at
//! once. Only the group's own file is written: a cgroup below that the agent has frozen itself stays
//! frozen when ours thaws.

use crate::cgroupfs::events_file::Events;
use crate::cgroupfs::overrides::Overrides;
use crate::cgroupfs::{CachedFile, Dir};
use crate::kill::members::{Members, PathsKnown};
use crate::parse;
use crate::sys::deadline::Deadline;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use std::ffi::CStr;
use std::os::fd::OwnedFd;

const FREEZE: &CStr = c"cgroup.freeze";

/// Why it is not as asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// We are in it ourselves, and would never return. Nothing was frozen.
    CallerInside,
    /// The kernel has no freezer.
    NoFreezer,
    /// Not all were parked in time. It is as it was before.
    StillRunning,
    /// It is to thaw, but not all of it was in time.
    StillFrozen {
        /// Because a cgroup above it is to be frozen.
        by_ancestor: bool,
    },
    /// A file that is needed was refused.
    Errno(Errno),
}

impl From<Errno> for Failure {
    fn from(e: Errno) -> Self {
        Self::Errno(e)
    }
}

impl Members<'_> {
    /// Park all, and wait until they are.
    pub fn freeze(&self, overrides: &Overrides, deadline: Deadline) -> Result<(), Failure> {
        let events = Events::open(self.dir)?;
        events.state()?;
        if self.hold_caller(deadline, &PathsKnown::default())? {
            return Err(Failure::CallerInside);
        }
        // Not the freeze by which another thread kills.
        let asked_before = match overrides.wanted(FREEZE, is_one) {
            Some(asked) => asked,
            None => is_asked(self.dir)?.ok_or(Failure::NoFreezer)?,
        };
        overrides.write(self.dir, FREEZE, b"1")?;
        let parked = events.wait(deadline, |now| now.frozen);
        if parked == Ok(true) {
            return Ok(());
        }
        // Who asked before us may still be waiting for it.
        let undone = if asked_before { Ok(()) } else { overrides.write(self.dir, FREEZE, b"0") };
        parked?;
        undone?;
        Err(Failure::StillRunning)
    }

    /// Let all go on, and wait until they do.
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
        Err(Failure::StillFrozen { by_ancestor: self.is_held_from_above()? })
    }

    /// Each cgroup is frozen with those above it, whatever its own file says.
    fn is_held_from_above(&self) -> nix::Result<bool> {
        let mut above = self.dir.child(c"..")?;
        // The root of the hierarchy, and a directory above the mount, have no such file.
        while let Some(asked) = is_asked(&above)? {
            if asked {
                return Ok(true);
            }
            above = above.child(c"..")?;
        }
        Ok(false)
    }
}

/// The files that tell whether a group is parked, for who asks again and again.
#[derive(Debug)]
pub struct Watched {
    asked: CachedFile,
    events: CachedFile,
}

impl Default for Watched {
    /// Opens nothing yet.
    fn default() -> Self {
        Self { asked: CachedFile::new(FREEZE), events: CachedFile::new(c"cgroup.events") }
    }
}

impl Watched {
    /// The files, opened anew for who has no other way to look. Nothing where the kernel has no freezer.
    pub fn open(dir: &Dir) -> nix::Result<Option<(OwnedFd, OwnedFd)>> {
        let open = |file| match dir.open_file(file, OFlag::O_RDONLY) {
            Err(Errno::ENOENT) => Ok(None),
            other => other.map(Some),
        };
        Ok(open(FREEZE)?.zip(open(c"cgroup.events")?))
    }

    /// Whether it is frozen, with those above it, or is to be: what enters stops. A group that was removed is not.
    pub fn is_in_force(&self, dir: &Dir) -> nix::Result<bool> {
        let asked = self.asked.read(dir, &mut [0; 16])?.is_some_and(|text| text.starts_with(b"1"));
        let mut buf = [0; 256];
        Ok(asked
            || self.events.read(dir, &mut buf)?.is_some_and(|text| parse::value(text, b"frozen") == Some(1)))
    }
}

fn is_one(text: &[u8]) -> bool {
    text.starts_with(b"1")
}

/// What `cgroup.freeze` says, if there is one: what somebody wants, not what is.
fn is_asked(dir: &Dir) -> nix::Result<Option<bool>> {
    let mut buf = [0; 16];
    match dir.read(FREEZE, &mut buf) {
        Ok(text) => Ok(Some(is_one(text))),
        Err(Errno::ENOENT) => Ok(None),
        Err(e) => Err(e),
    }
}

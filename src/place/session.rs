// SPDX-License-Identifier: MIT OR Apache-2.0
//! The group of a session, an agent whose group holds those of other agents, its children.
//!
//! The kernel enables no controllers for the children of a cgroup that holds processes. Therefore the session's own processes
//! are in a child of the group, [`OWN`]. They are moved there when the first child is made, and do not notice it unless they
//! look at their cgroup.

use super::enable;
use super::refusal::{cannot, refused};
use super::types::{KnownParent, Place};
use crate::cgroupfs::controllers::Controllers;
use crate::cgroupfs::events_file::Events;
use crate::cgroupfs::overrides::{OverrideUser, Overrides};
use crate::cgroupfs::{Dir, OWN, worth_keeping};
use crate::error::{Error, Reason, Result, out_of_memory, shown};
use crate::parse;
use crate::sys::deadline::Deadline;
use nix::errno::Errno;
use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

const PROCS: &CStr = c"cgroup.procs";
const THREADS: &CStr = c"cgroup.threads";
const FREEZE: &CStr = c"cgroup.freeze";
/// How often the processes are moved before the group is frozen. Each time a process must have forked meanwhile.
const UNFROZEN_TRIES: usize = 8;
/// How often they are moved altogether. In a frozen group one time is enough, unless other processes move in.
const TRIES: usize = 64;
/// How long to wait until a group that forks is frozen.
const FREEZE_WAIT: Duration = Duration::from_millis(250);

/// The group of a session, as its handle keeps it.
#[derive(Debug)]
pub struct Session {
    /// The place of the children.
    place: Place,
    /// The cgroup of the session's own processes.
    pub own: Dir,
}

impl Session {
    /// Makes the agent whose children are in this place a session, or returns the session that it is.
    pub fn prepare(place: Place) -> Result<Self> {
        let own = prepare(&place.dir, &shown(&place.path))?;
        // Without it each child looks the directory up.
        let keeps = worth_keeping(own.as_fd().as_raw_fd());
        let known = if keeps { KnownParent::of_session(&place).ok() } else { None };
        Ok(Self { place: Place { known_parent: known, ..place }, own })
    }

    /// Returns the place of the children.
    pub fn place(&self) -> Result<Place> {
        match &self.place.known_parent {
            Some(known) => known.place().map_err(out_of_memory),
            None => Ok(self.place.clone()),
        }
    }
}

/// Moves the processes of the group to [`OWN`], which is returned, and enables the available controllers for the children.
pub fn prepare(dir: &Dir, here: &str) -> Result<Dir> {
    enable::check_domain(dir, here)?;
    match dir.make(OWN) {
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(e) => return Err(refused(e, here)),
    }
    let own = dir.child(OWN).map_err(|e| refused(e, here))?;
    let overrides = Overrides::of(dir).map_err(|e| cannot("freeze by", "cgroup.freeze", e, here))?;
    let mut freeze = None;
    let mut prepared = vacate_and_enable(dir, &own, here);
    for attempt in 1..TRIES {
        match &prepared {
            Err(e) if is_race(e) => {}
            _ => break,
        }
        if attempt == UNFROZEN_TRIES {
            freeze = freeze_forks(&overrides, dir);
        }
        prepared = vacate_and_enable(dir, &own, here);
    }
    let thawed = freeze.map_or(Ok(()), |freeze| freeze.restore(dir));
    prepared?;
    thawed.map_err(|(e, _)| cannot("thaw by", "cgroup.freeze", e, here))?;
    Ok(own)
}

/// Returns true for the errors of a group into which a process has come since the others were moved: the kernel has refused a
/// controller, or has accepted a threaded one, which was disabled again.
fn is_race(e: &Error) -> bool {
    matches!(e.reason(), Some(Reason::Populated | Reason::Threaded))
}

fn vacate_and_enable(dir: &Dir, own: &Dir, here: &str) -> Result<()> {
    let missing = || Ok::<_, Errno>((enable::available(dir)? & Controllers::WANTED) - enable::enabled(dir)?);
    if missing().map_err(|e| cannot("read", "cgroup.controllers", e, here))?.is_empty() {
        return Ok(());
    }
    vacate(dir, own, here)?;
    enable::enable_vacated(dir, Controllers::WANTED, here).map(drop)
}

/// Moves all processes that the group itself lists.
fn vacate(dir: &Dir, own: &Dir, here: &str) -> Result<()> {
    // By its threads, since it does not list a process whose main thread had ended when it moved in.
    let listed = dir.read_all(THREADS).map_err(|e| cannot("read", "cgroup.threads", e, here))?;
    for thread in parse::ids(&listed) {
        if thread < 1 {
            return Err(Error::new(
                Errno::EBUSY,
                format_args!("{here} holds processes outside the pid namespace of the caller, which it cannot move to {here}/own"),
            )
            .on("cgroup.procs"));
        }
        // The kernel moves the whole process. After its first thread the others are listed no more.
        let id = thread.to_string();
        let moved = match own.write(PROCS, id.as_bytes()) {
            // The kernel also asks for the right to write this file of the common ancestor, which the agent can have removed.
            Err(Errno::EACCES) if dir.restore_write(PROCS) => own.write(PROCS, id.as_bytes()),
            moved => moved,
        };
        match moved {
            // ESRCH: it has ended.
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(e) => return Err(cannot("move the processes by", "own/cgroup.procs", e, here)),
        }
    }
    Ok(())
}

/// Freezes the group, so that it cannot fork. Where there is no freezer (before Linux 5.2), the move must be faster than the
/// forks.
fn freeze_forks<'a>(overrides: &'a Overrides, dir: &Dir) -> Option<OverrideUser<'a>> {
    let user = overrides.begin();
    if user.set(dir, FREEZE, b"1", |_| true) == Ok(true) {
        // Whatever the result: a process in uninterruptible sleep does not fork either.
        let _ = Events::open(dir)
            .and_then(|events| events.wait(Deadline::after(FREEZE_WAIT), |now| now.frozen || !now.populated));
    }
    Some(user)
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The cgroup `synwire/agents/limits` of a place that has limits. It holds nothing. Whoever removes the last agent removes
//! `synwire/agents`, and its limits would end with it. rmdir(2) fails as long as this cgroup is there, so that no other call has
//! to know whether a place has limits. Its name is not that of an agent, and whoever looks for agents ignores it.
//!
//! A call that sets limits holds flock(2) on this cgroup. Without it, a call that finds only defaults could remove the cgroup
//! after another call has set a limit.

use super::refusal::refused;
use super::tree::{self, Built, TRIES, keeps_vanishing, remove_made};
use super::types::Place;
use crate::cgroupfs::Dir;
use crate::error::{Error, Result, shown};
use crate::sys::deadline::Deadline;
use crate::sys::{Lock, flock};
use nix::errno::Errno;
use std::ffi::CStr;
use std::os::fd::AsFd;
use std::time::Duration;

/// The cgroup below a place. Its parent is [`AGENTS`].
const MARKER: &CStr = c"synwire/agents/limits";

/// How long to wait for another call that sets limits. To lower a limit of memory can take seconds.
const WAIT: Duration = Duration::from_secs(10);
/// flock(2) has no timeout.
const PAUSE: Duration = Duration::from_millis(1);

/// The tree of a place, which stays until the caller has ended its change.
pub struct Held<'p> {
    marker: Dir,
    /// The call has made the marker.
    is_new: bool,
    built: Built,
    place: &'p Place,
}

/// Make the levels of the tree that are missing and the marker, and wait until no other call changes the limits.
pub fn hold(place: &Place) -> Result<Held<'_>> {
    let here = shown(&place.path);
    let deadline = Deadline::after(WAIT);
    let mut built = Built::default();
    for _ in 0..TRIES {
        match make_and_lock(&place.dir, deadline) {
            Ok(Some((marker, is_new))) => return Ok(Held { marker, is_new, built, place }),
            // Another call has found only defaults, and has removed it.
            Ok(None) => {}
            Err(Errno::ENOENT | Errno::ENODEV) => tree::try_build(place, &mut built)?,
            Err(e) => {
                built.undo(&place.dir);
                return Err(match e {
                    Errno::EBUSY => Error::new(
                        e,
                        format_args!(
                            "another process is setting the limits of {here} and does not finish: try again"
                        ),
                    ),
                    e => refused(e, &here),
                });
            }
        }
    }
    built.undo(&place.dir);
    Err(keeps_vanishing(place))
}

/// Make the marker, or open that of an earlier call, and lock it. Returns the directory, and true if the call has made it.
/// Returns none if another call has removed it, and fails with `EBUSY` after the deadline.
fn make_and_lock(place: &Dir, deadline: Deadline) -> nix::Result<Option<(Dir, bool)>> {
    // Private, so that a process of another uid cannot lock it.
    let (marker, is_new) = match place.make_private(MARKER) {
        Ok(Ok((marker, _))) => (marker, true),
        // Another call has removed it already.
        Ok(Err(Errno::ENOENT | Errno::ENODEV)) => return Ok(None),
        Ok(Err(e)) => {
            let _ = remove_made(place, MARKER); // The first error is the one to report.
            return Err(e);
        }
        Err(Errno::EEXIST) => (place.child(MARKER)?, false),
        Err(e) => return Err(e),
    };
    match lock(&marker, deadline) {
        Ok(()) => Ok(marker.is_alive().then_some((marker, is_new))),
        Err(e) => {
            if is_new {
                let _ = remove_made(place, MARKER); // The first error is the one to report.
            }
            Err(e)
        }
    }
}

fn lock(marker: &Dir, deadline: Deadline) -> nix::Result<()> {
    while !flock(marker.as_fd(), Lock::Exclusive)? {
        if deadline.passed() {
            return Err(Errno::EBUSY);
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

impl Held<'_> {
    /// Open a level of the tree.
    pub fn level(&self, name: &CStr) -> Result<Dir> {
        let level = self.place.path_of_level(name);
        self.place.dir.child(name).map_err(|e| refused(e, &shown(&level)))
    }

    /// Enable the controllers that the tree lacks.
    pub fn complete(&mut self) -> Result<()> {
        tree::complete(self.place, &mut self.built)
    }

    /// End the change. The place has limits, and keeps its tree.
    pub fn keep(self) {
        self.unlock();
    }

    /// End the change. The place has no limits: remove the marker, and the levels of the tree that hold nothing.
    pub fn discard(self) {
        let removed = remove_made(&self.place.dir, MARKER);
        self.unlock();
        // EBUSY: someone has put something into the marker. EACCES: the tree belongs to another uid.
        if removed.is_err() {
            return;
        }
        self.built.undo_all(&self.place.dir);
    }

    /// End a change that has failed, and remove what the call has made.
    pub fn undo(self) {
        if self.is_new {
            self.discard();
        } else {
            self.unlock();
            self.built.undo(&self.place.dir);
        }
    }

    /// A forked child may hold the same lock.
    fn unlock(&self) {
        let _ = flock(self.marker.as_fd(), Lock::None); // LOCK_UN fails only for an invalid descriptor.
    }
}

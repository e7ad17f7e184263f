// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sessions: agents that hold other agents, their children.
//!
//! Any agent becomes a session when its first child is made. From then on its own processes are in the cgroup `own` inside its
//! group. No handle need know that: each call looks for `own` first. It does not wait for the kernel to refuse the group, which
//! allows processes there as long as the session has only controllers for threads (cpu and pids) and no child has a process. The
//! children could have none then.

use super::{Agent, New};
use crate::cgroupfs::Dir;
use crate::error::{Reason, Result};
use crate::limits::Limits;
use crate::parse;
use crate::place::{self, Kind, Place, Session};
use crate::sys::descriptors::occupy_stdio_for_several;
use nix::errno::Errno;
use std::sync::Arc;

impl Agent {
    /// Makes an agent whose group is inside the group of this one, which becomes a session. All limits of the session apply to
    /// its children together, and every call on the session is about all processes in it.
    pub fn new_in(
        &self,
        uuid: Option<&str>,
        limits: &Limits,
        label: Option<&str>,
        tag: Option<&str>,
        guard: bool,
    ) -> Result<Self> {
        let new = New::check(uuid, limits, label, tag)?;
        self.make_room()?;
        let place = self.session()?.place()?;
        let child = Self::make(&place, &new, guard).map_err(|e| {
            if e.reason() == Some(Reason::Gone) && !self.dir.is_alive() {
                return self.failed("make a child in", "", Errno::ENODEV);
            }
            e
        })?;
        self.count_child();
        Ok(child)
    }

    /// Returns the session, and makes this agent one if it is not.
    fn session(&self) -> Result<Arc<Session>> {
        if let Some(session) = self.known_session() {
            return Ok(session);
        }
        self.restore_overrides()?;
        let failed = |e| self.failed("make a child in", "", e);
        let _stdio = occupy_stdio_for_several().map_err(failed)?;
        let group = self.dir.child(c".").map_err(failed)?;
        let place = Place::of_session(self.place, Arc::new(group), self.path());
        let session = Session::prepare(place).map_err(|e| match e.errno() {
            Errno::ENODEV if !self.dir.is_alive() => failed(Errno::ENODEV),
            _ => e,
        })?;
        // Another thread may have done the same.
        let mut rare = self.rare.lock();
        let held = rare.held().map_err(failed)?;
        Ok(Arc::clone(held.session.get_or_insert_with(|| Arc::new(session))))
    }

    /// Returns the session if this handle has made a child.
    pub(super) fn known_session(&self) -> Option<Arc<Session>> {
        self.rare.lock().held.as_ref()?.session.clone()
    }

    fn count_child(&self) {
        if let Some(held) = &mut self.rare.lock().held {
            held.children += 1;
        }
    }

    /// Returns the number of children that were made by this handle.
    pub(super) fn children_made(&self) -> u64 {
        self.rare.lock().held.as_ref().map_or(0, |held| held.children)
    }

    /// Forgets the session, so that the next child makes the agent one again.
    pub(super) fn forget_session(&self) {
        if let Some(held) = &mut self.rare.lock().held {
            held.session = None;
        }
    }

    /// Opens the cgroup of the session's own processes. Returns none if the agent is not a session, has removed it, or does
    /// not let it be opened. Then the kernel decides whether the group can be entered. Fails only if descriptors or memory are
    /// short.
    pub(super) fn open_own(&self) -> nix::Result<Option<Dir>> {
        unless_short(self.dir.own())
    }

    /// Does the same after the kernel has refused a process in the group: another handle has made the agent a session
    /// meanwhile, or the agent has removed the cgroup, which is made again.
    pub(super) fn open_own_again(&self) -> nix::Result<Option<Dir>> {
        unless_short(self.dir.own_again(self.known_session().is_some()))
    }

    /// Returns the unit of the place if systemd made it, and the path from the unit to the group. systemd moves processes there
    /// that the caller may not move.
    pub(super) fn unit(&self) -> Option<(String, String)> {
        if self.place != Kind::Systemd {
            return None;
        }
        let path = self.path();
        let (unit, below) = place::outermost_place(&path)?;
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Some((text(parse::split_last(unit).1), text(below)))
    }
}

fn unless_short(own: nix::Result<Option<Dir>>) -> nix::Result<Option<Dir>> {
    match own {
        Err(e @ (Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM)) => Err(e),
        own => Ok(own.ok().flatten()),
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Existing agents: opening, listing and adopting them, and reaping orphans.

use super::{Agent, name_of};
use crate::cgroupfs::events_file::Events;
use crate::cgroupfs::overrides::Overrides;
use crate::cgroupfs::{AgentName, Dir};
use crate::error::{Error, Reason, Result, out_of_memory, shown, words};
use crate::guard;
use crate::kill::KillFiles;
use crate::owner;
use crate::parse::OwnerNote;
use crate::place::{self, Place, PlacePath};
use crate::sys::deadline::Deadline;
use crate::sys::descriptors::occupy_stdio_for_several;
use crate::sys::try_alloc;
use nix::errno::Errno;
use std::ffi::CStr;
use std::time::Duration;

/// One agent in the result of [`list`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The uuid of the agent.
    pub uuid: String,
    /// No living process owns the agent.
    pub orphan: bool,
    /// Processes live in the group.
    pub populated: bool,
    /// The note that the owner has written.
    pub owner: OwnerNote,
}

/// The longest wait for one orphan to die, while others have not been killed yet.
const TURN: Duration = Duration::from_millis(100);

impl Agent {
    /// Opens an existing agent. With `own`, adopts it, which needs that its owner has ended.
    pub fn open(parent: Option<&CStr>, uuid: &str, own: bool) -> Result<Self> {
        let name = name_of(uuid)?;
        let places = place::existing(parent)?;
        let _stdio = occupy_stdio_for_several().map_err(not_begun)?;
        for place in &places {
            let dir = match place.agents().and_then(|agents| agents.agents_child(name.as_c_str())) {
                Ok(dir) => dir,
                Err(Errno::ENOENT | Errno::ENODEV) => continue,
                Err(e) => return Err(not_opened(e, &shown(&place.path), &name)),
            };
            let overrides = Overrides::of(&dir).map_err(|e| not_opened(e, &shown(&place.path), &name))?;
            let path = PlacePath::copy(place).map_err(out_of_memory)?;
            let mut agent = Self::from_parts(place.kind, path, name, dir, overrides);
            if own {
                agent.adopt()?;
            }
            return Ok(agent);
        }
        let whereabouts = match places.as_slice() {
            [only] => format!("under {}", shown(&only.path)),
            _ => "in any place where the library makes agents".to_owned(),
        };
        Err(Error::new(Errno::ENOENT, format_args!("there is no agent {name} {whereabouts}")))
    }

    /// Makes the calling process the owner.
    fn adopt(&mut self) -> Result<()> {
        let files = KillFiles::open(&self.dir).map_err(|e| self.failed("open", "cgroup.kill", e))?;
        let claimed = owner::claim(&self.dir).map_err(|e| self.failed("lock", "", e))?;
        if claimed && self.dir.is_alive() {
            self.kill_state.files = files;
            let note =
                owner::read_note(&self.dir).map_err(|e| self.failed("read", "user.agentcg.owner", e))?;
            self.become_owner(note.created_unix_ns);
            return Ok(());
        }
        let group = shown(&self.path());
        if claimed {
            return Err(Error::new(Errno::ENOENT, format_args!("{group} was removed during the call")));
        }
        let owner = match owner::read_note(&self.dir).unwrap_or_default().pid {
            0 => "another process".to_owned(),
            pid => format!("process {pid}"),
        };
        Err(Error::new(
            Errno::EBUSY,
            format_args!(
                "{group} is owned by {owner} or a forked child of it: end that, or open without AGENTCG_OPEN_OWN"
            ),
        ))
    }
}

/// Returns the error of a group for which the descriptors or the memory of a handle are not available.
pub(super) fn not_opened(errno: Errno, place: &str, name: &AgentName) -> Error {
    refused(errno, format!("cannot open the agent {name} under {place}: {}", words(errno)))
}

fn not_listed(errno: Errno, place: &str) -> Error {
    refused(errno, format!("cannot list synwire/agents in {place}: {}", words(errno)))
}

/// Returns the error of a call for which no descriptor can be made.
fn not_begun(errno: Errno) -> Error {
    refused(errno, format!("cannot open the directory of the agents: {}", words(errno)))
}

fn refused(errno: Errno, message: String) -> Error {
    match errno {
        Errno::EACCES => Error::new(errno, message).because(Reason::NotDelegated),
        _ => Error::new(errno, message),
    }
}

/// Returns all agents that can be found, in no particular order.
pub fn list(parent: Option<&CStr>) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let places = place::existing(parent)?;
    let _stdio = occupy_stdio_for_several().map_err(not_begun)?;
    each_agent(&places, |place, dir, name| {
        let entry = match dir.map(|dir| entry(&dir, &name)) {
            Some(Err(Errno::ENODEV)) => return Ok(()),
            Some(known) => known.map_err(|e| not_opened(e, &shown(&place.path), &name))?,
            None => {
                let uuid = try_alloc::copy_str(name.as_str()).map_err(out_of_memory)?;
                Entry { uuid, orphan: false, populated: false, owner: OwnerNote::default() }
            }
        };
        try_alloc::push(&mut entries, entry).map_err(out_of_memory)
    })?;
    Ok(entries)
}

fn entry(dir: &Dir, name: &AgentName) -> nix::Result<Entry> {
    let populated = Events::open(dir)?.state()?.populated;
    let uuid = try_alloc::copy_str(name.as_str())?;
    Ok(Entry { uuid, populated, owner: owner::read_note(dir)?, orphan: owner::is_orphan(dir)? })
}

/// Kills and removes every orphan, and the directories that crashed programs have left. Returns the number of removed
/// agents.
pub fn reap(parent: Option<&CStr>, deadline: Deadline) -> Result<usize> {
    guard::clear_up();
    // Once, because finding them all asks systemd.
    let places = place::existing(parent)?;
    places.iter().for_each(Place::wake_guards);
    let mut removed = 0;
    let (mut refused, mut late);
    loop {
        (refused, late) = (None, None);
        each_agent(&places, |place, dir, name| {
            // An agent of another uid cannot be opened.
            let Some(dir) = dir else { return Ok(()) };
            let orphan = owner::claim(&dir).map_err(|e| not_opened(e, &shown(&place.path), &name))?;
            // Not alive: removed by its maker or another reaper.
            if !orphan || !dir.is_alive() {
                return Ok(());
            }
            let overrides = Overrides::of(&dir).map_err(|e| not_opened(e, &shown(&place.path), &name))?;
            let path = PlacePath::copy(place).map_err(out_of_memory)?;
            let agent = Agent::from_parts(place.kind, path, name, dir, overrides);
            match agent.destroy(false, deadline.at_most(TURN), false) {
                Ok(_) => removed += 1,
                Err(e) if e.errno() == Errno::ETIMEDOUT => late = Some(e),
                Err(e) => refused = Some(e),
            }
            Ok(())
        })?;
        if late.is_none() || deadline.passed() {
            break;
        }
    }
    places.iter().for_each(Place::remove_unused);
    match refused.or(late) {
        None => Ok(removed),
        Some(e) => Err(e),
    }
}

/// Passes each agent to `visit`, with its open directory if the caller may open it. Ignores directories that are not
/// agents.
pub(super) fn each_agent(
    places: &[Place],
    mut visit: impl FnMut(&Place, Option<Dir>, AgentName) -> Result<()>,
) -> Result<()> {
    for place in places {
        let here = shown(&place.path);
        let gone = |e| matches!(e, Errno::ENOENT | Errno::ENODEV);
        let agents = match place.agents() {
            Err(e) if gone(e) => continue,
            other => other.map_err(|e| not_listed(e, &here))?,
        };
        for child in agents.children().map_err(|e| not_listed(e, &here))? {
            let Some(name) = child.to_str().ok().and_then(AgentName::parse) else { continue };
            // The library gives its directories names in lower case only.
            if name.as_c_str() != &*child {
                continue;
            }
            match agents.agents_child(&child) {
                Ok(dir) => visit(place, Some(dir), name)?,
                Err(Errno::EACCES) => visit(place, None, name)?,
                Err(e) if gone(e) => {}
                Err(e) => return Err(not_opened(e, &here, &name)),
            }
        }
    }
    Ok(())
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Existing agents: opening, listing and adopting them, and reaping orphans.

use super::labels::Written;
use super::{Agent, name_of};
use crate::cgroupfs::events_file::Events;
use crate::cgroupfs::overrides::Overrides;
use crate::cgroupfs::{AgentName, Dir};
use crate::error::{Error, Reason, Result, out_of_memory, shown, words};
use crate::guard::{self, Scope};
use crate::kill::KillFiles;
use crate::owner;
use crate::parse::{OwnerNote, Tag};
use crate::place::{self, Layout, Place, PlacePath};
use crate::sys::deadline::Deadline;
use crate::sys::descriptors::occupy_stdio_for_several;
use crate::sys::try_alloc;
use crate::verdict::Remover;
use nix::errno::Errno;
use std::ffi::CStr;
use std::sync::Arc;
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
    /// The session of which the agent is a child.
    pub session: Option<AgentName>,
}

/// The longest wait for one orphan to die, while others have not been killed yet.
const TURN: Duration = Duration::from_millis(100);

impl Agent {
    /// Opens an existing agent. With `own`, adopts it, which needs that its owner has ended.
    pub fn open(parent: Option<&CStr>, uuid: &str, own: bool) -> Result<Self> {
        Self::open_of(parent, uuid, None, own)
    }

    /// Opens an agent like [`Self::open`] if it has this tag. An agent of another tag counts as none, and its lock is left
    /// alone.
    pub fn open_tagged(parent: Option<&CStr>, uuid: &str, tag: &str, own: bool) -> Result<Self> {
        let tag = owner::tag(tag)?;
        Self::open_of(parent, uuid, Some(&tag), own)
    }

    fn open_of(parent: Option<&CStr>, uuid: &str, tag: Option<&Tag>, own: bool) -> Result<Self> {
        let name = name_of(uuid)?;
        let places = place::existing(parent)?;
        let _stdio = occupy_stdio_for_several().map_err(not_begun)?;
        let mut other = None;
        let mut attempt = |place: &Place, dir: nix::Result<Dir>| {
            let opened = |e| not_opened(e, &shown(&place.path), &name);
            let dir = match dir {
                Err(Errno::ENOENT | Errno::ENODEV) => return Ok(None),
                dir => dir.map_err(opened)?,
            };
            if let Some(tag) = tag {
                if belonging(&dir, tag).map_err(opened)? != Belonging::Tagged {
                    other = Some(place.path.clone());
                    return Ok(None);
                }
            }
            let overrides = Overrides::of(&dir).map_err(opened)?;
            let path = PlacePath::copy(place).map_err(out_of_memory)?;
            let mut agent = Self::from_parts(place, path, name, dir, overrides);
            if own {
                agent.adopt(place)?;
            }
            Ok(Some(agent))
        };
        for place in &places {
            let dir = place.agents().and_then(|agents| agents.agents_child(name.as_c_str()));
            if let Some(agent) = attempt(place, dir)? {
                return Ok(agent);
            }
        }
        // Last: an agent can make a cgroup with the name of another one in its group.
        let mut found = None;
        each_agent(&places, |place, dir, session| {
            if let (None, Some(dir), Some(children)) = (&found, dir, children_of(place, &session)) {
                found = attempt(&children, dir.agents_child(name.as_c_str()))?;
            }
            Ok(())
        })?;
        if let Some(agent) = found {
            return Ok(agent);
        }
        if let (Some(tag), Some(path)) = (tag, other) {
            let (tag, place) = (tag.as_str(), shown(&path));
            return Err(Error::new(
                Errno::ENOENT,
                format_args!("the agent {name} under {place} does not have the tag {tag}"),
            ));
        }
        // The group of a session is two places with one path.
        let whereabouts = match places.first() {
            Some(named) if parent.is_some() => format!("under {}", shown(&named.path)),
            _ => "in any place where the library makes agents".to_owned(),
        };
        Err(Error::new(Errno::ENOENT, format_args!("there is no agent {name} {whereabouts}")))
    }

    /// Keeps the scope until the handle ends.
    fn keep(&self, scope: Option<Arc<Scope>>) -> Result<()> {
        if scope.is_some() {
            self.rare.lock().held().map_err(out_of_memory)?.scope = scope;
        }
        Ok(())
    }

    /// Makes the calling process the owner.
    fn adopt(&mut self, place: &Place) -> Result<()> {
        let files = KillFiles::open(&self.dir).map_err(|e| self.failed("open", "cgroup.kill", e))?;
        let claimed = owner::claim(&self.dir).map_err(|e| self.failed("lock", "", e))?;
        if claimed && self.dir.is_alive() {
            match place::hold(place).and_then(|scope| self.keep(scope)) {
                Ok(()) => {}
                Err(e) if self.dir.is_alive() => {
                    owner::release(&self.dir);
                    return Err(e);
                }
                // systemd has removed the scope meanwhile, because its last process has ended.
                Err(_) => {}
            }
        }
        if claimed && self.dir.is_alive() {
            self.kill_state.files = files;
            let note = owner::read_note(&self.dir).map_err(|e| self.failed("read", owner::NOTE_NAME, e))?;
            let written = Written::of(&note).map_err(out_of_memory)?;
            let _ = owner::write_note(&self.dir, &note); // EOPNOTSUPP: before Linux 5.7.
            self.become_owner(written);
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

/// How an agent is related to a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Belonging {
    /// The agent has the tag.
    Tagged,
    /// The group has no process, and no note although the kernel keeps notes: `new` has not got so far.
    HalfMade,
    /// The agent has another tag or none, or its note is longer than any that the library writes.
    Other,
}

fn belonging(dir: &Dir, tag: &Tag) -> nix::Result<Belonging> {
    match owner::existing_note(dir) {
        Ok(Some(note)) if note.tag == Some(*tag) => Ok(Belonging::Tagged),
        Ok(None) if !Events::open(dir)?.state()?.populated => Ok(Belonging::HalfMade),
        Err(e @ (Errno::EACCES | Errno::EIO | Errno::ENOMEM)) => Err(e),
        // From a security module.
        Err(Errno::EPERM) => Err(Errno::EACCES),
        // EOPNOTSUPP: before Linux 5.7, where no agent has a tag. ERANGE: the agent has written it.
        _ => Ok(Belonging::Other),
    }
}

/// Returns all agents that can be found, in no particular order.
pub fn list(parent: Option<&CStr>) -> Result<Vec<Entry>> {
    list_of(parent, None)
}

/// Returns the agents that have this tag, in no particular order. Those of other uids are left out: their tag is unknown.
pub fn list_tagged(parent: Option<&CStr>, tag: &str) -> Result<Vec<Entry>> {
    list_of(parent, Some(&owner::tag(tag)?))
}

fn list_of(parent: Option<&CStr>, tag: Option<&Tag>) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let places = place::existing(parent)?;
    let _stdio = occupy_stdio_for_several().map_err(not_begun)?;
    let mut add = |place: &Place, dir: Option<&Dir>, name: &AgentName| {
        let entry = match dir.map(|dir| entry(place, dir, name, tag)) {
            Some(Err(Errno::ENODEV) | Ok(None)) => return Ok(()),
            Some(Ok(Some(entry))) => entry,
            Some(Err(e)) => return Err(not_opened(e, &shown(&place.path), name)),
            None if tag.is_some() => return Ok(()),
            None => {
                let uuid = try_alloc::copy_str(name.as_str()).map_err(out_of_memory)?;
                let (session, owner) = (place.session(), OwnerNote::default());
                Entry { uuid, orphan: false, populated: false, owner, session }
            }
        };
        try_alloc::push(&mut entries, entry).map_err(out_of_memory)
    };
    each_agent(&places, |place, dir, name| {
        add(place, dir.as_ref(), &name)?;
        let (Some(dir), Some(children)) = (dir, children_of(place, &name)) else { return Ok(()) };
        if !dir.has_children().map_err(|e| not_listed(e, &shown(&children.path)))? {
            return Ok(());
        }
        // The lock is held shared since the look at it, and a claim by another process waits for that.
        owner::release(&dir);
        each_agent_in(&children, &dir, &mut |place, dir, name| add(place, dir.as_ref(), &name))
    })?;
    Ok(entries)
}

/// Returns the entry of an agent, or none if it does not have this tag. Then its lock is left alone.
fn entry(place: &Place, dir: &Dir, name: &AgentName, tag: Option<&Tag>) -> nix::Result<Option<Entry>> {
    let populated = Events::open(dir)?.state()?.populated;
    let owner = owner::read_note(dir)?;
    if tag.is_some_and(|tag| owner.tag != Some(*tag)) {
        return Ok(None);
    }
    let uuid = try_alloc::copy_str(name.as_str())?;
    let orphan = owner::is_orphan(dir)?;
    Ok(Some(Entry { uuid, populated, owner, orphan, session: place.session() }))
}

/// Kills and removes every orphan, and the directories that crashed programs have left. Returns the number of removed
/// agents.
pub fn reap(parent: Option<&CStr>, deadline: Deadline) -> Result<usize> {
    reap_of(parent, None, deadline)
}

/// Does the same for the orphans that have this tag, and for half-made agents, of which the tag is not known. A half-made agent
/// has no process, and is only removed. The locks of all other agents are left alone, so that their programs can adopt them at
/// any time.
pub fn reap_tagged(parent: Option<&CStr>, tag: &str, deadline: Deadline) -> Result<usize> {
    reap_of(parent, Some(&owner::tag(tag)?), deadline)
}

fn reap_of(parent: Option<&CStr>, tag: Option<&Tag>, deadline: Deadline) -> Result<usize> {
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
            let not_opened = |e| not_opened(e, &shown(&place.path), &name);
            let belongs =
                || tag.map_or(Ok(Belonging::Tagged), |tag| belonging(&dir, tag)).map_err(not_opened);
            let before = belongs()?;
            if before == Belonging::Other {
                return Ok(());
            }
            let orphan = owner::claim(&dir).map_err(not_opened)?;
            // Not alive: removed by its maker or another reaper.
            if !orphan || !dir.is_alive() {
                return Ok(());
            }
            // Its maker may have written its note, and died, before it was locked here.
            if before == Belonging::HalfMade {
                match belongs()? {
                    Belonging::Tagged => {}
                    Belonging::HalfMade => {
                        removed += usize::from(remove_half_made(place, &dir, &name));
                        return Ok(());
                    }
                    Belonging::Other => return Ok(()),
                }
            }
            let overrides = Overrides::of(&dir).map_err(not_opened)?;
            let path = PlacePath::copy(place).map_err(out_of_memory)?;
            let agent = Agent::from_parts(place, path, name, dir, overrides);
            match agent.remove(Remover::Reap, deadline.at_most(TURN)) {
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

/// Removes a locked group without a note. The kernel refuses it if the group has processes or cgroups: then its agent is not
/// half made, and has removed its note. Returns true if the group was removed.
fn remove_half_made(place: &Place, dir: &Dir, name: &AgentName) -> bool {
    let removed = place.agents().and_then(|agents| agents.remove(name.as_c_str())).is_ok();
    if !removed {
        owner::release(dir);
    }
    removed
}

/// Passes each agent to `visit`, with its open directory if the caller may open it. Ignores directories that are not
/// agents.
pub(super) fn each_agent(
    places: &[Place],
    mut visit: impl FnMut(&Place, Option<Dir>, AgentName) -> Result<()>,
) -> Result<()> {
    for place in places {
        match place.agents() {
            Err(e) if is_gone(e) => {}
            agents => {
                let agents = agents.map_err(|e| not_listed(e, &shown(&place.path)))?;
                each_agent_in(place, &agents, &mut visit)?;
            }
        }
    }
    Ok(())
}

fn is_gone(errno: Errno) -> bool {
    matches!(errno, Errno::ENOENT | Errno::ENODEV)
}

/// Does the same for the place whose groups are in the directory `agents`.
fn each_agent_in(
    place: &Place,
    agents: &Dir,
    visit: &mut impl FnMut(&Place, Option<Dir>, AgentName) -> Result<()>,
) -> Result<()> {
    let here = shown(&place.path);
    let children = match agents.children() {
        Err(e) if is_gone(e) => return Ok(()),
        children => children.map_err(|e| not_listed(e, &here))?,
    };
    for child in children {
        let Some(name) = AgentName::of_directory(child.to_bytes()) else { continue };
        match agents.agents_child(&child) {
            Ok(dir) => visit(place, Some(dir), name)?,
            Err(Errno::EACCES) => visit(place, None, name)?,
            Err(e) if is_gone(e) => {}
            Err(e) => return Err(not_opened(e, &here, &name)),
        }
    }
    Ok(())
}

/// Returns the place of the children of an agent, which need not be a session. Returns none for an agent that is a child itself:
/// its children are those of a call that names its group as the parent.
fn children_of(place: &Place, session: &AgentName) -> Option<Place> {
    (place.layout == Layout::Tree)
        .then(|| Place::of_session(place.kind, Arc::clone(&place.dir), place.path_of(session)))
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tree `synwire/agents/<uuid>` below a place, and the groups `<uuid>` of the children of a session. Any number of processes
//! may build it at the same time, and each may fail and remove what it has built. If another process removes a level that a step
//! needs, the steps are repeated.

use super::enable::{self, Enabled};
use super::refusal::refused;
use super::types::{AGENTS, Layout, Occupancy, Place, SYNWIRE};
use super::{session, vacate};
use crate::cgroupfs::controllers::Controllers;
use crate::cgroupfs::{AgentName, Dir};
use crate::error::{Error, Reason, Result, shown};
use crate::guard;
use crate::kill::KillFiles;
use crate::owner;
use crate::parse::{self, OwnerNote};
use crate::procfs;
use crate::sys;
use crate::sys::retry_transient;
use nix::errno::Errno;
use std::ffi::{CStr, CString};

/// How often other processes may remove a level before the call gives up. Each time one of their calls has failed.
pub(super) const TRIES: usize = 100;

/// The new group of an agent, which holds no process yet.
#[derive(Debug)]
pub struct AgentDir<'p> {
    /// The directory, held open and locked.
    pub dir: Dir,
    /// The id of the group in the kernel.
    pub id: u64,
    /// The files by which the group can be killed.
    pub kill_files: KillFiles,
    /// The absolute path, as mounted here.
    pub path: Vec<u8>,
    name: AgentName,
    place: &'p Place,
    built: Built,
}

/// What a call has changed in a place, apart from making a group in `synwire/agents`.
#[derive(Debug, Default)]
pub(super) struct Built {
    moved_caller: bool,
    synwire: bool,
    agents: bool,
    enabled: Controllers,
}

/// Make the group of an agent, and the levels of the tree that are missing. An existing group is an error. The caller sets
/// limits that need the controllers `needed` afterwards, and calls [`AgentDir::complete`] if one is missing.
///
/// The note is written as soon as the group is locked, so that a caller that is killed afterwards leaves its tag. Without a
/// tag and a label it may be missing.
pub fn make_agent_dir<'p>(
    place: &'p Place,
    name: &AgentName,
    needed: Controllers,
    note: Option<&OwnerNote>,
) -> Result<AgentDir<'p>> {
    let mut built = Built::default();
    for _ in 0..TRIES {
        let agents = place.known_parent.as_ref().and_then(|known| known.agents());
        let made = match &agents {
            Some(agents) => make_and_claim(agents, name.as_c_str()),
            None => make_and_claim(&place.dir, &place.path_in(name)),
        };
        match made {
            // A session without its group makes no more children.
            Ok(None) if place.layout == Layout::Session && !place.dir.is_alive() => {
                return Err(refused(Errno::ENODEV, &shown(&place.path)));
            }
            Ok(None) => {}
            Ok(Some((dir, id, kill_files))) => {
                if let (Some(known), None) = (&place.known_parent, &agents) {
                    known.keep_agents();
                }
                let path = place.path_of(name);
                let mut made = AgentDir { dir, id, kill_files, path, name: *name, place, built };
                if let Some(Err(e)) = note.map(|note| made.write_note(note)) {
                    made.undo();
                    return Err(e);
                }
                // cpu is enabled last, so if the group has cpu.max all controllers are enabled.
                if !needed.contains(Controllers::CPU) && !made.is_complete() {
                    if let Err(e) = made.complete() {
                        made.undo();
                        return Err(e);
                    }
                    if let Some(known) = &made.place.known_parent {
                        known.look_for_cpu();
                    }
                }
                return Ok(made);
            }
            Err(Errno::ENOENT | Errno::ENODEV) if place.layout == Layout::Session => {
                return Err(refused(Errno::ENODEV, &shown(&place.path)));
            }
            Err(Errno::ENOENT | Errno::ENODEV) if agents.is_some() => {
                if let (Some(known), Some(removed)) = (&place.known_parent, &agents) {
                    known.forget_agents(removed);
                }
            }
            Err(Errno::ENOENT) => try_build(place, &mut built)?,
            Err(e) => {
                built.undo(&place.dir);
                let here = shown(&place.path);
                return Err(match e {
                    Errno::EEXIST => Error::new(
                        e,
                        format_args!(
                            "{name} already exists under {here}, in use or left over: choose another uuid, or open it"
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

/// Other processes have removed `synwire/agents` in each of many attempts.
pub(super) fn keeps_vanishing(place: &Place) -> Error {
    let here = shown(&place.path);
    Error::new(
        Errno::EBUSY,
        format_args!("other processes keep removing synwire/agents in {here}: try again"),
    )
}

impl Place {
    /// The controllers that are enabled below it, if they are available.
    fn wanted(&self) -> Controllers {
        if self.occupancy == Occupancy::Others { Controllers::NONE } else { Controllers::WANTED }
    }

    /// Continue guards that a signal has stopped: a guard whose host has ended does its work then. Other guards are
    /// continued when their host ends or sends them a message.
    pub fn wake_guards(&self) {
        if self.layout == Layout::Session {
            return;
        }
        let level = self.dir.child(SYNWIRE);
        for name in level.as_ref().ok().and_then(|level| level.children().ok()).unwrap_or_default() {
            if !is_guard(&name) {
                continue;
            }
            let procs =
                level.as_ref().ok().and_then(|level| level.child(&name).ok()?.read_all(c"cgroup.procs").ok());
            for pid in parse::ids(&procs.unwrap_or_default()).filter(|&pid| pid > 0) {
                if procfs::is_stopped(pid) {
                    let _ = sys::kill(pid, libc::SIGCONT); // ESRCH: it has ended. EPERM: it belongs to another uid.
                }
            }
        }
    }

    /// Remove the levels of the tree that hold nothing, such as those of a program that has crashed. A process that is
    /// making an agent there makes them again.
    pub fn remove_unused(&self) {
        if self.layout == Layout::Session {
            return;
        }
        let level = self.dir.child(SYNWIRE);
        let names = level.as_ref().map_or_else(|_| Vec::new(), |level| level.children().unwrap_or_default());
        for name in names.iter().filter(|name| is_guard(name)) {
            let _ = level.as_ref().map(|level| level.remove(name)); // EBUSY: its guard lives and removes it later.
        }
        for name in [AGENTS, SYNWIRE] {
            let _ = self.dir.remove(name); // EBUSY: in use. ENOENT: it does not exist.
        }
    }
}

fn is_guard(name: &CStr) -> bool {
    name.to_bytes().starts_with(guard::CGROUP_PREFIX.as_bytes())
}

/// Make the group and become its owner. Until it is locked a reaper takes it for an orphan: returns `None` if one has
/// removed it.
fn make_and_claim(place: &Dir, name: &CStr) -> nix::Result<Option<(Dir, u64, KillFiles)>> {
    let claim = |(dir, id): (Dir, u64)| {
        if !owner::claim_new(&dir)? {
            return Ok(None);
        }
        // Opened before a process in the group can prevent that. Fails with ENODEV if the group was removed.
        let kill_files = KillFiles::open(&dir)?;
        let lives = kill_files.has_events() || dir.is_alive();
        Ok(lives.then_some((dir, id, kill_files)))
    };
    match place.make_private(name)?.and_then(claim) {
        Err(Errno::ENOENT | Errno::ENODEV) => Ok(None),
        Err(e) => {
            let _ = remove_made(place, name); // The first error is the one to report.
            Err(e)
        }
        done => done,
    }
}

/// Remove a cgroup that the call has made. No other call would remove it, so temporary errors are retried.
pub(super) fn remove_made(place: &Dir, name: &CStr) -> nix::Result<()> {
    retry_transient(|e| matches!(e, Errno::ENOENT | Errno::ENODEV), || place.remove(name))
}

/// Why a step of building the tree has failed.
pub(super) enum StepError {
    /// Repeating the steps would not help.
    Fatal(Box<Error>),
    /// Another process has removed a level that the step needs.
    Removed,
}

impl From<Error> for StepError {
    fn from(e: Error) -> Self {
        match e.errno() {
            Errno::ENOENT | Errno::ENODEV => Self::Removed,
            _ => Self::Fatal(Box::new(e)),
        }
    }
}

/// Make the levels of the tree that are missing, unless another process removes one meanwhile. Undoes all changes on an error.
pub(super) fn try_build(place: &Place, built: &mut Built) -> Result<()> {
    match build(place, &shown(&place.path), built) {
        Ok(()) | Err(StepError::Removed) => Ok(()),
        Err(StepError::Fatal(e)) => {
            built.undo(&place.dir);
            Err(*e)
        }
    }
}

/// Make the levels of the tree that are missing, and enable the controllers.
fn build(place: &Place, here: &str, built: &mut Built) -> std::result::Result<(), StepError> {
    place.check().map_err(|e| StepError::Fatal(Box::new(e)))?;
    built.vacate(place, here).map_err(|e| StepError::Fatal(Box::new(e)))?;
    let Enabled { on, added } = enable::enable(&place.dir, place.wanted(), here)?;
    built.enabled = built.enabled | added;
    built.synwire |= make_level(&place.dir, SYNWIRE, here)?;
    enable_level(&place.dir, SYNWIRE, on, here)?;
    built.agents |= make_level(&place.dir, AGENTS, here)?;
    enable_level(&place.dir, AGENTS, on, here).map(drop)
}

/// Make one level of the tree. Returns false if it exists.
fn make_level(place: &Dir, name: &CStr, here: &str) -> std::result::Result<bool, StepError> {
    match place.make(name) {
        Ok(()) => Ok(true),
        Err(Errno::EEXIST) => Ok(false),
        Err(e) => Err(refused(e, here).into()),
    }
}

fn enable_level(
    place: &Dir,
    name: &CStr,
    wanted: Controllers,
    here: &str,
) -> std::result::Result<Enabled, StepError> {
    let level = shown(&[here.as_bytes(), b"/", name.to_bytes()].concat());
    let dir = place.child(name).map_err(|e| refused(e, &level))?;
    Ok(enable::enable(&dir, wanted, &level)?)
}

/// Enable the controllers that the tree of a place lacks.
pub(super) fn complete(place: &Place, built: &mut Built) -> Result<()> {
    let here = &shown(&place.path);
    built.vacate(place, here)?;
    let (wanted, place) = (place.wanted(), &place.dir);
    for _ in 0..TRIES {
        let Enabled { on, added } = enable::enable(place, wanted, here)?;
        let level = |name| enable_level(place, name, on, here);
        // A controller that is enabled in `agents` is enabled in `synwire`, too.
        let done = level(AGENTS).and_then(|agents| {
            if agents.on == on { Ok(()) } else { level(SYNWIRE).and_then(|_| level(AGENTS)).map(drop) }
        });
        match done {
            Ok(()) => return Ok(()),
            Err(StepError::Removed) => {}
            Err(StepError::Fatal(e)) => {
                enable::disable(place, added);
                return Err(*e);
            }
        }
    }
    Err(Error::new(
        Errno::ENODEV,
        format_args!("another process removed synwire/agents in {here} during the call: try again"),
    )
    .because(Reason::Gone))
}

impl AgentDir<'_> {
    /// Returns true if the tree lacks no controller that is available. The controller that is enabled last shows that all
    /// are. In most places it is cpu; where the last call has found no cpu, the place says which it is.
    fn is_complete(&self) -> bool {
        if self.place.wanted().is_empty() {
            return true;
        }
        let known = self.place.known_parent.as_ref();
        let available = known.and_then(|known| known.available_without_cpu());
        let Some((last, file)) = available.unwrap_or(Controllers::CPU).last() else { return true };
        // To look for the file in the group takes several times as long as to read a file that is open.
        match known.and_then(|known| known.enabled()) {
            Some(enabled) => enabled.contains(last),
            None => self.dir.has(file),
        }
    }

    fn write_note(&self, note: &OwnerNote) -> Result<()> {
        match owner::write_note(&self.dir, note) {
            Err(e) if note.tag.is_some() || note.label.is_some() => {
                Err(owner::not_kept(e, &shown(&self.path)))
            }
            _ => Ok(()),
        }
    }

    /// Enable the controllers that the tree lacks. The process that made the tree may not have finished, or may have
    /// ended before.
    pub fn complete(&mut self) -> Result<()> {
        if self.place.layout == Layout::Session {
            return session::prepare(&self.place.dir, &shown(&self.place.path)).map(drop);
        }
        complete(self.place, &mut self.built)
    }

    /// The path from the group to the directory in which its guard is.
    pub fn beside_agents(&self) -> CString {
        self.place.beside_agents()
    }

    /// Remove the group, which has never held a process, and what the call has built for it.
    pub fn undo(&self) {
        let _ = remove_made(&self.place.dir, &self.place.path_in(&self.name)); // ENOENT: it was removed already.
        self.built.undo(&self.place.dir);
    }
}

impl Built {
    fn vacate(&mut self, place: &Place, here: &str) -> Result<()> {
        if place.occupancy == Occupancy::Caller {
            self.moved_caller |= vacate::vacate(&place.dir, here)?;
        }
        Ok(())
    }

    /// Remove what is not in use. The kernel refuses what other agents use: removing their level is EBUSY, and while it
    /// exists, disabling its controllers is, too.
    pub fn undo(&self, place: &Dir) {
        if self.agents && remove_made(place, AGENTS).is_err() {
            return;
        }
        if self.synwire && remove_made(place, SYNWIRE).is_err() {
            return;
        }
        self.restore(place);
    }

    /// Restore the place, which holds no level of the tree.
    fn restore(&self, place: &Dir) {
        enable::disable(place, self.enabled);
        if self.moved_caller {
            vacate::restore(place);
        }
    }

    /// Remove the levels that hold nothing, whoever has made them, and restore the place.
    pub fn undo_all(&self, place: &Dir) {
        let is_gone = |name| matches!(remove_made(place, name), Ok(()) | Err(Errno::ENOENT | Errno::ENODEV));
        if is_gone(AGENTS) && is_gone(SYNWIRE) {
            self.restore(place);
        }
    }
}

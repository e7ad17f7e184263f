// SPDX-License-Identifier: MIT OR Apache-2.0
//! `synwire/agents/<uuid>` below a place. Any number of processes may build it at once, and any of
//! them may fail and take back what it built: each step is tried, and begun again where another's
//! clean-up took its ground away.

use super::enable::{self, Enabled};
use super::site::{Occupancy, Place};
use super::{refused, vacate};
use crate::cgroupfs::Dir;
use crate::cgroupfs::controllers::Controllers;
use crate::error::{Error, Reason, Result, shown};
use crate::guard;
use crate::owner;
use crate::parse;
use crate::procfs;
use crate::sys;
use crate::sys::retry_transient;
use nix::errno::Errno;
use std::ffi::{CStr, CString};

const SYNWIRE: &CStr = c"synwire";
/// Below a place.
pub const AGENTS: &CStr = c"synwire/agents";

/// Whether this is the directory that agents are in.
pub fn is_agents(path: &[u8]) -> bool {
    path.strip_suffix(AGENTS.to_bytes()).is_some_and(|above| above.ends_with(b"/"))
}

/// How often others may take our ground away before we give up. Each time one of them has failed.
const TRIES: usize = 100;

/// An agent's new cgroup, with no process in it yet.
#[derive(Debug)]
pub struct AgentDir {
    /// Held open.
    pub dir: Dir,
    /// Absolute, as mounted here.
    pub path: Vec<u8>,
    name: CString,
    place: Place,
    built: Built,
}

/// What was not there before.
#[derive(Debug, Default)]
struct Built {
    moved: bool,
    synwire: bool,
    agents: bool,
    enabled: Controllers,
}

/// Make an agent's cgroup, and what of the tree is missing. An existing one is never adopted.
pub fn make_agent_dir(place: &Place, uuid: &str) -> Result<AgentDir> {
    let here = shown(&place.path);
    let name = CString::new(format!("synwire/agents/{uuid}"))
        .map_err(|_| Error::new(Errno::EINVAL, "the uuid holds a NUL byte"))?;
    let mut built = Built::default();
    for _ in 0..TRIES {
        match make_and_open(&place.dir, &name) {
            Ok(None) => {}
            Ok(Some(dir)) => {
                let mut agent_dir =
                    AgentDir { dir, path: place.path_of(uuid), name, place: place.clone(), built };
                // Whoever made the tree switched cpu on last, so its file says that all is on.
                if !agent_dir.dir.has(c"cpu.max") {
                    if let Err(e) = agent_dir.complete() {
                        agent_dir.undo();
                        return Err(e);
                    }
                }
                return Ok(agent_dir);
            }
            Err(Errno::ENOENT) => match build(place, &here, &mut built) {
                Ok(()) | Err(StepError::Removed) => {}
                Err(StepError::Fatal(e)) => {
                    built.undo(&place.dir);
                    return Err(*e);
                }
            },
            Err(e) => {
                built.undo(&place.dir);
                return Err(match e {
                    Errno::EEXIST => Error::new(
                        e,
                        format!(
                            "{uuid} is there already under {here}, in use or left over: choose another uuid, or open it"
                        ),
                    ),
                    e => refused(e, &here),
                });
            }
        }
    }
    built.undo(&place.dir);
    Err(Error::new(Errno::EBUSY, format!("others keep removing synwire/agents in {here}: try again")))
}

impl Place {
    /// What is switched on below it.
    fn wanted(&self) -> Controllers {
        if self.occupancy == Occupancy::Others { Controllers::NONE } else { Controllers::WANTED }
    }
}

/// Make it ours, or nothing: until we have locked it a reaper takes it for one that a crash has left.
fn make_and_open(place: &Dir, name: &CStr) -> nix::Result<Option<Dir>> {
    place.make_private(name)?;
    let claimed = place.agents_child(name).and_then(|dir| Ok(owner::claim_new(&dir)?.then_some(dir)));
    match claimed {
        Err(Errno::ENOENT | Errno::ENODEV) => Ok(None),
        Err(e) => {
            let _ = remove_made(place, name); // The first error is the one to report.
            Err(e)
        }
        done => done,
    }
}

/// Remove what the call has made itself. Nobody would do it later, so an error that may pass is not the end of it.
fn remove_made(place: &Dir, name: &CStr) -> nix::Result<()> {
    retry_transient(|e| matches!(e, Errno::ENOENT | Errno::ENODEV), || place.remove(name))
}

/// Why a step did not work: for good, or because another's clean-up removed what it stood on.
enum StepError {
    Fatal(Box<Error>),
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

fn build(place: &Place, here: &str, built: &mut Built) -> std::result::Result<(), StepError> {
    place.check().map_err(|e| StepError::Fatal(Box::new(e)))?;
    built.make_room(place, here).map_err(|e| StepError::Fatal(Box::new(e)))?;
    let Enabled { on, added } = enable::enable(&place.dir, place.wanted(), here)?;
    built.enabled = built.enabled | added;
    built.synwire |= make_level(&place.dir, SYNWIRE, here)?;
    enable_level(&place.dir, SYNWIRE, on, here)?;
    built.agents |= make_level(&place.dir, AGENTS, here)?;
    enable_level(&place.dir, AGENTS, on, here).map(drop)
}

/// Make one level of the tree, or find it. Tells whether it was made.
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

/// Have guards go on that somebody has stopped: one whose host has ended does its work then. A guard that is told
/// something, or whose host ends without a copy of its descriptors elsewhere, goes on by itself.
pub fn wake_guards(place: &Dir) {
    let level = place.child(SYNWIRE);
    for guard in level.as_ref().ok().and_then(|level| level.children().ok()).unwrap_or_default() {
        if !guard.to_bytes().starts_with(guard::LEAVES.as_bytes()) {
            continue;
        }
        let procs =
            level.as_ref().ok().and_then(|level| level.child(&guard).ok()?.read_all(c"cgroup.procs").ok());
        for pid in parse::ids(&procs.unwrap_or_default()).filter(|&pid| pid > 0) {
            if procfs::is_stopped(pid) {
                // It has ended, or is another uid's.
                let _ = sys::kill(pid, libc::SIGCONT);
            }
        }
    }
}

/// Remove what of the tree nobody uses: what a crash has left half made. Whoever is making an agent there
/// lays its ground again.
pub fn clear(place: &Dir) {
    let level = place.child(SYNWIRE);
    let names = level.as_ref().map_or_else(|_| Vec::new(), |level| level.children().unwrap_or_default());
    for guard in names.iter().filter(|name| name.to_bytes().starts_with(guard::LEAVES.as_bytes())) {
        // EBUSY: a guard is in there, and will see to it.
        let _ = level.as_ref().map(|level| level.remove(guard));
    }
    for name in [AGENTS, SYNWIRE] {
        let _in_use_or_not_there = place.remove(name);
    }
}

impl AgentDir {
    /// Switch on what the tree lacks, as where another process has made it but not finished, or died
    /// before it could.
    pub fn complete(&mut self) -> Result<()> {
        let here = &shown(&self.place.path);
        let place = &self.place.dir;
        self.built.make_room(&self.place, here)?;
        for _ in 0..TRIES {
            let Enabled { on, added } = enable::enable(place, self.place.wanted(), here)?;
            let level = |name| enable_level(place, name, on, here);
            // What is on for the agents is on above them, too.
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
        Err(Error::new(Errno::ENODEV, format!("synwire/agents in {here} was removed under us"))
            .because(Reason::Gone))
    }

    /// Remove the agent_dir, and of the tree what making it has built. For a agent_dir that never held a process.
    pub fn undo(&self) {
        let _ = remove_made(&self.place.dir, &self.name); // Gone already.
        self.built.undo(&self.place.dir);
    }
}

impl Built {
    fn make_room(&mut self, place: &Place, here: &str) -> Result<()> {
        if place.occupancy == Occupancy::Caller {
            self.moved |= vacate::make(&place.dir, here)?;
        }
        Ok(())
    }

    /// Take back what nobody uses by now. Each refusal says that somebody does: a level that has other
    /// agents is EBUSY, and while one stands its controllers stay.
    fn undo(&self, place: &Dir) {
        if self.agents && remove_made(place, AGENTS).is_err() {
            return;
        }
        if self.synwire && remove_made(place, SYNWIRE).is_err() {
            return;
        }
        enable::disable(place, self.enabled);
        if self.moved {
            vacate::restore(place);
        }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The handle: an agent's cgroup held open, and what can be done with it.

mod events;
mod files;
mod guarded;
mod kill;
mod limits;
mod migrate;
mod orphans;
mod processes;
mod spawn;
mod stopping;

pub use orphans::{Entry, list, reap};
pub use spawn::SpawnOptions;

use crate::cgroupfs::controllers::Controllers;
use crate::cgroupfs::overrides::Overrides;
use crate::cgroupfs::{AgentName, Dir, FILE_MAX, FileError};
use crate::error::{Error, Reason, Result, out_of_memory, shown, words};
use crate::events::Watch;
use crate::guard::{self, Guarded};
use crate::kill::members::Members;
use crate::kill::{KillFiles, KillState, Killing};
use crate::limits::Limits;
use crate::owner;
use crate::place::{self, Kind, Place, PlaceRequest};
use crate::stats::{Files, Stats};
use crate::sys::fork_id::AtomicForkId;
use crate::sys::fork_mutex::ForkMutex;
use crate::sys::try_alloc;
use limits::Nesting;
use nix::errno::Errno;
use nix::sys::stat::fstat;
use orphans::not_opened;
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

/// One agent's cgroup. Dropping it leaves the cgroup and its processes be.
#[derive(Debug)]
pub struct Agent {
    dir: Dir,
    path: Vec<u8>,
    name: AgentName,
    place: Kind,
    /// Where systemd made the place: its unit, by which it moves processes that we may not.
    unit: Option<String>,
    /// The process that owns it through this handle, of which a forked child has a copy; none for a guest's.
    owner: AtomicForkId,
    /// It ends with this process.
    guarded: Option<Guarded>,
    files: Files,
    killing: KillState,
    nesting: Nesting,
    spawning: crate::spawn::SpawnCache,
    /// Once events are asked for, and in each process anew.
    watch: ForkMutex<Option<Watch>>,
}

/// What an agent keeps of its place, made before its directory is.
struct Location {
    name: AgentName,
    path: Vec<u8>,
    unit: Option<String>,
}

impl Location {
    /// Copied, since it lasts longer than the call: [`try_alloc`] never takes from the reserve.
    fn of(place: &Place, name: AgentName) -> Result<Self> {
        let copied = || {
            Ok(Self {
                name,
                path: try_alloc::copy(&place.path_of(&name))?,
                unit: place.unit().map(|unit| try_alloc::copy_str(&unit)).transpose()?,
            })
        };
        copied().map_err(out_of_memory)
    }
}

/// Facts about an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Info {
    /// The kernel's cgroup id.
    pub id: u64,
    /// In force in the group.
    pub controllers: Controllers,
    /// Where the tree was put.
    pub place: Kind,
    /// By this process, through this handle.
    pub owned: bool,
    /// It is killed and removed when this process ends.
    pub guarded: bool,
}

impl Agent {
    /// Make `<parent>/synwire/agents/<uuid>` with these limits, all or nothing. Without a parent the
    /// best place that there is is taken; without a uuid a random one.
    pub fn new(parent: Option<&CStr>, uuid: Option<&str>, limits: &Limits) -> Result<Self> {
        Self::new_where(PlaceRequest { parent, ..PlaceRequest::default() }, uuid, limits)
    }

    /// The same with more to say about the place.
    pub fn new_where(request: PlaceRequest<'_>, uuid: Option<&str>, limits: &Limits) -> Result<Self> {
        limits.check()?;
        guard::clear_up();
        let name = uuid.map_or_else(|| Ok(AgentName::random()), name_of)?;
        let request = PlaceRequest { needs: limits.controllers(), ..request };
        place::first_usable(request, |place| {
            let location = Location::of(place, name)?;
            let mut agent_dir = place::make_agent_dir(place, &name)?;
            let applied = match limits.apply(&agent_dir.dir, &agent_dir.path) {
                // The tree may have been made when fewer controllers were available.
                Err(e) if e.reason() == Some(Reason::NoController) => {
                    agent_dir.complete().and_then(|()| limits.apply(&agent_dir.dir, &agent_dir.path))
                }
                other => other,
            };
            if let Err(e) = applied {
                agent_dir.undo();
                return Err(e);
            }
            // Opened while the agent cannot yet do anything about it.
            let kept =
                KillFiles::open(&agent_dir.dir).and_then(|files| Ok((files, Overrides::of(&agent_dir.dir)?)));
            let (kill_files, overrides) = kept.map_err(|e| {
                agent_dir.undo();
                not_opened(e, &shown(&place.path), &name)
            })?;
            let guarded = if request.guard { Some(guarded::start(&agent_dir, &name)?) } else { None };
            let mut agent = Self::at(place.kind, agent_dir.dir, location, overrides);
            agent.guarded = guarded;
            agent.killing.files = kill_files;
            agent.nesting.chosen_in(limits);
            agent.own(owner::now_unix_ns());
            Ok(agent)
        })
    }

    /// The one that stands there.
    fn at(place: Kind, dir: Dir, location: Location, overrides: Arc<Overrides>) -> Self {
        Self {
            dir,
            path: location.path,
            name: location.name,
            place,
            unit: location.unit,
            owner: AtomicForkId::default(),
            guarded: None,
            files: Files::default(),
            killing: KillState { overrides, ..KillState::default() },
            nesting: Nesting::default(),
            spawning: crate::spawn::SpawnCache::default(),
            watch: ForkMutex::new(),
        }
    }

    /// We hold its lock.
    fn own(&self, created_unix_ns: u64) {
        self.killing().cache_namespace();
        self.owner.set_current();
        owner::write_note(&self.dir, std::process::id(), created_unix_ns);
    }

    fn is_own(&self) -> bool {
        self.owner.is_current()
    }

    /// Its name, in the usual 36 characters.
    pub fn uuid(&self) -> &str {
        self.name.as_str()
    }

    /// Absolute, as mounted here.
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// Facts.
    pub fn info(&self) -> Result<Info> {
        let file = "cgroup.controllers";
        let id = fstat(&self.dir).map_err(|e| self.failed("look at", "", e))?.st_ino;
        let mut buf = [0; FILE_MAX];
        let text =
            self.dir.read(c"cgroup.controllers", &mut buf).map_err(|e| self.failed("read", file, e))?;
        let (controllers, place, owned) = (Controllers::listed(text), self.place, self.is_own());
        Ok(Info { id, controllers, place, owned, guarded: self.guarded.as_ref().is_some_and(Guarded::holds) })
    }

    /// Measure what `which` asks for (bits of [`crate::stats`]) and is offered here.
    pub fn read_stats(&self, which: u64) -> Result<Stats> {
        let mut stats = Stats::default();
        self.read_stats_into(which, &mut stats)?;
        Ok(stats)
    }

    /// The same without a copy; `stats` is to be all 0.
    pub fn read_stats_into(&self, which: u64, stats: &mut Stats) -> Result<()> {
        self.files.read(&self.dir, which, stats).map_err(|e| self.failed_on("read", e))
    }

    fn members(&self) -> Members<'_> {
        Members { dir: &self.dir, mark: self.name.mark() }
    }

    fn killing(&self) -> Killing<'_> {
        Killing { members: self.members(), state: &self.killing }
    }

    /// Try again to put back what an earlier call had to leave changed.
    fn put_back_rest(&self) -> Result<()> {
        self.killing.overrides.restore_remaining(&self.dir).map_err(|e| self.not_put_back(e))
    }

    fn not_put_back(&self, (errno, file): FileError) -> Error {
        let (group, name) = (shown(&self.path), file.to_str().unwrap_or_default());
        let code = match errno {
            Errno::EACCES | Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM => errno,
            _ => Errno::EIO,
        };
        let why = words(errno);
        let message = format!(
            "{name} of {group} could not be put back to what it was: {why}: the next call tries again"
        );
        Error::new(code, message).on(name)
    }

    fn failed_on(&self, verb: &str, (errno, file): FileError) -> Error {
        self.failed(verb, file.to_str().unwrap_or_default(), errno)
    }

    fn failed(&self, verb: &str, file: &'static str, errno: Errno) -> Error {
        let group = shown(&self.path);
        if errno == Errno::ENODEV && !self.dir.is_alive() {
            return Error::new(errno, format!("{group} was removed by somebody else"))
                .because(Reason::Gone)
                .on(file);
        }
        let message = format!("cannot {verb} {file} of {group}: {}", words(errno));
        match errno {
            Errno::EACCES => Error::new(errno, message).because(Reason::NotDelegated),
            // Mounted read-only since the group was made.
            Errno::EROFS => Error::new(Errno::EACCES, message).because(Reason::ReadOnly),
            _ => Error::new(errno, message),
        }
        .on(file)
    }
}

/// Others must not take it for owned while a child that we have forked holds the same lock.
impl Drop for Agent {
    fn drop(&mut self) {
        if self.is_own() {
            owner::release(&self.dir);
        }
        guard::clear_up();
    }
}

/// The agent's name for a uuid from the caller.
fn name_of(uuid: &str) -> Result<AgentName> {
    AgentName::parse(uuid).ok_or_else(|| {
        Error::new(Errno::EINVAL, "the uuid is not of the form 01234567-89ab-cdef-0123-456789abcdef")
    })
}

impl AsFd for Agent {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

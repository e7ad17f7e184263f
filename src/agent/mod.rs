// SPDX-License-Identifier: MIT OR Apache-2.0
//! The handle of an agent: its open group, and the calls on it.

mod destroy;
mod events;
mod files;
mod find;
mod kill;
mod kill_together;
mod labels;
mod limits;
mod move_out;
mod orphans;
mod processes;
mod session;
mod spawn;
mod verdict;

pub use find::{Found, find, find_pidfd};
pub use kill_together::kill_all_of;
pub use orphans::{Entry, list, list_tagged, reap, reap_tagged};
pub use spawn::SpawnOptions;

use crate::cgroupfs::controllers::Controllers;
use crate::cgroupfs::overrides::Overrides;
use crate::cgroupfs::{AgentName, Dir, FILE_MAX, FileError};
use crate::error::{Error, Reason, Result, out_of_memory, shown, words};
use crate::events::Watch;
use crate::guard::{self, Guarded, Scope};
use crate::kill::members::Members;
use crate::kill::{KillState, Killer};
use crate::limits::Limits;
use crate::owner;
use crate::parse::{Label, OwnerNote, Tag};
use crate::place::{self, AgentDir, Kind, Layout, Place, PlacePath, PlaceRequest, Session, path_parts};
use crate::procfs;
use crate::stats::{Files, Stats};
use crate::sys::descriptors::occupy_stdio_for_several;
use crate::sys::fork_id::AtomicForkId;
use crate::sys::fork_mutex::ForkMutex;
use crate::sys::try_alloc;
use crate::verdict::{Baseline, Call};
use limits::Nesting;
use nix::errno::Errno;
use nix::sys::stat::fstat;
use orphans::not_opened;
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

/// What a new agent is given, checked.
#[derive(Debug, Clone, Copy)]
struct New<'a> {
    name: AgentName,
    limits: &'a Limits,
    label: Option<Label>,
    tag: Option<Tag>,
}

impl<'a> New<'a> {
    fn check(uuid: Option<&str>, limits: &'a Limits, label: Option<&str>, tag: Option<&str>) -> Result<Self> {
        limits.check()?;
        let (label, tag) = (label.map(owner::label).transpose()?.flatten(), tag.map(owner::tag).transpose()?);
        guard::clear_up();
        let name = uuid.map_or_else(|| Ok(AgentName::random()), name_of)?;
        Ok(Self { name, limits, label, tag })
    }
}

/// The handle of one agent. Dropping it changes nothing in the group and its processes.
#[derive(Debug)]
pub struct Agent {
    dir: Dir,
    name: AgentName,
    place: Kind,
    layout: Layout,
    place_path: PlacePath,
    /// The process that owns the agent through this handle, or none. A forked child has a copy of the handle and is not
    /// the owner.
    owner: AtomicForkId,
    /// Present in the owner: the note as the owner has written it, whatever the agent has made of it.
    note: ForkMutex<Option<labels::Written>>,
    /// Present if the guard kills and removes the agent when this process ends.
    guarded: Option<Guarded>,
    files: Files,
    kill_state: KillState,
    nesting: Nesting,
    spawn_cache: crate::spawn::SpawnCache,
    rare: ForkMutex<Rare>,
}

/// What few handles have. One lock for both keeps the others small.
#[derive(Debug, Default)]
struct Rare {
    /// Present after the first call of `event_fd` in this process.
    watch: Option<Box<Watch>>,
    held: Option<Box<Held>>,
}

/// What a handle keeps in existence. It ends with the handle.
#[derive(Debug, Default)]
struct Held {
    /// Present in a handle of a session, after it has made its first child in this process.
    session: Option<Arc<Session>>,
    /// The number of children that were made by this handle. An agent can make cgroups that look like more.
    children: u64,
    /// Present if the agent was adopted and is in a scope of an earlier program.
    scope: Option<Arc<Scope>>,
}

impl Rare {
    fn held(&mut self) -> nix::Result<&mut Held> {
        let held = match self.held.take() {
            Some(held) => held,
            None => try_alloc::boxed(Held::default())?,
        };
        Ok(self.held.insert(held))
    }
}

/// Facts about an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Info {
    /// The id of the cgroup in the kernel.
    pub id: u64,
    /// The controllers that are in force in the group.
    pub controllers: Controllers,
    /// The kind of the place in which the agent was made.
    pub place: Kind,
    /// This process owns the agent through this handle.
    pub owned: bool,
    /// The guard kills and removes the agent when this process ends.
    pub guarded: bool,
    /// The session of which the agent is a child.
    pub session: Option<AgentName>,
}

impl Agent {
    /// Makes the group `<parent>/synwire/agents/<uuid>` with these limits. On failure nothing is left. Without a parent
    /// the best available place is chosen; without a uuid a random one.
    pub fn new(parent: Option<&CStr>, uuid: Option<&str>, limits: &Limits) -> Result<Self> {
        Self::new_where(PlaceRequest { parent, ..PlaceRequest::default() }, uuid, limits)
    }

    /// Makes a group like [`Self::new`], in a place that `request` describes.
    pub fn new_where(request: PlaceRequest<'_>, uuid: Option<&str>, limits: &Limits) -> Result<Self> {
        Self::new_with(request, uuid, limits, None, None)
    }

    /// Makes a group like [`Self::new_where`], with a label for people and the tag of the owning program.
    pub fn new_with(
        request: PlaceRequest<'_>,
        uuid: Option<&str>,
        limits: &Limits,
        label: Option<&str>,
        tag: Option<&str>,
    ) -> Result<Self> {
        let new = New::check(uuid, limits, label, tag)?;
        let request = PlaceRequest { needs: limits.controllers(), ..request };
        place::first_usable(request, |place| Self::make(place, &new, request.guard))
    }

    /// Makes a group in this place.
    fn make(place: &Place, new: &New<'_>, guard: bool) -> Result<Self> {
        let New { name, limits, label, tag } = *new;
        // Before the group is made, because it may fail.
        let path = PlacePath::share(place).map_err(out_of_memory)?;
        let stdio = occupy_stdio_for_several().map_err(|e| not_opened(e, &shown(&place.path), &name))?;
        let note = OwnerNote { created_unix_ns: owner::now_unix_ns(), label, tag, ..OwnerNote::default() };
        let written = labels::Written::of(&note).map_err(out_of_memory)?;
        let mut agent_dir = place::make_agent_dir(place, &name, limits.controllers(), Some(&note))?;
        let applied = match limits.apply(&agent_dir.dir, &agent_dir.path) {
            // `synwire/agents` may have been made when fewer controllers were available.
            Err(e) if e.reason() == Some(Reason::NoController) => {
                agent_dir.complete().and_then(|()| limits.apply(&agent_dir.dir, &agent_dir.path))
            }
            other => other,
        };
        if let Err(e) = applied {
            agent_dir.undo();
            return Err(e);
        }
        let overrides = Overrides::of_id(agent_dir.id).map_err(|e| {
            agent_dir.undo();
            not_opened(e, &shown(&place.path), &name)
        })?;
        let baseline = Baseline::of_new_group(&agent_dir.dir);
        drop(stdio);
        let guarded = if guard { Some(guard_or_undo(&agent_dir, &name)?) } else { None };
        let mut agent = Self::from_parts(place, path, name, agent_dir.dir, overrides);
        agent.guarded = guarded;
        agent.kill_state.files = agent_dir.kill_files;
        agent.nesting.mark_set(limits);
        agent.kill_state.ledger.lock().made(baseline);
        agent.become_owner(written);
        Ok(agent)
    }

    /// Returns the handle of an existing group, which owns nothing yet.
    fn from_parts(
        place: &Place,
        place_path: PlacePath,
        name: AgentName,
        dir: Dir,
        overrides: Arc<Overrides>,
    ) -> Self {
        Self {
            dir,
            name,
            place: place.kind,
            layout: place.layout,
            place_path,
            owner: AtomicForkId::default(),
            note: ForkMutex::new(),
            guarded: None,
            files: Files::default(),
            kill_state: KillState { overrides, ..KillState::default() },
            nesting: Nesting::default(),
            spawn_cache: crate::spawn::SpawnCache::default(),
            rare: ForkMutex::new(),
        }
    }

    /// Records the calling process as the owner, which has written this note. It must hold the lock of the group.
    fn become_owner(&self, note: labels::Written) {
        // In the initial namespace a kill needs nothing that would have to be found out now. A process that leaves it
        // finds out what it needs at its next kill.
        if !procfs::was_in_initial_cgroup_namespace() {
            self.killer().cache_namespace();
        }
        procfs::keep_oom_score_adj();
        *self.note.lock() = Some(note);
        self.owner.set_current();
    }

    fn is_owned(&self) -> bool {
        self.owner.is_current()
    }

    /// Returns the uuid in its form of 36 characters.
    pub fn uuid(&self) -> &str {
        self.name.as_str()
    }

    /// Returns the absolute path of the group, as the hierarchy is mounted in this mount namespace.
    pub fn path(&self) -> Vec<u8> {
        self.path_parts().concat()
    }

    /// Returns the parts of [`Self::path`], which is their concatenation. Allocates nothing.
    pub fn path_parts(&self) -> [&[u8]; 4] {
        path_parts(self.place_path.as_bytes(), self.layout, &self.name)
    }

    /// Returns facts about the agent.
    pub fn info(&self) -> Result<Info> {
        let file = "cgroup.controllers";
        let id = fstat(&self.dir).map_err(|e| self.failed("read the id of", "", e))?.st_ino;
        let mut buf = [0; FILE_MAX];
        let text =
            self.dir.read(c"cgroup.controllers", &mut buf).map_err(|e| self.failed("read", file, e))?;
        let (controllers, place, owned) = (Controllers::listed(text), self.place, self.is_owned());
        Ok(Info {
            id,
            controllers,
            place,
            owned,
            guarded: self.guarded.as_ref().is_some_and(Guarded::is_in_effect),
            session: self.place_path.session(self.layout),
        })
    }

    /// Reads the statistics that `which` selects (bits of [`crate::stats`]), as far as they are available.
    pub fn read_stats(&self, which: u64) -> Result<Stats> {
        let mut stats = Stats::default();
        self.read_stats_into(which, &mut stats)?;
        Ok(stats)
    }

    /// Reads statistics like [`Self::read_stats`] into `stats`, which must be all 0.
    pub fn read_stats_into(&self, which: u64, stats: &mut Stats) -> Result<()> {
        self.files
            .read(&self.dir, self.kill_state.files.events(), which, stats)
            .map_err(|e| self.failed_on("read", e))
    }

    fn members(&self) -> Members<'_> {
        Members { dir: &self.dir, component: self.name.component() }
    }

    /// Returns the means to look at the processes.
    fn killer(&self) -> Killer<'_> {
        self.killer_for(Call::None)
    }

    /// Returns the means to kill the processes for this call.
    fn killer_for(&self, call: Call) -> Killer<'_> {
        Killer { members: self.members(), state: &self.kill_state, call }
    }

    /// Restores the files that an earlier call could not restore.
    fn restore_overrides(&self) -> Result<()> {
        self.kill_state.overrides.restore_remaining(&self.dir).map_err(|e| self.not_restored(e))
    }

    fn not_restored(&self, (errno, file): FileError) -> Error {
        let (group, name) = (shown(&self.path()), file.to_str().unwrap_or_default());
        let code = match errno {
            Errno::EACCES | Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM => errno,
            _ => Errno::EIO,
        };
        let why = words(errno);
        let message = format!("cannot restore {name} of {group}: {why}: the next call tries again");
        Error::new(code, message).on(name)
    }

    fn failed_on(&self, verb: &str, (errno, file): FileError) -> Error {
        self.failed(verb, file.to_str().unwrap_or_default(), errno)
    }

    fn failed(&self, verb: &str, file: &'static str, errno: Errno) -> Error {
        let group = shown(&self.path());
        if errno == Errno::ENODEV && !self.dir.is_alive() {
            return Error::new(errno, format_args!("{group} was removed by another process"))
                .because(Reason::Gone)
                .on(file);
        }
        let object = if file.is_empty() { group } else { format!("{file} of {group}") };
        let message = format!("cannot {verb} {object}: {}", words(errno));
        match errno {
            Errno::EACCES => Error::new(errno, message).because(Reason::NotDelegated),
            // The hierarchy was mounted read-only after the group was made.
            Errno::EROFS => Error::new(Errno::EACCES, message).because(Reason::ReadOnly),
            _ => Error::new(errno, message),
        }
        .on(file)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // A forked child may hold the same lock. Other processes must see nevertheless that the agent is an orphan.
        if self.is_owned() {
            owner::release(&self.dir);
        }
        guard::clear_up();
    }
}

/// Has the guard kill and remove the agent when this process ends. On failure removes the group.
fn guard_or_undo(agent_dir: &AgentDir<'_>, name: &AgentName) -> Result<Guarded> {
    guard::guard_agent(&agent_dir.dir, *name, &agent_dir.beside_agents(), place::exit_cgroups).map_err(
        |failure| {
            agent_dir.undo();
            failure.to_error(&format!("guards {}", shown(&agent_dir.path)))
        },
    )
}

/// Returns the name of an agent for a uuid from the caller. Accepts only the form of 36 characters.
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

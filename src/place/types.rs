// SPDX-License-Identifier: MIT OR Apache-2.0
//! The types of places. The other files use them.

use crate::cgroupfs::controllers::Controllers;
use crate::cgroupfs::{AgentName, CachedFile, Dir, OWN};
use crate::error::Error;
use crate::guard::Scope;
use crate::parse;
use crate::sys::fork_mutex::ForkMutex;
use crate::sys::statx::MountedFile;
use crate::sys::try_alloc;
use crate::systemd::Manager;
use std::ffi::{CStr, CString};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// The upper level of the tree, below a place.
pub const SYNWIRE: &CStr = c"synwire";
/// The lower level of the tree, below a place. It holds the groups of the agents.
pub const AGENTS: &CStr = c"synwire/agents";

/// Returns true if `path` is that of a directory that holds agents.
pub fn is_agents(path: &[u8]) -> bool {
    path.strip_suffix(AGENTS.to_bytes()).is_some_and(|above| above.ends_with(b"/"))
}

/// Returns true if `path` is that of the group of an agent, of a child of a session, or of the cgroup of a session's own
/// processes. A program there may make agents of its own inside, and none beside.
pub fn is_agent(path: &[u8]) -> bool {
    let (above, name) = parse::split_last(path);
    let is_of_session = || name == OWN.to_bytes() || AgentName::of_directory(name).is_some();
    is_agents(above) || (is_of_session() && is_agent(above))
}

/// When systemd is asked for a scope.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Systemd {
    /// systemd is asked if no other place with limits is found.
    #[default]
    Last,
    /// systemd is always asked. No other place is used.
    Only,
    /// systemd is never asked.
    Never,
}

/// What the caller requires of the place of an agent.
#[derive(Debug, Clone, Copy, Default)]
pub struct PlaceRequest<'a> {
    /// The directory to use. No other place is tried.
    pub parent: Option<&'a CStr>,
    /// Do not move the calling process to a child of its cgroup.
    pub keep_caller: bool,
    /// When systemd is asked for a scope.
    pub systemd: Systemd,
    /// Start a guard, which kills and removes the agent if the calling process ends first.
    pub guard: bool,
    /// The controllers that the limits of the agent need.
    pub needs: Controllers,
}

/// The kinds of places. The values are part of the C interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
#[non_exhaustive]
pub enum Kind {
    /// The caller named the parent.
    Given = 1,
    /// A unit or container that is delegated to the caller.
    Delegated = 2,
    /// The parent of the caller's own cgroup.
    Sibling = 3,
    /// The real root or a namespace root.
    Root = 4,
    /// A transient scope that systemd made for the caller.
    Systemd = 5,
}

/// What looking for one kind of place has found.
#[allow(clippy::large_enum_variant, reason = "a call makes a handful, and most have this variant")]
pub enum Probe {
    /// A candidate. [`Candidate::check`] says if it can be used.
    Found(Candidate),
    /// There is no such place, for this reason.
    NotApplicable(String),
    /// There is such a place, but the caller may not use it.
    Refused(Error),
}

/// A place that exists, or that systemd can make.
pub enum Candidate {
    /// A directory that exists.
    Existing(Place),
    /// A scope that systemd would make.
    Scope(PendingScope),
}

/// A scope that has not been requested yet.
pub struct PendingScope {
    /// The manager that would make it.
    pub manager: Manager,
    /// The absolute path that it would have, as mounted here.
    pub path: Vec<u8>,
    /// The controllers that its children could have.
    pub controllers: Controllers,
}

/// Which processes are in a place, besides those of agents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occupancy {
    /// No process.
    Empty,
    /// The calling process, which must move to a child before the place can be used.
    Caller,
    /// Other processes, which stay. The children of the place get no controllers.
    Others,
}

/// Where the groups of the agents are in a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// In `synwire/agents`.
    Tree,
    /// In the place itself, which is the group of a session. The limits of the children then apply between them: levels
    /// without protection would keep their memory.low from having an effect, and would share one cpu.weight.
    Session,
}

impl Layout {
    /// The path from the place to the groups, with a slash before each part.
    fn path(self) -> [&'static [u8]; 2] {
        match self {
            Self::Tree => [b"/", AGENTS.to_bytes()],
            Self::Session => [b"", b""],
        }
    }
}

/// A directory in which `synwire/agents` exists or can be made, or the group of a session.
#[derive(Debug, Clone)]
pub struct Place {
    /// Where the groups are.
    pub layout: Layout,
    /// How the place was found.
    pub kind: Kind,
    /// The directory, held open.
    pub dir: Arc<Dir>,
    /// The absolute path, as mounted here.
    pub path: Vec<u8>,
    /// Which processes are in it.
    pub occupancy: Occupancy,
    /// The scope of this process, if the place is one.
    pub scope: Option<Arc<Scope>>,
    /// The same, if it is remembered for the next call. Each agent there keeps it.
    pub known_parent: Option<Arc<KnownParent>>,
}

/// The path of a place, which the handle of an agent keeps. The path of the group is composed of it and the name.
#[derive(Debug)]
pub enum PlacePath {
    /// All agents that are made in one place share it. The place is remembered as long as an agent has it.
    Shared(Arc<KnownParent>),
    /// A copy of the path.
    Own(Box<[u8]>),
}

/// A place that the library has opened and uses again.
#[derive(Debug)]
pub struct KnownParent {
    /// How the place was found.
    pub kind: Kind,
    /// Where the groups are.
    pub layout: Layout,
    /// The cgroup of the calling process for which it was found, as /proc shows it. None if the caller has named the place.
    pub own_cgroup: Option<Vec<u8>>,
    /// The path by which the caller has named it, or by which it was found.
    pub named: CString,
    /// The directory that the path led to.
    pub identity: MountedFile,
    /// The same, held open.
    pub dir: Arc<Dir>,
    /// The directory that holds the groups of its agents, held open once there was an agent. It may have been removed.
    pub agents: ForkMutex<Option<Arc<Dir>>>,
    /// `cgroup.subtree_control` of that directory.
    pub enabled: CachedFile,
    /// The real path.
    pub path: Vec<u8>,
    /// Its `cgroup.controllers`, kept open if it lacks cpu.
    pub controllers: CachedFile,
    /// The parent had no cpu controller at the last look.
    pub lacks_cpu: AtomicBool,
}

impl Candidate {
    /// The absolute path of the place, or the one that it would have.
    pub fn path(&self) -> &[u8] {
        match self {
            Self::Existing(place) => &place.path,
            Self::Scope(pending) => &pending.path,
        }
    }

    /// The kind of the place.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Existing(place) => place.kind,
            Self::Scope(_) => Kind::Systemd,
        }
    }

    /// Returns true if the calling process must move before the place can be used.
    pub fn must_move_caller(&self) -> bool {
        matches!(self, Self::Existing(Place { occupancy: Occupancy::Caller, .. }))
    }
}

impl Place {
    /// A place that is not the scope of this process.
    pub fn new(kind: Kind, dir: Arc<Dir>, path: Vec<u8>, occupancy: Occupancy) -> Self {
        Self { layout: Layout::Tree, kind, dir, path, occupancy, scope: None, known_parent: None }
    }

    /// Open the directory that holds the groups of the agents. `ENOENT` if it does not exist.
    pub fn agents(&self) -> nix::Result<Dir> {
        self.dir.child(match self.layout {
            Layout::Tree => AGENTS,
            Layout::Session => c".",
        })
    }

    /// The absolute path of an agent's group, which need not exist.
    pub fn path_of(&self, name: &AgentName) -> Vec<u8> {
        path_parts(&self.path, self.layout, name).concat()
    }

    /// The absolute path of a level of the tree.
    pub fn path_of_level(&self, name: &CStr) -> Vec<u8> {
        [self.path.strip_suffix(b"/").unwrap_or(&self.path), b"/", name.to_bytes()].concat()
    }

    /// The path of an agent's group in the directory of the place.
    pub fn path_in(&self, name: &AgentName) -> CString {
        match self.layout {
            Layout::Tree => name.path_in(AGENTS),
            Layout::Session => name.as_c_str().to_owned(),
        }
    }

    /// The place of the children of a session, whose group is open. `kind` is that of the session's own place.
    pub fn of_session(kind: Kind, group: Arc<Dir>, path: Vec<u8>) -> Self {
        Self { layout: Layout::Session, ..Self::new(kind, group, path, Occupancy::Empty) }
    }

    /// The path from an agent's group to the directory in which a guard is. A guard is outside of all sessions.
    pub fn beside_agents(&self) -> CString {
        let mut up = b"../..".to_vec();
        let (mut above, mut name) = parse::split_last(&self.path);
        while self.layout == Layout::Session && AgentName::of_directory(name).is_some() {
            up.extend_from_slice(b"/..");
            (above, name) = parse::split_last(above);
        }
        CString::new(up).unwrap_or_default()
    }

    /// The name of the session whose group the place is.
    pub fn session(&self) -> Option<AgentName> {
        session_of(&self.path, self.layout)
    }
}

impl PlacePath {
    /// For an agent that is made in the place: shared if the place is remembered.
    pub fn share(place: &Place) -> nix::Result<Self> {
        match &place.known_parent {
            Some(known) => Ok(Self::Shared(Arc::clone(known))),
            None => Self::copy(place),
        }
    }

    /// For an existing agent, whose handle does not keep the place open.
    pub fn copy(place: &Place) -> nix::Result<Self> {
        // The vector has an exact capacity, so that the box does not allocate.
        try_alloc::copy(&place.path).map(|path| Self::Own(path.into_boxed_slice()))
    }

    /// The directory that holds the groups of the agents, if it is kept open. If the group of an agent with this path exists,
    /// it is in this directory.
    pub fn agents(&self) -> Option<Arc<Dir>> {
        match self {
            Self::Shared(known) => known.agents(),
            Self::Own(_) => None,
        }
    }

    /// The absolute path, as mounted here.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Shared(known) => &known.path,
            Self::Own(path) => path,
        }
    }

    /// The name of the session whose group the place is.
    pub fn session(&self, layout: Layout) -> Option<AgentName> {
        session_of(self.as_bytes(), layout)
    }
}

fn session_of(path: &[u8], layout: Layout) -> Option<AgentName> {
    (layout == Layout::Session).then(|| AgentName::of_directory(parse::split_last(path).1)).flatten()
}

/// The parts of the absolute path of an agent's group in the place with this path.
pub fn path_parts<'a>(place: &'a [u8], layout: Layout, name: &'a AgentName) -> [&'a [u8]; 4] {
    let [slash, agents] = layout.path();
    [place.strip_suffix(b"/").unwrap_or(place), slash, agents, name.component()]
}

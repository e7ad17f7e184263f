// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the links of the chain find, and whether it can be used.

use super::tree::{self, AGENTS};
use super::{enable, refused, systemd, vacate};
use crate::cgroupfs::Dir;
use crate::cgroupfs::controllers::Controllers;
use crate::error::{Error, Reason, Result, shown};
use crate::guard::Scope;
use crate::parse;
use nix::errno::Errno;
use std::rc::Rc;
use std::sync::Arc;

/// The kinds of places. The values are part of the C interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
#[non_exhaustive]
pub enum Kind {
    /// The caller named the parent.
    Given = 1,
    /// A unit or container delegated to us.
    Delegated = 2,
    /// The parent of our own cgroup.
    Sibling = 3,
    /// The real root or a namespace root.
    Root = 4,
    /// A transient scope that systemd made for us.
    Systemd = 5,
}

/// What a link says of where we are.
pub enum Probe {
    /// Here. Whether it can be used shows when it is tried.
    Found(Candidate),
    /// There is no such place here, for this reason.
    NotApplicable(String),
    /// There would be one, but we are not let.
    Refused(Error),
}

/// Something that is a place, or becomes one when it is asked for.
pub enum Candidate {
    /// It is there.
    Existing(Place),
    /// systemd would make it.
    Scope(systemd::PendingScope),
}

/// Who is in a place besides agents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occupancy {
    /// Nobody.
    Empty,
    /// We are, and have to move to a child first.
    Caller,
    /// Others are, and stay: its children get no controllers.
    Others,
}

/// A directory under which `synwire/agents` stands or may be made.
#[derive(Debug, Clone)]
pub struct Place {
    /// How it was found.
    pub kind: Kind,
    /// Held open.
    pub dir: Rc<Dir>,
    /// Absolute, as mounted here.
    pub path: Vec<u8>,
    /// Who is in it.
    pub occupancy: Occupancy,
    /// What it is to systemd, if that made it for us.
    pub scope: Option<Arc<Scope>>,
}

impl Candidate {
    pub fn path(&self) -> &[u8] {
        match self {
            Self::Existing(place) => &place.path,
            Self::Scope(offer) => &offer.path,
        }
    }

    pub fn kind(&self) -> Kind {
        match self {
            Self::Existing(place) => place.kind,
            Self::Scope(_) => Kind::Systemd,
        }
    }

    pub fn must_move_caller(&self) -> bool {
        matches!(self, Self::Existing(Place { occupancy: Occupancy::Caller, .. }))
    }

    /// What agents there could be given.
    pub fn controllers(&self) -> Controllers {
        match self {
            Self::Existing(Place { occupancy: Occupancy::Others, .. }) => Controllers::NONE,
            Self::Existing(place) => enable::available(&place.dir).unwrap_or_default(),
            Self::Scope(offer) => offer.controllers,
        }
    }

    /// Whether an agent could be made here: all that can be known without changing anything.
    pub fn check(&self) -> Result<()> {
        let Self::Existing(place) = self else { return Ok(()) };
        match place.dir.may_write(AGENTS) {
            // Who may make agents in a finished tree need not be able to build it.
            Ok(()) if place.occupancy == Occupancy::Others || enable::is_done(&place.dir) => Ok(()),
            Ok(()) | Err(Errno::ENOENT) => place.check(),
            Err(e) => Err(refused(e, &shown(&place.path))),
        }
    }

    /// The place itself.
    pub fn into_place(self) -> Result<Place> {
        match self {
            Self::Existing(place) => Ok(place),
            Self::Scope(offer) => offer.start(),
        }
    }
}

impl Place {
    pub fn new(kind: Kind, dir: Rc<Dir>, path: Vec<u8>, occupancy: Occupancy) -> Self {
        Self { kind, dir, path, occupancy, scope: None }
    }

    /// Whether a tree could be built here: all that can be known before anything is changed.
    pub fn check(&self) -> Result<()> {
        let here = shown(&self.path);
        self.dir.may_write(c".").map_err(|e| refused(e, &here))?;
        if !enable::is_real_root(&self.dir) {
            enable::check_domain(&self.dir, &here)?;
            match self.occupancy {
                Occupancy::Empty => enable::check_empty(&self.dir, &here)?,
                Occupancy::Caller => vacate::check(&self.dir, &here).map(drop)?,
                Occupancy::Others => {}
            }
        }
        if self.kind == Kind::Sibling {
            // Moving a process needs write permission on cgroup.procs of the nearest common ancestor
            // of where it is and where it goes: for our own children, this directory.
            self.dir.may_write(c"cgroup.procs").map_err(|e| match e {
                Errno::EACCES => Error::new(
                    e,
                    format!("we may make cgroups in {here} but not move processes there: its cgroup.procs is not ours to write"),
                )
                .because(Reason::NotDelegated)
                .on("cgroup.procs"),
                e => refused(e, &here),
            })?;
        }
        Ok(())
    }

    /// The directory that agents are in, if it is there.
    pub fn agents(&self) -> nix::Result<Dir> {
        self.dir.child(AGENTS)
    }

    /// Where an agent is or would be, absolute.
    pub fn path_of(&self, uuid: &str) -> Vec<u8> {
        let here = self.path.strip_suffix(b"/").unwrap_or(&self.path);
        [here, AGENTS.to_bytes(), uuid.as_bytes()].join(&b'/')
    }

    /// What systemd calls it, if it made it.
    pub fn unit(&self) -> Option<String> {
        let name = parse::split_last(&self.path).1;
        (self.kind == Kind::Systemd).then(|| String::from_utf8_lossy(name).into_owned())
    }

    /// Have guards go on that somebody has stopped.
    pub fn wake_guards(&self) {
        tree::wake_guards(&self.dir);
    }

    /// Remove what of the tree nobody uses.
    pub fn clear(&self) {
        tree::clear(&self.dir);
    }

    /// Say of a limit that cannot be had in a shared place who stands in its way.
    pub fn explain(&self, e: Error) -> Error {
        if self.occupancy != Occupancy::Others || e.reason() != Some(Reason::NoController) {
            return e;
        }
        let (here, file) = (shown(&self.path), e.file().to_owned());
        let message = format!(
            "cannot set {file}: {here} holds processes, so its children get no controllers: move them to a child (DelegateSubgroup=)"
        );
        Error::new(e.errno(), message).because(Reason::NoController).on(file)
    }

    /// An agent was made in it: it is to last as long as we do.
    pub fn commit(&self) {
        if let Some(scope) = &self.scope {
            systemd::commit(scope);
        }
    }
}

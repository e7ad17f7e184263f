// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where agents can be put. A chain of links, each of which knows one kind of place; the first that
//! can be used is taken. Nothing but [`CHAIN`] knows their order.

mod delegated;
mod enable;
mod given;
mod own;
mod room;
mod root;
mod sibling;
mod tree;

pub use tree::make_leaf;

use crate::cgroupfs::Dir;
use crate::error::{Error, Reason, Result, shown, words};
use nix::errno::Errno;
use own::Own;
use std::ffi::CStr;
use std::rc::Rc;

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
    /// We are in it, and have to make room by moving to a child.
    pub holds_us: bool,
}

/// What the caller wants of the place.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wish<'a> {
    /// This one and no other.
    pub parent: Option<&'a CStr>,
    /// Never move the calling process to make room.
    pub keep_caller: bool,
}

/// One link of the chain: the place of its kind, if we are where there could be one. Whether it can be
/// used shows when it is tried.
type Link = fn(&Own) -> Option<Place>;

const CHAIN: [Link; 3] = [delegated::look, root::look, sibling::look];

/// Try the places in their order: the parent that the caller named, or else the chain. `attempt` is
/// asked for each until it succeeds; the first refusal is the one to report, since it stands for the
/// best place that there could have been.
pub fn first_usable<T>(wish: Wish<'_>, mut attempt: impl FnMut(&Place) -> Result<T>) -> Result<T> {
    if let Some(parent) = wish.parent {
        return attempt(&given::look(parent)?);
    }
    let own = own::find()?;
    let mut refusal = None;
    for place in CHAIN.iter().filter_map(|link| link(&own)) {
        let outcome = if place.holds_us && wish.keep_caller { Err(kept(&place)) } else { attempt(&place) };
        match outcome {
            Ok(done) => return Ok(done),
            // Not the place's fault: elsewhere it would be the same.
            Err(e) if e.reason().is_none() => return Err(e),
            Err(e) => refusal = refusal.or(Some(e)),
        }
    }
    Err(refusal.unwrap_or_else(|| Error::new(Errno::EACCES, "no place for agents was found here")))
}

/// Whether our own cgroup is found in a mounted hierarchy.
pub fn is_available() -> bool {
    own::find().is_ok()
}

/// Where a tree would be put. Changes nothing.
pub fn discover() -> Result<Vec<u8>> {
    first_usable(Wish::default(), |place| {
        match place.dir.may_write(tree::AGENTS) {
            Err(Errno::ENOENT) => place.vet()?,
            stands => stands.map_err(|e| refused(e, &shown(&place.path)))?,
        }
        Ok(place.path.clone())
    })
}

impl Place {
    /// Whether a tree could be built here: all that can be known before anything is changed.
    pub fn vet(&self) -> Result<()> {
        let here = shown(&self.path);
        self.dir.may_write(c".").map_err(|e| refused(e, &here))?;
        let root = enable::is_real_root(&self.dir);
        if !root {
            enable::check_domain(&self.dir, &here)?;
            if self.holds_us {
                room::check(&self.dir, &here)?;
            } else {
                enable::check_empty(&self.dir, &here)?;
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
}

/// A place that needs what the caller forbade.
fn kept(place: &Place) -> Error {
    let here = shown(&place.path);
    Error::new(
        Errno::EBUSY,
        format!(
            "agents could be in {here} if we moved ourselves to a child of it: allow that, or move us there"
        ),
    )
    .because(Reason::Populated)
}

/// A directory in which we cannot make or write what we need.
fn refused(errno: Errno, here: &str) -> Error {
    let (reason, message) = match errno {
        Errno::EACCES => (
            Reason::NotDelegated,
            format!(
                "no right to make cgroups in {here}: run under a user manager (systemd-run --user --scope) or in a unit with Delegate=yes"
            ),
        ),
        Errno::EROFS => (
            Reason::ReadOnly,
            format!(
                "cgroupfs is read-only at {here}, as containers have it by default: have it mounted writable"
            ),
        ),
        Errno::EAGAIN => (
            Reason::NestingLimit,
            format!(
                "cannot make cgroups in {here}: cgroup.max.depth or cgroup.max.descendants of a cgroup above is reached"
            ),
        ),
        Errno::ENODEV => (Reason::Gone, format!("{here} was removed meanwhile")),
        e => return Error::new(e, format!("cannot make cgroups in {here}: {}", words(e))),
    };
    Error::new(errno, message).because(reason)
}

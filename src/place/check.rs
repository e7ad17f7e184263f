// SPDX-License-Identifier: MIT OR Apache-2.0
//! Checks if a place can be used, as far as this can be known without changing anything.

use super::refusal::refused;
use super::types::{AGENTS, Candidate, Kind, Occupancy, Place};
use super::{enable, vacate};
use crate::cgroupfs::controllers::Controllers;
use crate::error::{Error, Reason, Result, shown};
use nix::errno::Errno;

impl Candidate {
    /// The controllers that agents there could have.
    pub fn controllers(&self) -> Controllers {
        match self {
            Self::Existing(Place { occupancy: Occupancy::Others, .. }) => Controllers::NONE,
            Self::Existing(place) => enable::available(&place.dir).unwrap_or_default(),
            Self::Scope(pending) => pending.controllers,
        }
    }

    /// Check that an agent could be made there.
    pub fn check(&self) -> Result<()> {
        let Self::Existing(place) = self else { return Ok(()) };
        match place.dir.may_write(AGENTS) {
            // Making agents in a complete tree does not need the right to build the tree.
            Ok(()) if place.occupancy == Occupancy::Others || enable::is_complete(&place.dir) => Ok(()),
            Ok(()) | Err(Errno::ENOENT) => place.check(),
            Err(e) => Err(refused(e, &shown(&place.path))),
        }
    }
}

impl Place {
    /// Check that the tree could be built there.
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
            // To move a process, the kernel requires write permission on cgroup.procs of the nearest common ancestor
            // of its cgroup before and after. For children of the caller this is the directory itself.
            self.dir.may_write(c"cgroup.procs").map_err(|e| match e {
                Errno::EACCES => Error::new(
                    e,
                    format_args!("this process may make cgroups in {here}, but may not write cgroup.procs there, so it can move no process"),
                )
                .because(Reason::NotDelegated)
                .on("cgroup.procs"),
                e => refused(e, &here),
            })?;
        }
        Ok(())
    }

    /// Add to the error of a missing controller why the place has none, if other processes are in it.
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
}

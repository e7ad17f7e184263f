// SPDX-License-Identifier: MIT OR Apache-2.0
//! The limits of an existing agent.

use super::Agent;
use crate::cgroupfs::{Dir, FileError};
use crate::error::Result;
use crate::limits::Limits;
use crate::parse;
use crate::stats;
use crate::sys::descriptors::occupy_stdio_for_several;
use nix::errno::Errno;
use std::ffi::CStr;
use std::sync::atomic::{AtomicU8, Ordering};

/// The most cgroups and levels of cgroups in the group of a contained program.
const MOST_DESCENDANTS: u64 = 1000;
const MOST_LEVELS: u64 = 64;

/// The setter of each bound on the cgroups inside the group, to "unlimited" or to a number.
#[derive(Debug, Default)]
pub(super) struct Nesting {
    descendants: AtomicU8,
    depth: AtomicU8,
}

/// Values of the fields of [`Nesting`].
const NOBODY: u8 = 0;
const CALLER: u8 = 1;
const LIBRARY: u8 = 2;

impl Nesting {
    pub fn mark_set(&self, limits: &Limits) {
        for (field, is_set) in
            [(&self.descendants, limits.max_descendants.is_some()), (&self.depth, limits.max_depth.is_some())]
        {
            if is_set {
                field.store(CALLER, Ordering::Relaxed);
            }
        }
    }
}

impl Agent {
    /// Changes limits: all of them or, on failure, none. A `memory_max` below the current usage fails with `EBUSY`.
    /// With `force` the kernel reclaims and kills until the usage fits.
    pub fn set_limits(&self, limits: &Limits, force: bool) -> Result<()> {
        let files = limits.files()?;
        match self.restore_overrides() {
            // The file that could not be restored gets a new value.
            Err(e) if files.iter().any(|file| file.to_bytes() == e.file().as_bytes()) => {}
            other => other?,
        }
        let _stdio = occupy_stdio_for_several().map_err(|e| self.failed("set limits of", "", e))?;
        limits.change(&self.dir, &self.path(), force, &self.kill_state.overrides, || {
            self.read_stats(stats::MEMORY).map(|stats| stats.memory_current_bytes)
        })?;
        self.nesting.mark_set(limits);
        Ok(())
    }

    /// Bounds the number and depth of cgroups that a contained agent can make, unless the caller has set these bounds.
    /// The memory of a cgroup is not charged to any group. The agent cannot raise the bounds. In a session the bounds are those
    /// of its own processes, because its children are in its group, too.
    pub(super) fn bound_nesting(&self) -> Result<()> {
        let own = match self.known_session() {
            Some(_) => self.dir.own_again(true),
            None => self.dir.own(),
        };
        if let Some(own) = own.map_err(|e| self.failed("open", "own", e))? {
            return bound(&own, c"cgroup.max.descendants", MOST_DESCENDANTS)
                .and_then(|()| bound(&own, c"cgroup.max.depth", MOST_LEVELS))
                .map_err(|e| self.failed_on("set", e));
        }
        let bounds = [
            (c"cgroup.max.descendants", &self.nesting.descendants, MOST_DESCENDANTS),
            (c"cgroup.max.depth", &self.nesting.depth, MOST_LEVELS),
        ];
        for (file, set_by, most) in bounds {
            if set_by.load(Ordering::Relaxed) == NOBODY {
                bound(&self.dir, file, most).map_err(|e| self.failed_on("set", e))?;
                set_by.store(LIBRARY, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Makes room for one more child and the cgroups inside it, if [`Self::bound_nesting`] has bounded the group before it
    /// became a session. Children that have ended leave theirs to the next ones.
    pub(super) fn make_room(&self) -> Result<()> {
        let file = c"cgroup.max.descendants";
        if self.nesting.descendants.load(Ordering::Relaxed) != LIBRARY {
            return Ok(());
        }
        let raised = self.dir.read(file, &mut [0; 32]).map(parse::limit).and_then(|most| {
            let children = self.dir.number_of_children()?.min(self.children_made()) + 1;
            let needed = MOST_DESCENDANTS + children * (MOST_DESCENDANTS + 2);
            match most {
                Some(most) if most < needed => self.dir.write(file, needed.to_string().as_bytes()),
                _ => Ok(()),
            }
        });
        match raised {
            Err(Errno::ENOENT) | Ok(()) => Ok(()),
            Err(e) => Err(self.failed_on("set", (e, file))),
        }
    }

    /// Returns the limits. While another thread kills the group, `cpu_max` is the one that applies again after it.
    pub fn limits(&self) -> Result<Limits> {
        self.restore_overrides()?;
        Limits::of(&self.dir, &self.kill_state.overrides).map_err(|e| self.failed_on("read", e))
    }
}

/// Bounds a group that has no bound yet.
fn bound(dir: &Dir, file: &'static CStr, most: u64) -> std::result::Result<(), FileError> {
    let mut buf = [0; 32];
    let bounded = match dir.read(file, &mut buf).map(|text| text.starts_with(b"max")) {
        Ok(true) => dir.write(file, most.to_string().as_bytes()),
        read => read.map(drop),
    };
    match bounded {
        // Before Linux 4.14.
        Err(Errno::ENOENT) | Ok(()) => Ok(()),
        Err(e) => Err((e, file)),
    }
}

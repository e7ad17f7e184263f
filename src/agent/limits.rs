// SPDX-License-Identifier: MIT OR Apache-2.0
//! The limits of an existing agent.

use super::Agent;
use crate::error::Result;
use crate::limits::Limits;
use crate::stats;
use crate::sys::descriptors::occupy_stdio_for_several;
use nix::errno::Errno;
use std::sync::atomic::{AtomicBool, Ordering};

/// Which bounds on the cgroups inside the group the caller has set, to "unlimited" or to a number.
#[derive(Debug, Default)]
pub(super) struct Nesting {
    descendants: AtomicBool,
    depth: AtomicBool,
}

impl Nesting {
    pub fn mark_set(&self, limits: &Limits) {
        self.descendants.fetch_or(limits.max_descendants.is_some(), Ordering::Relaxed);
        self.depth.fetch_or(limits.max_depth.is_some(), Ordering::Relaxed);
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
    /// The memory of a cgroup is not charged to any group. The agent cannot raise the bounds.
    pub(super) fn bound_nesting(&self) -> Result<()> {
        let bounds = [
            (c"cgroup.max.descendants", &self.nesting.descendants, b"1000".as_slice()),
            (c"cgroup.max.depth", &self.nesting.depth, b"64"),
        ];
        for (file, is_set, most) in bounds {
            if is_set.load(Ordering::Relaxed) {
                continue;
            }
            let mut buf = [0; 32];
            let bounded = match self.dir.read(file, &mut buf).map(|text| text.starts_with(b"max")) {
                Ok(true) => self.dir.write(file, most),
                read => read.map(drop),
            };
            match bounded {
                // Before Linux 4.14.
                Err(Errno::ENOENT) | Ok(()) => is_set.store(true, Ordering::Relaxed),
                Err(e) => return Err(self.failed_on("set", (e, file))),
            }
        }
        Ok(())
    }

    /// Returns the limits. While another thread kills the group, `cpu_max` is the one that applies again after it.
    pub fn limits(&self) -> Result<Limits> {
        self.restore_overrides()?;
        Limits::of(&self.dir, &self.kill_state.overrides).map_err(|e| self.failed_on("read", e))
    }
}

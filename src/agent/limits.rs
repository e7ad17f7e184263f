// SPDX-License-Identifier: MIT OR Apache-2.0
//! The limits of an agent that lives.

use super::Agent;
use crate::error::Result;
use crate::limits::Limits;
use crate::stats;
use nix::errno::Errno;
use std::sync::atomic::{AtomicBool, Ordering};

/// Which bounds on the cgroups inside the caller has chosen, "unlimited" among them.
#[derive(Debug, Default)]
pub(super) struct Nesting {
    descendants: AtomicBool,
    depth: AtomicBool,
}

impl Nesting {
    pub fn chosen_in(&self, limits: &Limits) {
        self.descendants.fetch_or(limits.max_descendants.is_some(), Ordering::Relaxed);
        self.depth.fetch_or(limits.max_depth.is_some(), Ordering::Relaxed);
    }
}

impl Agent {
    /// Change limits: all of them or, on failure, none. A `memory_max` under what is in use now is
    /// `EBUSY`, unless `force` has the kernel reclaim and kill until it fits.
    pub fn set_limits(&self, limits: &Limits, force: bool) -> Result<()> {
        let files = limits.files()?;
        match self.put_back_rest() {
            // It gets a new value.
            Err(e) if files.iter().any(|file| file.to_bytes() == e.file().as_bytes()) => {}
            other => other?,
        }
        limits.change(&self.dir, &self.path, force, &self.killing.overrides, || {
            self.read_stats(stats::MEMORY).map(|stats| stats.memory_current_bytes)
        })?;
        self.killing.overrides.forget(&files);
        self.nesting.chosen_in(limits);
        Ok(())
    }

    /// Bound the cgroups that a contained agent can make, where nobody has: the memory of a cgroup is charged to nobody. It
    /// cannot raise the bounds itself.
    pub(super) fn bound_nesting(&self) -> Result<()> {
        let bounds = [
            (c"cgroup.max.descendants", &self.nesting.descendants, b"1000".as_slice()),
            (c"cgroup.max.depth", &self.nesting.depth, b"64"),
        ];
        for (file, chosen, most) in bounds {
            if chosen.load(Ordering::Relaxed) {
                continue;
            }
            let mut buf = [0; 32];
            let bounded = match self.dir.read(file, &mut buf).map(|text| text.starts_with(b"max")) {
                Ok(true) => self.dir.write(file, most),
                read => read.map(drop),
            };
            match bounded {
                // Before Linux 4.14.
                Err(Errno::ENOENT) | Ok(()) => chosen.store(true, Ordering::Relaxed),
                Err(e) => return Err(self.failed_on("set", (e, file))),
            }
        }
        Ok(())
    }

    /// The limits as the kernel has them.
    pub fn limits(&self) -> Result<Limits> {
        self.put_back_rest()?;
        Limits::of(&self.dir).map_err(|e| self.failed_on("read", e))
    }
}

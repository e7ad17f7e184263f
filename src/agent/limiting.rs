// SPDX-License-Identifier: MIT OR Apache-2.0
//! The limits of an agent that lives.

use super::Agent;
use crate::error::Result;
use crate::limits::Limits;
use crate::stats;

impl Agent {
    /// Change limits: all of them or, on failure, none. A `memory_max` under what is in use now is
    /// `EBUSY`, unless `force` has the kernel reclaim and kill until it fits.
    pub fn set_limits(&self, limits: &Limits, force: bool) -> Result<()> {
        limits.change(&self.dir, &self.path, force, || {
            self.read_stats(stats::MEMORY).map(|stats| stats.memory_current_bytes)
        })
    }

    /// The limits as the kernel has them.
    pub fn limits(&self) -> Result<Limits> {
        Limits::of(&self.dir).map_err(|e| self.failed_on("read", e))
    }
}

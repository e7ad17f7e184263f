// SPDX-License-Identifier: MIT OR Apache-2.0
//! Agents that end with the program that made them.

use crate::cgroupfs::AgentName;
use crate::error::{Result, shown};
use crate::guard::{self, Guarded};
use crate::place::{self, AgentDir};

/// Have it guarded, or take it back.
pub fn start(agent_dir: &AgentDir, name: &AgentName) -> Result<Guarded> {
    guard::over(&agent_dir.dir, *name, place::exit_cgroups).map_err(|failure| {
        agent_dir.undo();
        failure.told(&format!("guards {}", shown(&agent_dir.path)))
    })
}

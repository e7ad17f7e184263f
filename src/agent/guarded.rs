// SPDX-License-Identifier: MIT OR Apache-2.0
//! Agents that end with the program that made them.

use crate::error::{Result, shown};
use crate::guard::{self, Guarded};
use crate::place::{self, AgentDir};
use std::ffi::CString;

/// Have it guarded, or take it back.
pub fn take(agent_dir: &AgentDir, uuid: &str) -> Result<Guarded> {
    let name = CString::new(uuid).unwrap_or_default();
    guard::over(&agent_dir.dir, &name, place::exit_cgroups).map_err(|failure| {
        agent_dir.undo();
        failure.told(&format!("guards {}", shown(&agent_dir.path)))
    })
}

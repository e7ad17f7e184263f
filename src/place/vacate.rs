// SPDX-License-Identifier: MIT OR Apache-2.0
//! Making room in a cgroup that is ours and holds us. The kernel gives no controllers to the children of
//! a cgroup with processes in it, so we move to a child ourselves; but only if nobody else is in it.

use super::enable;
use crate::cgroupfs::Dir;
use crate::error::Result;
use crate::parse;
use std::ffi::CStr;

const PROCS: &CStr = c"cgroup.procs";
/// Where we go.
pub const SUPERVISOR: &CStr = c"supervisor";
const SUPERVISOR_PROCS: &CStr = c"supervisor/cgroup.procs";

/// Whether `dir` holds us and nobody else; tells whether it holds us.
pub fn check(dir: &Dir, here: &str) -> Result<bool> {
    let own = i64::from(std::process::id());
    let procs = dir.read_all(PROCS).map_err(|e| enable::cannot("read", "cgroup.procs", e, here))?;
    if parse::ids(&procs).any(|pid| i64::from(pid) != own) {
        return Err(enable::populated(here));
    }
    Ok(!procs.is_empty())
}

/// Move ourselves to a child of `dir`. Tells whether there was need to.
pub fn make(dir: &Dir, here: &str) -> Result<bool> {
    if !check(dir, here)? {
        return Ok(false);
    }
    let moved = match dir.make(SUPERVISOR) {
        Ok(()) | Err(nix::errno::Errno::EEXIST) => dir.write(SUPERVISOR_PROCS, b"0"),
        Err(e) => Err(e),
    };
    moved.map_err(|e| {
        let _others_are_in_it = dir.remove(SUPERVISOR);
        enable::cannot("move ourselves by", "supervisor/cgroup.procs", e, here)
    })?;
    // Somebody may have come in since we looked.
    if let Err(e) = enable::check_empty(dir, here) {
        restore(dir);
        return Err(e);
    }
    Ok(true)
}

/// Move back. What stands in the way is not worse than where we are.
pub fn restore(dir: &Dir) {
    if dir.write(PROCS, b"0").is_ok() {
        let _others_are_in_it = dir.remove(SUPERVISOR);
    }
}

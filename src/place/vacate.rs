// SPDX-License-Identifier: MIT OR Apache-2.0
//! Moving the calling process out of a place. The kernel enables no controllers for the children of a cgroup that holds
//! processes. If the calling process is the only one in the place, it moves to a child.

use super::enable;
use super::refusal::cannot;
use crate::cgroupfs::Dir;
use crate::error::Result;
use crate::parse;
use nix::errno::Errno;
use std::ffi::CStr;

const PROCS: &CStr = c"cgroup.procs";
/// The child to which the calling process moves.
pub const SUPERVISOR: &CStr = c"supervisor";
const SUPERVISOR_PROCS: &CStr = c"supervisor/cgroup.procs";

/// Check that `dir` holds no process other than the caller. Returns true if it holds the caller.
pub fn check(dir: &Dir, here: &str) -> Result<bool> {
    let own = i64::from(std::process::id());
    let procs = dir.read_all(PROCS).map_err(|e| cannot("read", "cgroup.procs", e, here))?;
    if parse::ids(&procs).any(|pid| i64::from(pid) != own) {
        return Err(enable::populated(here));
    }
    Ok(!procs.is_empty())
}

/// Move the calling process to a child of `dir`. Returns false if it was not in `dir`.
pub fn vacate(dir: &Dir, here: &str) -> Result<bool> {
    if !check(dir, here)? {
        return Ok(false);
    }
    let moved = match dir.make(SUPERVISOR) {
        Ok(()) | Err(Errno::EEXIST) => dir.write(SUPERVISOR_PROCS, b"0"),
        Err(e) => Err(e),
    };
    moved.map_err(|e| {
        let _ = dir.remove(SUPERVISOR); // EBUSY: other processes are in it.
        cannot("move this process by", "supervisor/cgroup.procs", e, here)
    })?;
    // A process may have entered since the check.
    if let Err(e) = enable::check_empty(dir, here) {
        restore(dir);
        return Err(e);
    }
    Ok(true)
}

/// Move the calling process back. If that fails it stays in the child, where nothing is lost.
pub fn restore(dir: &Dir) {
    if dir.write(PROCS, b"0").is_ok() {
        let _ = dir.remove(SUPERVISOR); // EBUSY: other processes are in it.
    }
}

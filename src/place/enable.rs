// SPDX-License-Identifier: MIT OR Apache-2.0
//! Enabling controllers for the children of a cgroup, without harm to the cgroup.
//!
//! In a cgroup that holds processes the kernel refuses `+memory` with EBUSY, but accepts `+pids` and `+cpu` and makes
//! the cgroup a threaded domain, whose children then accept no process. Therefore controllers are enabled only in an
//! empty `domain`, domain controllers first, one in each write, until the first that is refused. Afterwards the type is
//! checked again.

use super::refusal::cannot;
use crate::cgroupfs::controllers::Controllers;
use crate::cgroupfs::{Dir, FILE_MAX};
use crate::error::{Error, Reason, Result};
use crate::sys::deadline::Deadline;
use nix::errno::Errno;
use std::ffi::CStr;
use std::time::Duration;

const SUBTREE_CONTROL: &CStr = c"cgroup.subtree_control";
/// How long to wait for tasks that have ended to leave a cgroup. They need microseconds, and longer on a busy machine.
const LEAVE_TIME: Duration = Duration::from_secs(1);
/// How long to wait between two attempts.
const LEAVE_PAUSE: Duration = Duration::from_millis(1);

/// Returns true for the real root, which has no `cgroup.type` and may hold processes beside children with controllers.
pub fn is_real_root(dir: &Dir) -> bool {
    !dir.has(c"cgroup.type")
}

/// The controllers that are enabled for the children of `dir`.
pub fn enabled(dir: &Dir) -> nix::Result<Controllers> {
    Ok(Controllers::listed(dir.read(SUBTREE_CONTROL, &mut [0; FILE_MAX])?))
}

/// The controllers that can be enabled for the children of `dir`.
pub fn available(dir: &Dir) -> nix::Result<Controllers> {
    Ok(Controllers::listed(dir.read(c"cgroup.controllers", &mut [0; FILE_MAX])?))
}

/// Returns true if all available controllers are enabled for the children of `dir`.
pub fn is_complete(dir: &Dir) -> bool {
    let left = || Ok::<_, Errno>((available(dir)? & Controllers::WANTED) - enabled(dir)?);
    left().is_ok_and(Controllers::is_empty)
}

/// Refuse a cgroup of a type other than `domain`.
pub fn check_domain(dir: &Dir, here: &str) -> Result<()> {
    let mut buf = [0; FILE_MAX];
    let kind = dir.read(c"cgroup.type", &mut buf).map_err(|e| cannot("read", "cgroup.type", e, here))?;
    if kind == b"domain\n" {
        return Ok(());
    }
    let kind = String::from_utf8_lossy(kind);
    let kind = kind.trim_end();
    Err(Error::new(
        Errno::EOPNOTSUPP,
        format_args!(
            "{here} is of type \"{kind}\", where processes cannot be limited: choose a parent of type domain"
        ),
    )
    .because(Reason::Threaded)
    .on("cgroup.type"))
}

/// Refuse a cgroup that holds processes.
pub fn check_empty(dir: &Dir, here: &str) -> Result<()> {
    check_lists_none(dir, c"cgroup.procs", here)
}

/// Refuse a cgroup of which this file lists a process or a thread.
fn check_lists_none(dir: &Dir, list: &'static CStr, here: &str) -> Result<()> {
    let name = list.to_str().unwrap_or_default();
    if dir.is_empty(list).map_err(|e| cannot("read", name, e, here))? {
        return Ok(());
    }
    Err(populated(here))
}

/// The error for a place that holds processes.
pub fn populated(here: &str) -> Error {
    Error::new(
        Errno::EBUSY,
        format_args!("{here} holds processes, so its children cannot have limits: move them into a child of it, or name another parent"),
    )
    .because(Reason::Populated)
    .on("cgroup.procs")
}

fn holds_zombies(here: &str) -> Error {
    Error::new(
        Errno::EBUSY,
        format_args!("{here} holds processes that have ended but wait for a child to be reaped: reap it, or name another parent"),
    )
    .because(Reason::Populated)
    .on("cgroup.subtree_control")
}

/// Returns true if the files of `dir` list no process and no thread.
fn lists_nothing(dir: &Dir) -> bool {
    [c"cgroup.procs", c"cgroup.threads"].iter().all(|file| dir.read_all(file).is_ok_and(|ids| ids.is_empty()))
}

/// Enable one controller. From Linux 6.19 on a task that has ended counts until its CPU has switched to another. Its
/// parent may have waited for it before, and from 7.0 on cgroup.procs no longer lists it: the kernel returns EBUSY for
/// a cgroup that looks empty.
fn enable_one(dir: &Dir, plus: &CStr) -> nix::Result<()> {
    let deadline = Deadline::after(LEAVE_TIME);
    loop {
        match dir.write(SUBTREE_CONTROL, plus.to_bytes()) {
            Err(Errno::EBUSY) if !deadline.passed() && lists_nothing(dir) => std::thread::sleep(LEAVE_PAUSE),
            written => return written,
        }
    }
}

/// The result of [`enable`].
pub struct Enabled {
    /// The wanted controllers that are enabled now.
    pub on: Controllers,
    /// Those of them that were not enabled before.
    pub added: Controllers,
}

/// Enable those of the wanted controllers that are available.
pub fn enable(dir: &Dir, wanted: Controllers, here: &str) -> Result<Enabled> {
    enable_if_none(dir, c"cgroup.procs", wanted, here)
}

/// The same in a cgroup whose processes were moved out. `cgroup.procs` still lists a process whose main thread has ended, which
/// cannot be moved. Its other threads can, and `cgroup.threads` lists only them.
pub fn enable_vacated(dir: &Dir, wanted: Controllers, here: &str) -> Result<Enabled> {
    enable_if_none(dir, c"cgroup.threads", wanted, here)
}

fn enable_if_none(dir: &Dir, list: &'static CStr, wanted: Controllers, here: &str) -> Result<Enabled> {
    let on = enabled(dir).map_err(|e| cannot("read", "cgroup.subtree_control", e, here))?;
    let unchanged = Enabled { on: on & wanted, added: Controllers::NONE };
    if on.contains(wanted) {
        return Ok(unchanged);
    }
    let available = available(dir).map_err(|e| cannot("read", "cgroup.controllers", e, here))?;
    let missing = (wanted & available) - on;
    if missing.is_empty() {
        // A write that changes nothing is omitted, too: its cost grows with the number of children.
        return Ok(unchanged);
    }
    let root = is_real_root(dir);
    if !root {
        check_domain(dir, here)?;
        check_lists_none(dir, list, here)?;
    }
    let mut added = Controllers::NONE;
    for (one, plus, _) in missing.each() {
        match enable_one(dir, plus) {
            Ok(()) => added = added | one,
            // The parent has disabled it during the call; or, for cpu, realtime tasks prevent it. Setting a limit that
            // needs the controller returns an error.
            Err(Errno::ENOENT | Errno::EINVAL) => {}
            Err(e) => {
                disable(dir, added);
                return Err(match e {
                    Errno::EBUSY if lists_nothing(dir) => holds_zombies(here),
                    Errno::EBUSY => populated(here),
                    e => cannot("write", "cgroup.subtree_control", e, here),
                });
            }
        }
    }
    // A process may have entered since the check. If no domain controller was missing, the kernel refused nothing.
    if !root && !added.is_empty() {
        if let Err(e) = check_domain(dir, here) {
            disable(dir, added);
            return Err(e);
        }
    }
    // Other processes may have changed the file, too.
    match enabled(dir) {
        Ok(on) => Ok(Enabled { on: on & wanted, added }),
        Err(e) => {
            disable(dir, added);
            Err(cannot("read", "cgroup.subtree_control", e, here))
        }
    }
}

/// Disable what [`enable`] has added, threaded controllers first. A refusal is right: EBUSY says that the group of
/// another agent uses the controller.
pub fn disable(dir: &Dir, added: Controllers) {
    for (_, _, minus) in added.each().rev() {
        let _ = dir.write(SUBTREE_CONTROL, minus.to_bytes()); // EBUSY: in use. ENODEV: the cgroup was removed.
    }
}

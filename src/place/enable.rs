// SPDX-License-Identifier: MIT OR Apache-2.0
//! Switching controllers on for a cgroup's children, and never harming the cgroup by it.
//!
//! The trap: in a cgroup that holds processes `+memory` is refused with EBUSY, but `+pids` and `+cpu`
//! are accepted and make it a threaded domain, whose children then take no process. So: only in an
//! empty `domain`, domain controllers first, one a write, stop at the first that is refused, look
//! afterwards.

use crate::cgroupfs::controllers::Controllers;
use crate::cgroupfs::{Dir, FILE_MAX};
use crate::error::{Error, Reason, Result, words};
use crate::sys::deadline::Deadline;
use nix::errno::Errno;
use std::ffi::CStr;
use std::time::Duration;

const SUBTREE_CONTROL: &CStr = c"cgroup.subtree_control";
/// How long to wait for tasks that have ended to leave a cgroup, and how often to try. They need microseconds, and
/// longer on a busy machine.
const LEAVING: Duration = Duration::from_secs(1);
const LEAVING_PAUSE: Duration = Duration::from_millis(1);

/// The real root has no `cgroup.type`, and may hold processes beside children with controllers.
pub fn is_real_root(dir: &Dir) -> bool {
    !dir.has(c"cgroup.type")
}

/// What is switched on for the children of `dir`.
fn in_force(dir: &Dir) -> nix::Result<Controllers> {
    Ok(Controllers::listed(dir.read(SUBTREE_CONTROL, &mut [0; FILE_MAX])?))
}

/// What could be switched on for the children of `dir`.
pub fn available(dir: &Dir) -> nix::Result<Controllers> {
    Ok(Controllers::listed(dir.read(c"cgroup.controllers", &mut [0; FILE_MAX])?))
}

/// Whether there is nothing left to switch on.
pub fn is_done(dir: &Dir) -> bool {
    let left = || Ok::<_, Errno>((available(dir)? & Controllers::WANTED) - in_force(dir)?);
    left().is_ok_and(Controllers::is_empty)
}

/// Refuse a threaded or invalid domain.
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
        format!(
            "{here} is of type \"{kind}\", where processes cannot be limited: choose a parent of type domain"
        ),
    )
    .because(Reason::Threaded)
    .on("cgroup.type"))
}

/// Refuse a cgroup that holds processes.
pub fn check_empty(dir: &Dir, here: &str) -> Result<()> {
    let procs = dir.read_all(c"cgroup.procs").map_err(|e| cannot("read", "cgroup.procs", e, here))?;
    if procs.is_empty() {
        return Ok(());
    }
    Err(populated(here))
}

pub fn populated(here: &str) -> Error {
    Error::new(
        Errno::EBUSY,
        format!("{here} holds processes, so its children cannot have limits: move them into a child of it, or name another parent"),
    )
    .because(Reason::Populated)
    .on("cgroup.procs")
}

fn still_ending(here: &str) -> Error {
    Error::new(
        Errno::EBUSY,
        format!("{here} holds processes that have ended but wait for a child to be reaped: reap it, or name another parent"),
    )
    .because(Reason::Populated)
    .on("cgroup.subtree_control")
}

/// Returns true if no process and no thread is in it for others to see.
fn lists_nobody(dir: &Dir) -> bool {
    [c"cgroup.procs", c"cgroup.threads"].iter().all(|file| dir.read_all(file).is_ok_and(|ids| ids.is_empty()))
}

/// Switch one controller on. From Linux 6.19 on a task that has ended counts until its CPU has left it. By then it may
/// have been waited for, and from 7.0 on cgroup.procs does not list it any more: the kernel says EBUSY of a cgroup that
/// looks empty.
fn switch_on(dir: &Dir, plus: &CStr) -> nix::Result<()> {
    let deadline = Deadline::after(LEAVING);
    loop {
        match dir.write(SUBTREE_CONTROL, plus.to_bytes()) {
            Err(Errno::EBUSY) if !deadline.passed() && lists_nobody(dir) => std::thread::sleep(LEAVING_PAUSE),
            written => return written,
        }
    }
}

/// What [`enable`] has come to.
pub struct Enabled {
    /// In force now, of what was wanted.
    pub on: Controllers,
    /// Of that, what was not before.
    pub added: Controllers,
}

/// Switch on what of `wanted` can be had.
pub fn enable(dir: &Dir, wanted: Controllers, here: &str) -> Result<Enabled> {
    let on = in_force(dir).map_err(|e| cannot("read", "cgroup.subtree_control", e, here))?;
    let nothing_to_do = Enabled { on: on & wanted, added: Controllers::NONE };
    if on.contains(wanted) {
        return Ok(nothing_to_do);
    }
    let had = available(dir).map_err(|e| cannot("read", "cgroup.controllers", e, here))?;
    let missing = (wanted & had) - on;
    if missing.is_empty() {
        // Not even a write that changes nothing: it costs the more, the more children there are.
        return Ok(nothing_to_do);
    }
    let root = is_real_root(dir);
    if !root {
        check_domain(dir, here)?;
        check_empty(dir, here)?;
    }
    let mut added = Controllers::NONE;
    for (one, plus, _) in missing.each() {
        match switch_on(dir, plus) {
            Ok(()) => added = added | one,
            // Taken from above meanwhile; or, for cpu, realtime tasks stand in the way. A limit that
            // needs it will say so.
            Err(Errno::ENOENT | Errno::EINVAL) => {}
            Err(e) => {
                disable(dir, added);
                return Err(match e {
                    Errno::EBUSY if lists_nobody(dir) => still_ending(here),
                    Errno::EBUSY => populated(here),
                    e => cannot("write", "cgroup.subtree_control", e, here),
                });
            }
        }
    }
    // Somebody may have moved a process in since we looked, and where there is no domain controller to
    // be refused the threaded ones were accepted all the same.
    if !root && !added.is_empty() {
        if let Err(e) = check_domain(dir, here) {
            disable(dir, added);
            return Err(e);
        }
    }
    // What came of it, others' doing included.
    match in_force(dir) {
        Ok(on) => Ok(Enabled { on: on & wanted, added }),
        Err(e) => {
            disable(dir, added);
            Err(cannot("read", "cgroup.subtree_control", e, here))
        }
    }
}

/// Take back what [`enable`] added, threaded ones first. A refusal is right: EBUSY says that another
/// agent's group uses the controller by now.
pub fn disable(dir: &Dir, added: Controllers) {
    for (_, _, minus) in added.each().rev() {
        let _in_use_or_gone = dir.write(SUBTREE_CONTROL, minus.to_bytes());
    }
}

pub fn cannot(verb: &str, file: &'static str, errno: Errno, here: &str) -> Error {
    let why = words(errno);
    let name = file.rsplit('/').next().unwrap_or_default();
    let error = Error::new(errno, format!("cannot {verb} {file} of {here}: {why}")).on(name);
    match errno {
        Errno::ENODEV | Errno::ENOENT => error.because(Reason::Gone),
        Errno::EACCES => error.because(Reason::NotDelegated),
        Errno::EROFS => error.because(Reason::ReadOnly),
        Errno::EOPNOTSUPP => error.because(Reason::Threaded),
        _ => error,
    }
}

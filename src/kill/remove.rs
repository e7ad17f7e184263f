// SPDX-License-Identifier: MIT OR Apache-2.0
//! Removing a group and every cgroup inside it. The kernel has no recursive rmdir.

use crate::cgroupfs::events_file::Events;
use crate::cgroupfs::{Dir, Next, WalkStep};
use crate::sys::deadline::Deadline;
use crate::sys::kernel;
use nix::errno::Errno;
use std::ffi::CStr;

/// Removes all cgroups inside `dir`, then `dir`, whose path relative to `dir` is `name`. Fails with `EBUSY` if a
/// process is dying in it, a process or a cgroup was added, or the deadline passed: the caller can try again. Succeeds
/// if the group was removed before.
pub fn tree(dir: &Dir, name: &CStr, deadline: Deadline) -> nix::Result<()> {
    match check_rmdir_returns(dir).and_then(|()| below(dir, deadline)) {
        Err(Errno::ENODEV) | Ok(()) => remove(dir, name),
        Err(e) => Err(e),
    }
}

/// Removes all cgroups inside `dir`.
pub fn below(dir: &Dir, deadline: Deadline) -> nix::Result<()> {
    let mut outcome = Ok(());
    let remove_child = |parent: &Dir, name: &CStr| match parent.remove(name) {
        Err(Errno::ENOENT | Errno::ENODEV) => Ok(()),
        removed => removed,
    };
    let complete = dir.walk(deadline, &mut |step| {
        match step {
            // Not opened first: an empty cgroup of another uid can be removed, but not opened.
            WalkStep::Found(parent, name) => match remove_child(parent, name) {
                Ok(()) => return Ok(Next::Skip),
                Err(Errno::EBUSY) => {}
                Err(e) => outcome = outcome.and(Err(e)),
            },
            WalkStep::Enter(_) => {}
            WalkStep::Leave(parent, name) => outcome = outcome.and(remove_child(parent, name)),
        }
        Ok(Next::Enter)
    })?;
    outcome?;
    match complete {
        true => Ok(()),
        false if deadline.passed() => Err(Errno::EBUSY),
        false => Err(Errno::EACCES),
    }
}

/// Fails with `EBUSY` if rmdir(2) of the group or of a cgroup inside it may never return.
fn check_rmdir_returns(dir: &Dir) -> nix::Result<()> {
    if !kernel::rmdir_may_hang() {
        return Ok(());
    }
    match Events::open(dir).and_then(|events| events.state()) {
        Ok(state) if state.populated => Err(Errno::EBUSY),
        Ok(_) | Err(Errno::ENODEV) => Ok(()),
        Err(e) => Err(e),
    }
}

/// Removes `dir`, which must have no cgroups inside.
pub fn leaf(dir: &Dir, name: &CStr) -> nix::Result<()> {
    check_rmdir_returns(dir)?;
    remove(dir, name)
}

fn remove(dir: &Dir, name: &CStr) -> nix::Result<()> {
    // A cgroup cannot be renamed: as long as the group exists, its name in the parent leads to it.
    if !dir.is_alive() {
        return Ok(());
    }
    match dir.remove(name) {
        // Only the directory shows that the group was removed.
        Err(Errno::ENOENT | Errno::ENODEV) if !dir.is_alive() => Ok(()),
        Err(Errno::ENOENT | Errno::ENODEV) => Err(Errno::EBUSY),
        removed => removed,
    }
}

/// Removes `synwire/agents` above a group that was removed, if no other agent uses it. The descriptor of the removed
/// group still leads there; `agents` may be that directory, open. A process that makes an agent there at the same time makes
/// these directories again.
pub fn above(dir: &Dir, agents: Option<&Dir>) {
    // rmdir(2) takes a lock that all processes share, even if it fails. Of several removers the last one finds no child.
    if agents.map_or_else(|| dir.parent_has_children(), |agents| agents.has_children() == Ok(true)) {
        return;
    }
    // EBUSY: there are other agents. EACCES: another user made the directories.
    if dir.remove(c"../../agents").is_ok() {
        let _ = dir.remove(c"../../../synwire"); // EBUSY: a guard's cgroup is in it.
    }
}

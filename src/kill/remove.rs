// SPDX-License-Identifier: MIT OR Apache-2.0
//! Removing a group and every cgroup that the agent made inside it. The kernel has no recursive rmdir.

use crate::cgroupfs::events_file::Events;
use crate::cgroupfs::{Dir, Next, Step};
use crate::sys::deadline::Deadline;
use crate::sys::kernel;
use nix::errno::Errno;
use std::ffi::CStr;

/// Remove all below `dir`, then `dir` itself, which its parent knows by `name`. `EBUSY`: a process is
/// still dying in it, something new has come, or the deadline has; try again. A group that is gone already is removed.
pub fn tree(dir: &Dir, name: &CStr, deadline: Deadline) -> nix::Result<()> {
    match returns(dir).and_then(|()| below(dir, deadline)) {
        Err(Errno::ENODEV) | Ok(()) => remove(dir, name),
        Err(e) => Err(e),
    }
}

/// Remove all below `dir`.
pub fn below(dir: &Dir, deadline: Deadline) -> nix::Result<()> {
    let mut outcome = Ok(());
    let remove_child = |parent: &Dir, name: &CStr| match parent.remove(name) {
        Err(Errno::ENOENT | Errno::ENODEV) => Ok(()),
        removed => removed,
    };
    let complete = dir.walk(deadline, |step| {
        match step {
            // First without opening it: an empty cgroup of another uid cannot be opened, but removed.
            Step::Found(parent, name) => match remove_child(parent, name) {
                Ok(()) => return Ok(Next::Skip),
                Err(Errno::EBUSY) => {}
                Err(e) => outcome = outcome.and(Err(e)),
            },
            Step::Enter(_) => {}
            Step::Leave(parent, name) => outcome = outcome.and(remove_child(parent, name)),
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

/// `EBUSY` where rmdir(2) of the group or of one below may sleep for ever now.
fn returns(dir: &Dir) -> nix::Result<()> {
    if !kernel::rmdir_may_hang() {
        return Ok(());
    }
    match Events::open(dir).and_then(|events| events.state()) {
        Ok(state) if state.populated => Err(Errno::EBUSY),
        Ok(_) | Err(Errno::ENODEV) => Ok(()),
        Err(e) => Err(e),
    }
}

/// Remove `dir` alone.
pub fn leaf(dir: &Dir, name: &CStr) -> nix::Result<()> {
    returns(dir)?;
    remove(dir, name)
}

fn remove(dir: &Dir, name: &CStr) -> nix::Result<()> {
    // By the parent's entry, which is the group's as long as the group lives: cgroups cannot be renamed.
    if !dir.is_alive() {
        return Ok(());
    }
    match dir.remove(name) {
        // Only the directory itself says that it is gone.
        Err(Errno::ENOENT | Errno::ENODEV) if !dir.is_alive() => Ok(()),
        Err(Errno::ENOENT | Errno::ENODEV) => Err(Errno::EBUSY),
        removed => removed,
    }
}

/// Remove what of `synwire/agents` nobody else uses, from above a group that is removed: its descriptor
/// still leads there. Who is making another there meanwhile finds its ground gone, and lays it again.
pub fn above(dir: &Dir) {
    // EBUSY: there are other agents; EACCES: the tree was made for us by somebody else.
    if dir.remove(c"../../agents").is_ok() {
        let _in_use = dir.remove(c"../../../synwire");
    }
}

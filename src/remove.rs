// SPDX-License-Identifier: MIT OR Apache-2.0
//! Removing a group and every cgroup that the agent made inside it. The kernel has no recursive rmdir.

use crate::cgroupfs::{Dir, Step};
use nix::errno::Errno;
use std::ffi::CStr;

/// Remove all below `dir`, then `dir` itself, which its parent knows by `name`. `EBUSY`: a process is
/// still dying in it, or something new has come; try again. A group that is gone already is removed.
pub fn tree(dir: &Dir, name: &CStr) -> nix::Result<()> {
    match open_tree(dir, name) {
        Err(Errno::EACCES) if dir.take_back()? => open_tree(dir, name),
        done => done,
    }
}

fn open_tree(dir: &Dir, name: &CStr) -> nix::Result<()> {
    let mut busy = Ok(());
    let walked = dir.walk(|step| {
        if let Step::Leave(parent, name) = step {
            busy = busy.and(ignore_gone(parent.remove(name)));
        }
    });
    ignore_gone(walked)?;
    busy?;
    leaf(dir, name)
}

/// Remove `dir` alone.
pub fn leaf(dir: &Dir, name: &CStr) -> nix::Result<()> {
    // By the parent's entry, which is ours as long as we live: cgroups cannot be renamed.
    if !dir.is_alive() {
        return Ok(());
    }
    ignore_gone(dir.remove(name))
}

/// Remove what of `synwire/agents` nobody else uses, from above a group that is removed: its descriptor
/// still leads there. Who is making another there meanwhile finds its ground gone, and lays it again.
pub fn above(dir: &Dir) {
    // EBUSY: there are other agents; EACCES: the tree was made for us by somebody else.
    if dir.remove(c"../../agents").is_ok() {
        let _in_use = dir.remove(c"../../../synwire");
    }
}

fn ignore_gone(result: nix::Result<()>) -> nix::Result<()> {
    match result {
        Err(Errno::ENOENT | Errno::ENODEV) => Ok(()),
        other => other,
    }
}

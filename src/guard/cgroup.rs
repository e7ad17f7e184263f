// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guard's own cgroup, beside `agents`. A program that stops the host's unit, or kills all processes in the host's
//! cgroup, then does not end the guard, whose work begins at that moment.

use crate::cgroupfs::Dir;
use crate::cgroupfs::events_file::Events;
use nix::errno::Errno;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd};

/// The beginning of the name of each guard's cgroup.
pub const CGROUP_PREFIX: &str = "guard-";

/// The cgroup of a guard, by its parent and its name.
#[derive(Debug)]
pub struct GuardCgroup {
    parent: Dir,
    name: CString,
}

impl GuardCgroup {
    /// Returns the cgroup of this parent and name, which need not exist.
    pub fn new(parent: Dir, name: CString) -> Self {
        Self { parent, name }
    }

    /// Makes the cgroup. Succeeds if it exists: then a guard that was killed has left it.
    pub fn make(&self) -> nix::Result<()> {
        match self.parent.make(&self.name) {
            Err(Errno::EEXIST) => Ok(()),
            made => made,
        }
    }

    /// Opens the cgroup.
    pub fn open(&self) -> nix::Result<Dir> {
        self.parent.child(&self.name)
    }

    /// Returns the directory above the cgroup.
    pub fn parent(&self) -> BorrowedFd<'_> {
        self.parent.as_fd()
    }

    /// Returns the name of the cgroup.
    pub fn name(&self) -> &CStr {
        &self.name
    }

    /// Returns true if the cgroup or one above it is frozen.
    pub fn is_frozen(&self) -> nix::Result<bool> {
        Ok(Events::open(&self.open()?)?.state()?.frozen)
    }

    /// Returns true if the cgroup contains this process.
    pub fn contains(&self, pid: i32) -> bool {
        self.open().and_then(|dir| dir.lists(c"cgroup.procs", pid)) == Ok(true)
    }

    /// Removes the cgroup if it contains no process, then `synwire` above it if that is empty.
    pub fn remove(&self) {
        // EBUSY: a guard is in it.
        if self.parent.remove(&self.name).is_ok() {
            let _ = self.parent.remove(c"../synwire"); // EBUSY: in use.
        }
    }
}

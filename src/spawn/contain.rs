// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a contained child needs, prepared by its parent.
//!
//! A contained child has the host's uid. A cgroup namespace whose root is the group keeps it there: on a hierarchy that is
//! mounted with nsdelegate, the kernel moves no process across the border of such a namespace. Mounts of the child's own hide
//! the rest of the hierarchy from it.

use super::child::Containment;
use super::namespace_holder::{NamespaceHolder, is_dumpable};
use crate::parse::{self, Mount};
use crate::procfs;
use nix::errno::Errno;
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, fstatfs, statfs};
use nix::unistd::{getegid, geteuid};
use std::ffi::CString;
use std::os::fd::BorrowedFd;

/// Why a child cannot be contained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The hierarchy is not mounted with nsdelegate, so that a cgroup namespace is no border.
    NoDelegation,
    /// The child's working directory lies in the hierarchy that is to be hidden from it.
    DirectoryInHierarchy,
    /// The mounts could not be read.
    Errno(Errno),
    /// The host is not dumpable, and the namespace holder that it needs could not be created.
    NotDumpable(Errno),
}

/// Prepares the containment of a child that starts in this directory; None is the caller's directory.
pub fn prepare(directory: Option<BorrowedFd<'_>>) -> Result<Containment, Failure> {
    let mut mounts: Vec<Mount> = Vec::new();
    let collect = |line: &[u8]| -> Option<()> {
        mounts.extend(parse::cgroup2_mount(line));
        None
    };
    procfs::find_mount(collect).map_err(Failure::Errno)?;
    // nsdelegate is an option of the hierarchy: every mount of it shows the option.
    if !mounts.iter().any(|mount| mount.nsdelegate) {
        return Err(Failure::NoDelegation);
    }
    // A mount on a directory does not affect a process that has the directory open.
    let file_system = directory.map_or_else(|| statfs("."), fstatfs);
    if file_system.is_ok_and(|fs| fs.filesystem_type() == CGROUP2_SUPER_MAGIC) {
        return Err(Failure::DirectoryInHierarchy);
    }
    let mount_points = mounts.into_iter().filter_map(|mount| CString::new(mount.point).ok()).collect();
    // Each id is mapped to itself, so that the agent continues to own its files.
    let (uid, gid) = (geteuid(), getegid());
    // If a process is not dumpable, root owns its files in /proc.
    let needs_holder = !uid.is_root() && !is_dumpable();
    let namespace_holder =
        needs_holder.then(NamespaceHolder::new).transpose().map_err(Failure::NotDumpable)?;
    let (uid_map, gid_map) = (format!("{uid} {uid} 1\n"), format!("{gid} {gid} 1\n"));
    Ok(Containment { uid_map, gid_map, mount_points, namespace_holder })
}

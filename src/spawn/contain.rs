// SPDX-License-Identifier: MIT OR Apache-2.0
//! What it takes to keep an agent of our own uid where it is put: the kernel holds it by a cgroup namespace, whose
//! root is the group, but only where the hierarchy is mounted nsdelegate; and hides the rest of the hierarchy from
//! it by a mount of its own.

use crate::parse::{self, Mount};
use crate::procfs;
use crate::spawn::child::Containment;
use crate::spawn::namespace_holder::{NamespaceHolder, is_dumpable};
use nix::errno::Errno;
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, fstatfs, statfs};
use nix::unistd::{getegid, geteuid};
use std::ffi::CString;
use std::os::fd::BorrowedFd;

/// Why it cannot be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// For the kernel the namespace is no border.
    NoDelegation,
    /// Its directory lies in the hierarchy that is to be hidden from it.
    Inside,
    /// Where the hierarchy is mounted could not be read.
    Errno(Errno),
    /// The host is not dumpable, and what that takes could not be made.
    NotDumpable(Errno),
}

/// For a child of ours in this directory, or in our own.
pub fn prepare(directory: Option<BorrowedFd<'_>>) -> Result<Containment, Failure> {
    let mut mounts: Vec<Mount> = Vec::new();
    let all = |line: &[u8]| -> Option<()> {
        mounts.extend(parse::cgroup2_mount(line));
        None
    };
    procfs::find_mount(all).map_err(Failure::Errno)?;
    // An option of the hierarchy, not of a mount: each tells it.
    if !mounts.iter().any(|mount| mount.nsdelegate) {
        return Err(Failure::NoDelegation);
    }
    // A directory stays open under what is mounted on it.
    let stands_on = directory.map_or_else(|| statfs("."), fstatfs);
    if stands_on.is_ok_and(|fs| fs.filesystem_type() == CGROUP2_SUPER_MAGIC) {
        return Err(Failure::Inside);
    }
    let points = mounts.into_iter().filter_map(|mount| CString::new(mount.point).ok()).collect();
    // As they are: the agent's files stay its own.
    let (uid, gid) = (geteuid(), getegid());
    // The files in /proc of one that is not dumpable are root's.
    let needs_holder = !uid.is_root() && !is_dumpable();
    let namespace_holder =
        needs_holder.then(NamespaceHolder::new).transpose().map_err(Failure::NotDumpable)?;
    let (uid_map, gid_map) = (format!("{uid} {uid} 1\n"), format!("{gid} {gid} 1\n"));
    Ok(Containment { uid_map, gid_map, points, namespace_holder })
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The features of the kernel: found in the files of a cgroup or tried, never derived from the version.

use crate::cgroupfs::Dir;
use crate::place::self_cgroup::SelfCgroup;
use crate::spawn::clone3;
use crate::sys::{set_xattr, xattr_exists};
use nix::errno::Errno;
use std::ffi::CStr;
use std::os::fd::AsFd;

/// The bits of `Diagnosis::features`, which are part of the C interface.
pub mod feature {
    /// The kernel has cgroup.kill.
    pub const KILL: u64 = 1 << 0;
    /// The kernel has cgroup.freeze.
    pub const FREEZE: u64 = 1 << 1;
    /// clone3(2) with `CLONE_INTO_CGROUP` works in this process.
    pub const CLONE_INTO: u64 = 1 << 2;
    /// The kernel has memory.peak.
    pub const MEMORY_PEAK: u64 = 1 << 3;
    /// The kernel has pids.peak.
    pub const PIDS_PEAK: u64 = 1 << 4;
    /// The kernel has cpu.pressure.
    pub const PRESSURE: u64 = 1 << 5;
    /// Cgroups have extended attributes of the class user.
    pub const XATTR: u64 = 1 << 6;
    /// The hierarchy is mounted with the option nsdelegate.
    pub const NSDELEGATE: u64 = 1 << 7;
    /// A systemd manager that would make a scope answers.
    pub const SYSTEMD: u64 = 1 << 8;
}

/// The name in the report and the bit of each feature, in the order of the bits.
pub const NAMES: [(&str, u64); 9] = [
    ("cgroup.kill", feature::KILL),
    ("cgroup.freeze", feature::FREEZE),
    ("CLONE_INTO_CGROUP", feature::CLONE_INTO),
    ("memory.peak", feature::MEMORY_PEAK),
    ("pids.peak", feature::PIDS_PEAK),
    ("pressure", feature::PRESSURE),
    ("xattr", feature::XATTR),
    ("nsdelegate", feature::NSDELEGATE),
    ("systemd", feature::SYSTEMD),
];

const FILES: [(&CStr, u64); 5] = [
    (c"cgroup.kill", feature::KILL),
    (c"cgroup.freeze", feature::FREEZE),
    (c"memory.peak", feature::MEMORY_PEAK),
    (c"pids.peak", feature::PIDS_PEAK),
    (c"cpu.pressure", feature::PRESSURE),
];

const XATTR: &CStr = c"user.agentcg";

/// The features in the group of an agent that was made for the diagnosis alone, where everything may be tried.
pub fn of_agent_dir(dir: &Dir) -> u64 {
    let mut features = files(dir);
    if clone3::works(dir.as_fd()).is_ok() {
        features |= feature::CLONE_INTO;
    }
    if set_xattr(dir.as_fd(), XATTR, b"1").is_ok() {
        features |= feature::XATTR;
    }
    features
}

/// The features in the self cgroup, in which nothing is changed.
pub fn of_self_cgroup(own: &SelfCgroup) -> u64 {
    let Ok(dir) = own.open(0) else { return 0 };
    // The real root has few files, so a child is looked at instead.
    let children = if dir.has(c"cgroup.type") { Vec::new() } else { dir.children().unwrap_or_default() };
    let child = children.first().and_then(|name| dir.child(name).ok());
    let mut features = files(child.as_ref().unwrap_or(&dir));
    if clone3::works(dir.as_fd()).is_ok() {
        features |= feature::CLONE_INTO;
    }
    // A kernel without these attributes refuses the query.
    if matches!(xattr_exists(dir.as_fd(), XATTR), Ok(()) | Err(Errno::ENODATA)) {
        features |= feature::XATTR;
    }
    features
}

fn files(dir: &Dir) -> u64 {
    let there = FILES.iter().filter(|(file, _)| dir.has(file)).map(|(_, bit)| bit);
    there.fold(0, |sum, bit| sum | bit)
}

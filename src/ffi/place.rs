// SPDX-License-Identifier: MIT OR Apache-2.0
//! The header's section "would it work here?".

use super::boundary::{guard, guard_always};
use super::error::agentcg_error;
use super::memory::give_string;
use crate::cgroupfs::controllers::Controllers;
use crate::place::{self, Kind};
use nix::errno::Errno;
use std::ffi::{c_char, c_int};

pub const AGENTCG_CONTROLLER_CPU: u64 = 1u64 << 0;
pub const AGENTCG_CONTROLLER_MEMORY: u64 = 1u64 << 1;
pub const AGENTCG_CONTROLLER_PIDS: u64 = 1u64 << 2;
pub const AGENTCG_CONTROLLER_IO: u64 = 1u64 << 3;
pub const AGENTCG_CONTROLLER_CPUSET: u64 = 1u64 << 4;
pub const AGENTCG_CONTROLLER_HUGETLB: u64 = 1u64 << 5;

/// The caller named the parent.
pub const AGENTCG_PLACE_GIVEN: u32 = 1u32;
/// A unit or container delegated to us (user.delegate).
pub const AGENTCG_PLACE_DELEGATED: u32 = 2u32;
/// The parent of our own cgroup.
pub const AGENTCG_PLACE_SIBLING: u32 = 3u32;
/// The real root or a namespace root.
pub const AGENTCG_PLACE_ROOT: u32 = 4u32;
/// A transient scope that systemd made for us.
pub const AGENTCG_PLACE_SYSTEMD: u32 = 5u32;

const _: () = {
    assert!(Controllers::CPU.bits() == AGENTCG_CONTROLLER_CPU);
    assert!(Controllers::MEMORY.bits() == AGENTCG_CONTROLLER_MEMORY);
    assert!(Controllers::PIDS.bits() == AGENTCG_CONTROLLER_PIDS);
    assert!(Controllers::IO.bits() == AGENTCG_CONTROLLER_IO);
    assert!(Controllers::CPUSET.bits() == AGENTCG_CONTROLLER_CPUSET);
    assert!(Controllers::HUGETLB.bits() == AGENTCG_CONTROLLER_HUGETLB);
    assert!(Kind::Given as u32 == AGENTCG_PLACE_GIVEN);
    assert!(Kind::Delegated as u32 == AGENTCG_PLACE_DELEGATED);
    assert!(Kind::Sibling as u32 == AGENTCG_PLACE_SIBLING);
    assert!(Kind::Root as u32 == AGENTCG_PLACE_ROOT);
    assert!(Kind::Systemd as u32 == AGENTCG_PLACE_SYSTEMD);
};

/// 1 if the caller's own cgroup is found in a mounted cgroup2 hierarchy, be it
/// at /sys/fs/cgroup, at /sys/fs/cgroup/unified or elsewhere; else 0.
#[unsafe(no_mangle)]
pub extern "C" fn agentcg_is_available() -> c_int {
    // SAFETY: there is no reterr.
    unsafe { guard_always(std::ptr::null_mut(), &[], || Ok(place::is_available().into())) }.max(0)
}

/// Where agentcg_new(NULL, ...) would put its tree: the directory that holds,
/// or would hold, "synwire/agents". Changes nothing.
///
/// -EINVAL, and -EACCES, -EBUSY, -EMFILE, -ENFILE, -ENODEV, -ENOMEM, -EOPNOTSUPP,
/// -EROFS as agentcg_new() would.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn agentcg_discover_parent(
    buf: *mut c_char,
    size: usize,
    reterr: *mut agentcg_error,
) -> c_int {
    use Errno::*;
    let codes = [EACCES, EBUSY, EINVAL, EMFILE, ENFILE, ENODEV, ENOMEM, EOPNOTSUPP, EROFS];
    // SAFETY: the C caller's promises, as the comment above and the conventions say.
    unsafe { guard(reterr, &codes, || give_string(&place::discover()?, buf, size)) }
}

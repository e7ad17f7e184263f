// SPDX-License-Identifier: MIT OR Apache-2.0
//! The header's section "is it available?": places.

use super::boundary;
use super::error::agentcg_error;
use super::memory::copy_out_string;
use crate::cgroupfs::controllers::Controllers;
use crate::place::{self, Kind};
use nix::errno::Errno;
use std::ffi::{c_char, c_int};

/// The cpu controller: all limits cpu_...
pub const AGENTCG_CONTROLLER_CPU: u64 = 1u64 << 0;
/// The memory controller: memory_..., swap_max, oom_group.
pub const AGENTCG_CONTROLLER_MEMORY: u64 = 1u64 << 1;
/// The pids controller: pids_max.
pub const AGENTCG_CONTROLLER_PIDS: u64 = 1u64 << 2;
/// The io controller: io_weight.
pub const AGENTCG_CONTROLLER_IO: u64 = 1u64 << 3;
/// The cpuset controller. No limit needs it.
pub const AGENTCG_CONTROLLER_CPUSET: u64 = 1u64 << 4;
/// The hugetlb controller. No limit needs it.
pub const AGENTCG_CONTROLLER_HUGETLB: u64 = 1u64 << 5;

/// The caller named the place.
pub const AGENTCG_PLACE_GIVEN: u32 = 1u32;
/// It was delegated: a unit or container (user.delegate).
pub const AGENTCG_PLACE_DELEGATED: u32 = 2u32;
/// It is the parent of the caller's own cgroup.
pub const AGENTCG_PLACE_SIBLING: u32 = 3u32;
/// It is the real root or the root of a cgroup namespace.
pub const AGENTCG_PLACE_ROOT: u32 = 4u32;
/// It is a transient scope that systemd made for the caller.
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

/// Return 1 if the caller's own cgroup is in a mounted cgroup2 hierarchy, else
/// 0. The hierarchy may be mounted at /sys/fs/cgroup, at /sys/fs/cgroup/unified
/// or elsewhere.
#[unsafe(no_mangle)]
pub extern "C" fn agentcg_is_available() -> c_int {
    // SAFETY: reterr is NULL.
    unsafe { boundary::call_always(std::ptr::null_mut(), &[], || Ok(place::is_available().into())) }.max(0)
}

/// Copy the path of the place that agentcg_new(NULL, ...) would use to buf: the
/// directory that holds, or would hold, "synwire/agents". Nothing is changed.
///
/// Returns the length of the path. Errors, besides the common ones:
///   -EBUSY, -EOPNOTSUPP, -EROFS
///         As agentcg_new() would return.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn agentcg_discover_parent(
    buf: *mut c_char,
    size: usize,
    reterr: *mut agentcg_error,
) -> c_int {
    use Errno::*;
    let codes = [EACCES, EBUSY, EINVAL, EMFILE, ENFILE, ENODEV, ENOMEM, EOPNOTSUPP, EROFS];
    // SAFETY: the C caller passes valid pointers, as the header's conventions say.
    unsafe { boundary::call(reterr, &codes, || copy_out_string(&place::discover()?, buf, size)) }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The header's section "errors".

use crate::error::Reason;
use std::ffi::c_char;

/// No cgroup2 mount holds our own cgroup.
pub const AGENTCG_WHY_NO_CGROUP2: u32 = 1u32;
/// Our cgroup is outside our cgroup namespace.
pub const AGENTCG_WHY_OUTSIDE_NAMESPACE: u32 = 2u32;
/// cgroupfs is mounted read-only (containers).
pub const AGENTCG_WHY_READ_ONLY: u32 = 3u32;
/// No directory that we may create in, or no right to migrate.
pub const AGENTCG_WHY_NOT_DELEGATED: u32 = 4u32;
/// A limit needs a controller that is not to be had.
pub const AGENTCG_WHY_NO_CONTROLLER: u32 = 5u32;
/// The parent holds processes.
pub const AGENTCG_WHY_POPULATED: u32 = 6u32;
/// A threaded or invalid domain.
pub const AGENTCG_WHY_THREADED: u32 = 7u32;
/// The cgroup was removed under us.
pub const AGENTCG_WHY_GONE: u32 = 8u32;
/// cgroup.max.depth / max.descendants of an ancestor.
pub const AGENTCG_WHY_NESTING_LIMIT: u32 = 9u32;
/// systemd was needed and could not be reached.
pub const AGENTCG_WHY_NO_SYSTEMD: u32 = 10u32;
/// systemd said no; message carries its words.
pub const AGENTCG_WHY_SYSTEMD_REFUSED: u32 = 11u32;
/// The caller itself is in the cgroup that it wants killed.
pub const AGENTCG_WHY_CALLER_INSIDE: u32 = 12u32;
/// User namespaces are forbidden, or the hierarchy is not mounted nsdelegate.
pub const AGENTCG_WHY_NOT_CONTAINED: u32 = 13u32;
/// The guard's program is missing, or is not the one of this library.
pub const AGENTCG_WHY_NO_GUARD: u32 = 14u32;

/// What went wrong, in words for people and logs. 256 bytes, for ever.
#[repr(C)]
pub struct agentcg_error {
    /// the negative errno value that was returned
    pub code: i32,
    /// AGENTCG_WHY_..., or 0: why, where errno is too coarse
    pub reason: u32,
    /// the interface file at fault ("memory.max"), or ""
    pub file: [c_char; 64],
    /// one line: what failed, on which path, and what to do
    pub message: [c_char; 184],
}

const _: () = {
    assert!(size_of::<agentcg_error>() == 256);
    assert!(Reason::NoCgroup2 as u32 == AGENTCG_WHY_NO_CGROUP2);
    assert!(Reason::OutsideNamespace as u32 == AGENTCG_WHY_OUTSIDE_NAMESPACE);
    assert!(Reason::ReadOnly as u32 == AGENTCG_WHY_READ_ONLY);
    assert!(Reason::NotDelegated as u32 == AGENTCG_WHY_NOT_DELEGATED);
    assert!(Reason::NoController as u32 == AGENTCG_WHY_NO_CONTROLLER);
    assert!(Reason::Populated as u32 == AGENTCG_WHY_POPULATED);
    assert!(Reason::Threaded as u32 == AGENTCG_WHY_THREADED);
    assert!(Reason::Gone as u32 == AGENTCG_WHY_GONE);
    assert!(Reason::NestingLimit as u32 == AGENTCG_WHY_NESTING_LIMIT);
    assert!(Reason::NoSystemd as u32 == AGENTCG_WHY_NO_SYSTEMD);
    assert!(Reason::SystemdRefused as u32 == AGENTCG_WHY_SYSTEMD_REFUSED);
    assert!(Reason::CallerInside as u32 == AGENTCG_WHY_CALLER_INSIDE);
    assert!(Reason::NotContained as u32 == AGENTCG_WHY_NOT_CONTAINED);
    assert!(Reason::NoGuard as u32 == AGENTCG_WHY_NO_GUARD);
};

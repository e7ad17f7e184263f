// SPDX-License-Identifier: MIT OR Apache-2.0
//! The header's section "errors".

use crate::error::Reason;
use std::ffi::c_char;

/// No cgroup2 mount contains the caller's own cgroup.
pub const AGENTCG_WHY_NO_CGROUP2: u32 = 1u32;
/// The caller's own cgroup is outside its cgroup namespace.
pub const AGENTCG_WHY_OUTSIDE_NAMESPACE: u32 = 2u32;
/// cgroupfs is mounted read-only (common in containers).
pub const AGENTCG_WHY_READ_ONLY: u32 = 3u32;
/// The caller may create no cgroups, or may not migrate processes.
pub const AGENTCG_WHY_NOT_DELEGATED: u32 = 4u32;
/// A limit needs a controller that is not available.
pub const AGENTCG_WHY_NO_CONTROLLER: u32 = 5u32;
/// The parent holds processes.
pub const AGENTCG_WHY_POPULATED: u32 = 6u32;
/// The cgroup is threaded, or it is in an invalid domain.
pub const AGENTCG_WHY_THREADED: u32 = 7u32;
/// Somebody else removed the cgroup while it was in use.
pub const AGENTCG_WHY_GONE: u32 = 8u32;
/// cgroup.max.depth or max.descendants of an ancestor is reached.
pub const AGENTCG_WHY_NESTING_LIMIT: u32 = 9u32;
/// systemd is needed and cannot be reached.
pub const AGENTCG_WHY_NO_SYSTEMD: u32 = 10u32;
/// systemd refused the request. message contains its reply.
pub const AGENTCG_WHY_SYSTEMD_REFUSED: u32 = 11u32;
/// The caller is in the group that it wants to kill or to freeze.
pub const AGENTCG_WHY_CALLER_INSIDE: u32 = 12u32;
/// User namespaces are forbidden, or the mount lacks nsdelegate.
pub const AGENTCG_WHY_NOT_CONTAINED: u32 = 13u32;
/// agentcg-guard is missing, or not the one of this library.
pub const AGENTCG_WHY_NO_GUARD: u32 = 14u32;
/// execve(2) of the program failed. code has its errno.
pub const AGENTCG_WHY_NOT_EXECUTED: u32 = 15u32;

/// What went wrong: codes for programs, and text for people and logs. The size
/// is 256 bytes and does not change.
#[repr(C)]
pub struct agentcg_error {
    /// The negative errno value that the function returned.
    pub code: i32,
    /// AGENTCG_WHY_... if errno is too coarse to say why, else 0.
    pub reason: u32,
    /// The interface file that failed, such as "memory.max", or "".
    pub file: [c_char; 64],
    /// One line of text: what failed, on which path, and what to do.
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
    assert!(Reason::NotExecuted as u32 == AGENTCG_WHY_NOT_EXECUTED);
};

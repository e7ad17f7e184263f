// SPDX-License-Identifier: MIT OR Apache-2.0
//! The header's section "make, find and end agents": the agent of a process.

use super::boundary::{self, fill};
use super::error::agentcg_error;
use super::memory::{Plain, borrow, check_array, check_struct, copy_out_string, copy_out_struct};
use crate::agent::{self, Found};
use crate::cgroupfs::AgentName;
use crate::error::Result;
use crate::parse::{Label, Tag};
use libc::pid_t;
use nix::errno::Errno;
use std::ffi::{c_char, c_int};

/// cbindgen.toml defines these for the header, because all sections use them.
const AGENTCG_UUID_SIZE: usize = 37;
const AGENTCG_LABEL_SIZE: usize = 64;

/// The agent of a process, as agentcg_find() finds it.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct agentcg_found {
    /// The uuid as text.
    pub uuid: [c_char; AGENTCG_UUID_SIZE],
    /// 1 if the process is in a cgroup below the group, 0 if it is in the group or
    /// is a session's own.
    pub below: u8,
    /// Always 0.
    pub reserved: u16,
    /// The pid of the owner in its own pid namespace, 0 if unknown. As in
    /// agentcg_entry it and created_unix_ns are for people: an agent can change both.
    pub owner_pid: u32,
    /// Always 0.
    pub reserved2: u32,
    /// When the agent was made, 0 if unknown.
    pub created_unix_ns: u64,
    /// The label as text, "" if there is none or it is unknown.
    pub label: [c_char; AGENTCG_LABEL_SIZE],
    /// The tag of the program that made the agent, in the same way.
    pub tag: [c_char; AGENTCG_LABEL_SIZE],
    /// If the agent is a session, the uuid of the child in which the process is, or
    /// "". An agent that is not contained can make cgroups with such names in its own
    /// group; agentcg_open() shows which belong to the caller.
    pub child: [c_char; AGENTCG_UUID_SIZE],
    /// Always 0.
    pub reserved3: [u8; 3],
}

// SAFETY: repr(C); 37 bytes and one, a u16, two u32 and a u64 leave no padding before the two arrays, nor do 37 and three
// bytes behind them.
unsafe impl Plain for agentcg_found {
    const SIZE_V0: usize = 56;
}

const _: () = assert!(size_of::<agentcg_found>() == agentcg_found::SIZE_V0 + 2 * AGENTCG_LABEL_SIZE + 40);

impl Default for agentcg_found {
    fn default() -> Self {
        Self {
            uuid: [0; AGENTCG_UUID_SIZE],
            below: 0,
            reserved: 0,
            owner_pid: 0,
            reserved2: 0,
            created_unix_ns: 0,
            label: [0; AGENTCG_LABEL_SIZE],
            tag: [0; AGENTCG_LABEL_SIZE],
            child: [0; AGENTCG_UUID_SIZE],
            reserved3: [0; 3],
        }
    }
}

impl From<&Found> for agentcg_found {
    fn from(found: &Found) -> Self {
        let mut c = Self {
            below: found.below.into(),
            owner_pid: found.owner.pid,
            created_unix_ns: found.owner.created_unix_ns,
            ..Self::default()
        };
        fill(&mut c.uuid, &found.uuid);
        fill(&mut c.label, found.owner.label.as_ref().map_or("", Label::as_str));
        fill(&mut c.tag, found.owner.tag.as_ref().map_or("", Tag::as_str));
        fill(&mut c.child, found.child.as_ref().map_or("", AgentName::as_str));
        c
    }
}

/// Find the agent in which a process is. size is sizeof(*ret_found). place
/// receives the path of the agent's place, which agentcg_open() takes as parent;
/// place may be NULL if place_size is 0. If no mount of the caller shows the
/// group, the path is "" and the owner is unknown.
///
/// A process in a cgroup below a group is in the agent of that group. An agent
/// may make agents in its own group. Then the result is the outermost agent in
/// which the caller is not, so that an agent cannot pass for another by the
/// names of the cgroups that it makes. Of a process in a child of a session the
/// result is the session, and the child is reported with it. If the caller is in
/// all of them, the result is the innermost.
///
/// A zombie is in the agent in which it ended. The cgroup's name in
/// /proc/PID/cgroup decides. If pid is reused during the call, the result is
/// that of one of the two processes, or -ESRCH. agentcg_find_pidfd() does not
/// have this problem.
///
/// Returns the length of the place's path. Errors, besides the common ones:
///   -EACCES  Also: /proc/PID/cgroup cannot be read, or /proc is not mounted.
///   -EINVAL  Also: pid is less than 1.
///   -ENODEV  The process has ended, and its group was removed.
///   -ENOENT  The process is in no agent, or outside the caller's cgroup
///            namespace.
///   -ESRCH   The process does not exist, or is hidden from the caller.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn agentcg_find(
    pid: pid_t,
    ret_found: *mut agentcg_found,
    size: usize,
    place: *mut c_char,
    place_size: usize,
    reterr: *mut agentcg_error,
) -> c_int {
    use Errno::*;
    let codes = [EACCES, EINVAL, EMFILE, ENFILE, ENODEV, ENOENT, ENOMEM, ESRCH];
    // SAFETY: the C caller passes valid pointers, as the header's conventions say.
    unsafe {
        boundary::call(reterr, &codes, || {
            check_struct(ret_found, size)?;
            check_array(place, place_size)?;
            copy_out(&agent::find(pid)?, ret_found, size, place, place_size)
        })
    }
}

/// Find the agent in which a process is, like agentcg_find(), by its pidfd. The
/// result is never that of a process that reuses the pid. The pidfd can be that of
/// the other end of a socket (SO_PEERPIDFD, Linux 6.5).
///
/// A process that has ended and was waited for can be found from Linux 6.15 on,
/// as long as its cgroup exists. The kernel reports only the id of the cgroup.
/// The library searches the places of agentcg_list(NULL, ...) for it, which
/// takes longer than that function.
///
/// Returns the length of the place's path. Errors, as agentcg_find(), and:
///   -EBADF  pidfd is not a pidfd.
///   -ESRCH  Also: the process has ended and was waited for, and the kernel does
///           not report its cgroup, or it is in no agent that was searched.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn agentcg_find_pidfd(
    pidfd: c_int,
    ret_found: *mut agentcg_found,
    size: usize,
    place: *mut c_char,
    place_size: usize,
    reterr: *mut agentcg_error,
) -> c_int {
    use Errno::*;
    let codes = [EACCES, EBADF, EINVAL, EMFILE, ENFILE, ENODEV, ENOENT, ENOMEM, ESRCH];
    // SAFETY: the C caller passes valid pointers, as the header's conventions say.
    unsafe {
        boundary::call(reterr, &codes, || {
            check_struct(ret_found, size)?;
            check_array(place, place_size)?;
            let found = agent::find_pidfd(borrow(pidfd, "pidfd")?)?;
            copy_out(&found, ret_found, size, place, place_size)
        })
    }
}

/// Copies to the caller, and returns the length of the path.
///
/// # Safety
/// [`check_struct`] and [`check_array`] succeeded, and the pointers are as they say.
unsafe fn copy_out(
    found: &Found,
    ret_found: *mut agentcg_found,
    size: usize,
    place: *mut c_char,
    place_size: usize,
) -> Result<c_int> {
    // SAFETY: the caller's promise.
    unsafe {
        let length = copy_out_string(&found.place, place, place_size)?;
        copy_out_struct(&agentcg_found::from(found), ret_found, size);
        Ok(length)
    }
}

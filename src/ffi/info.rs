// SPDX-License-Identifier: MIT OR Apache-2.0
//! The header's section "facts about a handle".

use super::boundary::{self, fill};
use super::error::agentcg_error;
use super::handle::{agent, agent_or_errno, agentcg};
use super::memory::{Plain, check_struct, copy_out_parts, copy_out_string, copy_out_struct, text};
use crate::cgroupfs::AgentName;
use crate::parse::{Label, Tag};
use nix::errno::Errno;
use std::ffi::{c_char, c_int};
use std::os::fd::{AsFd, AsRawFd};

/// cbindgen.toml defines these for the header, because all sections use them.
const AGENTCG_UUID_SIZE: usize = 37;
const AGENTCG_LABEL_SIZE: usize = 64;

/// Facts about a handle and its group.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct agentcg_info {
    /// The kernel's id of the cgroup.
    pub id: u64,
    /// AGENTCG_CONTROLLER_... that are in force in the group.
    pub controllers: u64,
    /// AGENTCG_PLACE_...: the kind of its place.
    pub place: u32,
    /// 1 if this handle is the owner's.
    pub owned: u32,
    /// 1 if the guard ends it with this process. 0 also while the guard is stopped.
    pub guarded: u32,
    /// Always 0.
    pub reserved: u32,
    /// The label, "" if there is none or it is unknown. The owner's handle knows the
    /// label and the tag that it has given or adopted. A non-owner's reads them from
    /// the group, where an agent can change both.
    pub label: [c_char; AGENTCG_LABEL_SIZE],
    /// The tag of the program that made the agent, in the same way.
    pub tag: [c_char; AGENTCG_LABEL_SIZE],
    /// The uuid of the session of which the agent is a child, "" if it is none.
    pub session: [c_char; AGENTCG_UUID_SIZE],
    /// Always 0.
    pub reserved2: [u8; 3],
}

impl Default for agentcg_info {
    fn default() -> Self {
        Self {
            id: 0,
            controllers: 0,
            place: 0,
            owned: 0,
            guarded: 0,
            reserved: 0,
            label: [0; AGENTCG_LABEL_SIZE],
            tag: [0; AGENTCG_LABEL_SIZE],
            session: [0; AGENTCG_UUID_SIZE],
            reserved2: [0; 3],
        }
    }
}

// SAFETY: repr(C); two u64, four u32, two arrays of 64 bytes, and 37 and three bytes leave no padding.
unsafe impl Plain for agentcg_info {
    const SIZE_V0: usize = 32;
}

const _: () = assert!(size_of::<agentcg_info>() == agentcg_info::SIZE_V0 + 2 * AGENTCG_LABEL_SIZE + 40);

/// Copy the agent's uuid, 36 characters, to buf. Returns the length of the uuid.
/// The only error is -EINVAL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn agentcg_uuid(cg: *mut agentcg, buf: *mut c_char, size: usize) -> c_int {
    // SAFETY: the C caller passes valid pointers, as the header's conventions say.
    unsafe {
        boundary::call_without_error(&[Errno::EINVAL], || {
            copy_out_string(agent_or_errno(cg)?.uuid().as_bytes(), buf, size).map_err(|e| e.errno())
        })
    }
}

/// Copy the absolute path of the group's directory, as mounted in the caller's
/// mount namespace, to buf. Returns the length of the path. The only error is
/// -EINVAL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn agentcg_path(cg: *mut agentcg, buf: *mut c_char, size: usize) -> c_int {
    // SAFETY: the C caller passes valid pointers, as the header's conventions say.
    unsafe {
        boundary::call_without_error(&[Errno::EINVAL], || {
            copy_out_parts(&agent_or_errno(cg)?.path_parts(), buf, size).map_err(|e| e.errno())
        })
    }
}

/// Return the descriptor of the group's directory, for CLONE_INTO_CGROUP, Go's
/// SysProcAttr.CgroupFD and posix_spawnattr_setcgroup_np(3). It belongs to the
/// handle: do not close it. The group of a session takes no process: open "own"
/// in it. The only error is -EINVAL. Async-signal-safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn agentcg_fd(cg: *mut agentcg) -> c_int {
    // SAFETY: the C caller passes valid pointers, as the header's conventions say.
    match unsafe { agent_or_errno(cg) } {
        Ok(agent) => agent.as_fd().as_raw_fd(),
        Err(e) => -(e as c_int),
    }
}

/// Read facts about the handle and its group. size is sizeof(*ret_info).
///
/// Returns 0. The errors are the common ones.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn agentcg_get_info(
    cg: *mut agentcg,
    ret_info: *mut agentcg_info,
    size: usize,
    reterr: *mut agentcg_error,
) -> c_int {
    use Errno::*;
    // SAFETY: the C caller passes valid pointers, as the header's conventions say.
    unsafe {
        boundary::call(reterr, &[EACCES, EINVAL, EMFILE, ENFILE, ENODEV, ENOMEM], || {
            let agent = agent(cg)?;
            check_struct(ret_info, size)?;
            let info = agent.info()?;
            let mut c = agentcg_info {
                id: info.id,
                controllers: info.controllers.bits(),
                place: info.place as u32,
                owned: u32::from(info.owned),
                guarded: u32::from(info.guarded),
                ..agentcg_info::default()
            };
            fill(&mut c.session, info.session.as_ref().map_or("", AgentName::as_str));
            // An older caller does not pay for what it does not get.
            if size > agentcg_info::SIZE_V0 {
                let (label, tag) = agent.label_and_tag()?;
                fill(&mut c.label, label.as_ref().map_or("", Label::as_str));
                fill(&mut c.tag, tag.as_ref().map_or("", Tag::as_str));
            }
            copy_out_struct(&c, ret_info, size);
            Ok(0)
        })
    }
}

/// Change the label of the agent. label is as in agentcg_new_options: NULL and ""
/// remove it. Only the owner may change it.
///
/// Returns 0. Errors, besides the common ones:
///   -EACCES      Also: the agent has removed the right to write the attribute, and
///                does so again.
///   -EINVAL      Also: the label is not valid.
///   -ENOSPC      The attributes of the group have no room for it: the agent has
///                filled them.
///   -EOPNOTSUPP  The kernel does not keep attributes of cgroups (before Linux 5.7).
///   -EPERM       The handle is a non-owner's.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn agentcg_set_label(
    cg: *mut agentcg,
    label: *const c_char,
    reterr: *mut agentcg_error,
) -> c_int {
    use Errno::*;
    let codes = [EACCES, EINVAL, EMFILE, ENFILE, ENODEV, ENOMEM, ENOSPC, EOPNOTSUPP, EPERM];
    // SAFETY: the C caller passes valid pointers, as the header's conventions say.
    unsafe {
        boundary::call(reterr, &codes, || {
            agent(cg)?.set_label(text(label, "the label")?)?;
            Ok(0)
        })
    }
}

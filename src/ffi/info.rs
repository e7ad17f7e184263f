// SPDX-License-Identifier: MIT OR Apache-2.0
//! The header's section "facts about a handle".

use super::boundary::{guard, guard_without_memory};
use super::error::agentcg_error;
use super::handle::{agent, agent_quietly, agentcg};
use super::memory::{Plain, check_struct, give_string, give_struct};
use nix::errno::Errno;
use std::ffi::{c_char, c_int};
use std::os::fd::{AsFd, AsRawFd};

#[derive(Clone, Copy, Default)]
#[repr(C)]
pub struct agentcg_info {
    /// the kernel's cgroup id
    pub id: u64,
    /// AGENTCG_CONTROLLER_... in force in it
    pub controllers: u64,
    /// AGENTCG_PLACE_...
    pub place: u32,
    /// 1: this handle is its owner
    pub owned: u32,
    /// 1: it is killed and removed when this process ends; 0 too while the guard is stopped
    pub guarded: u32,
    pub reserved: u32,
}

// SAFETY: repr(C), two u64 and four u32 leave no padding.
unsafe impl Plain for agentcg_info {
    const SIZE_V0: usize = 32;
}

const _: () = assert!(size_of::<agentcg_info>() == agentcg_info::SIZE_V0);

/// Its uuid, 36 characters. Returns their number; -EINVAL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn agentcg_uuid(cg: *mut agentcg, buf: *mut c_char, size: usize) -> c_int {
    // SAFETY: the C caller's promises, as the comment above and the conventions say.
    unsafe {
        guard_without_memory(std::ptr::null_mut(), &[Errno::EINVAL], || {
            give_string(agent(cg)?.uuid().as_bytes(), buf, size)
        })
    }
}

/// Its path, absolute, as mounted here. Returns the length; -EINVAL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn agentcg_path(cg: *mut agentcg, buf: *mut c_char, size: usize) -> c_int {
    // SAFETY: the C caller's promises, as the comment above and the conventions say.
    unsafe {
        guard_without_memory(std::ptr::null_mut(), &[Errno::EINVAL], || {
            give_string(agent(cg)?.path(), buf, size)
        })
    }
}

/// The directory, for CLONE_INTO_CGROUP, Go's SysProcAttr.CgroupFD and
/// posix_spawnattr_setcgroup_np(3). Belongs to the handle: do not close it.
/// Async-signal-safe. -EINVAL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn agentcg_fd(cg: *mut agentcg) -> c_int {
    // SAFETY: the C caller's promise.
    match unsafe { agent_quietly(cg) } {
        Ok(agent) => agent.as_fd().as_raw_fd(),
        Err(e) => -(e as c_int),
    }
}

/// Facts. -EACCES, -EINVAL, -EMFILE, -ENFILE, -ENODEV (the group was removed), -ENOMEM.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn agentcg_get_info(
    cg: *mut agentcg,
    ret_info: *mut agentcg_info,
    size: usize,
    reterr: *mut agentcg_error,
) -> c_int {
    use Errno::*;
    // SAFETY: the C caller's promises, as the comment above and the conventions say.
    unsafe {
        guard(reterr, &[EACCES, EINVAL, EMFILE, ENFILE, ENODEV, ENOMEM], || {
            let agent = agent(cg)?;
            check_struct(ret_info, size)?;
            let info = agent.info()?;
            let c = agentcg_info {
                id: info.id,
                controllers: info.controllers.bits(),
                place: info.place as u32,
                owned: u32::from(info.owned),
                guarded: u32::from(info.guarded),
                ..agentcg_info::default()
            };
            give_struct(&c, ret_info, size);
            Ok(0)
        })
    }
}

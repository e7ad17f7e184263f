// SPDX-License-Identifier: MIT OR Apache-2.0
//! The diagnosis, in the header's section "would it work here?".

use super::boundary::{guard, invalid};
use super::error::agentcg_error;
use super::limits::{self, agentcg_limits};
use super::memory::{Plain, check_struct, give_string, give_struct};
use super::new;
use crate::diagnose::{Diagnosis, diagnose, diagnose_for, feature};
use crate::error::Result;
use nix::errno::Errno;
use std::ffi::{c_char, c_int};

/// cgroup.kill (5.14)
pub const AGENTCG_FEATURE_KILL: u64 = 1u64 << 0;
/// cgroup.freeze (5.2)
pub const AGENTCG_FEATURE_FREEZE: u64 = 1u64 << 1;
/// clone3(CLONE_INTO_CGROUP) works here (tried)
pub const AGENTCG_FEATURE_CLONE_INTO: u64 = 1u64 << 2;
/// memory.peak (5.19)
pub const AGENTCG_FEATURE_MEMORY_PEAK: u64 = 1u64 << 3;
/// pids.peak (6.1)
pub const AGENTCG_FEATURE_PIDS_PEAK: u64 = 1u64 << 4;
/// cpu.pressure and its like
pub const AGENTCG_FEATURE_PRESSURE: u64 = 1u64 << 5;
/// user.* attributes on cgroups (5.7)
pub const AGENTCG_FEATURE_XATTR: u64 = 1u64 << 6;
/// the hierarchy is mounted nsdelegate
pub const AGENTCG_FEATURE_NSDELEGATE: u64 = 1u64 << 7;
/// a systemd manager that would serve us was reached
pub const AGENTCG_FEATURE_SYSTEMD: u64 = 1u64 << 8;

const _: () = {
    assert!(feature::KILL == AGENTCG_FEATURE_KILL);
    assert!(feature::FREEZE == AGENTCG_FEATURE_FREEZE);
    assert!(feature::CLONE_INTO == AGENTCG_FEATURE_CLONE_INTO);
    assert!(feature::MEMORY_PEAK == AGENTCG_FEATURE_MEMORY_PEAK);
    assert!(feature::PIDS_PEAK == AGENTCG_FEATURE_PIDS_PEAK);
    assert!(feature::PRESSURE == AGENTCG_FEATURE_PRESSURE);
    assert!(feature::XATTR == AGENTCG_FEATURE_XATTR);
    assert!(feature::NSDELEGATE == AGENTCG_FEATURE_NSDELEGATE);
    assert!(feature::SYSTEMD == AGENTCG_FEATURE_SYSTEMD);
};

#[derive(Clone, Copy, Default)]
#[repr(C)]
pub struct agentcg_diagnosis {
    /// 0 with a place: agentcg_new() works; else AGENTCG_WHY_...
    pub obstacle: u32,
    /// AGENTCG_PLACE_... it would use, 0 if none
    pub place: u32,
    /// limits that would work: AGENTCG_CONTROLLER_...
    pub controllers: u64,
    /// of cpu, memory and pids, those that would not
    pub missing_controllers: u64,
    /// AGENTCG_FEATURE_...
    pub features: u64,
}

// SAFETY: repr(C), two u32 and three u64 leave no padding.
unsafe impl Plain for agentcg_diagnosis {
    const SIZE_V0: usize = 32;
}

const _: () = assert!(size_of::<agentcg_diagnosis>() == agentcg_diagnosis::SIZE_V0);

/// Find out what agentcg_new() would do here and why, leaving nothing behind.
/// text, which may be NULL with text_size 0, gets a report for people: each
/// place tried, what stopped it, and the commands that mend it (the systemd
/// drop-in, wsl.conf, the container flag). Neither an obstacle nor a place: what
/// stopped it has to do with no place, such as want of descriptors; see text.
/// Where a place is there an agent is made in it for a moment.
/// Returns the text's full length; -EINVAL, -ENOMEM.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn agentcg_diagnose(
    ret_diagnosis: *mut agentcg_diagnosis,
    size: usize,
    text: *mut c_char,
    text_size: usize,
) -> c_int {
    // SAFETY: the C caller's promises, as the comment above and the conventions say.
    unsafe {
        guard(std::ptr::null_mut(), &[Errno::EINVAL, Errno::ENOMEM], || {
            check_struct(ret_diagnosis, size)?;
            if text.is_null() && text_size != 0 {
                return invalid("text is NULL, but its size is not 0");
            }
            give(&diagnose(), ret_diagnosis, size, text, text_size)
        })
    }
}

/// The same for agentcg_new(NULL, NULL, limits, limits_size, flags, ...): the first
/// place is told in which an agent with these limits can be made. Where a place is
/// there they are set in it for a moment. limits may be NULL with limits_size 0;
/// without them, and with flags 0, it is agentcg_diagnose().
///
/// Returns the text's full length; -E2BIG, -EINVAL, -ENOMEM, -ERANGE (a limit out of
/// range).
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn agentcg_diagnose_new(
    limits: *const agentcg_limits,
    limits_size: usize,
    flags: u64,
    ret_diagnosis: *mut agentcg_diagnosis,
    size: usize,
    text: *mut c_char,
    text_size: usize,
    reterr: *mut agentcg_error,
) -> c_int {
    use Errno::*;
    // SAFETY: the C caller's promises, as the comment above and the conventions say.
    unsafe {
        guard(reterr, &[E2BIG, EINVAL, ENOMEM, ERANGE], || {
            check_struct(ret_diagnosis, size)?;
            if text.is_null() && text_size != 0 {
                return invalid("text is NULL, but its size is not 0");
            }
            let (wish, limits) = (new::wish(flags)?, limits::take_new(limits, limits_size)?);
            limits.check()?;
            give(&diagnose_for(wish, &limits), ret_diagnosis, size, text, text_size)
        })
    }
}

/// # Safety
/// As [`give_struct`] and [`give_string`].
unsafe fn give(
    found: &Diagnosis,
    ret_diagnosis: *mut agentcg_diagnosis,
    size: usize,
    text: *mut c_char,
    text_size: usize,
) -> Result<c_int> {
    // SAFETY: the caller's promise.
    unsafe {
        let length = give_string(found.report.as_bytes(), text, text_size)?;
        let c = agentcg_diagnosis {
            obstacle: found.obstacle.map_or(0, |reason| reason as u32),
            place: found.place.map_or(0, |kind| kind as u32),
            controllers: found.controllers.bits(),
            missing_controllers: found.missing_controllers.bits(),
            features: found.features,
        };
        give_struct(&c, ret_diagnosis, size);
        Ok(length)
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The header's section "is it available?": the diagnosis.

use super::boundary::{self, invalid};
use super::error::agentcg_error;
use super::limits::{self, agentcg_limits};
use super::memory::{Plain, check_struct, copy_out_string, copy_out_struct};
use super::new;
use crate::diagnose::{Diagnosis, diagnose, diagnose_for, feature};
use crate::error::Result;
use nix::errno::Errno;
use std::ffi::{c_char, c_int};

/// cgroup.kill is available (Linux 5.14).
pub const AGENTCG_FEATURE_KILL: u64 = 1u64 << 0;
/// cgroup.freeze is available (Linux 5.2).
pub const AGENTCG_FEATURE_FREEZE: u64 = 1u64 << 1;
/// clone3(CLONE_INTO_CGROUP) works. It was tried.
pub const AGENTCG_FEATURE_CLONE_INTO: u64 = 1u64 << 2;
/// memory.peak is available (Linux 5.19).
pub const AGENTCG_FEATURE_MEMORY_PEAK: u64 = 1u64 << 3;
/// pids.peak is available (Linux 6.1).
pub const AGENTCG_FEATURE_PIDS_PEAK: u64 = 1u64 << 4;
/// cpu.pressure, memory.pressure and io.pressure exist.
pub const AGENTCG_FEATURE_PRESSURE: u64 = 1u64 << 5;
/// cgroups take user.* attributes (Linux 5.7).
pub const AGENTCG_FEATURE_XATTR: u64 = 1u64 << 6;
/// The hierarchy is mounted nsdelegate.
pub const AGENTCG_FEATURE_NSDELEGATE: u64 = 1u64 << 7;
/// A systemd manager that serves the caller was reached.
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

/// What agentcg_new() would do in this process, as agentcg_diagnose() finds it.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub struct agentcg_diagnosis {
    /// 0 if agentcg_new() works in place, else AGENTCG_WHY_...
    pub obstacle: u32,
    /// The AGENTCG_PLACE_... that would be used, 0 if there is none.
    pub place: u32,
    /// AGENTCG_CONTROLLER_... whose limits would work.
    pub controllers: u64,
    /// Those of cpu, memory and pids whose limits would not work.
    pub missing_controllers: u64,
    /// AGENTCG_FEATURE_... that were found.
    pub features: u64,
}

// SAFETY: repr(C), two u32 and three u64 leave no padding.
unsafe impl Plain for agentcg_diagnosis {
    const SIZE_V0: usize = 32;
}

const _: () = assert!(size_of::<agentcg_diagnosis>() == agentcg_diagnosis::SIZE_V0);

/// Find out what agentcg_new(NULL, ...) without limits would do, and why. size
/// is sizeof(*ret_diagnosis). text receives a report for people: each place that
/// was tried, what prevents its use, and the commands that remedy it (the
/// systemd drop-in, wsl.conf, the container flag). text may be NULL if text_size
/// is 0.
///
/// If there is a place, an agent is made in it for a moment. Nothing is left
/// behind. If obstacle and place are both 0, the cause is not cgroups (for
/// example, no descriptor is left); see text.
///
/// Returns the full length of the text. An obstacle is not an error: -EACCES and
/// -ENODEV are never returned.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn agentcg_diagnose(
    ret_diagnosis: *mut agentcg_diagnosis,
    size: usize,
    text: *mut c_char,
    text_size: usize,
) -> c_int {
    // SAFETY: the C caller passes valid pointers, as the header's conventions say.
    unsafe {
        boundary::call(std::ptr::null_mut(), &[Errno::EINVAL, Errno::ENOMEM], || {
            check_struct(ret_diagnosis, size)?;
            if text.is_null() && text_size != 0 {
                return invalid("text is NULL, but its size is not 0");
            }
            copy_out(&diagnose(), ret_diagnosis, size, text, text_size)
        })
    }
}

/// Find out what agentcg_new(NULL, NULL, limits, limits_size, flags, ...) would
/// do. This is agentcg_diagnose() with limits and flags: it reports the first
/// place in which an agent with these limits can be made. If there is a place,
/// the limits are set in it for a moment. limits may be NULL if limits_size is
/// 0.
///
/// Returns the full length of the text. -EACCES and -ENODEV are never returned.
/// Errors, besides the common ones:
///   -E2BIG   limits has a bit or a field set that this library does not know.
///   -ERANGE  A limit is out of range.
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
    // SAFETY: the C caller passes valid pointers, as the header's conventions say.
    unsafe {
        boundary::call(reterr, &[E2BIG, EINVAL, ENOMEM, ERANGE], || {
            check_struct(ret_diagnosis, size)?;
            if text.is_null() && text_size != 0 {
                return invalid("text is NULL, but its size is not 0");
            }
            let (request, limits) = (new::place_request(flags)?, limits::copy_in_new(limits, limits_size)?);
            limits.check()?;
            copy_out(&diagnose_for(request, &limits), ret_diagnosis, size, text, text_size)
        })
    }
}

/// Copy a diagnosis to the caller.
///
/// # Safety
/// As for [`copy_out_struct`] and [`copy_out_string`].
unsafe fn copy_out(
    found: &Diagnosis,
    ret_diagnosis: *mut agentcg_diagnosis,
    size: usize,
    text: *mut c_char,
    text_size: usize,
) -> Result<c_int> {
    // SAFETY: as the caller promises.
    unsafe {
        let length = copy_out_string(found.report.as_bytes(), text, text_size)?;
        let c = agentcg_diagnosis {
            obstacle: found.obstacle.map_or(0, |reason| reason as u32),
            place: found.place.map_or(0, |kind| kind as u32),
            controllers: found.controllers.bits(),
            missing_controllers: found.missing_controllers.bits(),
            features: found.features,
        };
        copy_out_struct(&c, ret_diagnosis, size);
        Ok(length)
    }
}

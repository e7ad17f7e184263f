// SPDX-License-Identifier: MIT OR Apache-2.0
//! The header's section "limits".

use super::boundary::invalid;
use super::memory::{Plain, take_struct};
use crate::error::{Error, Result};
use crate::limits::{CpuMax, Limits};
use nix::errno::Errno;

pub const AGENTCG_LIMIT_MEMORY_MAX: u64 = 1u64 << 0;
pub const AGENTCG_LIMIT_MEMORY_HIGH: u64 = 1u64 << 1;
pub const AGENTCG_LIMIT_MEMORY_LOW: u64 = 1u64 << 2;
pub const AGENTCG_LIMIT_MEMORY_MIN: u64 = 1u64 << 3;
pub const AGENTCG_LIMIT_SWAP_MAX: u64 = 1u64 << 4;
pub const AGENTCG_LIMIT_OOM_GROUP: u64 = 1u64 << 5;
pub const AGENTCG_LIMIT_CPU_MAX: u64 = 1u64 << 6;
pub const AGENTCG_LIMIT_CPU_BURST: u64 = 1u64 << 7;
pub const AGENTCG_LIMIT_CPU_WEIGHT: u64 = 1u64 << 8;
pub const AGENTCG_LIMIT_CPU_IDLE: u64 = 1u64 << 9;
pub const AGENTCG_LIMIT_PIDS_MAX: u64 = 1u64 << 10;
pub const AGENTCG_LIMIT_IO_WEIGHT: u64 = 1u64 << 11;
pub const AGENTCG_LIMIT_MAX_DEPTH: u64 = 1u64 << 12;
pub const AGENTCG_LIMIT_MAX_DESCENDANTS: u64 = 1u64 << 13;

pub const AGENTCG_LIMITS_SIZE_V0: usize = 128;

/// Zero it, fill in fields, set their bits in mask. A field whose bit is clear
/// is left as it is; agentcg_new() refuses one that is not 0, since a forgotten
/// bit would mean no limit. AGENTCG_UNLIMITED lifts a limit. memory_low and memory_min
/// protect from a limit on the directory that the agents share; from pressure
/// further up only as far as that directory and those above it have them, too.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub struct agentcg_limits {
    /// AGENTCG_LIMIT_...
    pub mask: u64,
    /// hard limit: over it the OOM killer acts. At least one page
    pub memory_max_bytes: u64,
    /// over it the group is throttled and reclaimed
    pub memory_high_bytes: u64,
    /// best-effort protection
    pub memory_low_bytes: u64,
    /// hard protection
    pub memory_min_bytes: u64,
    /// 0: no swap, so that memory_max bounds it all
    pub swap_max_bytes: u64,
    /// 1: an OOM kills the whole group, never half of it
    pub oom_group: u64,
    /// 500 = half of one CPU, 2000 = two; 1 or more
    pub cpu_max_millicpu: u64,
    /// 0: 100000, made longer where the quota would fall under the kernel's 1000 us
    pub cpu_period_us: u64,
    pub cpu_burst_us: u64,
    /// 1 to 10000, the kernel's default is 100
    pub cpu_weight: u64,
    /// 1: only idle CPU time
    pub cpu_idle: u64,
    /// threads, and zombies not yet waited for, count
    pub pids_max: u64,
    /// 1 to 10000
    pub io_weight: u64,
    /// levels of cgroups the agent may make inside
    pub max_depth: u64,
    /// cgroups the agent may make inside
    pub max_descendants: u64,
}

const KNOWN: u64 = (AGENTCG_LIMIT_MAX_DESCENDANTS << 1) - 1;

const _: () = assert!(size_of::<agentcg_limits>() == AGENTCG_LIMITS_SIZE_V0);

// SAFETY: repr(C), and sixteen u64 leave no padding.
unsafe impl Plain for agentcg_limits {
    const SIZE_V0: usize = AGENTCG_LIMITS_SIZE_V0;
}

/// The caller's limits, NULL being none.
///
/// # Safety
/// As [`take_struct`].
pub unsafe fn take(limits: *const agentcg_limits, size: usize) -> Result<Limits> {
    // SAFETY: the caller's promise.
    match unsafe { take_struct(limits, size) }? {
        Some(limits) => limits.try_into(),
        None => Ok(Limits::default()),
    }
}

/// The limits of a new group: as [`take`], and no field is set without its bit.
///
/// # Safety
/// As [`take_struct`].
pub unsafe fn take_new(limits: *const agentcg_limits, size: usize) -> Result<Limits> {
    // SAFETY: the caller's promise.
    match unsafe { take_struct(limits, size) }? {
        Some(limits) => {
            no_bit_is_forgotten(&limits)?;
            limits.try_into()
        }
        None => Ok(Limits::default()),
    }
}

fn no_bit_is_forgotten(c: &agentcg_limits) -> Result<()> {
    let fields = [
        ("memory_max_bytes", c.memory_max_bytes, AGENTCG_LIMIT_MEMORY_MAX, "MEMORY_MAX"),
        ("memory_high_bytes", c.memory_high_bytes, AGENTCG_LIMIT_MEMORY_HIGH, "MEMORY_HIGH"),
        ("memory_low_bytes", c.memory_low_bytes, AGENTCG_LIMIT_MEMORY_LOW, "MEMORY_LOW"),
        ("memory_min_bytes", c.memory_min_bytes, AGENTCG_LIMIT_MEMORY_MIN, "MEMORY_MIN"),
        ("swap_max_bytes", c.swap_max_bytes, AGENTCG_LIMIT_SWAP_MAX, "SWAP_MAX"),
        ("oom_group", c.oom_group, AGENTCG_LIMIT_OOM_GROUP, "OOM_GROUP"),
        ("cpu_max_millicpu", c.cpu_max_millicpu, AGENTCG_LIMIT_CPU_MAX, "CPU_MAX"),
        ("cpu_period_us", c.cpu_period_us, AGENTCG_LIMIT_CPU_MAX, "CPU_MAX"),
        ("cpu_burst_us", c.cpu_burst_us, AGENTCG_LIMIT_CPU_BURST, "CPU_BURST"),
        ("cpu_weight", c.cpu_weight, AGENTCG_LIMIT_CPU_WEIGHT, "CPU_WEIGHT"),
        ("cpu_idle", c.cpu_idle, AGENTCG_LIMIT_CPU_IDLE, "CPU_IDLE"),
        ("pids_max", c.pids_max, AGENTCG_LIMIT_PIDS_MAX, "PIDS_MAX"),
        ("io_weight", c.io_weight, AGENTCG_LIMIT_IO_WEIGHT, "IO_WEIGHT"),
        ("max_depth", c.max_depth, AGENTCG_LIMIT_MAX_DEPTH, "MAX_DEPTH"),
        ("max_descendants", c.max_descendants, AGENTCG_LIMIT_MAX_DESCENDANTS, "MAX_DESCENDANTS"),
    ];
    match fields.iter().find(|(_, value, bit, _)| *value != 0 && c.mask & bit == 0) {
        None => Ok(()),
        Some((field, value, _, bit)) => invalid(format!(
            "limits.{field} is {value}, but AGENTCG_LIMIT_{bit} is not in limits.mask: set the bit, or the field to 0"
        )),
    }
}

impl TryFrom<agentcg_limits> for Limits {
    type Error = Error;

    fn try_from(c: agentcg_limits) -> Result<Self> {
        if c.mask & !KNOWN != 0 {
            let unknown = c.mask & !KNOWN;
            return Err(Error::new(
                Errno::E2BIG,
                format!("limits.mask has bits that this version of libagentcg does not know: {unknown:#x}"),
            ));
        }
        let asked = |bit: u64, value: u64| (c.mask & bit != 0).then_some(value);
        let flag = |bit, value, file| match asked(bit, value) {
            None => Ok(None),
            Some(value @ (0 | 1)) => Ok(Some(value == 1)),
            Some(value) => {
                Err(Error::new(Errno::ERANGE, format!("{file} out of range: {value} is neither 0 nor 1"))
                    .on(file))
            }
        };
        Ok(Self {
            memory_max: asked(AGENTCG_LIMIT_MEMORY_MAX, c.memory_max_bytes),
            memory_high: asked(AGENTCG_LIMIT_MEMORY_HIGH, c.memory_high_bytes),
            memory_low: asked(AGENTCG_LIMIT_MEMORY_LOW, c.memory_low_bytes),
            memory_min: asked(AGENTCG_LIMIT_MEMORY_MIN, c.memory_min_bytes),
            swap_max: asked(AGENTCG_LIMIT_SWAP_MAX, c.swap_max_bytes),
            oom_group: flag(AGENTCG_LIMIT_OOM_GROUP, c.oom_group, "memory.oom.group")?,
            cpu_max: asked(AGENTCG_LIMIT_CPU_MAX, c.cpu_max_millicpu)
                .map(|millicpu| CpuMax { millicpu, period_us: c.cpu_period_us }),
            cpu_burst_us: asked(AGENTCG_LIMIT_CPU_BURST, c.cpu_burst_us),
            cpu_weight: asked(AGENTCG_LIMIT_CPU_WEIGHT, c.cpu_weight),
            cpu_idle: flag(AGENTCG_LIMIT_CPU_IDLE, c.cpu_idle, "cpu.idle")?,
            pids_max: asked(AGENTCG_LIMIT_PIDS_MAX, c.pids_max),
            io_weight: asked(AGENTCG_LIMIT_IO_WEIGHT, c.io_weight),
            max_depth: asked(AGENTCG_LIMIT_MAX_DEPTH, c.max_depth),
            max_descendants: asked(AGENTCG_LIMIT_MAX_DESCENDANTS, c.max_descendants),
        })
    }
}

impl From<Limits> for agentcg_limits {
    fn from(limits: Limits) -> Self {
        let mut mask = 0;
        let mut told = |bit: u64, value: Option<u64>| {
            mask |= value.map_or(0, |_| bit);
            value.unwrap_or_default()
        };
        let c = Self {
            mask: 0,
            memory_max_bytes: told(AGENTCG_LIMIT_MEMORY_MAX, limits.memory_max),
            memory_high_bytes: told(AGENTCG_LIMIT_MEMORY_HIGH, limits.memory_high),
            memory_low_bytes: told(AGENTCG_LIMIT_MEMORY_LOW, limits.memory_low),
            memory_min_bytes: told(AGENTCG_LIMIT_MEMORY_MIN, limits.memory_min),
            swap_max_bytes: told(AGENTCG_LIMIT_SWAP_MAX, limits.swap_max),
            oom_group: told(AGENTCG_LIMIT_OOM_GROUP, limits.oom_group.map(u64::from)),
            cpu_max_millicpu: told(AGENTCG_LIMIT_CPU_MAX, limits.cpu_max.map(|max| max.millicpu)),
            cpu_period_us: limits.cpu_max.map_or(0, |max| max.period_us),
            cpu_burst_us: told(AGENTCG_LIMIT_CPU_BURST, limits.cpu_burst_us),
            cpu_weight: told(AGENTCG_LIMIT_CPU_WEIGHT, limits.cpu_weight),
            cpu_idle: told(AGENTCG_LIMIT_CPU_IDLE, limits.cpu_idle.map(u64::from)),
            pids_max: told(AGENTCG_LIMIT_PIDS_MAX, limits.pids_max),
            io_weight: told(AGENTCG_LIMIT_IO_WEIGHT, limits.io_weight),
            max_depth: told(AGENTCG_LIMIT_MAX_DEPTH, limits.max_depth),
            max_descendants: told(AGENTCG_LIMIT_MAX_DESCENDANTS, limits.max_descendants),
        };
        Self { mask, ..c }
    }
}

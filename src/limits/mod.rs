// SPDX-License-Identifier: MIT OR Apache-2.0
//! The limits of a group. The kernel does not check values strictly: `memory.max` wraps above 64 bits, `cpu.max` accepts
//! `1000.5 100000` and trailing garbage, and an empty write succeeds. Therefore the library checks each value before it
//! writes any, and reads each value back.

mod change;
mod cpu;
mod inspect;
mod setting;

pub use cpu::CpuMax;

use crate::cgroupfs::Dir;
use crate::cgroupfs::controllers::Controllers;
use crate::error::{Error, Result};
use crate::parse::UNLIMITED;
use cpu::burst;
use nix::errno::Errno;
use setting::{Setting, Value};
use std::ffi::CStr;

/// Limits to set. `None` leaves a limit as it is. [`UNLIMITED`] removes it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes. Above this the OOM killer kills. At least one page.
    pub memory_max: Option<u64>,
    /// Bytes. Above this the kernel throttles the group and reclaims its memory.
    pub memory_high: Option<u64>,
    /// Bytes. Best-effort protection from reclaim. As with `memory_min`, pressure from above the directory of the agents is
    /// only held off as far as that directory and those above it have protection, too.
    pub memory_low: Option<u64>,
    /// Bytes. Hard protection from reclaim.
    pub memory_min: Option<u64>,
    /// Bytes. With 0 the group has no swap, and `memory_max` bounds all its memory.
    pub swap_max: Option<u64>,
    /// If true, an OOM kills the whole group.
    pub oom_group: Option<bool>,
    /// The CPU bandwidth.
    pub cpu_max: Option<CpuMax>,
    /// Microseconds of unused quota that the group may accumulate.
    pub cpu_burst_us: Option<u64>,
    /// The CPU weight, 1 to 10000. The kernel's default is 100.
    pub cpu_weight: Option<u64>,
    /// If true, the group only gets CPU time that no other group wants.
    pub cpu_idle: Option<bool>,
    /// The number of threads. Zombies count until they are reaped.
    pub pids_max: Option<u64>,
    /// The I/O weight, 1 to 10000.
    pub io_weight: Option<u64>,
    /// How many levels of cgroups the agent may create in its group.
    pub max_depth: Option<u64>,
    /// How many cgroups the agent may create in its group.
    pub max_descendants: Option<u64>,
}

/// PID_MAX_LIMIT on 64 bits, the largest value that kernel/cgroup/pids.c accepts.
const PIDS_MOST: u64 = 4_194_304;

impl Limits {
    /// Checks all limits, then writes all to a new group. A failure leaves some of them set; the caller removes the group.
    pub fn apply(&self, dir: &Dir, path: &[u8]) -> Result<()> {
        for setting in self.settings()? {
            setting.write(dir, path)?;
        }
        Ok(())
    }

    /// Checks that all values are in range, without the kernel.
    pub fn check(&self) -> Result<()> {
        self.settings().map(drop)
    }

    /// Returns those that say how the children of one cgroup share something: shares and protection. They have no effect on what
    /// is outside of the parent.
    pub fn shares(&self) -> Self {
        Self {
            memory_low: self.memory_low,
            memory_min: self.memory_min,
            cpu_weight: self.cpu_weight,
            cpu_idle: self.cpu_idle,
            io_weight: self.io_weight,
            ..Self::default()
        }
    }

    /// Returns true if each limit is missing or has the value that the kernel gives it in a new cgroup.
    pub fn are_default(&self) -> bool {
        let is = |value: Option<u64>, default| value.is_none_or(|value| value == default);
        is(self.memory_max, UNLIMITED)
            && is(self.memory_high, UNLIMITED)
            && is(self.memory_low, 0)
            && is(self.memory_min, 0)
            && is(self.swap_max, UNLIMITED)
            && self.oom_group != Some(true)
            // Without a quota the period has no effect.
            && is(self.cpu_max.map(|max| max.millicpu), UNLIMITED)
            && is(self.cpu_burst_us, 0)
            && is(self.cpu_weight, 100)
            && self.cpu_idle != Some(true)
            && is(self.pids_max, UNLIMITED)
            && is(self.io_weight, 100)
            && is(self.max_depth, UNLIMITED)
            && is(self.max_descendants, UNLIMITED)
    }

    /// Returns the controllers that the limits need. Returns none if a limit is out of range.
    pub fn controllers(&self) -> Controllers {
        let settings = self.settings().unwrap_or_default();
        settings.iter().filter(|one| !one.is_moot()).fold(Controllers::NONE, |sum, one| sum | one.controller)
    }

    /// Returns the files to which these limits are written.
    pub fn files(&self) -> Result<Vec<&'static CStr>> {
        Ok(self.settings()?.iter().map(|setting| setting.file).collect())
    }

    /// Returns the files and values in the order of the writes. The order works for a group with the kernel's defaults:
    /// first the values that the kernel may refuse, last those for which it may kill. `cpu.idle` comes before the weight,
    /// because an idle group accepts no weight; swap and `memory.high` come before the `memory.max` that they make room for.
    fn settings(&self) -> Result<Vec<Setting>> {
        const MEMORY: Controllers = Controllers::MEMORY;
        const CPU: Controllers = Controllers::CPU;
        let mut all = Vec::new();
        let mut add = |file, controller, value: Option<Value>| {
            all.extend(value.map(|value| Setting { file, controller, value }));
        };
        let bytes = |value: Option<u64>| value.map(Value::Bytes);
        let flag = |value: Option<bool>| value.map(|on| Value::Count(on.into()));
        let int_max = i32::MAX as u64;

        if self.cpu_idle == Some(true) && self.cpu_weight.is_some() {
            return Err(Error::new(
                Errno::EINVAL,
                "cpu_idle and cpu_weight exclude each other: an idle group has no weight",
            )
            .on("cpu.idle"));
        }
        add(c"cpu.idle", CPU, flag(self.cpu_idle));
        add(c"cpu.weight", CPU, count(c"cpu.weight", self.cpu_weight, 1..=10_000, false)?);
        let cpu_max = self.cpu_max.map(CpuMax::quota).transpose()?;
        add(c"cpu.max", CPU, cpu_max);
        add(c"cpu.max.burst", CPU, burst(self.cpu_burst_us, cpu_max)?);

        add(c"pids.max", Controllers::PIDS, count(c"pids.max", self.pids_max, 0..=PIDS_MOST, true)?);
        add(c"io.weight", Controllers::IO, count(c"io.weight", self.io_weight, 1..=10_000, false)?);
        // The kernel stores an int, whose largest value means "max".
        let nesting = |value: Option<u64>| value.map(|most| if most == int_max { UNLIMITED } else { most });
        let depth = count(c"cgroup.max.depth", nesting(self.max_depth), 0..=int_max, true)?;
        add(c"cgroup.max.depth", Controllers::NONE, depth);
        let descendants = count(c"cgroup.max.descendants", nesting(self.max_descendants), 0..=int_max, true)?;
        add(c"cgroup.max.descendants", Controllers::NONE, descendants);

        let page = page_bytes();
        if self.memory_max.is_some_and(|max| max < page) {
            return Err(out_of_range(
                c"memory.max",
                format!("less than a page ({page} bytes) kills whatever enters"),
            ));
        }
        add(c"memory.oom.group", MEMORY, flag(self.oom_group));
        add(c"memory.min", MEMORY, bytes(self.memory_min));
        add(c"memory.low", MEMORY, bytes(self.memory_low));
        add(c"memory.swap.max", MEMORY, bytes(self.swap_max));
        add(c"memory.high", MEMORY, bytes(self.memory_high));
        add(c"memory.max", MEMORY, bytes(self.memory_max));
        Ok(all)
    }
}

fn count(
    file: &'static CStr,
    value: Option<u64>,
    range: std::ops::RangeInclusive<u64>,
    may_be_unlimited: bool,
) -> Result<Option<Value>> {
    let Some(value) = value else { return Ok(None) };
    if range.contains(&value) || (may_be_unlimited && value == UNLIMITED) {
        return Ok(Some(Value::Count(value)));
    }
    let (least, most) = range.into_inner();
    Err(out_of_range(file, format!("{value} is not within {least} to {most}")))
}

fn out_of_range(file: &'static CStr, why: String) -> Error {
    let file = name(file);
    Error::new(Errno::ERANGE, format_args!("{file} out of range: {why}")).on(file)
}

fn page_bytes() -> u64 {
    let size = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE);
    size.ok().flatten().and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(4096)
}

fn name(file: &'static CStr) -> &'static str {
    file.to_str().unwrap_or_default()
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

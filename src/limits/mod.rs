// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an agent may use. The kernel does not check for us: `memory.max` wraps above 64 bits,
//! `cpu.max` takes `1000.5 100000` and trailing junk, an empty write "succeeds". So each value is
//! checked before any is written, and read back afterwards.

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

/// Limits to set; what is `None` is left as it is. [`UNLIMITED`] lifts a limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes; over it the OOM killer acts. At least one page.
    pub memory_max: Option<u64>,
    /// Bytes; over it the group is throttled and reclaimed.
    pub memory_high: Option<u64>,
    /// Bytes; best-effort protection. Like `memory_min`, from pressure above the directory that the agents share
    /// only as far as that one and those above it have it, too.
    pub memory_low: Option<u64>,
    /// Bytes; hard protection.
    pub memory_min: Option<u64>,
    /// Bytes; 0 for no swap, so that `memory_max` bounds it all.
    pub swap_max: Option<u64>,
    /// An OOM kills the whole group, never half of it.
    pub oom_group: Option<bool>,
    /// CPU bandwidth.
    pub cpu_max: Option<CpuMax>,
    /// Microseconds of unused quota that may be saved up.
    pub cpu_burst_us: Option<u64>,
    /// 1 to 10000; the kernel's default is 100.
    pub cpu_weight: Option<u64>,
    /// Only idle CPU time.
    pub cpu_idle: Option<bool>,
    /// Threads; zombies not yet waited for count.
    pub pids_max: Option<u64>,
    /// 1 to 10000.
    pub io_weight: Option<u64>,
    /// Levels of cgroups that the agent may make inside.
    pub max_depth: Option<u64>,
    /// Cgroups that the agent may make inside.
    pub max_descendants: Option<u64>,
}

/// PID_MAX_LIMIT on 64 bits: kernel/cgroup/pids.c takes no more.
const PIDS_MOST: u64 = 4_194_304;

impl Limits {
    /// Check all, then write all. A failure leaves some of them set: the caller removes the group.
    pub fn apply(&self, dir: &Dir, path: &[u8]) -> Result<()> {
        for setting in self.settings()? {
            setting.write(dir, path)?;
        }
        Ok(())
    }

    /// Whether all values are in range: everything that can be known without a kernel.
    pub fn check(&self) -> Result<()> {
        self.settings().map(drop)
    }

    /// What the group has to have for them. Nothing, where they are out of range.
    pub fn controllers(&self) -> Controllers {
        let settings = self.settings().unwrap_or_default();
        settings.iter().filter(|one| !one.is_moot()).fold(Controllers::NONE, |sum, one| sum | one.controller)
    }

    /// The files to write, in an order that works for a group at its defaults, and for any other as
    /// far as the order does not depend on what it has: first what the kernel may refuse, last what
    /// it may kill for. Not idle before the weight, which an idle group does not take; swap and
    /// memory.high before the memory.max that they make room for.
    /// The files that these limits are written to.
    pub fn files(&self) -> Result<Vec<&'static CStr>> {
        Ok(self.settings()?.iter().map(|setting| setting.file).collect())
    }

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
        // An int, whose largest value is the kernel's own "max".
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
    Error::new(Errno::ERANGE, format!("{file} out of range: {why}")).on(file)
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

// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an agent may use. The kernel does not check for us: `memory.max` wraps above 64 bits,
//! `cpu.max` takes `1000.5 100000` and trailing junk, an empty write "succeeds". So each value is
//! checked before any is written, and read back afterwards.

mod cpu;

pub use cpu::CpuMax;

use crate::cgroupfs::{Dir, FILE_MAX};
use crate::controllers::Controllers;
use crate::error::{Error, Reason, Result, shown, words};
use crate::parse::{self, UNLIMITED};
use crate::procfs;
use cpu::burst;
use nix::errno::Errno;
use std::ffi::CStr;

/// Limits to set; what is `None` is left as it is. [`UNLIMITED`] lifts a limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes; over it the OOM killer acts. At least one page.
    pub memory_max: Option<u64>,
    /// Bytes; over it the group is throttled and reclaimed.
    pub memory_high: Option<u64>,
    /// Bytes; best-effort protection.
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

/// One file to write.
struct Setting {
    file: &'static CStr,
    controller: Controllers,
    value: Value,
}

#[derive(Clone, Copy)]
enum Value {
    /// The kernel keeps whole pages.
    Bytes(u64),
    Count(u64),
    CpuMax {
        quota_us: u64,
        period_us: u64,
    },
}

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

    /// The files to write, in their order: what protects before what limits, the weight before idle.
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

        let page = page_bytes();
        if self.memory_max.is_some_and(|max| max < page) {
            return Err(out_of_range(
                c"memory.max",
                format!("less than a page ({page} bytes) kills whatever enters"),
            ));
        }
        add(c"memory.min", MEMORY, bytes(self.memory_min));
        add(c"memory.low", MEMORY, bytes(self.memory_low));
        add(c"memory.high", MEMORY, bytes(self.memory_high));
        add(c"memory.max", MEMORY, bytes(self.memory_max));
        add(c"memory.swap.max", MEMORY, bytes(self.swap_max));
        add(c"memory.oom.group", MEMORY, flag(self.oom_group));

        if self.cpu_idle == Some(true) && self.cpu_weight.is_some() {
            return Err(Error::new(
                Errno::EINVAL,
                "cpu_idle and cpu_weight exclude each other: an idle group has no weight",
            )
            .on("cpu.idle"));
        }
        add(c"cpu.weight", CPU, count(c"cpu.weight", self.cpu_weight, 1..=10_000, false)?);
        let cpu_max = self.cpu_max.map(CpuMax::quota).transpose()?;
        add(c"cpu.max", CPU, cpu_max);
        add(c"cpu.max.burst", CPU, burst(self.cpu_burst_us, cpu_max)?);
        add(c"cpu.idle", CPU, flag(self.cpu_idle));

        add(c"pids.max", Controllers::PIDS, count(c"pids.max", self.pids_max, 0..=PIDS_MOST, true)?);
        add(c"io.weight", Controllers::IO, count(c"io.weight", self.io_weight, 1..=10_000, false)?);
        // An int, whose largest value is the kernel's own "max".
        let nesting = |value: Option<u64>| value.map(|most| if most == int_max { UNLIMITED } else { most });
        let depth = count(c"cgroup.max.depth", nesting(self.max_depth), 0..=int_max, true)?;
        add(c"cgroup.max.depth", Controllers::NONE, depth);
        let descendants = count(c"cgroup.max.descendants", nesting(self.max_descendants), 0..=int_max, true)?;
        add(c"cgroup.max.descendants", Controllers::NONE, descendants);
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

impl Setting {
    fn write(&self, dir: &Dir, path: &[u8]) -> Result<()> {
        let text = self.value.text();
        let mut buf = [0; FILE_MAX];
        match dir.set(self.file, text.as_bytes(), &mut buf) {
            Ok(kernel_has) if self.value.is(kernel_has) => Ok(()),
            Ok(kernel_has) => {
                let kernel_has = String::from_utf8_lossy(kernel_has);
                let kernel_has = kernel_has.trim_end();
                Err(self.failed(Errno::ERANGE, path, &format!("the kernel made \"{kernel_has}\" of it")))
            }
            Err(Errno::ENOENT) if self.is_moot() => Ok(()),
            Err(Errno::ENOENT) => Err(self.absent(dir, path)),
            Err(e @ Errno::ENODEV) => {
                Err(self.failed(e, path, "the group was removed").because(Reason::Gone))
            }
            Err(e @ Errno::EACCES) => Err(self.failed(e, path, words(e)).because(Reason::NotDelegated)),
            Err(e) => Err(self.failed(e, path, words(e))),
        }
    }

    /// No swap was asked for, and the file is missing where there is none to be had.
    fn is_moot(&self) -> bool {
        let no_swap = matches!(self.value, Value::Bytes(0)) && self.file == c"memory.swap.max";
        no_swap && procfs::swap_is_off()
    }

    fn absent(&self, dir: &Dir, path: &[u8]) -> Error {
        let mut buf = [0; FILE_MAX];
        let have = dir.read(c"cgroup.controllers", &mut buf).map(Controllers::listed);
        if have.is_ok_and(|have| have.contains(self.controller)) {
            return self
                .failed(Errno::EOPNOTSUPP, path, "this kernel has no such file")
                .because(Reason::NoController);
        }
        let (file, controller) = (name(self.file), self.controller);
        let message = match holder(self.controller, dir, path) {
            Some(above) => format!(
                "cannot set {file}: no {controller} controller here; the owner of {} must enable it in its cgroup.subtree_control",
                shown(above)
            ),
            None => format!(
                "cannot set {file}: no {controller} controller in cgroup2; v1 has it (boot with systemd.unified_cgroup_hierarchy=1) or the kernel has none"
            ),
        };
        Error::new(Errno::EOPNOTSUPP, message).because(Reason::NoController).on(file)
    }

    fn failed(&self, errno: Errno, path: &[u8], why: &str) -> Error {
        let file = name(self.file);
        // The parent says more than the uuid, and leaves room for the reason.
        let group = shown(parse::split_last(path).0);
        Error::new(errno, format!("cannot set {file} to {} in {group}: {why}", self.value.text())).on(file)
    }
}

/// The nearest cgroup above that has the controller, and could give it to those below it.
fn holder<'a>(controller: Controllers, dir: &Dir, path: &'a [u8]) -> Option<&'a [u8]> {
    let mut above = dir.child(c"..").ok()?;
    let mut path = parse::split_last(path).0;
    loop {
        // Past the top of the mount there is no such file.
        let has = above.read(c"cgroup.controllers", &mut [0; FILE_MAX]).map(Controllers::listed).ok()?;
        if has.contains(controller) {
            return Some(path);
        }
        above = above.child(c"..").ok()?;
        path = parse::split_last(path).0;
    }
}

impl Value {
    fn text(self) -> String {
        let or_max = |value: u64| if value == UNLIMITED { "max".to_owned() } else { value.to_string() };
        match self {
            Self::Bytes(value) | Self::Count(value) => or_max(value),
            Self::CpuMax { quota_us, period_us } => format!("{} {period_us}", or_max(quota_us)),
        }
    }

    /// Whether this is what the kernel reads back.
    fn is(self, text: &[u8]) -> bool {
        match self {
            Self::Bytes(value) => parse::limit(text) == Some(whole_pages(value)),
            Self::Count(value) => parse::limit(text.strip_prefix(b"default ").unwrap_or(text)) == Some(value),
            Self::CpuMax { quota_us, period_us } => parse::cpu_max(text) == Some((quota_us, period_us)),
        }
    }
}

/// What page_counter makes of a number of bytes: whole pages, and from LONG_MAX bytes on no limit.
fn whole_pages(bytes: u64) -> u64 {
    let page = page_bytes();
    let pages = bytes / page;
    if pages >= i64::MAX as u64 / page { UNLIMITED } else { pages * page }
}

fn page_bytes() -> u64 {
    let size = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE);
    size.ok().flatten().and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(4096)
}

fn name(file: &'static CStr) -> &'static str {
    file.to_str().unwrap_or_default()
}

#[cfg(test)]
#[path = "limits/tests.rs"]
mod tests;

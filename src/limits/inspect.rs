// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads the limits of a group from the kernel.

use super::setting::plain;
use super::{CpuMax, Limits};
use crate::cgroupfs::{Dir, FILE_MAX, FileError};
use crate::parse;
use nix::errno::Errno;
use std::ffi::CStr;

type Result<T> = std::result::Result<T, FileError>;

impl Limits {
    /// Reads all limits. A limit is `None` if its file does not exist or has an unknown format.
    pub fn of(dir: &Dir) -> Result<Self> {
        let limit = |file| read(dir, file, |text| parse::limit(plain(text)));
        let flag = |file| Ok(limit(file)?.map(|value| value != 0));
        let cpu_idle = flag(c"cpu.idle")?;
        Ok(Self {
            memory_max: limit(c"memory.max")?,
            memory_high: limit(c"memory.high")?,
            memory_low: limit(c"memory.low")?,
            memory_min: limit(c"memory.min")?,
            swap_max: limit(c"memory.swap.max")?,
            oom_group: flag(c"memory.oom.group")?,
            cpu_max: read(dir, c"cpu.max", parse::cpu_max)?.map(|(quota, period)| CpuMax::of(quota, period)),
            cpu_burst_us: limit(c"cpu.max.burst")?,
            // For an idle group the kernel shows 0 or 1, which it would not accept as a weight.
            cpu_weight: if cpu_idle == Some(true) { None } else { limit(c"cpu.weight")? },
            cpu_idle,
            pids_max: limit(c"pids.max")?,
            io_weight: limit(c"io.weight")?,
            max_depth: limit(c"cgroup.max.depth")?,
            max_descendants: limit(c"cgroup.max.descendants")?,
        })
    }
}

fn read<T>(dir: &Dir, file: &'static CStr, value: impl Fn(&[u8]) -> Option<T>) -> Result<Option<T>> {
    match dir.read(file, &mut [0; FILE_MAX]) {
        Ok(text) => Ok(value(text)),
        Err(Errno::ENOENT) => Ok(None),
        Err(e) => Err((e, file)),
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads the limits of a group from the kernel.

use super::setting::plain;
use super::{CpuMax, Limits};
use crate::cgroupfs::overrides::Overrides;
use crate::cgroupfs::{Dir, FileError};
use crate::parse;
use nix::errno::Errno;
use std::ffi::CStr;

type Result<T> = std::result::Result<T, FileError>;

impl Limits {
    /// Reads all limits. A limit is `None` if its file does not exist or has an unknown format. While calls override a file,
    /// its limit is the one that they restore.
    pub fn of(dir: &Dir, overrides: &Overrides) -> Result<Self> {
        let group = (dir, overrides);
        let limit = |file| read(group, file, |text| parse::limit(plain(text)));
        let flag = |file| Ok(limit(file)?.map(|value| value != 0));
        let cpu_idle = flag(c"cpu.idle")?;
        Ok(Self {
            memory_max: limit(c"memory.max")?,
            memory_high: limit(c"memory.high")?,
            memory_low: limit(c"memory.low")?,
            memory_min: limit(c"memory.min")?,
            swap_max: limit(c"memory.swap.max")?,
            oom_group: flag(c"memory.oom.group")?,
            cpu_max: read(group, c"cpu.max", parse::cpu_max)?
                .map(|(quota, period)| CpuMax::of(quota, period)),
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

fn read<T>(
    (dir, overrides): (&Dir, &Overrides),
    file: &'static CStr,
    value: impl Fn(&[u8]) -> Option<T>,
) -> Result<Option<T>> {
    match overrides.permanent_value(file, |buf| dir.read(file, buf), value) {
        Ok(value) => Ok(value),
        Err(Errno::ENOENT) => Ok(None),
        Err(e) => Err((e, file)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroupfs::overrides::tests::{FILE, of_this_thread, value};

    #[test]
    fn a_limit_that_a_kill_overrides_is_read_as_the_one_that_it_restores() {
        let (dir, overrides) = (of_this_thread(), Overrides::default());
        dir.write(FILE, b"before").expect("it can be written");
        let limit = || read((&dir, &overrides), FILE, |text| Some(text.trim_ascii_end().to_vec()));
        let kill = overrides.begin();
        assert_eq!(kill.set(&dir, FILE, b"lifted", |_| true), Ok(true));
        assert_eq!((limit(), value(&dir).as_str()), (Ok(Some(b"before".to_vec())), "lifted"));
        assert_eq!(kill.restore(&dir), Ok(()));
        assert_eq!(limit(), Ok(Some(b"before".to_vec())));
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an agent uses. Each file is read by one pread(2) on a kept descriptor, which the kernel answers
//! with one consistent snapshot; several files are several moments. What a file or a key of it does not
//! offer here is marked as not read: never a made-up zero.

use crate::cgroupfs::{Dir, Kept};
use crate::parse;
use nix::errno::Errno;
use nix::time::{ClockId, clock_gettime};

/// `cpu.stat`, there even with no controller.
pub const CPU: u64 = 1 << 0;
/// `memory.current`.
pub const MEMORY: u64 = 1 << 1;
/// `cpu.stat`, what the cpu controller adds.
pub const CPU_THROTTLE: u64 = 1 << 2;
/// `pids.current`.
pub const PIDS: u64 = 1 << 7;
/// `cgroup.events` and `cgroup.stat`.
pub const STATE: u64 = 1 << 14;

/// Measurements. `mask` says which were really read; the rest is 0.
///
/// New fields are only ever added at the end, each with a bit of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
#[allow(missing_docs, reason = "the kernel's words, with their units, say it")]
pub struct Stats {
    /// AGENTCG_STAT_... that were really read
    pub mask: u64,
    /// CLOCK_MONOTONIC of the reading, for rates
    pub time_ns: u64,
    /// CPU time, user and system
    pub cpu_usage_ns: u64,
    pub cpu_user_ns: u64,
    pub cpu_system_ns: u64,
    /// periods of cpu_max
    pub cpu_nr_periods: u64,
    /// those in which it held the group back
    pub cpu_nr_throttled: u64,
    pub cpu_throttled_ns: u64,
    pub memory_current_bytes: u64,
    pub memory_peak_bytes: u64,
    pub swap_current_bytes: u64,
    /// 0 before Linux 6.5
    pub swap_peak_bytes: u64,
    pub memory_anon_bytes: u64,
    pub memory_file_bytes: u64,
    pub memory_kernel_bytes: u64,
    pub memory_shmem_bytes: u64,
    pub memory_events_high: u64,
    pub memory_events_max: u64,
    pub memory_events_oom: u64,
    /// processes killed: the one to watch
    pub memory_events_oom_kill: u64,
    pub memory_events_oom_group_kill: u64,
    /// threads, zombies not yet waited for included
    pub pids_current: u64,
    pub pids_peak: u64,
    pub pids_events_max: u64,
    /// io: summed over devices
    pub io_read_bytes: u64,
    pub io_write_bytes: u64,
    pub io_reads: u64,
    pub io_writes: u64,
    /// pressure: total stall time
    pub cpu_pressure_some_us: u64,
    pub memory_pressure_some_us: u64,
    pub memory_pressure_full_us: u64,
    pub io_pressure_some_us: u64,
    pub io_pressure_full_us: u64,
    /// 1 while a process lives in the group or below
    pub populated: u64,
    pub frozen: u64,
    /// cgroups below
    pub nr_descendants: u64,
    /// removed, but the kernel still holds memory for them
    pub nr_dying_descendants: u64,
}

/// The files of one group that are read again and again.
#[derive(Debug)]
pub struct Files {
    cpu_stat: Kept,
    memory_current: Kept,
    pids_current: Kept,
    cgroup_events: Kept,
    cgroup_stat: Kept,
}

/// The longest of these files is cpu.stat, which ten keys with 20 digits each do not fill.
type Buffer = [u8; 1024];

impl Default for Files {
    /// Opens nothing yet.
    fn default() -> Self {
        Self {
            cpu_stat: Kept::new(c"cpu.stat"),
            memory_current: Kept::new(c"memory.current"),
            pids_current: Kept::new(c"pids.current"),
            cgroup_events: Kept::new(c"cgroup.events"),
            cgroup_stat: Kept::new(c"cgroup.stat"),
        }
    }
}

impl Files {
    /// Read into `stats`, all of it 0, what `which` asks for and this kernel and place offer. Filled in
    /// place: at a microsecond a call, copies of 300 bytes count.
    pub fn read(&self, dir: &Dir, which: u64, stats: &mut Stats) -> Result<(), (Errno, &'static str)> {
        stats.time_ns = monotonic_ns();
        if which & (CPU | CPU_THROTTLE) != 0 {
            each_pair(dir, &self.cpu_stat, stats, |stats, key, value| match key {
                b"usage_usec" => stats.take(CPU, |s| &mut s.cpu_usage_ns, ns(value)),
                b"user_usec" => stats.take(CPU, |s| &mut s.cpu_user_ns, ns(value)),
                b"system_usec" => stats.take(CPU, |s| &mut s.cpu_system_ns, ns(value)),
                b"nr_periods" => stats.take(CPU_THROTTLE, |s| &mut s.cpu_nr_periods, value),
                b"nr_throttled" => stats.take(CPU_THROTTLE, |s| &mut s.cpu_nr_throttled, value),
                b"throttled_usec" => stats.take(CPU_THROTTLE, |s| &mut s.cpu_throttled_ns, ns(value)),
                _ => {}
            })?;
        }
        if which & MEMORY != 0 {
            number(dir, &self.memory_current, stats, MEMORY, |s| &mut s.memory_current_bytes)?;
        }
        if which & PIDS != 0 {
            number(dir, &self.pids_current, stats, PIDS, |s| &mut s.pids_current)?;
        }
        if which & STATE != 0 {
            each_pair(dir, &self.cgroup_events, stats, |stats, key, value| match key {
                b"populated" => stats.take(STATE, |s| &mut s.populated, value),
                b"frozen" => stats.take(STATE, |s| &mut s.frozen, value),
                _ => {}
            })?;
            each_pair(dir, &self.cgroup_stat, stats, |stats, key, value| match key {
                b"nr_descendants" => stats.take(STATE, |s| &mut s.nr_descendants, value),
                b"nr_dying_descendants" => stats.take(STATE, |s| &mut s.nr_dying_descendants, value),
                _ => {}
            })?;
        }
        stats.keep_only(which);
        Ok(())
    }
}

impl Stats {
    fn take(&mut self, bit: u64, field: impl Fn(&mut Self) -> &mut u64, value: u64) {
        *field(self) = value;
        self.mask |= bit;
    }

    /// One file may hold more than was asked for.
    fn keep_only(&mut self, which: u64) {
        if which & CPU == 0 {
            (self.cpu_usage_ns, self.cpu_user_ns, self.cpu_system_ns) = (0, 0, 0);
        }
        if which & CPU_THROTTLE == 0 {
            (self.cpu_nr_periods, self.cpu_nr_throttled, self.cpu_throttled_ns) = (0, 0, 0);
        }
        self.mask &= which;
    }
}

/// A flat-keyed file; one that is not there gives nothing.
fn each_pair(
    dir: &Dir,
    file: &Kept,
    stats: &mut Stats,
    mut take: impl FnMut(&mut Stats, &[u8], u64),
) -> Result<(), (Errno, &'static str)> {
    let mut buf: Buffer = [0; 1024];
    if let Some(text) = present(dir, file, &mut buf)? {
        parse::pairs(text).for_each(|(key, value)| take(stats, key, value));
    }
    Ok(())
}

/// A file of one number; one that is not there gives nothing.
fn number(
    dir: &Dir,
    file: &Kept,
    stats: &mut Stats,
    bit: u64,
    field: impl Fn(&mut Stats) -> &mut u64,
) -> Result<(), (Errno, &'static str)> {
    let mut buf: Buffer = [0; 1024];
    if let Some(value) = present(dir, file, &mut buf)?.and_then(parse::number) {
        stats.take(bit, field, value);
    }
    Ok(())
}

fn present<'b>(
    dir: &Dir,
    file: &Kept,
    buf: &'b mut Buffer,
) -> Result<Option<&'b [u8]>, (Errno, &'static str)> {
    match file.read(dir, buf) {
        Ok(text) => Ok(Some(text)),
        Err(Errno::ENOENT | Errno::EOPNOTSUPP) => Ok(None),
        Err(e) => Err((e, file.name().to_str().unwrap_or_default())),
    }
}

fn ns(us: u64) -> u64 {
    us.saturating_mul(1_000)
}

fn monotonic_ns() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |t| {
        let part = |value: i64| u64::try_from(value).unwrap_or_default();
        part(t.tv_sec()).saturating_mul(1_000_000_000).saturating_add(part(t.tv_nsec()))
    })
}

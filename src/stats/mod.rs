// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an agent uses. Each file is read by one pread(2) on a kept descriptor, which the kernel answers
//! with one consistent snapshot; several files are several moments. What a file or a key of it does not
//! offer here is marked as not read: never a made-up zero.

mod files;

pub use files::Files;

/// `cpu.stat`, there even with no controller.
pub const CPU: u64 = 1 << 0;
/// `memory.current`.
pub const MEMORY: u64 = 1 << 1;
/// `cpu.stat`, what the cpu controller adds.
pub const CPU_THROTTLE: u64 = 1 << 2;
/// `memory.peak`.
pub const MEMORY_PEAK: u64 = 1 << 3;
/// `memory.swap.current`, and `memory.swap.peak` where it is there.
pub const SWAP: u64 = 1 << 4;
/// `memory.events`.
pub const MEMORY_EVENTS: u64 = 1 << 5;
/// `memory.stat`.
pub const MEMORY_DETAIL: u64 = 1 << 6;
/// `pids.current`.
pub const PIDS: u64 = 1 << 7;
/// `pids.peak`.
pub const PIDS_PEAK: u64 = 1 << 8;
/// `pids.events`.
pub const PIDS_EVENTS: u64 = 1 << 9;
/// `io.stat`.
pub const IO: u64 = 1 << 10;
/// `cpu.pressure`.
pub const CPU_PRESSURE: u64 = 1 << 11;
/// `memory.pressure`.
pub const MEMORY_PRESSURE: u64 = 1 << 12;
/// `io.pressure`.
pub const IO_PRESSURE: u64 = 1 << 13;
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
    /// before Linux 5.18 the sum of the parts that were told
    pub memory_kernel_bytes: u64,
    pub memory_shmem_bytes: u64,
    pub memory_events_high: u64,
    pub memory_events_max: u64,
    /// times that the limit could not be kept; no count of kills
    pub memory_events_oom: u64,
    /// processes killed: the one to watch
    pub memory_events_oom_kill: u64,
    /// 0 before Linux 5.17
    pub memory_events_oom_group_kill: u64,
    /// threads, zombies not yet waited for included
    pub pids_current: u64,
    pub pids_peak: u64,
    /// forks refused: since Linux 6.11 by limits in it or below it, before in itself by any limit
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

impl Stats {
    fn take(&mut self, bit: u64, field: impl Fn(&mut Self) -> &mut u64, value: u64) {
        *field(self) = value;
        self.mask |= bit;
    }

    /// The same for what may not have been told.
    fn take_told(&mut self, bit: u64, field: impl Fn(&mut Self) -> &mut u64, value: Option<u64>) {
        if let Some(value) = value {
            self.take(bit, field, value);
        }
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

// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an agent uses. Each file is read by one pread(2) on a cached descriptor, which the kernel answers
//! with one consistent snapshot; several files are several moments. What a file or a key of it does not
//! offer here is marked as not read: never a made-up zero.

mod files;

pub use files::Files;

// The header has these constants, with the prefix AGENTCG_STAT_, and the struct (build.rs).

/// cpu.stat: cpu_usage_ns, cpu_user_ns, cpu_system_ns. No controller is needed.
pub const CPU: u64 = 1u64 << 0;
/// memory.current: memory_current_bytes.
pub const MEMORY: u64 = 1u64 << 1;
/// cpu.stat with the cpu controller: cpu_nr_periods, cpu_nr_throttled, cpu_throttled_ns.
pub const CPU_THROTTLE: u64 = 1u64 << 2;
/// memory.peak: memory_peak_bytes (Linux 5.19).
pub const MEMORY_PEAK: u64 = 1u64 << 3;
/// memory.swap.current: swap_current_bytes. memory.swap.peak: swap_peak_bytes (Linux 6.5).
pub const SWAP: u64 = 1u64 << 4;
/// memory.events: memory_events_..., of the group and all cgroups below it.
pub const MEMORY_EVENTS: u64 = 1u64 << 5;
/// memory.stat: memory_anon_bytes to memory_shmem_bytes. It may be 2 seconds old.
pub const MEMORY_DETAIL: u64 = 1u64 << 6;
/// pids.current: pids_current.
pub const PIDS: u64 = 1u64 << 7;
/// pids.peak: pids_peak (Linux 6.1).
pub const PIDS_PEAK: u64 = 1u64 << 8;
/// pids.events: pids_events_max.
pub const PIDS_EVENTS: u64 = 1u64 << 9;
/// io.stat: io_..., summed over the devices.
pub const IO: u64 = 1u64 << 10;
/// cpu.pressure: cpu_pressure_some_us. It needs Linux 4.20 with PSI built in and
/// enabled at boot, and no controller. Do not read pressure more often than each
/// 20 ms: the kernel drops the stall time between two reads of a group's pressure
/// files that follow each other within a clock tick (1 to 10 ms).
pub const CPU_PRESSURE: u64 = 1u64 << 11;
/// memory.pressure: memory_pressure_..._us. It needs what cpu.pressure needs.
pub const MEMORY_PRESSURE: u64 = 1u64 << 12;
/// io.pressure: io_pressure_..._us. It needs what cpu.pressure needs.
pub const IO_PRESSURE: u64 = 1u64 << 13;
/// cgroup.events and cgroup.stat: populated, frozen, nr_descendants, nr_dying_descendants.
pub const STATE: u64 = 1u64 << 14;
/// The measurements for polling: they cost one read each of two files.
pub const BASIC: u64 = CPU | MEMORY | CPU_THROTTLE;
/// All measurements, also those that later versions of the library add.
pub const ALL: u64 = u64::MAX;

/// The smallest size of agentcg_stats that is accepted.
pub const SIZE_V0: usize = 296;

const _: () = assert!(size_of::<Stats>() == SIZE_V0);

/// Measurements. A field is 0 if its bit in mask is clear. New fields are only
/// added at the end, each with a bit of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
#[allow(missing_docs, reason = "the kernel's words, with their units, say it")]
pub struct Stats {
    /// AGENTCG_STAT_... that were read.
    pub mask: u64,
    /// CLOCK_MONOTONIC at the reading, to compute rates.
    pub time_ns: u64,
    /// CPU time, user and system.
    pub cpu_usage_ns: u64,
    /// CPU time in user mode.
    pub cpu_user_ns: u64,
    /// CPU time in the kernel.
    pub cpu_system_ns: u64,
    /// Periods of the CPU quota that have elapsed.
    pub cpu_nr_periods: u64,
    /// Periods in which the quota throttled the group.
    pub cpu_nr_throttled: u64,
    /// The time for which the quota throttled the group.
    pub cpu_throttled_ns: u64,
    /// Memory in use.
    pub memory_current_bytes: u64,
    /// The most memory that was in use.
    pub memory_peak_bytes: u64,
    /// Swap in use.
    pub swap_current_bytes: u64,
    /// The most swap that was in use. It is 0 before Linux 6.5.
    pub swap_peak_bytes: u64,
    /// Anonymous memory.
    pub memory_anon_bytes: u64,
    /// Page cache, tmpfs and shared memory included.
    pub memory_file_bytes: u64,
    /// Memory of the kernel. Before Linux 5.18: the sum of the parts that it reports.
    pub memory_kernel_bytes: u64,
    /// tmpfs and shared memory.
    pub memory_shmem_bytes: u64,
    /// Times that the group was throttled because of memory_high_bytes.
    pub memory_events_high: u64,
    /// Times that the memory in use was about to exceed memory_max_bytes.
    pub memory_events_max: u64,
    /// Times that the limit could not be kept. This does not count kills.
    pub memory_events_oom: u64,
    /// Processes that the OOM killer killed. Watch this one.
    pub memory_events_oom_kill: u64,
    /// Times that an OOM killed a whole group. It is 0 before Linux 5.17.
    pub memory_events_oom_group_kill: u64,
    /// Threads. Zombies count, too.
    pub pids_current: u64,
    /// The most threads that there were.
    pub pids_peak: u64,
    /// Forks that were refused. From Linux 6.11 on: by the limits of the group and
    /// of those below it. Before: in the group itself, by any limit.
    pub pids_events_max: u64,
    /// Bytes read, summed over the devices.
    pub io_read_bytes: u64,
    /// Bytes written, summed over the devices.
    pub io_write_bytes: u64,
    /// Read operations, summed over the devices.
    pub io_reads: u64,
    /// Write operations, summed over the devices.
    pub io_writes: u64,
    /// Total time in which some process waited for a CPU.
    pub cpu_pressure_some_us: u64,
    /// Total time in which some process waited for memory.
    pub memory_pressure_some_us: u64,
    /// Total time in which all busy processes waited for memory.
    pub memory_pressure_full_us: u64,
    /// Total time in which some process waited for I/O.
    pub io_pressure_some_us: u64,
    /// Total time in which all busy processes waited for I/O.
    pub io_pressure_full_us: u64,
    /// 1 while a process lives in the group or below it.
    pub populated: u64,
    /// 1 while the group is frozen.
    pub frozen: u64,
    /// Cgroups below the group.
    pub nr_descendants: u64,
    /// Removed cgroups for which the kernel holds memory.
    pub nr_dying_descendants: u64,
}

impl Stats {
    fn set(&mut self, bit: u64, field: impl Fn(&mut Self) -> &mut u64, value: u64) {
        *field(self) = value;
        self.mask |= bit;
    }

    /// As [`Self::set`], for a value that the file may lack.
    fn set_if_read(&mut self, bit: u64, field: impl Fn(&mut Self) -> &mut u64, value: Option<u64>) {
        if let Some(value) = value {
            self.set(bit, field, value);
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

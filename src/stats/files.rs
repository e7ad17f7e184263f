// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads the statistics from the files of a group.

use super::{
    CPU, CPU_PRESSURE, CPU_THROTTLE, IO, IO_PRESSURE, MEMORY, MEMORY_DETAIL, MEMORY_EVENTS, MEMORY_PEAK,
    MEMORY_PRESSURE, PIDS, PIDS_EVENTS, PIDS_PEAK, STATE, SWAP, Stats,
};
use crate::cgroupfs::{CachedFile, Dir, FileError, NamedFile};
use crate::parse::{self, Pressure};
use nix::errno::Errno;
use nix::time::{ClockId, clock_gettime};
use std::ffi::CStr;

/// The files of one group that the statistics are read from.
#[derive(Debug, Default)]
pub struct Files {
    memory_current: CachedFile,
    memory_peak: CachedFile,
    swap_current: CachedFile,
    swap_peak: CachedFile,
    memory_events: CachedFile,
    memory_stat: CachedFile,
    pids_current: CachedFile,
    pids_peak: CachedFile,
    pids_events: CachedFile,
    io_stat: CachedFile,
    cpu_pressure: CachedFile,
    memory_pressure: CachedFile,
    io_pressure: CachedFile,
    cgroup_stat: CachedFile,
    cpu_stat: CachedFile,
}

impl Files {
    /// Returns `memory.events`, for callers that need other counters of it. A second descriptor of the file would be kept open
    /// otherwise; the same holds for the next one.
    pub fn memory_events(&self) -> NamedFile<'_> {
        self.memory_events.named(c"memory.events")
    }

    /// Returns `cpu.stat`.
    pub fn cpu_stat(&self) -> NamedFile<'_> {
        self.cpu_stat.named(c"cpu.stat")
    }

    /// Returns `cpu.pressure`.
    pub fn cpu_pressure(&self) -> NamedFile<'_> {
        self.cpu_pressure.named(c"cpu.pressure")
    }

    /// Returns `memory.pressure`.
    pub fn memory_pressure(&self) -> NamedFile<'_> {
        self.memory_pressure.named(c"memory.pressure")
    }

    /// Returns `io.pressure`.
    pub fn io_pressure(&self) -> NamedFile<'_> {
        self.io_pressure.named(c"io.pressure")
    }

    /// Reads the statistics that `which` asks for into `stats`, which must be all 0. Statistics that the kernel or the place
    /// does not offer are left out. `events` is `cgroup.events`. Fills the struct in place: at a microsecond a call, a copy of
    /// 300 bytes counts.
    pub fn read(
        &self,
        dir: &Dir,
        events: NamedFile<'_>,
        which: u64,
        stats: &mut Stats,
    ) -> Result<(), FileError> {
        stats.time_ns = monotonic_ns();
        let mut reading = Reading { dir, stats, missing: None };
        if which & MEMORY != 0 {
            reading.number(self.memory_current.named(c"memory.current"), MEMORY, |s| {
                &mut s.memory_current_bytes
            })?;
        }
        if which & !(CPU | CPU_THROTTLE | MEMORY) != 0 {
            self.read_more(which, &mut reading)?;
        }
        // The files that every cgroup has come last. If they can be read the cgroup exists, and files that were missing
        // before need no further check.
        if which & STATE != 0 {
            reading.pairs(events, |stats, key, value| match key {
                b"populated" => stats.set(STATE, |s| &mut s.populated, value),
                b"frozen" => stats.set(STATE, |s| &mut s.frozen, value),
                _ => {}
            })?;
            reading.pairs(self.cgroup_stat.named(c"cgroup.stat"), |stats, key, value| match key {
                b"nr_descendants" => stats.set(STATE, |s| &mut s.nr_descendants, value),
                b"nr_dying_descendants" => stats.set(STATE, |s| &mut s.nr_dying_descendants, value),
                _ => {}
            })?;
        }
        if which & (CPU | CPU_THROTTLE) != 0 {
            reading.pairs(self.cpu_stat(), |stats, key, value| match key {
                b"usage_usec" => stats.set(CPU, |s| &mut s.cpu_usage_ns, ns(value)),
                b"user_usec" => stats.set(CPU, |s| &mut s.cpu_user_ns, ns(value)),
                b"system_usec" => stats.set(CPU, |s| &mut s.cpu_system_ns, ns(value)),
                b"nr_periods" => stats.set(CPU_THROTTLE, |s| &mut s.cpu_nr_periods, value),
                b"nr_throttled" => stats.set(CPU_THROTTLE, |s| &mut s.cpu_nr_throttled, value),
                b"throttled_usec" => stats.set(CPU_THROTTLE, |s| &mut s.cpu_throttled_ns, ns(value)),
                _ => {}
            })?;
        }
        reading.end()?;
        stats.keep_only(which);
        Ok(())
    }

    /// Reads the statistics that a monitoring loop does not ask for.
    #[inline(never)]
    fn read_more(&self, which: u64, reading: &mut Reading<'_>) -> Result<(), FileError> {
        let asked = |bit: u64| which & bit != 0;
        if asked(MEMORY_PEAK) {
            reading
                .number(self.memory_peak.named(c"memory.peak"), MEMORY_PEAK, |s| &mut s.memory_peak_bytes)?;
        }
        if asked(SWAP) {
            reading.number(self.swap_peak.named(c"memory.swap.peak"), SWAP, |s| &mut s.swap_peak_bytes)?;
            reading.number(self.swap_current.named(c"memory.swap.current"), SWAP, |s| {
                &mut s.swap_current_bytes
            })?;
        }
        if asked(MEMORY_EVENTS) {
            reading.pairs(self.memory_events(), |stats, key, value| match key {
                b"high" => stats.set(MEMORY_EVENTS, |s| &mut s.memory_events_high, value),
                b"max" => stats.set(MEMORY_EVENTS, |s| &mut s.memory_events_max, value),
                b"oom" => stats.set(MEMORY_EVENTS, |s| &mut s.memory_events_oom, value),
                b"oom_kill" => stats.set(MEMORY_EVENTS, |s| &mut s.memory_events_oom_kill, value),
                b"oom_group_kill" => stats.set(MEMORY_EVENTS, |s| &mut s.memory_events_oom_group_kill, value),
                _ => {}
            })?;
        }
        if asked(MEMORY_DETAIL) {
            reading.text::<4096>(self.memory_stat.named(c"memory.stat"), memory_detail)?;
        }
        if asked(PIDS) {
            reading.number(self.pids_current.named(c"pids.current"), PIDS, |s| &mut s.pids_current)?;
        }
        if asked(PIDS_PEAK) {
            reading.number(self.pids_peak.named(c"pids.peak"), PIDS_PEAK, |s| &mut s.pids_peak)?;
        }
        if asked(PIDS_EVENTS) {
            reading.text::<1024>(self.pids_events.named(c"pids.events"), |stats, text| {
                stats.set_if_read(PIDS_EVENTS, |s| &mut s.pids_events_max, parse::value(text, b"max"));
            })?;
        }
        if asked(IO) {
            reading.text::<1024>(self.io_stat.named(c"io.stat"), |stats, text| {
                let sum = parse::io_stat(text);
                stats.set(IO, |s| &mut s.io_read_bytes, sum.rbytes);
                stats.set(IO, |s| &mut s.io_write_bytes, sum.wbytes);
                stats.set(IO, |s| &mut s.io_reads, sum.rios);
                stats.set(IO, |s| &mut s.io_writes, sum.wios);
            })?;
        }
        if asked(CPU_PRESSURE) {
            reading.pressure(self.cpu_pressure(), |stats, pressure| {
                stats.set_if_read(CPU_PRESSURE, |s| &mut s.cpu_pressure_some_us, pressure.some_us);
            })?;
        }
        if asked(MEMORY_PRESSURE) {
            reading.pressure(self.memory_pressure(), |stats, pressure| {
                stats.set_if_read(MEMORY_PRESSURE, |s| &mut s.memory_pressure_some_us, pressure.some_us);
                stats.set_if_read(MEMORY_PRESSURE, |s| &mut s.memory_pressure_full_us, pressure.full_us);
            })?;
        }
        if asked(IO_PRESSURE) {
            reading.pressure(self.io_pressure(), |stats, pressure| {
                stats.set_if_read(IO_PRESSURE, |s| &mut s.io_pressure_some_us, pressure.some_us);
                stats.set_if_read(IO_PRESSURE, |s| &mut s.io_pressure_full_us, pressure.full_us);
            })?;
        }
        Ok(())
    }
}

/// One call of [`Files::read`].
struct Reading<'a> {
    dir: &'a Dir,
    stats: &'a mut Stats,
    /// A file that was missing, after the last file that could be read. Either it is not offered, or the cgroup was removed.
    missing: Option<&'static CStr>,
}

impl Reading<'_> {
    /// Reads a file of one number.
    fn number(
        &mut self,
        file: NamedFile<'_>,
        bit: u64,
        field: impl Fn(&mut Stats) -> &mut u64,
    ) -> Result<(), FileError> {
        // 64 bits have 20 digits.
        self.text::<32>(file, |stats, text| {
            stats.set_if_read(bit, field, parse::number(text));
        })
    }

    /// Reads a flat-keyed file.
    #[inline(always)]
    fn pairs(
        &mut self,
        file: NamedFile<'_>,
        mut store: impl FnMut(&mut Stats, &[u8], u64),
    ) -> Result<(), FileError> {
        self.text::<1024>(file, |stats, text| {
            parse::pairs(text).for_each(|(key, value)| store(stats, key, value));
        })
    }

    fn pressure(
        &mut self,
        file: NamedFile<'_>,
        store: impl FnOnce(&mut Stats, Pressure),
    ) -> Result<(), FileError> {
        self.text::<1024>(file, |stats, text| store(stats, parse::pressure(text)))
    }

    /// Reads a whole file that usually has less than `N` bytes. Ignores a missing file.
    fn text<const N: usize>(
        &mut self,
        file: NamedFile<'_>,
        store: impl FnOnce(&mut Stats, &[u8]),
    ) -> Result<(), FileError> {
        let mut buf = [0; N];
        let failed = |e| (e, file.name);
        match file.read(self.dir, &mut buf).map_err(failed)? {
            Some(text) if text.len() < N => store(self.stats, text),
            Some(_) => store(self.stats, &long_text(file, self.dir, N).map_err(failed)?),
            None => {
                self.missing = Some(file.name);
                return Ok(());
            }
        }
        self.missing = None;
        Ok(())
    }

    fn end(self) -> Result<(), FileError> {
        match self.missing {
            Some(file) if !self.dir.is_alive() => Err((Errno::ENODEV, file)),
            _ => Ok(()),
        }
    }
}

/// Reads a file that has filled `least` bytes again from its start, because the rest alone would be of another moment.
#[cold]
fn long_text(file: NamedFile<'_>, dir: &Dir, least: usize) -> nix::Result<Vec<u8>> {
    let mut buf = vec![0; least];
    loop {
        buf.resize(buf.len() * 4, 0);
        let length = file.read(dir, &mut buf)?.map_or(0, <[u8]>::len);
        if length < buf.len() {
            buf.truncate(length);
            return Ok(buf);
        }
    }
}

fn memory_detail(stats: &mut Stats, text: &[u8]) {
    let (mut kernel, mut parts) = (None, None);
    for (key, value) in parse::pairs(text) {
        match key {
            b"anon" => stats.set(MEMORY_DETAIL, |s| &mut s.memory_anon_bytes, value),
            b"file" => stats.set(MEMORY_DETAIL, |s| &mut s.memory_file_bytes, value),
            b"shmem" => stats.set(MEMORY_DETAIL, |s| &mut s.memory_shmem_bytes, value),
            b"kernel" => kernel = Some(value),
            // "slab" includes reclaimable and unreclaimable memory. "pagetables" exists from Linux 5.11 on.
            b"kernel_stack" | b"pagetables" | b"percpu" | b"slab" => {
                parts = Some(parts.unwrap_or(0u64).saturating_add(value));
            }
            _ => {}
        }
    }
    // "kernel" exists from Linux 5.18 on. It includes a few small parts that have no key of their own.
    stats.set_if_read(MEMORY_DETAIL, |s| &mut s.memory_kernel_bytes, kernel.or(parts));
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

// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the files of a group show about its end.

use super::oomd::Kills;
use super::surroundings::{Above, Surroundings, growth, is_shortage};
use super::types::{Remover, Verdict, known};
use crate::cgroupfs::Dir;
use crate::cgroupfs::events_file::Events;
use crate::parse;
use crate::procfs;
use crate::sys::try_alloc;
use nix::errno::Errno;
use std::ffi::CStr;
use std::sync::Arc;

/// Counters of the group's memory controller.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryCounts {
    /// `oom_kill` of `memory.events`: killed processes of the group and of cgroups below it.
    pub oom_kill: u64,
    /// `oom` of `memory.events`: how often a limit of the group or of a cgroup below it was not kept.
    pub oom: u64,
    /// `oom_group_kill` of `memory.events.local`: how often the kernel has killed the group as a whole. 0 before Linux 5.17.
    pub group_kill: u64,
}

/// Forks that were refused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Forks {
    /// In the group, by any limit.
    pub all: Option<u64>,
    /// By limits of the group and of cgroups below it.
    pub own: Option<u64>,
    /// By limits of cgroups above it.
    pub above: Option<u64>,
}

/// Counters at one moment, with which later ones are compared.
#[derive(Debug, Clone, Default)]
pub struct Baseline {
    /// Those of the group, `None` if it was new. They are on the heap, because most agents have none.
    pub(super) own: Option<Box<Counters>>,
    /// Those of what is above the group, `None` if they are unknown.
    pub(super) surroundings: Option<Arc<Surroundings>>,
}

/// Counters of the group, which are 0 if it is new.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counters {
    pub(super) memory: MemoryCounts,
    pub(super) forks: u64,
    pub(super) oomd: Kills,
    /// Processes lived in the group.
    pub(super) populated: bool,
}

/// What the files show.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Processes live in the group. `None` if that is unknown.
    pub populated: Option<bool>,
    /// The group was removed.
    pub is_gone: bool,
    /// The remover.
    pub remover: Remover,
    /// The growth of the counters of memory. `None` without the memory controller, and if they do not include the cgroups
    /// below the group.
    pub memory: Option<MemoryCounts>,
    /// The group has the memory controller, or that is unknown.
    pub may_have_memory_limit: bool,
    /// The group has never had a second thread.
    pub had_one_task: bool,
    /// systemd-oomd has killed the group, unless a program of its owner's uid has written the attribute.
    pub oomd: bool,
    /// systemd-oomd has killed a cgroup above or below the group, or that is unknown. The program may have survived that.
    pub oomd_beside: bool,
    /// What has happened above the group.
    pub above: Above,
    /// Refused forks.
    pub forks: Forks,
    /// `memory.peak`.
    pub memory_peak: Option<u64>,
    /// `memory.max`.
    pub memory_max: Option<u64>,
    /// `throttled_usec` of `cpu.stat`, in nanoseconds.
    pub cpu_throttled_ns: Option<u64>,
}

impl Baseline {
    /// The counters of a new group, and the last known ones of what is above it.
    pub fn of_new_group(dir: &Dir) -> Self {
        Self { own: None, surroundings: Surroundings::last_or_read(dir) }
    }
}

impl Evidence {
    /// Reads the files of a group. The counters are compared with `baseline`. Returns the counters as well. Fails with
    /// `ENODEV` if the group was removed, and with errors that may pass.
    pub fn read(dir: &Dir, baseline: &Baseline) -> nix::Result<(Self, Baseline)> {
        let before = baseline.own.as_deref().copied().unwrap_or_default();
        let events = Events::open(dir)?.state()?;
        let surroundings = Surroundings::read(dir)?;
        let mut files = Files { dir, failed: None };
        let local_events = local_events()?;
        let counts = if local_events.memory { None } else { files.memory() };
        let forks = files.value(c"pids.events", b"max");
        let oomd = match Kills::of(dir) {
            Err(e) if is_shortage(e) || e == Errno::ENODEV => return Err(e),
            // What cannot be seen may have happened.
            kills => kills.unwrap_or(Kills { is_unknown: true, ..before.oomd }),
        };
        let above = surroundings.since(baseline.surroundings.as_deref());
        let evidence = Self {
            populated: Some(events.populated),
            is_gone: false,
            remover: Remover::Unknown,
            memory: counts.map(|now| MemoryCounts {
                oom_kill: growth(now.oom_kill, Some(before.memory.oom_kill)),
                oom: growth(now.oom, Some(before.memory.oom)),
                group_kill: growth(now.group_kill, Some(before.memory.group_kill)),
            }),
            may_have_memory_limit: counts.is_some() || dir.has(c"memory.max"),
            had_one_task: files.number(c"pids.peak") == Some(1),
            oomd: growth(oomd.whole, Some(before.oomd.whole)) > 0,
            oomd_beside: above.oomd || oomd.is_unknown || growth(oomd.below, Some(before.oomd.below)) > 0,
            forks: files.forks(forks.map(|now| growth(now, Some(before.forks))), &above, local_events.pids),
            memory_peak: files.number(c"memory.peak"),
            memory_max: files.limit(c"memory.max"),
            cpu_throttled_ns: files.value(c"cpu.stat", b"throttled_usec").map(|us| us.saturating_mul(1_000)),
            above,
        };
        if let Some(e) = files.failed {
            return Err(e);
        }
        let own = try_alloc::boxed(Counters {
            memory: counts.unwrap_or_default(),
            forks: forks.unwrap_or_default(),
            oomd,
            populated: events.populated,
        })?;
        Ok((evidence, Baseline { own: Some(own), surroundings: Some(surroundings) }))
    }

    /// What is known about a removed group. Without the counters that its remover has left, nothing.
    pub fn of_removed(memory: Option<MemoryCounts>, remover: Remover) -> Self {
        Self {
            populated: Some(false),
            is_gone: true,
            remover,
            memory,
            may_have_memory_limit: true,
            above: Above { is_unknown: true, is_hidden: true, ..Above::default() },
            oomd_beside: remover == Remover::Unknown,
            ..Self::default()
        }
    }

    /// Returns true if the main program must be among the processes that the OOM killer has killed.
    pub fn oom_covers_all(&self) -> bool {
        self.memory.is_some_and(|memory| memory.oom_kill > 0 && (memory.group_kill > 0 || self.had_one_task))
    }

    /// Returns a verdict with the counts alone.
    pub fn counts(&self) -> Verdict {
        let mut verdict = Verdict::default();
        let mut set = |bit: u64, value: Option<u64>, field: fn(&mut Verdict) -> &mut u64| {
            if let Some(value) = value {
                verdict.mask |= bit;
                *field(&mut verdict) = value;
            }
        };
        set(known::OOM_KILLS, self.memory.map(|memory| memory.oom_kill), |v| &mut v.oom_kills);
        set(known::FORKS, self.forks.all, |v| &mut v.forks_refused);
        set(known::FORKS_OWN, self.forks.own, |v| &mut v.forks_refused_own);
        set(known::FORKS_ABOVE, self.forks.above, |v| &mut v.forks_refused_above);
        set(known::MEMORY_PEAK, self.memory_peak, |v| &mut v.memory_peak_bytes);
        set(known::MEMORY_MAX, self.memory_max, |v| &mut v.memory_max_bytes);
        set(known::CPU_THROTTLED, self.cpu_throttled_ns, |v| &mut v.cpu_throttled_ns);
        verdict
    }
}

/// Reads files of a group. A file that cannot be read has no value.
struct Files<'a> {
    dir: &'a Dir,
    /// An error that may pass.
    failed: Option<Errno>,
}

impl Files<'_> {
    fn read<T>(&mut self, file: &CStr, parse: impl FnOnce(&[u8]) -> Option<T>) -> Option<T> {
        let mut buf = [0; 1024];
        match self.dir.read(file, &mut buf) {
            Ok(text) => parse(text),
            Err(e) => {
                if is_shortage(e) || e == Errno::ENODEV {
                    self.failed = self.failed.or(Some(e));
                }
                None
            }
        }
    }

    fn value(&mut self, file: &CStr, key: &[u8]) -> Option<u64> {
        self.read(file, |text| parse::value(text, key))
    }

    fn number(&mut self, file: &CStr) -> Option<u64> {
        self.read(file, parse::number)
    }

    fn limit(&mut self, file: &CStr) -> Option<u64> {
        self.read(file, parse::limit)
    }

    fn memory(&mut self) -> Option<MemoryCounts> {
        let group_kill = self.value(c"memory.events.local", b"oom_group_kill").unwrap_or_default();
        self.read(c"memory.events", |text| {
            let (oom_kill, oom) = (parse::value(text, b"oom_kill")?, parse::value(text, b"oom")?);
            Some(MemoryCounts { oom_kill, oom, group_kill })
        })
    }

    /// `refused` is what `pids.events` has counted. Up to Linux 6.10 these are the forks in the group itself, by any limit. From
    /// 6.11 on they are those that limits of the group and of cgroups below it have refused, in these cgroups; with the mount
    /// option `pids_localevents` it is as before.
    fn forks(&mut self, refused: Option<u64>, above: &Above, is_local: bool) -> Forks {
        let Some(refused) = refused else { return Forks::default() };
        if refused == 0 && !above.limits_forks {
            return Forks { all: Some(0), own: Some(0), above: Some(0) };
        }
        if !is_local && self.value(c"pids.events.local", b"max").is_some() {
            return match above.forks {
                Some(0) => Forks { all: Some(refused), own: Some(refused), above: Some(0) },
                // The limits above have refused forks of this group or of others.
                _ => Forks { own: Some(refused), ..Forks::default() },
            };
        }
        let has_own_limit = self.limit(c"pids.max") != Some(parse::UNLIMITED);
        let (own, above) = match (has_own_limit, above.limits_forks) {
            _ if refused == 0 => (Some(0), Some(0)),
            (true, true) => (None, None),
            (true, false) => (Some(refused), Some(0)),
            (false, _) => (Some(0), Some(refused)),
        };
        Forks { all: Some(refused), own, above }
    }
}

/// Mount options by which the events of a cgroup do not include those of the cgroups below it.
#[derive(Debug, Clone, Copy, Default)]
struct LocalEvents {
    memory: bool,
    pids: bool,
}

/// Reads the options of the hierarchy. Fails with errors that may pass.
fn local_events() -> nix::Result<LocalEvents> {
    let found = procfs::find_mount(|line| {
        let mount = parse::cgroup2_mount(line)?;
        Some(LocalEvents { memory: mount.memory_localevents, pids: mount.pids_localevents })
    });
    match found {
        Err(e) if is_shortage(e) => Err(e),
        found => Ok(found.ok().flatten().unwrap_or_default()),
    }
}

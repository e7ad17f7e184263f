// SPDX-License-Identifier: MIT OR Apache-2.0
//! The cgroups above a group, and the machine: what they count concerns other groups as well. Only their growth during the
//! life of an agent is evidence.

use super::oomd;
use crate::cgroupfs::Dir;
use crate::parse;
use crate::procfs;
use crate::sys::fork_mutex::ForkMutex;
use crate::sys::try_alloc;
use nix::errno::Errno;
use nix::sys::stat::fstat;
use std::sync::{Arc, Weak};

/// The counters that this process has read last, as long as an agent needs them. An agent that is made in that time compares
/// with them, so that making it reads none.
static LAST: ForkMutex<Weak<Surroundings>> = ForkMutex::new();

/// The counters of one cgroup above a group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Level {
    /// The id of the cgroup.
    id: u64,
    /// `oom` of `memory.events.local`: how often its own limit was not kept. `None` before Linux 5.2.
    oom: Option<u64>,
    /// `max` of `pids.events.local`: forks that its own limit has refused. `None` before Linux 6.11.
    forks: Option<u64>,
    /// It has a `pids.max`, or that is unknown.
    limits_forks: bool,
    /// Kills of systemd-oomd.
    oomd: u64,
}

/// The counters of all cgroups above a group and of the machine.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// From the parent of the group upwards.
    levels: Vec<Level>,
    /// There are or may be cgroups above the last level.
    is_hidden: bool,
    /// The sum of `allocstall_*` in /proc/vmstat: how often a process had to reclaim memory of the machine itself. The kernel
    /// kills for lack of memory of the machine only after that (`__alloc_pages_slowpath`).
    reclaims: Option<u64>,
    /// `oom_kill` in /proc/vmstat: all kills of the OOM killer on this machine.
    oom_kills: Option<u64>,
}

/// What has happened above a group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Above {
    /// The nearest cgroup whose memory limit was not kept, as the number of levels from the group up.
    pub level: Option<u32>,
    /// Some cgroup does not show whether its memory limit was kept.
    pub is_unknown: bool,
    /// There are or may be cgroups that the caller cannot see.
    pub is_hidden: bool,
    /// Processes had to reclaim memory of the machine.
    pub reclaimed: Option<bool>,
    /// The OOM killer has killed processes on this machine.
    pub oom_kills: Option<bool>,
    /// Forks that limits above have refused, in this group or another.
    pub forks: Option<u64>,
    /// Some cgroup above limits the number of processes, or may do so.
    pub limits_forks: bool,
    /// systemd-oomd has killed a cgroup with all below it.
    pub oomd: bool,
}

impl Surroundings {
    /// Reads the counters, and remembers them for agents that are made later.
    pub fn read(group: &Dir) -> nix::Result<Arc<Self>> {
        let now = Arc::new(Self::of(group)?);
        *LAST.lock() = Arc::downgrade(&now);
        Ok(now)
    }

    /// Returns the counters that this process has read last, as long as an agent needs them. Otherwise reads those of this group.
    pub fn last_or_read(group: &Dir) -> Option<Arc<Self>> {
        let last = LAST.lock().upgrade();
        // Without them a verdict compares with 0, and has more candidates.
        last.or_else(|| Self::read(group).ok())
    }

    fn of(group: &Dir) -> nix::Result<Self> {
        let mut all = Self::default();
        all.is_hidden = true;
        let device = fstat(group)?.st_dev;
        let mut dir = None;
        loop {
            let above = match dir.as_ref().unwrap_or(group).child(c"..") {
                Err(e) if is_shortage(e) => return Err(e),
                Err(_) => break,
                Ok(above) => above,
            };
            let stat = fstat(&above)?;
            // The root of the mount was the last one.
            if stat.st_dev != device {
                break;
            }
            // Only the root of the hierarchy has no such file. It has no limits either.
            if !above.has(c"cgroup.type") {
                all.is_hidden = false;
                break;
            }
            try_alloc::push(&mut all.levels, Level::read(&above, stat.st_ino)?)?;
            dir = Some(above);
        }
        let vmstat = match procfs::vmstat() {
            Err(e) if is_shortage(e) => return Err(e),
            text => text.unwrap_or_default(),
        };
        all.oom_kills = parse::value(&vmstat, b"oom_kill");
        all.reclaims = parse::allocation_stalls(&vmstat);
        Ok(all)
    }

    /// Compares with earlier counters, or with 0.
    pub fn since(&self, before: Option<&Self>) -> Above {
        let mut above = Above { is_hidden: self.is_hidden, forks: Some(0), ..Above::default() };
        for (level, number) in self.levels.iter().zip(1..) {
            let before = before
                .and_then(|before| before.levels.iter().find(|one| one.id == level.id))
                .copied()
                .unwrap_or_default();
            match level.oom {
                None => above.is_unknown = true,
                Some(oom) if growth(oom, before.oom) > 0 => above.level = above.level.or(Some(number)),
                Some(_) => {}
            }
            above.forks = match (above.forks, level.forks) {
                (Some(sum), Some(forks)) => Some(sum.saturating_add(growth(forks, before.forks))),
                _ => None,
            };
            above.limits_forks |= level.limits_forks;
            above.oomd |= growth(level.oomd, Some(before.oomd)) > 0;
        }
        above.limits_forks |= self.is_hidden;
        if self.is_hidden {
            above.forks = None;
        }
        let grew = |now: Option<u64>, before: Option<u64>| now.map(|now| growth(now, before) > 0);
        above.reclaimed = grew(self.reclaims, before.and_then(|before| before.reclaims));
        above.oom_kills = grew(self.oom_kills, before.and_then(|before| before.oom_kills));
        above
    }
}

/// The last agent that needs them has ended: frees the memory, which the weak reference would keep.
impl Drop for Surroundings {
    fn drop(&mut self) {
        let mut last = LAST.lock();
        if last.strong_count() == 0 {
            *last = Weak::new();
        }
    }
}

impl Level {
    fn read(dir: &Dir, id: u64) -> nix::Result<Self> {
        let oomd = oomd::count(dir);
        let mut buf = [0; 1024];
        // Without the memory controller there is no limit.
        let oom = match look(dir.read_if_there(c"memory.events.local", &mut buf))? {
            Look::Text(text) => parse::value(text, b"oom"),
            Look::Missing if !dir.has(c"memory.events") => Some(0),
            Look::Missing | Look::Refused => None,
        };
        let limit = match look(dir.read_if_there(c"pids.max", &mut buf))? {
            Look::Text(text) => parse::limit(text),
            // Without the pids controller there are no limit and no counter.
            Look::Missing => return Ok(Self { id, oom, forks: Some(0), limits_forks: false, oomd }),
            Look::Refused => None,
        };
        let forks = match look(dir.read_if_there(c"pids.events.local", &mut buf))? {
            Look::Text(text) => parse::value(text, b"max"),
            Look::Missing | Look::Refused => None,
        };
        Ok(Self { id, oom, forks, limits_forks: limit != Some(parse::UNLIMITED), oomd })
    }
}

/// What reading a file has shown.
enum Look<'a> {
    Text(&'a [u8]),
    Missing,
    /// The file cannot be seen.
    Refused,
}

/// Fails with errors that may pass.
fn look(read: nix::Result<Option<&[u8]>>) -> nix::Result<Look<'_>> {
    match read {
        Err(e) if is_shortage(e) => Err(e),
        Err(_) => Ok(Look::Refused),
        Ok(text) => Ok(text.map_or(Look::Missing, Look::Text)),
    }
}

/// Returns the growth of a counter. It begins at 0 again if the controller was disabled and enabled.
pub(super) fn growth(now: u64, before: Option<u64>) -> u64 {
    now.checked_sub(before.unwrap_or_default()).unwrap_or(now)
}

/// Returns true for errors that may pass. Others mean that the file cannot be seen.
pub(super) fn is_shortage(e: Errno) -> bool {
    matches!(e, Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM | Errno::EINTR)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(id: u64, oom: u64) -> Level {
        Level { id, oom: Some(oom), forks: Some(0), ..Level::default() }
    }

    #[test]
    fn only_growth_since_the_earlier_counters_is_evidence() {
        let now = Surroundings {
            levels: vec![level(3, 0), level(2, 5), level(1, 7)],
            is_hidden: false,
            reclaims: Some(9),
            oom_kills: Some(4),
        };
        let same = now.since(Some(&now));
        assert_eq!((same.level, same.is_unknown, same.is_hidden), (None, false, false));
        assert_eq!((same.reclaimed, same.oom_kills), (Some(false), Some(false)));
        let before = Surroundings {
            levels: vec![level(2, 5), level(1, 6)],
            reclaims: Some(8),
            ..Surroundings::default()
        };
        let grown = now.since(Some(&before));
        assert_eq!((grown.level, grown.reclaimed, grown.oomd), (Some(3), Some(true), false));
        let killed =
            Surroundings { levels: vec![Level { oomd: 2, ..level(3, 0) }], ..Surroundings::default() };
        assert!(killed.since(Some(&now)).oomd && !killed.since(Some(&killed)).oomd);
        // Without earlier counters each count may be older or newer.
        assert_eq!(now.since(None).level, Some(2));
    }

    #[test]
    fn a_counter_that_was_reset_has_grown_to_what_it_is() {
        assert_eq!((growth(3, Some(5)), growth(5, Some(5)), growth(5, None)), (3, 0, 5));
    }

    #[test]
    fn a_cgroup_without_local_counters_tells_nothing() {
        let now =
            Surroundings { levels: vec![Level { id: 1, ..Level::default() }], ..Surroundings::default() };
        let above = now.since(None);
        assert!(above.is_unknown);
        assert_eq!((above.forks, above.reclaimed), (None, None));
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The final counters of a group. The remover of a group publishes them for its watchers, because the kernel discards all
//! counters with the directory. The removal wakes no process that waits in poll(2) or epoll(7); a freeze of the empty group
//! does, so the remover changes `cgroup.freeze`.
//!
//! The agent owns its group's directory. It can write and delete every `user.*` attribute there, and use up their space.
//! Therefore the library reads nothing from that directory:
//!
//! * A watcher holds a read lock (`F_OFD_SETLK`) on the group's directory. No other process can release it. No process can
//!   hold a lock that excludes it, since a directory cannot be opened for writing. The kernel releases it when the watcher's
//!   handle is closed. `F_OFD_GETLK` shows it to the remover.
//! * The remover writes the counters to the parent directory, `agents`, which an agent in its own cgroup namespace does not
//!   see. A removed directory keeps its attributes for processes that have it, or a directory below it, open.
//!
//! A directory can have 128 `user.*` attributes of 128 KiB together, so the groups share [`ATTRIBUTES`]. The id of a group
//! selects the attribute, which has one line per group that was removed: about 140 lines of the usual length. The oldest
//! line is dropped first. If a thousand groups are removed before their watchers look, no line is lost. The attributes
//! disappear with `agents`, after its last group.
//!
//! Before Linux 5.7 these attributes do not exist: a watcher then sees the removal, and not the final counters.

use crate::cgroupfs::Dir;
use crate::cgroupfs::events_file::Events;
use crate::parse;
use crate::sys::{self, Lock};
use crate::verdict::Remover;
use nix::errno::Errno;
use nix::sys::stat::fstat;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

/// Attributes of the parent directory. A group uses the one with the number of its id modulo their count.
const ATTRIBUTES: [&CStr; 16] = [
    c"user.agentcg.final.0",
    c"user.agentcg.final.1",
    c"user.agentcg.final.2",
    c"user.agentcg.final.3",
    c"user.agentcg.final.4",
    c"user.agentcg.final.5",
    c"user.agentcg.final.6",
    c"user.agentcg.final.7",
    c"user.agentcg.final.8",
    c"user.agentcg.final.9",
    c"user.agentcg.final.10",
    c"user.agentcg.final.11",
    c"user.agentcg.final.12",
    c"user.agentcg.final.13",
    c"user.agentcg.final.14",
    c"user.agentcg.final.15",
];
/// The most bytes of one attribute. All of them together are half of what a directory can have.
const LONGEST: usize = 4096;

/// The file whose inotify(7) reports wake the watches. Every cgroup but the root has it, and nobody keeps it open.
pub const WATCHED: &CStr = c"cgroup.type";
const FREEZE: &CStr = c"cgroup.freeze";

/// Removers that change an attribute lock the directory. Any process that can open the directory can hold the lock, so the
/// wait for it is short.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(1);

/// The counters of a group's events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// `oom_kill` of `memory.events`: processes that were killed.
    pub oom_kill: u64,
    /// `high` of `memory.events`.
    pub high: u64,
    /// `max` of `memory.events`.
    pub max: u64,
    /// `max` of `pids.events`: forks that were refused.
    pub pids_max: u64,
    /// `oom` of `memory.events`.
    pub oom: u64,
    /// The process that has killed the processes that lived when the group was removed.
    pub remover: Remover,
}

impl Counts {
    /// Parses `memory.events`.
    pub fn parse_memory_events(&mut self, text: &[u8]) {
        for (key, value) in parse::pairs(text) {
            match key {
                b"oom_kill" => self.oom_kill = value,
                b"high" => self.high = value,
                b"max" => self.max = value,
                b"oom" => self.oom = value,
                _ => {}
            }
        }
    }

    /// Parses `pids.events`.
    pub fn parse_pids_events(&mut self, text: &[u8]) {
        self.pids_max = parse::value(text, b"max").unwrap_or(self.pids_max);
    }

    /// Parses the line of a group: its id, then the counts.
    fn from_line(line: &[u8]) -> Self {
        let mut numbers = parse::words(line).skip(1).map(|word| parse::number(word).unwrap_or_default());
        let mut next = || numbers.next().unwrap_or_default();
        Self {
            oom_kill: next(),
            high: next(),
            max: next(),
            pids_max: next(),
            oom: next(),
            remover: Remover::from_number(next()),
        }
    }
}

/// Requests the final counters from the remover, until every process has closed the open directory that this returns. It is
/// another one than the handle's, because an open file does not see its own locks, and the handle may be the remover's.
pub fn request(dir: &Dir) -> nix::Result<Dir> {
    let own = dir.child(c".")?;
    match sys::share_lock(own.as_fd()) {
        Err(e @ (Errno::ENOMEM | Errno::EINTR)) => Err(e),
        // A seccomp filter refuses such locks. The removal is reported; the final counters are not.
        _ => Ok(own),
    }
}

/// Returns true if a watcher has requested the final counters, or if that is unknown.
pub fn is_requested(dir: &Dir) -> bool {
    sys::is_share_locked(dir.as_fd()).unwrap_or(true)
}

/// Wakes the watches of a group on kernels that report removals, by setting the mode of a file to its present mode.
pub fn wake_watchers(dir: &Dir) {
    // EPERM, ENOENT: then the watches read at growing intervals.
    let _ = dir.touch(WATCHED);
}

/// Returns the final counters, if a remover has published them. Fails only with errors that may pass.
pub fn read(dir: &Dir) -> nix::Result<Option<Counts>> {
    let found = Record::of(dir).and_then(|record| {
        let mut buf = [0; LONGEST];
        let text = record.read(&mut buf)?;
        Ok(lines(text).find(|line| record.is_own(line)).map(Counts::from_line))
    });
    match found {
        Err(e) if !matches!(e, Errno::EINTR | Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM) => Ok(None),
        found => found,
    }
}

/// The line of a group in an attribute of the parent directory.
struct Record<'a> {
    group: &'a Dir,
    id: u64,
    /// The parent directory; `None` if no descriptor is left for it.
    above: Option<Dir>,
}

impl<'a> Record<'a> {
    fn of(group: &'a Dir) -> nix::Result<Self> {
        let id = fstat(group)?.st_ino;
        let above = match group.child(c"..") {
            Err(Errno::EMFILE | Errno::ENFILE) => None,
            opened => Some(opened?),
        };
        Ok(Self { group, id, above })
    }

    fn name(&self) -> &'static CStr {
        let number = usize::try_from(self.id % ATTRIBUTES.len() as u64).unwrap_or_default();
        ATTRIBUTES.get(number).copied().unwrap_or_default()
    }

    /// Returns a path of the parent directory that needs no further descriptor.
    fn path(&self) -> CString {
        let path = format!("/proc/self/fd/{}/..", self.group.as_fd().as_raw_fd());
        CString::new(path).unwrap_or_default()
    }

    fn read<'b>(&self, buf: &'b mut [u8; LONGEST]) -> nix::Result<&'b [u8]> {
        let read = match &self.above {
            Some(above) => sys::get_xattr(above.as_fd(), self.name(), buf),
            None => sys::get_xattr_at(&self.path(), self.name(), buf),
        };
        match read {
            // ENODATA: none yet. EOPNOTSUPP: Linux before 5.7. ERANGE: longer than the library writes.
            Err(Errno::ENODATA | Errno::EOPNOTSUPP | Errno::ERANGE) => Ok(&[]),
            other => other,
        }
    }

    fn is_own(&self, line: &[u8]) -> bool {
        parse::words(line).next().and_then(parse::number) == Some(self.id)
    }

    /// Replaces the group's line, or deletes it.
    fn write(&self, counts: Option<Counts>) -> nix::Result<()> {
        let _lock = self.above.as_ref().map(AttributeLock::wait);
        let mut buf = [0; LONGEST];
        let old = self.read(&mut buf)?;
        let mut text = Vec::new();
        text.try_reserve_exact(2 * LONGEST).map_err(|_| Errno::ENOMEM)?;
        for line in lines(old).filter(|line| !self.is_own(line)) {
            text.extend_from_slice(line);
            text.push(b'\n');
        }
        if let Some(Counts { oom_kill, high, max, pids_max, oom, remover }) = counts {
            let (id, remover) = (self.id, remover.number());
            let line = format!("{id} {oom_kill} {high} {max} {pids_max} {oom} {remover}\n");
            text.extend_from_slice(line.as_bytes());
        }
        let mut kept = text.as_slice();
        while kept.len() > LONGEST {
            // Drop the oldest line.
            kept =
                kept.iter().position(|&b| b == b'\n').and_then(|end| kept.get(end + 1..)).unwrap_or_default();
        }
        match &self.above {
            Some(above) => sys::set_xattr(above.as_fd(), self.name(), kept),
            None => sys::set_xattr_at(&self.path(), self.name(), kept),
        }
    }
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&b| b == b'\n').filter(|line| !line.is_empty())
}

/// The lock of the removers that change attributes of a directory.
struct AttributeLock<'a>(&'a Dir);

impl<'a> AttributeLock<'a> {
    /// Waits for the lock, and goes on without it after 20 ms: a lost line is better than a removal that waits.
    fn wait(above: &'a Dir) -> Self {
        for _ in 0..LOCK_TRIES {
            if sys::flock(above.as_fd(), Lock::Exclusive) == Ok(true) {
                break;
            }
            std::thread::sleep(LOCK_PAUSE);
        }
        Self(above)
    }
}

impl Drop for AttributeLock<'_> {
    fn drop(&mut self) {
        // Closing is not enough: a forked child may have the file open.
        let _ = sys::flock(self.0.as_fd(), Lock::None); // The lock was not taken.
    }
}

/// Published final counters. They are withdrawn on drop if the group still exists.
#[derive(Debug)]
pub struct FinalCounters<'a> {
    dir: &'a Dir,
    /// The state of `cgroup.freeze` before, if it was changed.
    frozen_before: Option<bool>,
}

impl<'a> FinalCounters<'a> {
    /// Publishes the final counters of a group in which no process lives, and wakes its watchers. `remover` is who has killed
    /// the last processes. Returns `None` if there are no watchers.
    pub fn publish(dir: &'a Dir, remover: Remover) -> Option<Self> {
        if !is_requested(dir) {
            return None;
        }
        let mut counts = Counts { remover, ..Counts::default() };
        let mut buf = [0; 1024];
        if let Ok(text) = dir.read(c"memory.events", &mut buf) {
            counts.parse_memory_events(text);
        }
        if let Ok(text) = dir.read(c"pids.events", &mut buf) {
            counts.parse_pids_events(text);
        }
        // After a failure the watchers see the removal alone.
        let _ = Record::of(dir).and_then(|record| record.write(Some(counts)));
        // A change of the state wakes the watchers. If the kernel delays the notification, because there was another in the
        // last 20 ms, the watchers are awake, and read again later.
        let frozen = Events::open(dir).and_then(|events| events.state()).map(|state| state.frozen);
        let frozen_before = frozen.ok().filter(|&frozen| set_frozen(dir, !frozen));
        Some(Self { dir, frozen_before })
    }

    /// Returns the state of `cgroup.freeze` before the call, if the call has changed it.
    pub fn was_frozen(&self) -> Option<bool> {
        self.frozen_before
    }
}

fn set_frozen(dir: &Dir, frozen: bool) -> bool {
    dir.write(FREEZE, if frozen { b"1" } else { b"0" }).is_ok()
}

impl Drop for FinalCounters<'_> {
    fn drop(&mut self) {
        if !self.dir.is_alive() {
            return;
        }
        if let Some(frozen) = self.frozen_before {
            // A file that could be written before can be written now, unless the group was removed.
            set_frozen(self.dir, frozen);
        }
        // After the freeze: without the line a watcher would report the freeze.
        let _ = Record::of(self.dir).and_then(|record| record.write(None)); // A line that stays does no harm.
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_counts_behind_the_groups_id() {
        let counts = Counts { oom_kill: 1, high: 2, max: 3, pids_max: 4, oom: 5, remover: Remover::Guard };
        assert_eq!(Counts::from_line(b"77 1 2 3 4 5 1"), counts);
        // Of an older library.
        let older = Counts { oom: 0, remover: Remover::Unknown, ..counts };
        assert_eq!(Counts::from_line(b"77 1 2 3 4"), older);
        assert_eq!(Counts::from_line(b"77 1 x"), Counts { oom_kill: 1, ..Counts::default() });
        assert_eq!(Counts::from_line(b""), Counts::default());
    }

    #[test]
    fn all_attributes_together_fit_into_a_directory_with_room_for_others() {
        const { assert!(ATTRIBUTES.len() * LONGEST <= 64 << 10) };
        // The last number has one digit.
        let longest = [u64::MAX; 6].map(|number| number.to_string()).join(" ");
        assert!(LONGEST / (longest.len() + 3) >= 30, "of the longest lines");
    }
}

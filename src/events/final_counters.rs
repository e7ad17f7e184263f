// SPDX-License-Identifier: MIT OR Apache-2.0
//! The final counters of a group, left by whoever removes it for those who watch it. The kernel discards all counters
//! with the directory, and a removal wakes nobody who waits in poll(2) or epoll(7). A freeze of an empty group does.
//!
//! The agent owns its group's directory, and can write, delete and crowd out every `user.*` attribute there. So nothing is
//! read from that directory:
//!
//! * A watcher holds a read lock (`F_OFD_SETLK`) on the group's directory. Nobody else can release it, nobody can hold one that
//!   excludes it, since a directory cannot be opened for writing, and the kernel releases it when the watcher's handle is
//!   closed. `F_OFD_GETLK` shows it to the remover.
//! * The counters are put on the parent directory, `agents`, which an agent in a cgroup namespace of its own does not see.
//!   A directory that was removed keeps its attributes for those who have it, or one below it, open.
//!
//! A directory has 128 `user.*` attributes and 128 KiB of them, so groups share [`ATTRIBUTES`]: each has a line for each of the
//! last groups removed whose id falls on it, some 140 of the usual length. The oldest line goes first. A thousand groups that
//! are removed before their watchers look lose none. All goes with `agents`, after its last group.
//!
//! Before Linux 5.7 there are no such attributes: a watcher learns of the removal, not of the last counts.

use crate::cgroupfs::Dir;
use crate::cgroupfs::events_file::Events;
use crate::parse;
use crate::sys::{self, Lock};
use nix::errno::Errno;
use nix::sys::stat::fstat;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

/// On the directory that holds the group. A group's is that of its id modulo their number.
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
/// Bytes of one attribute. All of them are half of what a directory may have.
const LONGEST: usize = 4096;

/// A file whose reports wake those who watch. Each cgroup has it but the root, and nobody keeps it open.
pub const BELL: &CStr = c"cgroup.type";
const FREEZE: &CStr = c"cgroup.freeze";

/// Two removers that change an attribute at the same time take turns. Whoever can open the directory can hold this lock, too,
/// and must not hold up a removal.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(1);

/// What happened in a group, and how often.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Of `memory.events`: processes killed.
    pub oom_kill: u64,
    /// Of `memory.events`.
    pub high: u64,
    /// Of `memory.events`.
    pub max: u64,
    /// Of `pids.events`: forks refused.
    pub pids_max: u64,
}

impl Counts {
    /// From `memory.events`.
    pub fn take_memory(&mut self, text: &[u8]) {
        for (key, value) in parse::pairs(text) {
            match key {
                b"oom_kill" => self.oom_kill = value,
                b"high" => self.high = value,
                b"max" => self.max = value,
                _ => {}
            }
        }
    }

    /// From `pids.events`.
    pub fn take_pids(&mut self, text: &[u8]) {
        self.pids_max = parse::value(text, b"max").unwrap_or(self.pids_max);
    }

    /// As the line of a group has them, behind its id.
    fn from_line(line: &[u8]) -> Self {
        let mut numbers = parse::words(line).skip(1).map(|word| parse::number(word).unwrap_or_default());
        let mut next = || numbers.next().unwrap_or_default();
        Self { oom_kill: next(), high: next(), max: next(), pids_max: next() }
    }
}

/// Have the remover leave the final counters, until the open directory is closed by all who have it.
pub fn ask_for(dir: &Dir) -> nix::Result<()> {
    match sys::share_lock(dir.as_fd()) {
        Err(e @ (Errno::ENOMEM | Errno::EINTR)) => Err(e),
        // No such locks (a sandbox's filter): the removal is told, the last counts are not.
        _ => Ok(()),
    }
}

/// True if somebody watches, or if that cannot be seen.
pub fn is_asked_for(dir: &Dir) -> bool {
    // Opened anew: an open file does not see its own locks, and a watcher may have this very one.
    match dir.child(c".") {
        Ok(dir) => sys::is_share_locked(dir.as_fd()).unwrap_or(true),
        Err(Errno::ENODEV) => false,
        Err(_) => true,
    }
}

/// Have those look who watch, by a report that comes where the kernel reports removals: the file gets the mode that it
/// has.
pub fn ring(dir: &Dir) {
    // Not its owner, or gone: they look at growing intervals.
    let _ = dir.touch(BELL);
}

/// The final counters, once somebody is about to remove the group or has done so.
/// Fails only where it may succeed later.
pub fn left(dir: &Dir) -> nix::Result<Option<Counts>> {
    let found = Notes::of(dir).and_then(|notes| {
        let mut buf = [0; LONGEST];
        let text = notes.read(&mut buf)?;
        Ok(lines(text).find(|line| notes.is_own(line)).map(Counts::from_line))
    });
    match found {
        Err(e) if !matches!(e, Errno::EINTR | Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM) => Ok(None),
        found => found,
    }
}

/// The attribute that has a group's line.
struct Notes<'a> {
    group: &'a Dir,
    id: u64,
    /// The directory above; nothing if no descriptor is left for it.
    above: Option<Dir>,
}

impl<'a> Notes<'a> {
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

    /// Names the directory above without a descriptor of its own.
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
            // None yet; no attributes before Linux 5.7; one that is longer is not the library's.
            Err(Errno::ENODATA | Errno::EOPNOTSUPP | Errno::ERANGE) => Ok(&[]),
            other => other,
        }
    }

    fn is_own(&self, line: &[u8]) -> bool {
        parse::words(line).next().and_then(parse::number) == Some(self.id)
    }

    /// Replace the group's line, or delete it.
    fn write(&self, counts: Option<Counts>) -> nix::Result<()> {
        let _lock = self.above.as_ref().map(Turn::wait);
        let mut buf = [0; LONGEST];
        let old = self.read(&mut buf)?;
        let mut text = Vec::new();
        text.try_reserve_exact(2 * LONGEST).map_err(|_| Errno::ENOMEM)?;
        for line in lines(old).filter(|line| !self.is_own(line)) {
            text.extend_from_slice(line);
            text.push(b'\n');
        }
        if let Some(Counts { oom_kill, high, max, pids_max }) = counts {
            text.extend_from_slice(format!("{} {oom_kill} {high} {max} {pids_max}\n", self.id).as_bytes());
        }
        let mut kept = text.as_slice();
        while kept.len() > LONGEST {
            // The oldest.
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

/// The right to change attributes of a directory.
struct Turn<'a>(&'a Dir);

impl<'a> Turn<'a> {
    /// Without it, at last: a line that is lost is better than a removal that waits.
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

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // A forked child may keep the file open.
        let _not_locked = sys::flock(self.0.as_fd(), Lock::None);
    }
}

/// Said before a removal, taken back if it comes to none.
#[derive(Debug)]
pub struct Farewell<'a> {
    dir: &'a Dir,
    /// What `cgroup.freeze` was.
    frozen_before: Option<bool>,
}

impl<'a> Farewell<'a> {
    /// Leave the final counters for those who watch `dir`, in which nothing lives any more, and wake them. Nothing if there
    /// are none.
    pub fn say(dir: &'a Dir) -> Option<Self> {
        if !is_asked_for(dir) {
            return None;
        }
        let mut counts = Counts::default();
        let mut buf = [0; 1024];
        if let Ok(text) = dir.read(c"memory.events", &mut buf) {
            counts.take_memory(text);
        }
        if let Ok(text) = dir.read(c"pids.events", &mut buf) {
            counts.take_pids(text);
        }
        // Else they learn of the removal alone.
        let _left = Notes::of(dir).and_then(|notes| notes.write(Some(counts)));
        // A change is what wakes. If the kernel puts the notification off, for there was another in the last 20 ms,
        // the watchers are awake anyway, and look again after it.
        let frozen = Events::open(dir).and_then(|events| events.state()).map(|state| state.frozen);
        let frozen_before = frozen.ok().filter(|&frozen| set_frozen(dir, !frozen));
        Some(Self { dir, frozen_before })
    }

    /// Whether the group was frozen before.
    pub fn was_frozen(&self) -> Option<bool> {
        self.frozen_before
    }
}

fn set_frozen(dir: &Dir, frozen: bool) -> bool {
    dir.write(FREEZE, if frozen { b"1" } else { b"0" }).is_ok()
}

impl Drop for Farewell<'_> {
    fn drop(&mut self) {
        if !self.dir.is_alive() {
            return;
        }
        if let Some(frozen) = self.frozen_before {
            // Gone meanwhile, else: as it let itself be changed it lets itself be changed back.
            set_frozen(self.dir, frozen);
        }
        // Not before: who looks in between would take the freeze for somebody's wish.
        let _not_left = Notes::of(self.dir).and_then(|notes| notes.write(None));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_counts_behind_the_groups_id() {
        let counts = Counts { oom_kill: 1, high: 2, max: 3, pids_max: 4 };
        assert_eq!(Counts::from_line(b"77 1 2 3 4"), counts);
        assert_eq!(Counts::from_line(b"77 1 x"), Counts { oom_kill: 1, ..Counts::default() });
        assert_eq!(Counts::from_line(b""), Counts::default());
    }

    #[test]
    fn all_attributes_together_fit_into_a_directory_with_room_for_others() {
        const { assert!(ATTRIBUTES.len() * LONGEST <= 64 << 10) };
        let longest = [u64::MAX; 5].map(|number| number.to_string()).join(" ");
        assert!(LONGEST / (longest.len() + 1) >= 32, "of the longest lines");
    }
}

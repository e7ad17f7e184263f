// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files of a group that a call changes temporarily. The library opens each file before it changes it, and keeps it
//! open until its value is restored: neither a lack of descriptors nor a change of the file's mode can then prevent
//! that. A value that cannot be restored is remembered, and the next call tries again.

use crate::cgroupfs::{Dir, FILE_MAX, FileError, read_once, write_once};
use crate::sys::fork_mutex::ForkMutex;
use crate::sys::try_alloc;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::fstat;
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Weak};

/// The temporarily changed files of one group, shared by all threads of the process. In a forked child there are none:
/// the parent restores them.
#[derive(Debug, Default)]
pub struct Overrides {
    state: ForkMutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The number of calls that need the changes. The last of them restores the files.
    users: usize,
    saved: Vec<SavedFile>,
}

/// An open file and the value to restore.
#[derive(Debug)]
struct SavedFile {
    file: &'static CStr,
    fd: OwnedFd,
    value: Vec<u8>,
}

impl Drop for Overrides {
    fn drop(&mut self) {
        OF_GROUPS.lock().remove_one();
    }
}

/// The overrides of every group.
static OF_GROUPS: ForkMutex<Registry> = ForkMutex::new();

/// Finds the overrides of a group. The cost of each call does not grow with the number of groups, except for a binary search:
/// the kernel numbers cgroups in ascending order, and removed entries are dropped many at a time.
#[derive(Default)]
struct Registry {
    /// Sorted by the inode number of the group's directory. Some are of overrides that exist no longer.
    entries: Vec<(u64, Weak<Overrides>)>,
    removed: usize,
}

impl Registry {
    /// Returns the overrides of a group, or new ones.
    fn get(&mut self, group: u64) -> nix::Result<Arc<Overrides>> {
        let found = self.entries.binary_search_by_key(&group, |(known, _)| *known);
        if let Some((_, entry)) = found.ok().and_then(|at| self.entries.get_mut(at)) {
            return Ok(entry.upgrade().unwrap_or_else(|| {
                let overrides = Arc::new(Overrides::default());
                *entry = Arc::downgrade(&overrides);
                self.removed = self.removed.saturating_sub(1);
                overrides
            }));
        }
        try_alloc::reserve(&mut self.entries, 1)?;
        let overrides = Arc::new(Overrides::default());
        let at = found.unwrap_or_else(|at| at).min(self.entries.len());
        self.entries.insert(at, (group, Arc::downgrade(&overrides)));
        Ok(overrides)
    }

    /// Counts one entry whose overrides have been dropped.
    fn remove_one(&mut self) {
        self.removed += 1;
        if self.removed > self.entries.len() / 2 {
            self.entries.retain(|(_, overrides)| overrides.strong_count() > 0);
            self.removed = 0;
            // An empty list keeps no memory.
            if self.entries.is_empty() {
                self.entries = Vec::new();
            }
        }
    }
}

impl Overrides {
    /// Returns the overrides of a group. All handles of the process share them. Otherwise a second handle would save
    /// the temporary value that the first has written, and restore it last.
    pub fn of(dir: &Dir) -> nix::Result<Arc<Self>> {
        Self::of_id(fstat(dir)?.st_ino)
    }

    /// The same for the group with this id, which exists.
    pub fn of_id(id: u64) -> nix::Result<Arc<Self>> {
        OF_GROUPS.lock().get(id)
    }

    /// Begins a call that changes files temporarily.
    pub fn begin(&self) -> OverrideUser<'_> {
        self.with_state(|state| state.users += 1);
        OverrideUser { overrides: self, ended: false }
    }

    /// Saves a value that the caller could not restore. The next call tries again.
    pub fn remember(&self, file: &'static CStr, fd: OwnedFd, value: Vec<u8>) {
        self.with_state(|state| {
            // An older saved value is the one that the caller of the library has set.
            if state.find(file).is_none() && state.saved.try_reserve(1).is_ok() {
                state.saved.push(SavedFile { file, fd, value });
            }
        });
    }

    /// Writes a permanent value. While calls override the file, the value is saved, and the last of those calls
    /// restores it.
    pub fn write(&self, dir: &Dir, file: &CStr, value: &[u8]) -> nix::Result<()> {
        self.with_state(|state| {
            let Some(saved) = state.saved.iter_mut().find(|saved| saved.file == file) else {
                return dir.write(file, value);
            };
            saved.value.clear();
            try_alloc::extend(&mut saved.value, value.iter().copied())?;
            state.restore_if_unused(dir).map_err(|(e, _)| e)
        })
    }

    /// Passes the permanent value of a file to `parse` and returns its result. While calls override the file, that is the
    /// saved value, otherwise what `read` returns. No call begins or ends to override the file in the meantime.
    pub fn permanent_value<R>(
        &self,
        file: &CStr,
        read: impl FnOnce(&mut [u8]) -> nix::Result<&[u8]>,
        parse: impl FnOnce(&[u8]) -> R,
    ) -> nix::Result<R> {
        self.with_state(|state| match state.find(file) {
            Some(saved) => Ok(parse(&saved.value)),
            None => read(&mut [0; FILE_MAX]).map(parse),
        })
    }

    /// Writes a permanent value to an open file at once, also while calls override the file. None of them restores the value
    /// from before.
    pub fn write_permanent(&self, file: &CStr, fd: BorrowedFd<'_>, value: &[u8]) -> nix::Result<()> {
        let forget = |state: &mut State| state.saved.retain(|saved| saved.file != file);
        // To lower a limit of memory can take seconds, and a kill must not wait for that. No call overrides such a file.
        if file.to_bytes().starts_with(b"memory.") {
            write_once(fd, value)?;
            self.with_state(forget);
            return Ok(());
        }
        // A call that began to override the file after the write, and before its value was discarded, would restore nothing.
        self.with_state(|state| write_once(fd, value).map(|()| forget(state)))
    }

    /// Restores the files that earlier calls could not restore. Does nothing while another call needs the changes.
    pub fn restore_remaining(&self, dir: &Dir) -> Result<(), FileError> {
        self.with_state(|state| state.restore_if_unused(dir))
    }

    fn with_state<R>(&self, work: impl FnOnce(&mut State) -> R) -> R {
        work(&mut self.state.lock())
    }
}

/// One call that changes files temporarily.
#[derive(Debug)]
pub struct OverrideUser<'a> {
    overrides: &'a Overrides,
    ended: bool,
}

impl OverrideUser<'_> {
    /// Writes a temporary value if `must_change` returns true for the value that the file has. Returns false if the
    /// file does not exist.
    pub fn set(
        &self,
        dir: &Dir,
        file: &'static CStr,
        value: &[u8],
        must_change: impl Fn(&[u8]) -> bool,
    ) -> nix::Result<bool> {
        self.overrides.with_state(|state| {
            if let Some(saved) = state.find(file) {
                match write_once(saved.fd.as_fd(), value) {
                    // Its controller was disabled, which discards the value.
                    Err(Errno::ENODEV) => state.saved.retain(|saved| saved.file != file),
                    written => return written.map(|()| true),
                }
            }
            let fd = match dir.open_file(file, OFlag::O_RDWR) {
                Err(Errno::ENOENT) => return Ok(false),
                opened => opened?,
            };
            let mut buf = [0; 64];
            let before = match read_once(fd.as_fd(), &mut buf).map_err(|e| dir.settle(e)) {
                Err(Errno::ENOENT) => return Ok(false),
                read => read?.trim_ascii_end(),
            };
            if !must_change(before) {
                return Ok(true);
            }
            state.saved.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
            let written = write_once(fd.as_fd(), value).map_err(|e| dir.settle(e));
            if written != Err(Errno::ENOENT) {
                state.saved.push(SavedFile { file, fd, value: before.to_vec() });
            }
            match written {
                Err(Errno::ENOENT) => Ok(false),
                written => written.map(|()| true),
            }
        })
    }

    /// Returns true if the file has a temporary value.
    pub fn overrides(&self, file: &CStr) -> bool {
        self.overrides.with_state(|state| state.find(file).is_some())
    }

    /// Ends the call. Restores all files if no other call needs the changes. Returns the first failure.
    pub fn restore(mut self, dir: &Dir) -> Result<(), FileError> {
        self.ended = true;
        self.overrides.with_state(|state| {
            state.users = state.users.saturating_sub(1);
            state.restore_if_unused(dir)
        })
    }
}

/// A call that ends without [`OverrideUser::restore`] leaves its changes to the next call.
impl Drop for OverrideUser<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.overrides.with_state(|state| state.users = state.users.saturating_sub(1));
        }
    }
}

impl State {
    fn find(&self, file: &CStr) -> Option<&SavedFile> {
        self.saved.iter().find(|saved| saved.file == file)
    }

    /// Restores the files if no call needs the changes.
    fn restore_if_unused(&mut self, dir: &Dir) -> Result<(), FileError> {
        if self.users > 0 { Ok(()) } else { self.restore(dir) }
    }

    /// Restores the files, the last changed first. Keeps those that could not be restored.
    fn restore(&mut self, dir: &Dir) -> Result<(), FileError> {
        let mut outcome = Ok(());
        let mut index = self.saved.len();
        while index > 0 {
            index -= 1;
            let Some(saved) = self.saved.get(index) else { break };
            match saved.restore(dir) {
                Ok(()) => drop(self.saved.remove(index)),
                Err(e) => outcome = outcome.and(Err((e, saved.file))),
            }
        }
        outcome
    }
}

impl SavedFile {
    fn restore(&self, dir: &Dir) -> nix::Result<()> {
        match write_once(self.fd.as_fd(), &self.value) {
            Err(Errno::ENODEV) => {}
            written => return written,
        }
        // The file's controller was disabled. If it was enabled again, there is a new file of that name. Otherwise, and
        // if the group was removed, there is nothing to restore.
        match dir.write(self.file, &self.value) {
            Err(Errno::ENOENT | Errno::ENODEV) => Ok(()),
            written => written,
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::sys::descriptors::open;
    use std::sync::Barrier;

    /// The name of the test's thread. Like a file of a group, it takes each write as a whole value; unlike one, it
    /// needs no kernel of the lab.
    pub const FILE: &CStr = c"comm";

    pub fn of_this_thread() -> Dir {
        Dir::from(open(c"/proc/thread-self", OFlag::O_RDONLY | OFlag::O_DIRECTORY).expect("/proc"))
    }

    pub fn value(dir: &Dir) -> String {
        String::from_utf8(dir.read_all(FILE).expect("it can be read")).expect("text").trim_end().to_owned()
    }

    /// Runs two overlapping calls, each in its own thread and with its own handle. Runs `both_active` after both have
    /// changed the file, and `between` after the first call has ended. Returns the value of the file after both have
    /// ended.
    fn overlap(dir: &Dir, both_active: impl FnOnce(&Overrides), between: impl FnOnce(&Overrides)) -> String {
        dir.write(FILE, b"before").expect("it can be written");
        let step = Barrier::new(2);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let overrides = Overrides::of(dir).expect("memory");
                let first = overrides.begin();
                assert_eq!(first.set(dir, FILE, b"first", |_| true), Ok(true));
                step.wait();
                step.wait();
                assert_eq!(first.restore(dir), Ok(()));
                step.wait();
            });
            let overrides = Overrides::of(dir).expect("memory");
            step.wait();
            let second = overrides.begin();
            assert_eq!(second.set(dir, FILE, b"second", |_| true), Ok(true));
            both_active(&overrides);
            assert_eq!(value(dir), "second");
            step.wait();
            step.wait();
            assert_eq!(value(dir), "second", "the second call needs it");
            between(&overrides);
            assert_eq!(second.restore(dir), Ok(()));
            assert!(overrides.with_state(|state| state.find(FILE).is_none()));
        });
        value(dir)
    }

    #[test]
    fn the_last_of_two_overlapping_calls_restores_the_value_from_before_the_first() {
        let dir = of_this_thread();
        assert_eq!(overlap(&dir, |_| (), |_| ()), "before");
    }

    #[test]
    fn a_permanent_value_written_during_two_overlapping_calls_is_restored_by_the_last() {
        let dir = of_this_thread();
        let write = |value: &'static [u8]| {
            |overrides: &Overrides| assert_eq!(overrides.write(&of_this_thread(), FILE, value), Ok(()))
        };
        assert_eq!(overlap(&dir, write(b"early"), |_| ()), "early");
        assert_eq!(overlap(&dir, |_| (), write(b"late")), "late");
    }

    #[test]
    fn a_call_that_ends_without_restoring_leaves_that_to_the_next_call_when_no_other_needs_the_change() {
        let dir = of_this_thread();
        let between =
            |overrides: &Overrides| assert_eq!(overrides.restore_remaining(&of_this_thread()), Ok(()));
        let interrupted = |overrides: &Overrides| {
            let third = overrides.begin();
            assert_eq!(third.set(&of_this_thread(), FILE, b"second", |_| true), Ok(true));
        };
        assert_eq!(overlap(&dir, interrupted, between), "before");

        let overrides = Overrides::of(&dir).expect("memory");
        let alone = overrides.begin();
        assert_eq!(alone.set(&dir, FILE, b"alone", |_| true), Ok(true));
        drop(alone);
        assert_eq!(value(&dir), "alone");
        assert_eq!(overrides.restore_remaining(&dir), Ok(()));
        assert_eq!(value(&dir), "before");
    }
}

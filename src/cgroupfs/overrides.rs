// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files of a group that the library changes for a while, and puts back. Each is opened before it is changed, and stays open
//! until it is put back, so that neither a lack of descriptors nor a change of its mode can prevent that. What could not be
//! put back is remembered and tried again by the next call.

use crate::cgroupfs::{Dir, FileError, read_once, write_once};
use crate::sys::fork_mutex::ForkMutex;
use crate::sys::try_alloc;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::fstat;
use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

/// The changed files of one group, for all threads that use a handle of it. A forked child has none: its parent puts back.
#[derive(Debug, Default)]
pub struct Overrides {
    state: ForkMutex<State>,
    /// Something is changed, or could not be put back.
    any: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    /// How many calls need the changes now. The last of them puts back.
    users: usize,
    held: Vec<Held>,
}

/// A file with what it held before.
#[derive(Debug)]
struct Held {
    file: &'static CStr,
    fd: OwnedFd,
    before: Vec<u8>,
}

/// The list of all keeps no memory for those that are gone.
impl Drop for Overrides {
    fn drop(&mut self) {
        let mut groups = OF_GROUPS.lock();
        groups.retain(|(_, overrides)| overrides.strong_count() > 0);
        if groups.is_empty() {
            *groups = Vec::new();
        }
    }
}

/// Each with the inode number of its group.
static OF_GROUPS: ForkMutex<Vec<(u64, Weak<Overrides>)>> = ForkMutex::new();

impl Overrides {
    /// Those of this group. All handles of the process share them: a second one would take what the first has changed for
    /// what the file is to hold, and put that back last.
    pub fn of(dir: &Dir) -> nix::Result<Arc<Self>> {
        let group = fstat(dir)?.st_ino;
        let mut groups = OF_GROUPS.lock();
        groups.retain(|(_, overrides)| overrides.strong_count() > 0);
        let known = groups.iter().find(|(known, _)| *known == group);
        if let Some(shared) = known.and_then(|(_, overrides)| overrides.upgrade()) {
            return Ok(shared);
        }
        try_alloc::reserve(&mut groups, 1)?;
        let overrides = Arc::new(Self::default());
        groups.push((group, Arc::downgrade(&overrides)));
        Ok(overrides)
    }

    /// Begin a call that changes files. They are put back at its end.
    pub fn begin(&self) -> Hold<'_> {
        self.with(|state| state.users += 1);
        Hold { overrides: self, released: false }
    }

    /// Remember a file that is to be put back by the next call.
    pub fn remember(&self, file: &'static CStr, fd: OwnedFd, before: Vec<u8>) {
        self.with(|state| {
            // The first value that was found is the caller's.
            if state.find(file).is_none() && state.held.try_reserve(1).is_ok() {
                state.held.push(Held { file, fd, before });
                self.any.store(true, Ordering::Relaxed);
            }
        });
    }

    /// Write a value that is to stay. If a call has changed the file, that call keeps its change and puts back this value in
    /// place of the one from before.
    pub fn write(&self, dir: &Dir, file: &CStr, value: &[u8]) -> nix::Result<()> {
        self.with(|state| {
            let Some(held) = state.held.iter_mut().find(|held| held.file == file) else {
                return dir.write(file, value);
            };
            held.before.clear();
            try_alloc::extend(&mut held.before, value.iter().copied())?;
            if state.users == 0 { self.put_back(state, dir).map_err(|(e, _)| e) } else { Ok(()) }
        })
    }

    /// What the file is to hold after the calls that have changed it; `None` if none has.
    pub fn wanted<R>(&self, file: &CStr, look: impl Fn(&[u8]) -> R) -> Option<R> {
        self.with(|state| state.find(file).map(|held| look(&held.before)))
    }

    /// The caller has given these files new values: what they held before is no longer wanted.
    pub fn forget(&self, files: &[&CStr]) {
        if self.any.load(Ordering::Relaxed) {
            self.with(|state| state.held.retain(|held| !files.contains(&held.file)));
        }
    }

    /// Put back what an earlier call could not.
    pub fn put_back_rest(&self, dir: &Dir) -> Result<(), FileError> {
        if !self.any.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.with(|state| if state.users == 0 { self.put_back(state, dir) } else { Ok(()) })
    }

    fn with<R>(&self, work: impl FnOnce(&mut State) -> R) -> R {
        work(&mut self.state.lock())
    }

    fn put_back(&self, state: &mut State, dir: &Dir) -> Result<(), FileError> {
        let outcome = state.put_back(dir);
        self.any.store(!state.held.is_empty(), Ordering::Relaxed);
        outcome
    }
}

/// A call during which files are changed.
#[derive(Debug)]
pub struct Hold<'a> {
    overrides: &'a Overrides,
    released: bool,
}

impl Hold<'_> {
    /// Write a value, for the time of this call. `replaces` decides by what the file holds whether it must be changed.
    /// Returns false if there is no such file.
    pub fn set(
        &self,
        dir: &Dir,
        file: &'static CStr,
        value: &[u8],
        replaces: impl Fn(&[u8]) -> bool,
    ) -> nix::Result<bool> {
        self.overrides.with(|state| {
            if let Some(held) = state.find(file) {
                match write_once(held.fd.as_fd(), value) {
                    // Its controller was disabled. What it held went with it.
                    Err(Errno::ENODEV) => state.held.retain(|held| held.file != file),
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
            if !replaces(before) {
                return Ok(true);
            }
            state.held.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
            let written = write_once(fd.as_fd(), value).map_err(|e| dir.settle(e));
            if written != Err(Errno::ENOENT) {
                state.held.push(Held { file, fd, before: before.to_vec() });
                self.overrides.any.store(true, Ordering::Relaxed);
            }
            match written {
                Err(Errno::ENOENT) => Ok(false),
                written => written.map(|()| true),
            }
        })
    }

    /// Whether this file is changed now.
    pub fn holds(&self, file: &CStr) -> bool {
        self.overrides.with(|state| state.find(file).is_some())
    }

    /// End the call. If no other call needs the changes all files are put back. The first that could not be is returned.
    pub fn release(mut self, dir: &Dir) -> Result<(), FileError> {
        self.released = true;
        self.overrides.with(|state| {
            state.users = state.users.saturating_sub(1);
            if state.users == 0 { self.overrides.put_back(state, dir) } else { Ok(()) }
        })
    }
}

/// A call that ends without [`Hold::release`] leaves its changes to be put back by the next.
impl Drop for Hold<'_> {
    fn drop(&mut self) {
        if !self.released {
            self.overrides.with(|state| state.users = state.users.saturating_sub(1));
        }
    }
}

impl State {
    fn find(&self, file: &CStr) -> Option<&Held> {
        self.held.iter().find(|held| held.file == file)
    }

    fn put_back(&mut self, dir: &Dir) -> Result<(), FileError> {
        let mut outcome = Ok(());
        let mut at = self.held.len();
        // The last changed first.
        while at > 0 {
            at -= 1;
            let Some(held) = self.held.get(at) else { break };
            match held.put_back(dir) {
                Ok(()) => drop(self.held.remove(at)),
                Err(e) => outcome = outcome.and(Err((e, held.file))),
            }
        }
        outcome
    }
}

impl Held {
    fn put_back(&self, dir: &Dir) -> nix::Result<()> {
        match write_once(self.fd.as_fd(), &self.before) {
            Err(Errno::ENODEV) => {}
            written => return written,
        }
        // Its controller was disabled meanwhile. If it is enabled again there is another file of that name; if it is not, or
        // if the group was removed, there is nothing to put back.
        match dir.write(self.file, &self.before) {
            Err(Errno::ENOENT | Errno::ENODEV) => Ok(()),
            written => written,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::descriptors::open;
    use std::sync::Barrier;

    /// A file that takes each write for a whole value, as those of a group do, and needs no kernel of its own: the name of
    /// the test's thread.
    const FILE: &CStr = c"comm";

    fn of_this_thread() -> Dir {
        Dir::from(open(c"/proc/thread-self", OFlag::O_RDONLY | OFlag::O_DIRECTORY).expect("/proc"))
    }

    fn value(dir: &Dir) -> String {
        String::from_utf8(dir.read_all(FILE).expect("it can be read")).expect("text").trim_end().to_owned()
    }

    /// Two calls that overlap, each in a thread and by a handle of its own: `meanwhile` runs while both have changed the
    /// file, and `between` after the one that began first has ended. Returns what the file holds when both have.
    fn two_at_once(
        dir: &Dir,
        meanwhile: impl FnOnce(&Overrides),
        between: impl FnOnce(&Overrides),
    ) -> String {
        dir.write(FILE, b"before").expect("it can be written");
        let step = Barrier::new(2);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let overrides = Overrides::of(dir).expect("memory");
                let first = overrides.begin();
                assert_eq!(first.set(dir, FILE, b"first", |_| true), Ok(true));
                step.wait();
                step.wait();
                assert_eq!(first.release(dir), Ok(()));
                step.wait();
            });
            let overrides = Overrides::of(dir).expect("memory");
            step.wait();
            let second = overrides.begin();
            assert_eq!(second.set(dir, FILE, b"second", |_| true), Ok(true));
            meanwhile(&overrides);
            assert_eq!(value(dir), "second");
            step.wait();
            step.wait();
            assert_eq!(value(dir), "second", "it is needed by one of them still");
            between(&overrides);
            assert_eq!(second.release(dir), Ok(()));
            assert_eq!(overrides.wanted(FILE, |_| ()), None);
        });
        value(dir)
    }

    #[test]
    fn of_two_calls_at_once_the_last_puts_back_what_was_there_before_the_first() {
        let dir = of_this_thread();
        assert_eq!(two_at_once(&dir, |_| (), |_| ()), "before");
    }

    #[test]
    fn a_value_that_is_to_stay_is_put_back_in_place_of_the_one_from_before_whoever_ends_last() {
        let dir = of_this_thread();
        let write = |value: &'static [u8]| {
            |overrides: &Overrides| assert_eq!(overrides.write(&of_this_thread(), FILE, value), Ok(()))
        };
        assert_eq!(two_at_once(&dir, write(b"early"), |_| ()), "early");
        assert_eq!(two_at_once(&dir, |_| (), write(b"late")), "late");
    }

    #[test]
    fn a_call_that_ends_without_putting_back_leaves_that_to_the_next_when_no_other_needs_the_change() {
        let dir = of_this_thread();
        let between = |overrides: &Overrides| assert_eq!(overrides.put_back_rest(&of_this_thread()), Ok(()));
        let cut_short = |overrides: &Overrides| {
            let third = overrides.begin();
            assert_eq!(third.set(&of_this_thread(), FILE, b"second", |_| true), Ok(true));
        };
        assert_eq!(two_at_once(&dir, cut_short, between), "before");

        let overrides = Overrides::of(&dir).expect("memory");
        let alone = overrides.begin();
        assert_eq!(alone.set(&dir, FILE, b"alone", |_| true), Ok(true));
        drop(alone);
        assert_eq!(value(&dir), "alone");
        assert_eq!(overrides.put_back_rest(&dir), Ok(()));
        assert_eq!(value(&dir), "before");
    }
}

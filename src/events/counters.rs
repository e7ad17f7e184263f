// SPDX-License-Identifier: MIT OR Apache-2.0
//! `memory.events` and `pids.events`. They count, so that a lost notification loses no event.

use crate::cgroupfs::{Dir, FileError, read_once};
use crate::events::final_counters::Counts;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

/// The bit of a counter's file in the epoll instance.
pub(super) const COUNTER: u64 = 1 << 0;

/// Returns the request for the kernel's notifications of a file.
pub fn notification(bit: u64) -> EpollEvent {
    EpollEvent::new(EpollFlags::EPOLLPRI, bit)
}

/// The content of a new file.
const NEW: &[u8] = b"oom_kill 0\nhigh 0\nmax 0\n";

/// The files that count the selected events.
#[derive(Debug)]
pub struct Counters([Counter; 2]);

/// A file with counters.
#[derive(Debug)]
struct Counter {
    name: &'static CStr,
    needed: bool,
    /// `None` while its controller is disabled.
    fd: Option<OwnedFd>,
    /// Parses the file into the counts.
    parse: fn(&mut Counts, &[u8]),
}

impl Counters {
    /// Opens the files that are needed, and reads them into `counts`.
    pub fn open(
        dir: &Dir,
        epoll: &Epoll,
        memory: bool,
        pids: bool,
        counts: &mut Counts,
    ) -> Result<Self, FileError> {
        let counter = |needed: bool, name: &'static CStr, parse| {
            let fd = needed.then(|| dir.open_file(name, OFlag::O_RDONLY)).transpose();
            fd.map(|fd| Counter { name, needed, fd, parse }).map_err(|e| (e, name))
        };
        let mut fresh = Self([
            counter(memory, c"memory.events", Counts::parse_memory_events)?,
            counter(pids, c"pids.events", Counts::parse_pids_events)?,
        ]);
        let mut known = *counts;
        fresh.read(dir, epoll, &mut known, counts)?;
        Ok(fresh)
    }

    /// Adds the files to the epoll instance, all or none.
    pub fn add_to(&self, epoll: &Epoll) -> Result<(), FileError> {
        let all = self.0.iter().try_for_each(|counter| {
            match counter.fd.as_ref().map_or(Ok(()), |fd| epoll.add(fd, notification(COUNTER))) {
                // A read has opened it again and added it.
                Err(Errno::EEXIST) => Ok(()),
                added => added.map_err(|e| (e, counter.name)),
            }
        });
        all.inspect_err(|_| self.remove_from(epoll))
    }

    /// Removes the files from the epoll instance.
    pub fn remove_from(&self, epoll: &Epoll) {
        for counter in &self.0 {
            counter.remove_from(epoll);
        }
    }

    /// Reads the present counts. `known` has the counts of the last read; it becomes 0 for a new file.
    pub fn read(
        &mut self,
        dir: &Dir,
        epoll: &Epoll,
        known: &mut Counts,
        counts: &mut Counts,
    ) -> Result<(), FileError> {
        self.0
            .iter_mut()
            .try_for_each(|counter| counter.read(dir, epoll, known, counts).map_err(|e| (e, counter.name)))
    }
}

impl Counter {
    /// Reads the file, if it exists. After a failure the next read does what this one has not done.
    fn read(&mut self, dir: &Dir, epoll: &Epoll, known: &mut Counts, counts: &mut Counts) -> nix::Result<()> {
        if !self.needed {
            return Ok(());
        }
        let mut buf = [0; 512];
        if let Some(fd) = &self.fd {
            match read_once(fd.as_fd(), &mut buf) {
                // The controller was disabled. If it is enabled again there is a new file, which counts from 0.
                Err(Errno::ENODEV) => {}
                text => {
                    (self.parse)(counts, text?);
                    return Ok(());
                }
            }
            self.remove_from(epoll);
            self.fd = None;
        }
        let fresh = match dir.open_file(self.name, OFlag::O_RDONLY) {
            Err(Errno::ENOENT) => return Ok(()),
            fresh => fresh?,
        };
        match read_once(fresh.as_fd(), &mut buf) {
            Err(Errno::ENODEV) => return Ok(()),
            text => (self.parse)(counts, text?),
        }
        epoll.add(&fresh, notification(COUNTER))?;
        (self.parse)(known, NEW);
        self.fd = Some(fresh);
        Ok(())
    }

    fn remove_from(&self, epoll: &Epoll) {
        if let Some(fd) = &self.fd {
            let _ = epoll.delete(fd); // ENOENT: it was not added.
        }
    }
}

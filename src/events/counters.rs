// SPDX-License-Identifier: MIT OR Apache-2.0
//! `memory.events` and `pids.events`. They count, so that a lost notification loses no event.

use super::token::{COUNTER, on};
use crate::cgroupfs::{Dir, FileError, read_once};
use crate::events::final_counters::Counts;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::epoll::Epoll;
use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

/// The content of a new file.
const NEW: &[u8] = b"oom_kill 0\nhigh 0\nmax 0\n";

/// The files of the events that are listened to.
#[derive(Debug)]
pub struct Counters([Counter; 2]);

/// A file that counts.
#[derive(Debug)]
struct Counter {
    name: &'static CStr,
    needed: bool,
    /// None while its controller is disabled.
    fd: Option<OwnedFd>,
    /// Take what it says into the counts.
    take: fn(&mut Counts, &[u8]),
}

impl Counters {
    /// Open what is needed, and take what they say.
    pub fn open(
        dir: &Dir,
        epoll: &Epoll,
        memory: bool,
        pids: bool,
        counts: &mut Counts,
    ) -> Result<Self, FileError> {
        let counter = |needed: bool, name: &'static CStr, take| {
            let fd = needed.then(|| dir.open_file(name, OFlag::O_RDONLY)).transpose();
            fd.map(|fd| Counter { name, needed, fd, take }).map_err(|e| (e, name))
        };
        let mut fresh = Self([
            counter(memory, c"memory.events", Counts::take_memory)?,
            counter(pids, c"pids.events", Counts::take_pids)?,
        ]);
        let mut known = *counts;
        fresh.read(dir, epoll, &mut known, counts)?;
        Ok(fresh)
    }

    /// Be woken by them: all, or none.
    pub fn listen(&self, epoll: &Epoll) -> Result<(), FileError> {
        let all = self.0.iter().try_for_each(|counter| {
            match counter.fd.as_ref().map_or(Ok(()), |fd| epoll.add(fd, on(COUNTER))) {
                // Opened anew by the first read.
                Err(Errno::EEXIST) => Ok(()),
                added => added.map_err(|e| (e, counter.name)),
            }
        });
        all.inspect_err(|_| self.ignore(epoll))
    }

    /// Not any more.
    pub fn ignore(&self, epoll: &Epoll) {
        for counter in &self.0 {
            counter.ignore(epoll);
        }
    }

    /// Take what they say now. `known` is what they said before: 0 for a file that is new.
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
    /// Read what it says, if it is there. On failure the next read does what this one has not.
    fn read(&mut self, dir: &Dir, epoll: &Epoll, known: &mut Counts, counts: &mut Counts) -> nix::Result<()> {
        if !self.needed {
            return Ok(());
        }
        let mut buf = [0; 512];
        if let Some(fd) = &self.fd {
            match read_once(fd.as_fd(), &mut buf) {
                // Its controller was disabled. If it is enabled again there is another file, which counts from 0.
                Err(Errno::ENODEV) => {}
                text => {
                    (self.take)(counts, text?);
                    return Ok(());
                }
            }
            self.ignore(epoll);
            self.fd = None;
        }
        let fresh = match dir.open_file(self.name, OFlag::O_RDONLY) {
            Err(Errno::ENOENT) => return Ok(()),
            fresh => fresh?,
        };
        match read_once(fresh.as_fd(), &mut buf) {
            Err(Errno::ENODEV) => return Ok(()),
            text => (self.take)(counts, text?),
        }
        epoll.add(&fresh, on(COUNTER))?;
        (self.take)(known, NEW);
        self.fd = Some(fresh);
        Ok(())
    }

    fn ignore(&self, epoll: &Epoll) {
        if let Some(fd) = &self.fd {
            let _it_may_not_have_been_there = epoll.delete(fd);
        }
    }
}

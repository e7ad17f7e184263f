// SPDX-License-Identifier: MIT OR Apache-2.0
//! `memory.events` and `pids.events`, which count what happened: a notification that is lost there loses nothing.

use super::token::{COUNTER, on};
use crate::cgroupfs::{Dir, FileError, read_once};
use crate::farewell::Counts;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::epoll::Epoll;
use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

/// Those that are needed.
#[derive(Debug)]
pub struct Counters([Counter; 2]);

/// A file that counts.
#[derive(Debug)]
struct Counter {
    name: &'static CStr,
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
            fd.map(|fd| Counter { name, fd, take }).map_err(|e| (e, name))
        };
        let mut fresh = Self([
            counter(memory, c"memory.events", Counts::take_memory)?,
            counter(pids, c"pids.events", Counts::take_pids)?,
        ]);
        fresh.read(dir, epoll, counts)?;
        Ok(fresh)
    }

    /// Be woken by them: all, or none.
    pub fn listen(&self, epoll: &Epoll) -> Result<(), FileError> {
        let all = self.0.iter().try_for_each(|counter| {
            let added = counter.fd.as_ref().map_or(Ok(()), |fd| epoll.add(fd, on(COUNTER)));
            added.map_err(|e| (e, counter.name))
        });
        all.inspect_err(|_| self.ignore(epoll))
    }

    /// Not any more.
    pub fn ignore(&self, epoll: &Epoll) {
        for counter in &self.0 {
            counter.ignore(epoll);
        }
    }

    /// Take what they say now.
    pub fn read(&mut self, dir: &Dir, epoll: &Epoll, counts: &mut Counts) -> Result<(), FileError> {
        self.0
            .iter_mut()
            .try_for_each(|counter| counter.read(dir, epoll, counts).map_err(|e| (e, counter.name)))
    }
}

impl Counter {
    fn read(&mut self, dir: &Dir, epoll: &Epoll, counts: &mut Counts) -> nix::Result<()> {
        let Some(fd) = &self.fd else { return Ok(()) };
        let mut buf = [0; 512];
        match read_once(fd.as_fd(), &mut buf) {
            Ok(text) => (self.take)(counts, text),
            Err(Errno::ENODEV) if dir.is_alive() => {
                // Its controller was switched off. If it is on again there is another file, which counts from 0.
                self.ignore(epoll);
                self.fd = dir.open_file(self.name, OFlag::O_RDONLY).ok();
                if let Some(fd) = &self.fd {
                    epoll.add(fd, on(COUNTER))?;
                }
            }
            Err(e) => return Err(e),
        }
        Ok(())
    }

    fn ignore(&self, epoll: &Epoll) {
        if let Some(fd) = &self.fd {
            let _it_may_not_have_been_there = epoll.delete(fd);
        }
    }
}

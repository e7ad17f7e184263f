// SPDX-License-Identifier: MIT OR Apache-2.0
//! The files of a group that are listened to. Each has a descriptor of its own: a read takes the notifications from
//! all who share one.

use crate::cgroupfs::{Dir, FileError, read_once};
use crate::events::{Events, State};
use crate::farewell::Counts;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

/// What epoll tells of `cgroup.events`, and of the others.
pub const STATE: u64 = 1 << 0;
const COUNTER: u64 = 1 << 1;

/// `cgroup.events`, whatever is asked for, since each removal begins with the end of the last process; the
/// others as they are needed.
#[derive(Debug)]
pub struct Sources {
    events: Events,
    memory: Counter,
    pids: Counter,
}

/// A file that counts.
#[derive(Debug)]
struct Counter {
    name: &'static CStr,
    fd: Option<OwnedFd>,
    /// Take what it says into the counts.
    take: fn(&mut Counts, &[u8]),
}

impl Sources {
    /// Open what is needed, not listening yet.
    pub fn open(dir: &Dir, memory: bool, pids: bool) -> Result<Self, FileError> {
        let counter = |needed: bool, name: &'static CStr, take| {
            let fd = needed.then(|| dir.open_file(name, OFlag::O_RDONLY)).transpose();
            fd.map(|fd| Counter { name, fd, take }).map_err(|e| (e, name))
        };
        Ok(Self {
            events: Events::open(dir).map_err(|e| (e, c"cgroup.events"))?,
            memory: counter(memory, c"memory.events", Counts::take_memory)?,
            pids: counter(pids, c"pids.events", Counts::take_pids)?,
        })
    }

    /// Be woken by them: all, or none.
    pub fn listen(&self, epoll: &Epoll) -> nix::Result<()> {
        let on = |token| EpollEvent::new(EpollFlags::EPOLLPRI, token);
        let all = epoll.add(&self.events, on(STATE)).and_then(|()| {
            let mut counters =
                [&self.memory, &self.pids].into_iter().filter_map(|counter| counter.fd.as_ref());
            counters.try_for_each(|fd| epoll.add(fd, on(COUNTER)))
        });
        if all.is_err() {
            self.ignore(epoll);
        }
        all
    }

    /// Not any more. Closing alone would not do: a forked child may hold them open.
    pub fn ignore(&self, epoll: &Epoll) {
        let _it_may_not_have_been_there = epoll.delete(&self.events);
        for counter in [&self.memory, &self.pids] {
            counter.ignore(epoll);
        }
    }

    /// What they say now; the notifications until now are taken. `ENODEV`: the group was removed.
    pub fn read(&mut self, dir: &Dir, epoll: &Epoll, counts: &mut Counts) -> Result<State, FileError> {
        let state = self.events.state().map_err(|e| (e, c"cgroup.events"))?;
        for counter in [&mut self.memory, &mut self.pids] {
            counter.read(dir, epoll, counts).map_err(|e| (e, counter.name))?;
        }
        Ok(state)
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
                    epoll.add(fd, EpollEvent::new(EpollFlags::EPOLLPRI, COUNTER))?;
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

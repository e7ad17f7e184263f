// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the kernel notifies of, seen without the library.

use crate::common::cgroup::Cgroup;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Those of a `cgroup.events`.
pub struct Notifications {
    events: File,
    epoll: Epoll,
}

impl Notifications {
    pub fn of(cgroup: &Cgroup) -> Self {
        let events = File::open(cgroup.0.join("cgroup.events")).unwrap();
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
        epoll.add(&events, EpollEvent::new(EpollFlags::EPOLLPRI, 0)).unwrap();
        Self { events, epoll }
    }

    /// Whether one comes in time; those until now are taken.
    pub fn come(&self, within_ms: u16) -> bool {
        let _gone_after_all = self.events.read_at(&mut [0; 64], 0);
        self.epoll.wait(&mut [EpollEvent::empty()], EpollTimeout::from(within_ms)).unwrap() == 1
    }

    /// All have come, also those that the kernel had put off.
    pub fn are_over(&self) {
        while self.come(100) {}
    }
}

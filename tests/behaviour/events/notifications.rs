// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's notifications, received without the library.

use crate::common::cgroup::Cgroup;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::fs::File;
use std::os::unix::fs::FileExt;

/// The notifications of a `cgroup.events`.
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

    /// Consumes the earlier notifications and returns true if another one arrives in time.
    pub fn arrive(&self, within_ms: u16) -> bool {
        let _may_be_gone = self.events.read_at(&mut [0; 64], 0);
        self.epoll.wait(&mut [EpollEvent::empty()], EpollTimeout::from(within_ms)).unwrap() == 1
    }

    /// Waits until all notifications have arrived, including those that the kernel has delayed.
    pub fn drain(&self) {
        while self.arrive(100) {}
    }
}

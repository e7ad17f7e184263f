// SPDX-License-Identifier: MIT OR Apache-2.0
//! What epoll tells, a bit for each kind of source.

use nix::sys::epoll::{EpollEvent, EpollFlags};

/// `cgroup.events`.
pub const STATE: u64 = 1 << 0;
/// A file that counts.
pub const COUNTER: u64 = 1 << 1;
/// The watch's own alarm.
pub const ALARM: u64 = 1 << 2;
/// Reports of removals, for whichever watch.
pub const REMOVALS: u64 = 1 << 3;

/// Of a notification of the kernel's about a file.
pub fn on(token: u64) -> EpollEvent {
    EpollEvent::new(EpollFlags::EPOLLPRI, token)
}

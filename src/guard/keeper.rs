// SPDX-License-Identifier: MIT OR Apache-2.0
//! The host's side of the helper.

use super::helper;
use super::leaf::Leaf;
use super::message::{Answer, Message};
use crate::deadline::Deadline;
use crate::sys::fork_id::ForkId;
use crate::sys::keeper::{self, FirstWords};
use crate::sys::{self, line};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long we give what should take microseconds: an answer, an end that is seen in the process table, a scope
/// that is empty and will be removed.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// The process. It lives while anybody holds this.
#[derive(Debug)]
pub struct Keeper {
    pid: i32,
    pidfd: Option<OwnedFd>,
    line: OwnedFd,
    /// The process that it serves: a forked child only has a copy of this.
    host: ForkId,
    leaf: Mutex<Option<Leaf>>,
}

impl Keeper {
    /// Start one, inside a cgroup if it is named.
    pub fn start(cgroup: Option<BorrowedFd<'_>>) -> nix::Result<Self> {
        let (line, far_end) = line::pair()?;
        let host = ForkId::current();
        // Before Linux 5.3 it has to rely on the line.
        let pidfd =
            i32::try_from(std::process::id()).map_err(|_| Errno::ESRCH).and_then(sys::pidfd_open).ok();
        keeper::start(far_end, pidfd, cgroup, helper::live)?;
        let [pid, unready]: FirstWords = hear(line.as_fd(), i32::from_ne_bytes)?;
        if unready != 0 {
            return Err(Errno::from_raw(unready));
        }
        Ok(Self { pid, pidfd: sys::pidfd_open(pid).ok(), line, host, leaf: Mutex::new(None) })
    }

    /// Its number.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Its descriptor, from Linux 5.3 on.
    pub fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.pidfd.as_ref().map(AsFd::as_fd)
    }

    /// Whether it is still there, and this process's.
    pub fn lives(&self) -> bool {
        let ended = match self.pidfd() {
            Some(pidfd) => waited(pidfd, PollFlags::POLLIN, Deadline::after(Duration::ZERO)),
            None => waited(self.line.as_fd(), PollFlags::empty(), Deadline::after(Duration::ZERO)),
        };
        self.is_ours() && !ended
    }

    /// Whether it serves this process.
    pub fn is_ours(&self) -> bool {
        self.host == ForkId::current()
    }

    /// Say it, and wait for the answer. Only one thread may ask.
    pub fn ask(&self, message: Message<'_>, passed: &[BorrowedFd<'_>]) -> nix::Result<()> {
        line::send(self.line.as_fd(), &message.bytes(), passed)?;
        loop {
            let [id, outcome]: Answer = hear(self.line.as_fd(), u64::from_ne_bytes)?;
            if id == message.id() {
                let errno = i32::try_from(outcome).unwrap_or(libc::EIO);
                return if errno == 0 { Ok(()) } else { Err(Errno::from_raw(errno)) };
            }
        }
    }

    /// Say what needs no answer. If it is gone there is nobody to be told.
    pub fn tell(&self, message: Message<'_>) {
        let _gone = line::send(self.line.as_fd(), &message.bytes(), &[]);
    }

    /// It lives in this cgroup.
    pub fn settled(&self, leaf: Option<Leaf>) {
        *self.leaf.lock().unwrap_or_else(PoisonError::into_inner) = leaf;
    }

    /// It was moved to a cgroup that goes by itself.
    pub fn unsettle(&self) {
        let leaf = self.leaf.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(leaf) = leaf {
            self.tell(Message::Unsettle);
            leaf.remove();
        }
    }
}

/// Ends it, and waits until it has.
impl Drop for Keeper {
    fn drop(&mut self) {
        if !self.is_ours() {
            return;
        }
        // Not closed alone: a forked child may hold this end, too.
        line::hang_up(self.line.as_fd());
        if let Some(pidfd) = self.pidfd() {
            if waited(pidfd, PollFlags::POLLIN, Deadline::after(PATIENCE)) {
                keeper::reap(pidfd);
            }
        }
        if let Some(leaf) = self.leaf.get_mut().unwrap_or_else(PoisonError::into_inner) {
            leaf.remove();
        }
    }
}

/// Two numbers from the line.
fn hear<const SIZE: usize, T>(line: BorrowedFd<'_>, number: fn([u8; SIZE]) -> T) -> nix::Result<[T; 2]> {
    let mut buf = [[0; SIZE]; 2];
    let deadline = Deadline::after(PATIENCE);
    loop {
        if !waited(line, PollFlags::POLLIN, deadline) {
            return Err(Errno::ETIMEDOUT);
        }
        match line::receive(line, buf.as_flattened_mut()) {
            Ok(received) if received.length == 2 * SIZE => return Ok(buf.map(number)),
            // It has ended.
            Ok(_) => return Err(Errno::ESRCH),
            Err(Errno::EAGAIN) => {}
            Err(e) => return Err(e),
        }
    }
}

/// Wait for one of the events or a hang-up. Tells whether it came.
fn waited(fd: BorrowedFd<'_>, events: PollFlags, deadline: Deadline) -> bool {
    let mut fds = [PollFd::new(fd, events)];
    loop {
        let left = deadline.left().and_then(|left| PollTimeout::try_from(left).ok());
        match poll(&mut fds, left.unwrap_or(PollTimeout::MAX)) {
            Ok(count) => return count > 0,
            Err(Errno::EINTR) => {}
            Err(_) => return false,
        }
    }
}

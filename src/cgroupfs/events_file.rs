// SPDX-License-Identifier: MIT OR Apache-2.0
//! Waiting for what `cgroup.events` tells.
//!
//! The kernel notifies at most once in 10 ms a file, so poll(2) alone makes a wait of microseconds
//! cost 15 ms. Therefore: read again at once, then at growing intervals with poll between them, and
//! after some 50 ms rely on poll, in slices that make a lost notification harmless.

use crate::cgroupfs::{Dir, read_once};
use crate::parse;
use crate::sys::deadline::Deadline;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// A descriptor on `cgroup.events`. Threads that share one lose notifications to each other, since each read takes them
/// from all.
#[derive(Debug)]
pub struct Events<'a>(Descriptor<'a>);

#[derive(Debug)]
enum Descriptor<'a> {
    Own(OwnedFd),
    /// One that is kept by an owner, and that others may use at the same time.
    Kept(BorrowedFd<'a>),
}

impl AsFd for Events<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.0 {
            Descriptor::Own(fd) => fd.as_fd(),
            Descriptor::Kept(fd) => *fd,
        }
    }
}

/// What the file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    /// A process lives in the group or below. Zombies do not count.
    pub populated: bool,
    /// All of them are parked.
    pub frozen: bool,
}

const SPIN: Duration = Duration::from_micros(200);
const FIRST_NAP: Duration = Duration::from_micros(50);
const LAST_NAP: Duration = Duration::from_millis(5);
const NAPPING: Duration = Duration::from_millis(50);
const SLICE: Duration = Duration::from_millis(100);

/// How many reads in a row may fail before a wait does: what lacks memory now may have it in a moment.
const MOST_FAILURES: u32 = 50;

impl Events<'static> {
    /// Open the group's file.
    pub fn open(dir: &Dir) -> nix::Result<Self> {
        dir.open_file(c"cgroup.events", OFlag::O_RDONLY).map(|fd| Self(Descriptor::Own(fd)))
    }
}

impl<'a> Events<'a> {
    /// Use a descriptor that is kept.
    pub fn kept(fd: BorrowedFd<'a>) -> Self {
        Self(Descriptor::Kept(fd))
    }

    /// What it says now: `ENODEV` once the group is removed.
    pub fn state(&self) -> nix::Result<State> {
        let mut buf = [0; 256];
        let text = read_once(self.as_fd(), &mut buf)?;
        let is = |key: &[u8]| parse::value(text, key) == Some(1);
        Ok(State { populated: is(b"populated"), frozen: is(b"frozen") })
    }

    /// Wait until `enough` of what it says, or for the deadline. Returns true if it came.
    pub fn wait(&self, deadline: Deadline, enough: impl Fn(State) -> bool) -> nix::Result<bool> {
        let start = Instant::now();
        let (mut nap, mut failures) = (FIRST_NAP, 0);
        loop {
            failures = match self.state() {
                Ok(state) if enough(state) => return Ok(true),
                Ok(_) => 0,
                Err(e) if e == Errno::ENODEV || failures == MOST_FAILURES || deadline.passed() => {
                    return Err(e);
                }
                Err(_) => failures + 1,
            };
            let left = deadline.left();
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(false);
            }
            let waited = start.elapsed();
            if waited < SPIN {
                // On one CPU those that we wait for need it.
                std::thread::yield_now();
                continue;
            }
            let pause = if waited < NAPPING { nap } else { SLICE };
            nap = (nap * 2).min(LAST_NAP);
            self.pause(left.map_or(pause, |left| left.min(pause)));
        }
    }

    /// Until a notification, for no longer than `pause`.
    fn pause(&self, pause: Duration) {
        wait_for(self.as_fd(), PollFlags::POLLPRI, Some(pause));
    }
}

/// The longest nap in place of a wait.
const NAP_FOR_A_WAIT: Duration = Duration::from_millis(10);

/// Wait until a descriptor is ready, for no longer than `longest`. A signal may cut it short: the next look tells what there
/// is.
pub fn wait_for(fd: BorrowedFd<'_>, what: PollFlags, longest: Option<Duration>) {
    match ppoll(&mut [PollFd::new(fd, what)], longest.map(TimeSpec::from), None) {
        Ok(_) | Err(Errno::EINTR) => {}
        // EINVAL where RLIMIT_NOFILE was made 0; no memory.
        Err(_) => std::thread::sleep(longest.unwrap_or(NAP_FOR_A_WAIT).min(NAP_FOR_A_WAIT)),
    }
}

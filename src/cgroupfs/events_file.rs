// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads `cgroup.events` and waits for a state.
//!
//! The kernel notifies each file at most once in 10 ms. With poll(2) alone a wait of microseconds would take 15 ms.
//! Therefore a wait first reads the file repeatedly, then at growing intervals with poll between the reads, and after 50 ms
//! relies on poll. Each poll is short, so that a lost notification does no harm.

use crate::cgroupfs::{Dir, read_once};
use crate::parse;
use crate::sys::deadline::Deadline;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// A descriptor of `cgroup.events`. A read by one thread takes the notification away from the other threads that share the
/// descriptor.
#[derive(Debug)]
pub struct Events<'a>(Descriptor<'a>);

#[derive(Debug)]
enum Descriptor<'a> {
    Own(OwnedFd),
    /// A handle's cached descriptor, which other threads may use at the same time.
    Cached(BorrowedFd<'a>),
}

impl AsFd for Events<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.0 {
            Descriptor::Own(fd) => fd.as_fd(),
            Descriptor::Cached(fd) => *fd,
        }
    }
}

/// The content of `cgroup.events`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    /// The group or a cgroup below it has a living process. Zombies do not count.
    pub populated: bool,
    /// All processes are frozen.
    pub frozen: bool,
}

const SPIN: Duration = Duration::from_micros(200);
const FIRST_NAP: Duration = Duration::from_micros(50);
const LAST_NAP: Duration = Duration::from_millis(5);
const NAPPING: Duration = Duration::from_millis(50);
const SLICE: Duration = Duration::from_millis(100);

/// How many reads in a row may fail before a wait fails. Memory that is missing now may be available a moment later.
const MOST_FAILURES: u32 = 50;

impl Events<'static> {
    /// Opens the file of a group.
    pub fn open(dir: &Dir) -> nix::Result<Self> {
        dir.open_file(c"cgroup.events", OFlag::O_RDONLY).map(|fd| Self(Descriptor::Own(fd)))
    }
}

impl<'a> Events<'a> {
    /// Uses a cached descriptor.
    pub fn cached(fd: BorrowedFd<'a>) -> Self {
        Self(Descriptor::Cached(fd))
    }

    /// Reads the present state. Fails with `ENODEV` if the group was removed.
    pub fn state(&self) -> nix::Result<State> {
        let mut buf = [0; 256];
        let text = read_once(self.as_fd(), &mut buf)?;
        let is = |key: &[u8]| parse::value(text, key) == Some(1);
        Ok(State { populated: is(b"populated"), frozen: is(b"frozen") })
    }

    /// Waits until `enough` returns true for the state, at most until the deadline. Returns false if the deadline passed.
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
                // The processes that this waits for may need this CPU.
                std::thread::yield_now();
                continue;
            }
            let pause = if waited < NAPPING { nap } else { SLICE };
            nap = (nap * 2).min(LAST_NAP);
            self.pause(left.map_or(pause, |left| left.min(pause)));
        }
    }

    /// Waits for a notification, at most for `pause`.
    fn pause(&self, pause: Duration) {
        wait_for(self.as_fd(), PollFlags::POLLPRI, Some(pause));
    }
}

/// The longest sleep if poll(2) fails.
const NAP_FOR_A_WAIT: Duration = Duration::from_millis(10);

/// Waits until a descriptor is ready, at most for `longest`. A signal may end the wait early; the caller looks again.
pub fn wait_for(fd: BorrowedFd<'_>, what: PollFlags, longest: Option<Duration>) {
    match ppoll(&mut [PollFd::new(fd, what)], longest.map(TimeSpec::from), None) {
        Ok(_) | Err(Errno::EINTR) => {}
        // EINVAL: RLIMIT_NOFILE is 0. ENOMEM: no memory.
        Err(_) => std::thread::sleep(longest.unwrap_or(NAP_FOR_A_WAIT).min(NAP_FOR_A_WAIT)),
    }
}

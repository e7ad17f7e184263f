// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guard's process as the host sees it.

use super::executable;
use super::leaf::Leaf;
use super::message::{Answer, HELLO, Message, PROTOCOL};
use super::{Failure, Result};
use crate::procfs;
use crate::spawn::child::Step;
use crate::spawn::command::{CLOSED, Command, DEVNULL, Strings};
use crate::spawn::detached;
use crate::spawn::parent::{self, Entry};
use crate::sys::deadline::Deadline;
use crate::sys::fork_id::ForkId;
use crate::sys::fork_mutex::{ForkMutex, ForkMutexGuard};
use crate::sys::{self, descriptors, seqpacket};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// For what takes milliseconds: a program that begins, an answer, a scope that is empty and will be removed.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is looked at while an answer is awaited: one that was stopped gives none.
const SLICE: Duration = Duration::from_millis(50);

/// The process. It ends when the host does, or ten seconds after its last work.
#[derive(Debug)]
pub struct Process {
    pid: i32,
    pidfd: Option<OwnedFd>,
    socket: OwnedFd,
    /// The process that it serves: a forked child only has a copy of this.
    host: ForkId,
    leaf: ForkMutex<Option<Leaf>>,
}

impl Process {
    /// Start one, inside a cgroup if `way` names one.
    pub fn start(way: Option<Entry<'_>>) -> Result<Self> {
        let (socket, far_end) = seqpacket::pair()?;
        let host = ForkId::current();
        // Before Linux 5.3 it has to rely on the socket.
        let pidfd =
            i32::try_from(std::process::id()).map_err(|_| Errno::ESRCH).and_then(sys::pidfd_open).ok();
        let passed = [far_end.as_raw_fd(), pidfd.as_ref().map_or(CLOSED, AsRawFd::as_raw_fd)];
        let candidates = executable::candidates();
        let protocol = CString::new(PROTOCOL.to_string()).unwrap_or_default();
        // Open for reading alone, so that nothing is ever written to its standard descriptors. Readable for anybody,
        // except in a strange root.
        let root = descriptors::open(c"/", OFlag::O_RDONLY | OFlag::O_DIRECTORY);
        let stdio = root.as_ref().map_or(DEVNULL, AsRawFd::as_raw_fd);
        let command = Command {
            program: Strings::new(candidates.iter().map(CString::as_c_str))?,
            arguments: Strings::new([c"agentcg-guard", protocol.as_c_str()])?,
            // What the host's environment has the dynamic linker load is not for the guard.
            environment: Strings::new([])?,
            new_session: true,
            directory: root.as_ref().ok().map(AsFd::as_fd),
            stdio: [stdio; 3],
        };
        let pid = detached::start(way, &command, passed).map_err(|failure| match failure {
            parent::Failure::Failed(Step::Exec, e) => match e {
                Errno::ENOMEM | Errno::EAGAIN | Errno::EMFILE | Errno::ENFILE => Failure::Errno(e),
                e => Failure::no_program(&candidates, e),
            },
            failure => Failure::NotStarted(failure),
        })?;
        drop(far_end);
        let pidfd = sys::pidfd_open(pid).ok();
        let process = Self { pid, pidfd, socket, host, leaf: ForkMutex::new() };
        match process.hello() {
            Ok(()) => Ok(process),
            Err(e) => {
                process.kill();
                // So that its cgroup can be removed.
                process.wait_for_end(Deadline::after(PATIENCE));
                Err(match e {
                    Failure::Ended => Failure::foreign(&candidates, None),
                    Failure::Foreign(_, theirs) => Failure::foreign(&candidates, theirs),
                    e => e,
                })
            }
        }
    }

    /// Its number.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Its descriptor, from Linux 5.3 on.
    pub fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.pidfd.as_ref().map(AsFd::as_fd)
    }

    /// Returns true if it serves this process.
    pub fn is_ours(&self) -> bool {
        self.host == ForkId::current()
    }

    /// Returns true if it has not ended.
    pub fn lives(&self) -> bool {
        let now = Deadline::after(Duration::ZERO);
        let ended = match self.pidfd() {
            Some(pidfd) => waited(pidfd, PollFlags::POLLIN, now),
            None => waited(self.socket.as_fd(), PollFlags::empty(), now),
        };
        self.is_ours() && !ended
    }

    /// Returns true if it would do its work now: it lives, nobody has stopped it, and its cgroup is not frozen.
    pub fn works(&self) -> bool {
        self.lives() && !self.is_stopped() && !self.is_frozen()
    }

    fn is_stopped(&self) -> bool {
        procfs::is_stopped(self.pid)
    }

    /// Returns true if its cgroup is frozen, or one above it.
    pub fn is_frozen(&self) -> bool {
        self.leaf().as_ref().is_some_and(|leaf| leaf.is_frozen() == Ok(true))
    }

    fn leaf(&self) -> ForkMutexGuard<'_, Option<Leaf>> {
        self.leaf.lock()
    }

    /// Remember the cgroup that it is in. Returns the one before.
    pub fn is_in(&self, leaf: Leaf) -> Option<Leaf> {
        self.leaf().replace(leaf)
    }

    /// Returns true if its cgroup still lists it.
    pub fn is_in_its_leaf(&self) -> bool {
        self.leaf().as_ref().is_some_and(|leaf| leaf.lists(self.pid))
    }

    /// Send a message and wait for its answer. Only one thread may ask.
    pub fn ask(&self, message: Message<'_>, passed: &[BorrowedFd<'_>]) -> Result<()> {
        let deadline = Deadline::after(PATIENCE);
        self.send(message, passed, deadline)?;
        loop {
            let [id, outcome]: Answer = self.receive(deadline)?;
            if id == message.id() {
                let errno = i32::try_from(outcome).unwrap_or(libc::EIO);
                return if errno == 0 { Ok(()) } else { Err(Failure::Errno(Errno::from_raw(errno))) };
            }
        }
    }

    /// Send a message that has no answer. A guard that cannot be told so in time is ended, so that it never acts on
    /// what was true before.
    pub fn tell(&self, message: Message<'_>) {
        if self.send(message, &[], Deadline::after(PATIENCE)).is_err() {
            self.kill();
        }
    }

    fn send(&self, message: Message<'_>, passed: &[BorrowedFd<'_>], deadline: Deadline) -> Result<()> {
        loop {
            match seqpacket::send(self.socket.as_fd(), &message.bytes(), passed) {
                Ok(()) => return Ok(()),
                Err(Errno::EAGAIN) => self.wait_for(PollFlags::POLLOUT, deadline)?,
                Err(Errno::EPIPE | Errno::ECONNRESET) => return Err(Failure::Ended),
                Err(e) => return Err(Failure::Errno(e)),
            }
        }
    }

    /// Two numbers from the guard.
    fn receive(&self, deadline: Deadline) -> Result<[u64; 2]> {
        let mut numbers = [[0; size_of::<u64>()]; 2];
        loop {
            match seqpacket::receive(self.socket.as_fd(), numbers.as_flattened_mut()) {
                Ok(received) if received.length == size_of_val(&numbers) => {
                    return Ok(numbers.map(u64::from_ne_bytes));
                }
                Ok(received) if received.length > 0 => return Err(Failure::Foreign(Vec::new(), None)),
                Ok(_) | Err(Errno::ECONNRESET) => return Err(Failure::Ended),
                Err(Errno::EAGAIN) => self.wait_for(PollFlags::POLLIN, deadline)?,
                Err(e) => return Err(Failure::Errno(e)),
            }
        }
    }

    /// Wait for the socket, as long as the process works.
    fn wait_for(&self, events: PollFlags, deadline: Deadline) -> Result<()> {
        loop {
            if waited(self.socket.as_fd(), events, deadline.at_most(SLICE)) {
                return Ok(());
            }
            // What it said just before its end is there to be read.
            if !self.works() && !waited(self.socket.as_fd(), events, Deadline::after(Duration::ZERO)) {
                return Err(Failure::Ended);
            }
            if deadline.passed() {
                return Err(Failure::Errno(Errno::ETIMEDOUT));
            }
        }
    }

    fn hello(&self) -> Result<()> {
        match self.receive(Deadline::after(PATIENCE))? {
            [HELLO, PROTOCOL] => Ok(()),
            [HELLO, theirs] => Err(Failure::Foreign(Vec::new(), Some(theirs))),
            _ => Err(Failure::Foreign(Vec::new(), None)),
        }
    }

    fn kill(&self) {
        match self.pidfd() {
            Some(pidfd) => drop(sys::pidfd_send_signal(pidfd, libc::SIGKILL)),
            // Its number cannot be another's while our end of the socket says that it lives.
            None if self.lives() => drop(sys::kill(self.pid, libc::SIGKILL)),
            None => {}
        }
    }

    /// Before Linux 5.3, where there is no pidfd, that is not waited for.
    fn wait_for_end(&self, deadline: Deadline) {
        if let Some(pidfd) = self.pidfd() {
            waited(pidfd, PollFlags::POLLIN, deadline);
        }
    }

    /// If it has ended, have nothing left of it.
    pub fn clear_up(&self) {
        if !self.is_ours() || self.lives() {
            return;
        }
        if let Some(pidfd) = self.pidfd() {
            sys::process::reap_pidfd_if_ended(pidfd);
        }
        if let Some(leaf) = self.leaf().take() {
            leaf.remove();
        }
    }
}

/// Nobody needs it any more: it ends with its work.
impl Drop for Process {
    fn drop(&mut self) {
        if self.is_ours() {
            // Not closed alone: a forked child may hold this end, too.
            seqpacket::shutdown(self.socket.as_fd());
            self.clear_up();
        }
    }
}

/// Wait for one of the events or a hang-up. Returns true if it came.
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

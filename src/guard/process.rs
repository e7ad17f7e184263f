// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guard as the host sees it: its process, its socket and its cgroup.

use super::cgroup::GuardCgroup;
use super::executable;
use super::failure::{Failure, Result};
use super::message::{Answer, HELLO, Message, PROTOCOL};
use crate::procfs;
use crate::spawn::child::Step;
use crate::spawn::command::{CLOSED, Command, DEVNULL, Redirection, Strings};
use crate::spawn::detached;
use crate::spawn::parent::{self, Entry};
use crate::sys::deadline::Deadline;
use crate::sys::fork_id::ForkId;
use crate::sys::fork_mutex::ForkMutex;
use crate::sys::{self, descriptors, seqpacket, try_alloc};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// The longest wait for events that take milliseconds: the start of the program, an answer, the removal of an empty
/// scope.
pub const TIMEOUT: Duration = Duration::from_secs(5);
/// While the library waits for an answer: between two checks that the guard works. A stopped guard does not answer.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// The guard. It ends when the host ends, or ten seconds after its last work.
#[derive(Debug)]
pub struct Process {
    pid: i32,
    pidfd: Option<OwnedFd>,
    socket: OwnedFd,
    /// The process that it serves. A forked child has a copy of this struct, and another id.
    host: ForkId,
    cgroup: ForkMutex<Option<GuardCgroup>>,
}

impl Process {
    /// Starts a guard, in the cgroup of `entry` if there is one.
    pub fn start(entry: Option<Entry<'_>>) -> Result<Self> {
        let (socket, far_end) = seqpacket::pair()?;
        let host = ForkId::current();
        // Before Linux 5.3 the guard has only the socket to notice the end of the host.
        let pidfd =
            i32::try_from(std::process::id()).map_err(|_| Errno::ESRCH).and_then(sys::pidfd_open).ok();
        let mut passed = try_alloc::with_capacity(2)?;
        for (target, fd) in (3..).zip([Some(&far_end), pidfd.as_ref()]) {
            passed.push(Redirection { source: fd.map_or(CLOSED, AsRawFd::as_raw_fd), target });
        }
        let candidates = executable::candidates();
        let protocol = CString::new(PROTOCOL.to_string()).unwrap_or_default();
        // The standard descriptors are open only for reading, so that nothing is ever written to them. The root
        // directory is readable for every user in all usual systems.
        let root = descriptors::open(c"/", OFlag::O_RDONLY | OFlag::O_DIRECTORY);
        let stdio = root.as_ref().map_or(DEVNULL, AsRawFd::as_raw_fd);
        let program = Strings::new(candidates.iter().map(CString::as_c_str))?;
        let arguments = Strings::new([c"agentcg-guard", protocol.as_c_str()])?;
        // Empty, because the host's environment may make the dynamic linker load libraries.
        let environment = Strings::new([])?;
        let command = Command {
            new_session: true,
            directory: root.as_ref().ok().map(AsFd::as_fd),
            stdio: [stdio; 3],
            descriptors: passed,
            ..Command::new(program, arguments, environment)
        };
        let pid = detached::start(entry, &command).map_err(|failure| match failure {
            parent::Failure::Failed(Step::Exec, e) => match e {
                Errno::ENOMEM | Errno::EAGAIN | Errno::EMFILE | Errno::ENFILE => Failure::Errno(e),
                e => Failure::no_program(&candidates, e),
            },
            failure => Failure::NotStarted(failure),
        })?;
        drop(far_end);
        let pidfd = sys::pidfd_open(pid).ok();
        let process = Self { pid, pidfd, socket, host, cgroup: ForkMutex::new() };
        match process.check_protocol() {
            Ok(()) => Ok(process),
            Err(e) => {
                // Its cgroup can be removed only after it has ended.
                process.end();
                Err(match e {
                    Failure::Ended => Failure::foreign(&candidates, None),
                    Failure::Foreign(_, its_protocol) => Failure::foreign(&candidates, its_protocol),
                    e => e,
                })
            }
        }
    }

    /// Returns the pid of the guard.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Returns the pidfd of the guard, from Linux 5.3 on.
    pub fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.pidfd.as_ref().map(AsFd::as_fd)
    }

    /// Returns true if the guard serves this process, which is not a forked child of its host.
    pub fn serves_this_process(&self) -> bool {
        self.host == ForkId::current()
    }

    /// Returns true if the guard serves this process and has not ended.
    pub fn lives(&self) -> bool {
        self.serves_this_process() && !self.wait_for_end(Deadline::after(Duration::ZERO))
    }

    /// Returns true if the guard can work: it lives, and is neither stopped nor in a frozen cgroup.
    pub fn works(&self) -> bool {
        self.lives() && !self.is_stopped() && !self.is_frozen()
    }

    fn is_stopped(&self) -> bool {
        procfs::is_stopped(self.pid)
    }

    /// Returns true if the guard's cgroup or one above it is frozen.
    pub fn is_frozen(&self) -> bool {
        self.cgroup.lock().as_ref().is_some_and(|cgroup| cgroup.is_frozen() == Ok(true))
    }

    /// Records the cgroup of the guard. Returns the one before.
    pub fn set_cgroup(&self, cgroup: GuardCgroup) -> Option<GuardCgroup> {
        self.cgroup.lock().replace(cgroup)
    }

    /// Returns true if the guard is in its recorded cgroup.
    pub fn is_in_its_cgroup(&self) -> bool {
        self.cgroup.lock().as_ref().is_some_and(|cgroup| cgroup.contains(self.pid))
    }

    /// Sends a message and waits for its answer. Only one thread may do this at a time.
    pub fn request(&self, message: Message<'_>, passed: &[BorrowedFd<'_>]) -> Result<()> {
        let deadline = Deadline::after(TIMEOUT);
        self.send(message, passed, deadline)?;
        loop {
            let [id, outcome]: Answer = self.receive(deadline)?;
            if id == message.id() {
                let errno = i32::try_from(outcome).unwrap_or(libc::EIO);
                return if errno == 0 { Ok(()) } else { Err(Failure::Errno(Errno::from_raw(errno))) };
            }
        }
    }

    /// Sends a message that has no answer. Kills the guard if the message cannot be sent in time: the guard must not
    /// act on outdated state.
    pub fn notify(&self, message: Message<'_>) {
        if self.send(message, &[], Deadline::after(TIMEOUT)).is_err() {
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

    /// Receives two numbers from the guard.
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

    /// Waits until the socket is ready. Fails if the guard no longer works.
    fn wait_for(&self, events: PollFlags, deadline: Deadline) -> Result<()> {
        loop {
            if poll_until(self.socket.as_fd(), events, deadline.at_most(CHECK_INTERVAL)) {
                return Ok(());
            }
            // A message that it sent just before its end can be received.
            if !self.works() && !poll_until(self.socket.as_fd(), events, Deadline::after(Duration::ZERO)) {
                return Err(Failure::Ended);
            }
            if deadline.passed() {
                return Err(Failure::Errno(Errno::ETIMEDOUT));
            }
        }
    }

    /// Waits for the first message of the guard.
    fn check_protocol(&self) -> Result<()> {
        match self.receive(Deadline::after(TIMEOUT))? {
            [HELLO, PROTOCOL] => Ok(()),
            [HELLO, its_protocol] => Err(Failure::Foreign(Vec::new(), Some(its_protocol))),
            _ => Err(Failure::Foreign(Vec::new(), None)),
        }
    }

    /// Kills the guard.
    pub fn kill(&self) {
        match self.pidfd() {
            Some(pidfd) => drop(sys::pidfd_send_signal(pidfd, libc::SIGKILL)),
            // While the socket shows that the guard lives, no other process has its pid.
            None if self.lives() => drop(sys::kill(self.pid, libc::SIGKILL)),
            None => {}
        }
    }

    /// Waits for the end of the guard. Returns false at the deadline.
    pub fn wait_for_end(&self, deadline: Deadline) -> bool {
        match self.pidfd() {
            Some(pidfd) => poll_until(pidfd, PollFlags::POLLIN, deadline),
            None => poll_until(self.socket.as_fd(), PollFlags::empty(), deadline),
        }
    }

    /// Kills a guard without work, and removes its cgroup.
    pub fn end(&self) {
        self.kill();
        self.wait_for_end(Deadline::after(TIMEOUT));
        self.clear_up();
    }

    /// If the guard has ended, reaps it and removes its cgroup.
    pub fn clear_up(&self) {
        if !self.serves_this_process() || self.lives() {
            return;
        }
        if let Some(pidfd) = self.pidfd() {
            sys::process::reap_pidfd_if_ended(pidfd);
        }
        if let Some(cgroup) = self.cgroup.lock().take() {
            cgroup.remove();
        }
    }
}

/// Closes the connection. The guard ends after its work.
impl Drop for Process {
    fn drop(&mut self) {
        if self.serves_this_process() {
            // Closing the descriptor is not enough: a forked child may hold this end, too.
            seqpacket::shutdown(self.socket.as_fd());
            self.clear_up();
        }
    }
}

/// Waits for one of the events or a hang-up. Returns false at the deadline.
fn poll_until(fd: BorrowedFd<'_>, events: PollFlags, deadline: Deadline) -> bool {
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

// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the helper does. It lives in a copy of the host's process from which all but the library was taken:
//! nothing here, nor what it calls, may lock, use malloc(3), look at the environment or have data of its thread.

use super::message::{Answer, LENGTH, Message, from_inside};
use crate::cgroupfs::{Dir, write_once};
use crate::deadline::Deadline;
use crate::farewell::Farewell;
use crate::kill::{Failure, KillFiles, KillState, Killing};
use crate::members::Members;
use crate::remove;
use crate::sys::line::{self, Received};
use crate::sys::shed::Ballast;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// For one group to die while others wait for their turn.
const TURN: Duration = Duration::from_secs(1);
/// Descriptors that killing and removing need.
const SPARE: u64 = 8;
/// In milliseconds: with nothing said for so long what the host has asked at the start is done.
const QUIET: u8 = 10;
const FIRST_PAUSE: Duration = Duration::from_micros(100);
/// Between two tries to end what does not die, in uninterruptible sleep perhaps.
const LAST_PAUSE: Duration = Duration::from_secs(5);

/// From the host's first word to its end, and to that of all that was to end with it.
pub fn live(line: BorrowedFd<'_>, host: Option<BorrowedFd<'_>>, ballast: Ballast) {
    let mut helper = Helper { line, guarded: Vec::new(), home: None, ballast };
    let end = helper.listen(host);
    // With nothing to guard, and a host that goes on, it is the host that lets us go, and clears up.
    if end == End::Left && helper.guarded.is_empty() {
        return;
    }
    helper.end_all();
    if let Some(home) = helper.home.take() {
        home.go();
    }
}

/// How it came that the host says nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The line has ended: the host has given us up, or become another program.
    Left,
    /// The host has ended.
    Died,
}

struct Helper<'a> {
    line: BorrowedFd<'a>,
    guarded: Vec<Guarded>,
    home: Option<Home>,
    ballast: Ballast,
}

impl Helper<'_> {
    /// Do what the host says until it says no more.
    fn listen(&mut self, host: Option<BorrowedFd<'_>>) -> End {
        loop {
            let mut died = false;
            {
                let wait_for = |fd| PollFd::new(fd, PollFlags::POLLIN);
                // Before Linux 5.3 there is the line alone.
                let mut fds = [wait_for(self.line), wait_for(host.unwrap_or(self.line))];
                let patience =
                    if self.ballast.is_held() { PollTimeout::from(QUIET) } else { PollTimeout::NONE };
                match poll(&mut fds, patience) {
                    // Not before: the host waits for answers.
                    Ok(0) => self.ballast.shed(),
                    // A child that the host forked may hold the other end of the line still.
                    Ok(_) => died = host.is_some() && fds[1].any() == Some(true),
                    Err(Errno::EINTR) => continue,
                    // No memory, for a moment: what there is to read shows in a read.
                    Err(_) => std::thread::sleep(FIRST_PAUSE),
                }
            }
            // What it said before it died holds.
            let open = self.hear_all();
            if died {
                return End::Died;
            }
            if !open {
                return End::Left;
            }
        }
    }

    /// Tells whether there may come more.
    fn hear_all(&mut self) -> bool {
        let mut buf = [0; LENGTH];
        loop {
            match line::receive(self.line, &mut buf) {
                Ok(Received { length: 0, .. }) | Err(Errno::EBADF | Errno::ENOTCONN) => return false,
                Ok(received) => self.hear(buf.get(..received.length).unwrap_or_default(), received),
                Err(Errno::EAGAIN) => return true,
                // ECONNRESET: the host did not read an answer, and its last words come after this.
                Err(_) => {}
            }
        }
    }

    fn hear(&mut self, bytes: &[u8], received: Received) {
        let Some(message) = Message::read(bytes) else { return };
        let [first, second, third, fourth] = received.passed;
        let done = match message {
            _ if received.cut => Err(Errno::EMFILE),
            Message::Guard(id, name) => self.guard(id, name, first),
            Message::Settle(name) => self.settle(name, first, second, [third, fourth]),
            Message::Born(name) => self.is_at(name, first, [second, third]),
            Message::Release(id) => return self.guarded.retain(|agent| agent.id != id),
            Message::Unsettle => return self.home = None,
        };
        let answer: Answer = [message.id(), done.map_or_else(|e| e as u64, |()| 0)];
        // A host that is gone needs no answer.
        let _heard_or_not = line::send(self.line, answer.map(u64::to_ne_bytes).as_flattened(), &[]);
    }

    fn guard(&mut self, id: u64, name: &CStr, dir: Option<OwnedFd>) -> nix::Result<()> {
        let dir = dir.ok_or(Errno::EBADF)?;
        let (most, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
        // Numbers are given from the lowest on.
        if u64::try_from(dir.as_raw_fd()).is_ok_and(|number| number + SPARE >= most) {
            return Err(Errno::EMFILE);
        }
        let dir = Dir::from(dir).of_agent();
        let files = KillFiles::open(&dir)?;
        self.guarded.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        let mark = [b"/", name.to_bytes()].concat();
        let state = KillState { files, ..KillState::default() };
        self.guarded.push(Guarded { id, dir, name: from_inside(name), mark, state });
        Ok(())
    }

    fn settle(
        &mut self,
        name: &CStr,
        procs: Option<OwnedFd>,
        above: Option<OwnedFd>,
        ways: [Option<OwnedFd>; 2],
    ) -> nix::Result<()> {
        write_once(procs.ok_or(Errno::EBADF)?.as_fd(), b"0")?;
        self.is_at(name, above, ways)
    }

    fn is_at(&mut self, name: &CStr, above: Option<OwnedFd>, ways: [Option<OwnedFd>; 2]) -> nix::Result<()> {
        let above = above.ok_or(Errno::EBADF)?;
        self.home = Some(Home { above: above.into(), leaf: name.to_owned(), ways });
        Ok(())
    }

    /// Kill all that is guarded, and remove it, however long it takes.
    fn end_all(&mut self) {
        for agent in &self.guarded {
            // All at once; what it does not reach is swept up below.
            let _has_none_or_is_gone = agent.dir.write(c"cgroup.kill", b"1");
        }
        self.ballast.shed();
        let mut pause = FIRST_PAUSE;
        loop {
            let before = self.guarded.len();
            self.guarded.retain(|agent| !agent.end());
            match self.guarded.len() {
                0 => return,
                left if left < before => pause = FIRST_PAUSE,
                _ => {}
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }
}

/// A group that ends with the host.
struct Guarded {
    id: u64,
    /// The owner's own open directory, so that the owner's lock is held until we are done, and nobody takes
    /// the group for one that is left over.
    dir: Dir,
    name: CString,
    mark: Vec<u8>,
    state: KillState,
}

impl Guarded {
    /// Tells whether nothing is left of it.
    fn end(&self) -> bool {
        let members = Members { dir: &self.dir, mark: &self.mark };
        match (Killing { members, state: &self.state }).kill_all(Deadline::after(TURN)) {
            // Somebody else has removed it.
            Err(Failure::Errno(Errno::ENODEV)) => return true,
            Err(_) => return false,
            Ok(()) => {}
        }
        let _taken_back_if_it_stays = Farewell::say(&self.dir);
        let removed = remove::tree(&self.dir, &self.name, Deadline::after(TURN)).is_ok();
        if removed {
            remove::above(&self.dir);
        }
        removed
    }
}

/// The cgroup that the helper is in, and how to leave it.
struct Home {
    above: Dir,
    leaf: CString,
    ways: [Option<OwnedFd>; 2],
}

impl Home {
    /// Nobody can remove the cgroup that it is in itself.
    fn go(self) {
        let mut ways = self.ways.iter().flatten();
        if ways.any(|procs| write_once(procs.as_fd(), b"0").is_ok()) {
            super::leaf::remove(&self.above, &self.leaf);
        }
    }
}

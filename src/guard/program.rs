// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `agentcg-guard` does, from its start to its end.

use super::message::{Answer, HELLO, LENGTH, Message, PROTOCOL};
use crate::cgroupfs::{AgentName, Dir, write_once};
use crate::events::final_counters::FinalCounters;
use crate::kill::members::Members;
use crate::kill::remove;
use crate::kill::{Failure, KillFiles, KillState, Killing};
use crate::spawn::relay;
use crate::sys::deadline::Deadline;
use crate::sys::guard as own;
use crate::sys::seqpacket::{self, Received};
use crate::sys::try_alloc;
use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::select::{FdSet, pselect};
use nix::sys::signal::SigSet;
use nix::sys::stat::fstat;
use nix::sys::time::TimeSpec;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// How long it stays without work: a host that makes agents one after the other has one guard.
const IDLE: Duration = Duration::from_secs(10);
/// For one group to die while others wait for their turn.
const TURN: Duration = Duration::from_secs(1);
/// Descriptors that killing and removing need.
const SPARE: u64 = 8;
const FIRST_PAUSE: Duration = Duration::from_micros(100);
/// Between two tries to end what does not die, in uninterruptible sleep perhaps.
const LAST_PAUSE: Duration = Duration::from_secs(5);
/// After so many refusals in a row, some seconds, a group is left to `agentcg_reap`.
const MOST_REFUSALS: u32 = 16;
/// Before anything else is looked at.
const FIRST_SENT: usize = 8;
/// Enough for large trees, where each has one tick of the clock.
const MOST_WORKERS: u32 = 10_000;

/// Run the program: `protocol` is its first argument, the version that the library speaks. Returns the exit status.
pub fn run(protocol: Option<&str>) -> i32 {
    const MISUSED: i32 = 2;
    let Some((socket, host)) = own::inherited() else {
        eprintln!(
            "agentcg-guard: started by libagentcg for AGENTCG_NEW_GUARD and systemd scopes, not by hand"
        );
        return MISUSED;
    };
    let Ok(waiting) = own::block_signals() else { return MISUSED };
    own::allow_all_descriptors();
    own::reserve_memory();
    // Where the kernel refuses it, a stop lasts until somebody ends it.
    let _ = own::continue_on(socket.as_fd());
    answer(socket.as_fd(), [HELLO, PROTOCOL]);
    if protocol != Some(PROTOCOL.to_string().as_str()) {
        return MISUSED;
    }
    let mut guard = Guard {
        socket: socket.as_fd(),
        guarded: Vec::new(),
        leaf: None,
        scope: None,
        idle_since: Instant::now(),
        waiting,
    };
    match guard.serve(host.as_ref().map(AsFd::as_fd)) {
        // The scope and all in it are ended by systemd.
        End::ScopeStopped => return 0,
        End::NoWork => guard.leave(&[]),
        End::HostEnded => guard.finish(),
    }
    0
}

fn answer(socket: BorrowedFd<'_>, numbers: [u64; 2]) {
    // A host that is gone needs no answer, and one that does not read its answers has given up.
    let _ = seqpacket::send(socket, numbers.map(u64::to_ne_bytes).as_flattened(), &[]);
}

/// Why the guard listens no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The host has ended, or become another program.
    HostEnded,
    /// Nothing is guarded and no scope is kept.
    NoWork,
    /// systemd stops the scope that it keeps.
    ScopeStopped,
}

struct Guard<'a> {
    socket: BorrowedFd<'a>,
    guarded: Vec<Guarded>,
    leaf: Option<Leaf>,
    scope: Option<Scope>,
    idle_since: Instant,
    /// The signal mask while it waits.
    waiting: SigSet,
}

impl Guard<'_> {
    /// Do what the host says until it says no more.
    fn serve(&mut self, host: Option<BorrowedFd<'_>>) -> End {
        loop {
            if own::was_terminated() && self.scope_is_stopped() {
                return End::ScopeStopped;
            }
            let patience = self.patience();
            if patience.is_some_and(|left| left.is_zero()) {
                return End::NoWork;
            }
            let mut ended = false;
            {
                // Not poll(2), which refuses to wait for two descriptors where RLIMIT_NOFILE was made less.
                let mut readable = FdSet::new();
                readable.insert(self.socket);
                // Before Linux 5.3 there is the socket alone.
                if let Some(host) = host {
                    readable.insert(host);
                }
                let patience = patience.map(TimeSpec::from);
                match pselect(None, &mut readable, None, None, patience.as_ref(), &self.waiting) {
                    // A child that the host forked may hold the other end of the socket still.
                    Ok(_) => ended = host.is_some_and(|host| readable.contains(host)),
                    Err(Errno::EINTR) => continue,
                    // No memory, for a moment: what there is to read shows in a read.
                    Err(_) => std::thread::sleep(FIRST_PAUSE),
                }
            }
            // What it said before it died holds.
            match self.receive_all() {
                Ok(open) if open && !ended => {}
                // With nothing to guard there is nothing to do.
                Ok(_) => return End::HostEnded,
                Err(end) => return end,
            }
        }
    }

    /// How long to wait for a message; for ever while there is work.
    fn patience(&self) -> Option<Duration> {
        let has_work = !self.guarded.is_empty() || self.scope.is_some();
        (!has_work).then(|| IDLE.saturating_sub(self.idle_since.elapsed()))
    }

    /// Returns true if more may come.
    fn receive_all(&mut self) -> Result<bool, End> {
        let mut buf = [0; LENGTH];
        loop {
            match seqpacket::receive(self.socket, &mut buf) {
                Ok(Received { length: 0, .. }) | Err(Errno::EBADF | Errno::ENOTCONN) => return Ok(false),
                Ok(received) => self.handle(buf.get(..received.length).unwrap_or_default(), received)?,
                Err(Errno::EAGAIN) => return Ok(true),
                // ECONNRESET: the host did not read an answer, and its last words come after this.
                Err(_) => {}
            }
        }
    }

    fn handle(&mut self, bytes: &[u8], received: Received) -> Result<(), End> {
        let Some(message) = Message::read(bytes) else { return Ok(()) };
        let [first, second, third, _] = received.passed;
        let done = match message {
            Message::Release(id) => {
                self.guarded.retain(|agent| agent.id != id);
                self.idle_since = Instant::now();
                return Ok(());
            }
            Message::LeaveScope => {
                // With other work it stays: nobody else may be let to move it out.
                return if self.guarded.is_empty() { Err(End::NoWork) } else { Ok(()) };
            }
            _ if received.truncated => Err(Errno::EMFILE),
            Message::Guard(id, name) => self.guard(id, name, first),
            Message::Leaf(name) => first.ok_or(Errno::EBADF).map(|above| {
                self.leaf = Some(Leaf { above: above.into(), name: name.to_owned(), ways: [second, third] });
            }),
            Message::Scope => first.ok_or(Errno::EBADF).map(|dir| {
                self.leaf = None;
                self.scope = Some(Scope { dir: dir.into(), ways: [second, third] });
            }),
        };
        answer(self.socket, [message.id(), done.map_or_else(|e| e as u64, |()| 0)] as Answer);
        Ok(())
    }

    fn guard(&mut self, id: u64, name: AgentName, dir: Option<OwnedFd>) -> nix::Result<()> {
        let dir = dir.ok_or(Errno::EBADF)?;
        let (most, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
        // Numbers are given from the lowest on.
        let number = u64::try_from(dir.as_raw_fd()).unwrap_or(u64::MAX);
        if number.saturating_add(SPARE) >= most {
            return Err(Errno::EMFILE);
        }
        try_alloc::push(&mut self.guarded, Guarded::new(id, dir.into(), name))
    }

    /// systemd has sent SIGTERM. In a scope that means that the scope is being stopped, where else it means nothing:
    /// the guard ends after the host. Returns true if there is nothing to do but to end.
    fn scope_is_stopped(&mut self) -> bool {
        let Some(scope) = self.scope.take() else { return false };
        let has_work_elsewhere = self.guarded.iter().any(|agent| !scope.holds(agent));
        let has_left = has_work_elsewhere && scope.leave();
        self.idle_since = Instant::now();
        !has_left
    }

    /// End all that is guarded, whatever CPU time there is for that: any process of the guard's uid can set its
    /// RLIMIT_CPU. What one child has killed and removed the next one finds so.
    fn finish(&mut self) {
        self.send(FIRST_SENT);
        if !own::has_endless_cpu_time() {
            let mut work = |waiting: &relay::Waiting| {
                self.send(usize::MAX);
                self.end_all();
                self.leave(waiting);
            };
            if relay::run(MOST_WORKERS, &mut work).is_ok() {
                return;
            }
        }
        self.send(usize::MAX);
        self.end_all();
        self.leave(&[]);
    }

    /// Send the signal to the first of the agents, without waiting; what it does not reach is swept up later.
    fn send(&self, count: usize) {
        for agent in self.guarded.iter().take(count) {
            let _ = agent.killing().send();
        }
    }

    /// Go out of the guard's own cgroup, together with these processes, and remove it.
    fn leave(&mut self, with: &[i32]) {
        if let Some(leaf) = self.leaf.take() {
            leaf.leave(with);
        }
    }

    /// Kill all that is guarded, and remove it, however long it takes.
    fn end_all(&mut self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let before = self.guarded.len();
            self.guarded.retain_mut(|agent| !agent.end());
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
    name: AgentName,
    state: KillState,
    refusals: u32,
}

impl Guarded {
    fn new(id: u64, dir: Dir, name: AgentName) -> Self {
        let dir = dir.of_agent();
        // Open from the start, so that an agent that takes the guard's descriptors by prlimit(2) is killed all the same.
        let files = KillFiles::open(&dir).unwrap_or_default();
        Self { id, name, state: KillState { files, ..KillState::default() }, dir, refusals: 0 }
    }

    fn killing(&self) -> Killing<'_> {
        Killing { members: Members { dir: &self.dir, mark: self.name.mark() }, state: &self.state }
    }

    /// Returns true if nothing is left of it that the guard can do anything about.
    fn end(&mut self) -> bool {
        if !self.dir.is_alive() {
            return true;
        }
        match self.killing().kill_all(Deadline::after(TURN)) {
            Ok(()) | Err(Failure::NotRestored(_)) => {}
            Err(Failure::Errno(Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM)) => {
                return self.end_without_descriptors();
            }
            Err(Failure::Errno(_) | Failure::CallerInside) => return self.was_refused(),
            Err(Failure::Alive(_)) => {
                self.refusals = 0;
                return false;
            }
        }
        let removed = {
            let _withdrawn_if_it_stays = FinalCounters::publish(&self.dir);
            remove::tree(&self.dir, self.name.path_inside(), Deadline::after(TURN))
        };
        match removed {
            Ok(()) => {
                remove::above(&self.dir);
                true
            }
            Err(Errno::EBUSY) => false,
            Err(Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM) => self.end_without_descriptors(),
            Err(_) => self.was_refused(),
        }
    }

    /// The same with what is open already. Cgroups that are nested deeper than one level cannot be listed so: they are
    /// left, empty, to `agentcg_reap`.
    fn end_without_descriptors(&mut self) -> bool {
        let killing = self.killing();
        let dead =
            killing.send().and_then(|_| killing.events()?.wait(Deadline::after(TURN), |now| !now.populated));
        match dead {
            Ok(true) => {}
            Ok(false) => return false,
            Err(_) => return self.was_refused(),
        }
        let removed =
            self.dir.remove_children().and_then(|()| remove::leaf(&self.dir, self.name.path_inside()));
        if removed.is_ok() {
            remove::above(&self.dir);
            return true;
        }
        self.was_refused()
    }

    /// Returns true if that has come too often: the group is let go, so that its lock is free for a reaper.
    fn was_refused(&mut self) -> bool {
        self.refusals += 1;
        self.refusals >= MOST_REFUSALS
    }
}

/// Enter the first of these cgroups that can be entered, together with these processes. Returns true if there is one.
fn enter_one(ways: &[Option<OwnedFd>], with: &[i32]) -> bool {
    ways.iter().flatten().any(|procs| {
        write_once(procs.as_fd(), b"0").is_ok()
            && with.iter().all(|pid| {
                // ESRCH: it has ended, and is in no cgroup.
                matches!(write_once(procs.as_fd(), pid.to_string().as_bytes()), Ok(()) | Err(Errno::ESRCH))
            })
    })
}

/// The cgroup that the guard is in, and how to leave it.
struct Leaf {
    above: Dir,
    name: CString,
    ways: [Option<OwnedFd>; 2],
}

impl Leaf {
    /// Nobody can remove the cgroup that it is in itself.
    fn leave(self, with: &[i32]) {
        if enter_one(&self.ways, with) {
            super::leaf::remove(&self.above, &self.name);
        }
    }
}

/// The scope that lives by the guard, and how to leave it.
struct Scope {
    dir: Dir,
    ways: [Option<OwnedFd>; 2],
}

impl Scope {
    /// Returns true if the agent is in it.
    fn holds(&self, agent: &Guarded) -> bool {
        let inode = |dir: &Dir| fstat(dir.as_fd()).map(|stat| stat.st_ino);
        // scope/synwire/agents/uuid
        agent.dir.child(c"../../..").is_ok_and(|dir| inode(&dir) == inode(&self.dir))
    }

    /// Returns true if that could be done.
    fn leave(self) -> bool {
        enter_one(&self.ways, &[])
    }
}

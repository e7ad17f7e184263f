// SPDX-License-Identifier: MIT OR Apache-2.0
//! The program `agentcg-guard`.

use super::cgroup::GuardCgroup;
use super::message::{Answer, HELLO, LENGTH, Message, PROTOCOL};
use super::relay;
use super::setup;
use crate::cgroupfs::{AgentName, Dir, write_once};
use crate::events::final_counters::FinalCounters;
use crate::kill::members::Members;
use crate::kill::remove;
use crate::kill::{Failure, KillFiles, KillState, Killer};
use crate::sys::deadline::Deadline;
use crate::sys::seqpacket::{self, Received};
use crate::sys::try_alloc;
use crate::verdict::{Call, Remover};
use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::select::{FdSet, pselect};
use nix::sys::signal::SigSet;
use nix::sys::stat::fstat;
use nix::sys::time::TimeSpec;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// How long the guard runs without work, so that a host that makes agents one after the other has one guard.
const IDLE: Duration = Duration::from_secs(10);
/// The longest wait for one group to die while others are not handled yet.
const TURN: Duration = Duration::from_secs(1);
/// The number of descriptors that killing and removing need.
const SPARE: u64 = 8;
const FIRST_PAUSE: Duration = Duration::from_micros(100);
/// The longest pause between two tries to kill a process that does not die, perhaps in uninterruptible sleep.
const LAST_PAUSE: Duration = Duration::from_secs(5);
/// An answer for which there is no memory is sent again until the pause is this long.
const LONGEST_ANSWER_PAUSE: Duration = Duration::from_millis(200);
/// After this many failures in a row, which take some seconds, a group is left to `agentcg_reap`.
const MOST_REFUSALS: u32 = 16;
/// The number of agents that are killed before any other work.
const FIRST_KILLED: usize = 8;
/// Enough for a tree of a thousand cgroups even if each worker gets only one tick of CPU time. If no worker gets far enough
/// in a tick, the guard ends after some seconds, and the agents are left to `agentcg_reap`.
const MOST_WORKERS: u32 = 500;

/// Runs the program. `protocol` is its first argument, the version of the protocol of the library. Returns the exit
/// status.
pub fn run(protocol: Option<&str>) -> i32 {
    const MISUSED: i32 = 2;
    let Some((socket, host)) = setup::inherited() else {
        eprintln!(
            "agentcg-guard: only libagentcg can start this program, for AGENTCG_NEW_GUARD and systemd scopes"
        );
        return MISUSED;
    };
    let Ok(waiting) = setup::block_signals() else { return MISUSED };
    setup::allow_all_descriptors();
    setup::reserve_memory();
    // If the kernel refuses it, a stopped guard stays stopped until another process continues it.
    let _ = setup::continue_on(socket.as_fd());
    answer(socket.as_fd(), [HELLO, PROTOCOL]);
    if protocol != Some(PROTOCOL.to_string().as_str()) {
        return MISUSED;
    }
    let mut guard = Guard {
        socket: socket.as_fd(),
        guarded: Vec::new(),
        cgroup: None,
        scope: None,
        idle_since: Instant::now(),
        waiting,
    };
    match guard.serve(host.as_ref().map(AsFd::as_fd)) {
        // systemd ends the scope and all processes in it.
        End::ScopeStopped => return 0,
        End::NoWork | End::Unreadable => guard.leave(&[]),
        End::HostEnded => guard.finish(),
    }
    0
}

fn answer(socket: BorrowedFd<'_>, numbers: [u64; 2]) {
    let mut pause = FIRST_PAUSE;
    loop {
        match seqpacket::send(socket, numbers.map(u64::to_ne_bytes).as_flattened(), &[]) {
            Err(Errno::EAGAIN | Errno::ENOMEM | Errno::ENOBUFS) if pause < LONGEST_ANSWER_PAUSE => {}
            // EPIPE: the host has ended. EAGAIN: the host does not read its answers and has given up.
            _ => return,
        }
        std::thread::sleep(pause);
        pause *= 2;
    }
}

/// Why the guard stops serving the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The host has ended, or has executed another program.
    HostEnded,
    /// No agent is guarded and no scope is kept alive.
    NoWork,
    /// systemd stops the scope that the guard keeps alive.
    ScopeStopped,
    /// The socket could not be read for some seconds. The agents are left to `agentcg_reap`.
    Unreadable,
}

/// The state of the guard.
struct Guard<'a> {
    socket: BorrowedFd<'a>,
    guarded: Vec<Guarded>,
    cgroup: Option<OwnCgroup>,
    scope: Option<KeptScope>,
    idle_since: Instant,
    /// The signal mask while the guard waits.
    waiting: SigSet,
}

impl Guard<'_> {
    /// Handles messages until the host ends or there is no work.
    fn serve(&mut self, host: Option<BorrowedFd<'_>>) -> End {
        loop {
            if setup::was_terminated() && self.scope_is_stopped() {
                return End::ScopeStopped;
            }
            let time_left = self.time_left();
            if time_left.is_some_and(|left| left.is_zero()) {
                return End::NoWork;
            }
            let mut ended = false;
            {
                // poll(2) fails for two descriptors if RLIMIT_NOFILE was lowered below 2. pselect(2) does not.
                let mut readable = FdSet::new();
                readable.insert(self.socket);
                // Before Linux 5.3 there is only the socket.
                if let Some(host) = host {
                    readable.insert(host);
                }
                let time_left = time_left.map(TimeSpec::from);
                match pselect(None, &mut readable, None, None, time_left.as_ref(), &self.waiting) {
                    // The pidfd is needed, because a forked child of the host may hold the other end of the socket.
                    Ok(_) => ended = host.is_some_and(|host| readable.contains(host)),
                    Err(Errno::EINTR) => continue,
                    // ENOMEM. The receive below shows if there is a message.
                    Err(_) => std::thread::sleep(FIRST_PAUSE),
                }
            }
            // A process of the guard's uid may have lowered its RLIMIT_CPU.
            if !setup::has_unlimited_cpu_time() {
                relay::sleep_until_tick();
            }
            // Messages that the host sent before it ended are handled.
            match self.receive_all() {
                Ok(open) if open && !ended => {}
                // If no agent is guarded, no work follows.
                Ok(_) => return End::HostEnded,
                Err(end) => return end,
            }
        }
    }

    /// Returns how long to wait for a message, or `None` if the guard has work and waits without limit.
    fn time_left(&self) -> Option<Duration> {
        let has_work = !self.guarded.is_empty() || self.scope.is_some();
        (!has_work).then(|| IDLE.saturating_sub(self.idle_since.elapsed()))
    }

    /// Handles the messages that have arrived. Returns false if no more can follow.
    fn receive_all(&mut self) -> Result<bool, End> {
        let mut buf = [0; LENGTH];
        let mut pause = FIRST_PAUSE;
        loop {
            match seqpacket::receive(self.socket, &mut buf) {
                Ok(Received { length: 0, .. }) | Err(Errno::EBADF | Errno::ENOTCONN) => return Ok(false),
                Ok(received) => self.handle(buf.get(..received.length).unwrap_or_default(), received)?,
                Err(Errno::EAGAIN) => return Ok(true),
                // The unread messages may release all agents, so none is killed.
                Err(_) if pause > LAST_PAUSE => return Err(End::Unreadable),
                // ECONNRESET: the host ended without reading an answer. Its last messages can still be received.
                Err(_) => {
                    std::thread::sleep(pause);
                    pause *= 2;
                }
            }
        }
    }

    fn handle(&mut self, bytes: &[u8], received: Received) -> Result<(), End> {
        let Some(message) = Message::parse(bytes) else { return Ok(()) };
        let [first, second, third, _] = received.passed;
        let done = match message {
            Message::Release(id) => {
                self.guarded.retain(|agent| agent.id != id);
                self.idle_since = Instant::now();
                return Ok(());
            }
            Message::LeaveScope => {
                // With other work the guard stays: perhaps no process may move it out of the scope.
                return if self.guarded.is_empty() { Err(End::NoWork) } else { Ok(()) };
            }
            _ if received.truncated => Err(Errno::EMFILE),
            Message::Guard(id, name) => self.guard(id, name, first),
            Message::Cgroup(name) => first.ok_or(Errno::EBADF).map(|parent| {
                let cgroup = GuardCgroup::new(parent.into(), name.to_owned());
                self.cgroup = Some(OwnCgroup { cgroup, exits: [second, third] });
            }),
            Message::Scope => first.ok_or(Errno::EBADF).map(|dir| {
                self.cgroup = None;
                self.scope = Some(KeptScope { dir: dir.into(), exits: [second, third] });
            }),
        };
        answer(self.socket, [message.id(), done.map_or_else(|e| e as u64, |()| 0)] as Answer);
        Ok(())
    }

    fn guard(&mut self, id: u64, name: AgentName, dir: Option<OwnedFd>) -> nix::Result<()> {
        let dir = dir.ok_or(Errno::EBADF)?;
        let (most, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
        // The kernel gives the lowest free number.
        let number = u64::try_from(dir.as_raw_fd()).unwrap_or(u64::MAX);
        if number.saturating_add(SPARE) >= most {
            return Err(Errno::EMFILE);
        }
        try_alloc::push(&mut self.guarded, Guarded::new(id, dir.into(), name))
    }

    /// Handles SIGTERM. In a scope it means that systemd stops the scope. Otherwise it is ignored, because the guard
    /// ends after the host. Returns true if the guard must end.
    fn scope_is_stopped(&mut self) -> bool {
        let Some(scope) = self.scope.take() else { return false };
        let has_work_elsewhere = self.guarded.iter().any(|agent| !scope.contains(agent));
        let has_left = has_work_elsewhere && scope.leave();
        self.idle_since = Instant::now();
        !has_left
    }

    /// Kills and removes all guarded agents. Any process of the guard's uid can lower its RLIMIT_CPU. Then the work is
    /// done by child processes one after the other, each of which continues where the last one was killed.
    fn finish(&mut self) {
        self.send_kill(FIRST_KILLED);
        let mut work = |waiting: &[i32]| {
            self.send_kill(usize::MAX);
            self.end_all();
            self.leave(waiting);
        };
        if setup::has_unlimited_cpu_time() || relay::run(MOST_WORKERS, &mut work).is_err() {
            work(&[]);
        }
    }

    /// Kills the first `count` agents without waiting for their death. [`Self::end_all`] handles those that survive.
    fn send_kill(&mut self, count: usize) {
        for agent in self.guarded.iter_mut().take(count) {
            // end_all() tries again.
            agent.has_killed |= agent.send_kill();
        }
    }

    /// Leaves the guard's own cgroup together with these processes, and removes the cgroup.
    fn leave(&mut self, with: &[i32]) {
        if let Some(cgroup) = self.cgroup.take() {
            cgroup.leave(with);
        }
    }

    /// Kills and removes all guarded agents, without a time limit.
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

/// An agent that ends with the host.
struct Guarded {
    id: u64,
    /// The open file of the owner's directory. It holds the owner's lock until the guard is done, so that no reaper
    /// takes the agent for an orphan.
    dir: Dir,
    name: AgentName,
    state: KillState,
    /// Processes lived when the host had ended.
    has_killed: bool,
    refusals: u32,
}

impl Guarded {
    fn new(id: u64, dir: Dir, name: AgentName) -> Self {
        let dir = dir.of_agent();
        // Open from the start, because an agent may lower the guard's RLIMIT_NOFILE by prlimit(2).
        let files = KillFiles::open(&dir).unwrap_or_default();
        Self {
            id,
            name,
            state: KillState { files, ..KillState::default() },
            dir,
            has_killed: false,
            refusals: 0,
        }
    }

    fn killer(&self) -> Killer<'_> {
        let members = Members { dir: &self.dir, component: self.name.component() };
        Killer { members, state: &self.state, call: Call::None }
    }

    /// Sends the kill. Returns true if it was sent and a process lived before.
    fn send_kill(&self) -> bool {
        let killer = self.killer();
        let lived = killer.events().and_then(|events| events.state()).is_ok_and(|state| state.populated);
        killer.send() == Ok(true) && lived
    }

    /// Kills and removes the agent. Returns true if the agent is removed, or if the guard gives it up.
    fn end(&mut self) -> bool {
        if !self.dir.is_alive() {
            return true;
        }
        match self.killer().kill_all(Deadline::after(TURN)) {
            Ok(killed) => self.has_killed |= killed,
            Err(Failure::NotRestored(_)) => self.has_killed = true,
            Err(Failure::Errno(Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM)) => {
                return self.end_without_descriptors();
            }
            Err(Failure::Errno(_) | Failure::CallerInside) => return self.give_up_after_refusal(),
            Err(Failure::Alive(_)) => {
                self.refusals = 0;
                return false;
            }
        }
        let removed = {
            // The drop withdraws them if the group stays.
            let remover = if self.has_killed { Remover::Guard } else { Remover::Unknown };
            let _final_counters = FinalCounters::publish(&self.dir, remover);
            remove::tree(&self.dir, self.name.path_inside(), Deadline::after(TURN))
        };
        match removed {
            Ok(()) => {
                remove::above(&self.dir, None);
                true
            }
            Err(Errno::EBUSY) => false,
            Err(Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM) => self.end_without_descriptors(),
            Err(_) => self.give_up_after_refusal(),
        }
    }

    /// Does the work of [`Self::end`] with the open descriptors only. That cannot list cgroups that are nested deeper
    /// than one level: those are left to `agentcg_reap`, empty.
    fn end_without_descriptors(&mut self) -> bool {
        let killer = self.killer();
        let dead =
            killer.send().and_then(|_| killer.events()?.wait(Deadline::after(TURN), |now| !now.populated));
        match dead {
            Ok(true) => {}
            Ok(false) => return false,
            Err(_) => return self.give_up_after_refusal(),
        }
        let removed =
            self.dir.remove_children().and_then(|()| remove::leaf(&self.dir, self.name.path_inside()));
        if removed.is_ok() {
            remove::above(&self.dir, None);
            return true;
        }
        self.give_up_after_refusal()
    }

    /// Counts a failure. Returns true after too many: then the guard gives the agent up, so that a reaper can lock it.
    fn give_up_after_refusal(&mut self) -> bool {
        self.refusals += 1;
        self.refusals >= MOST_REFUSALS
    }
}

/// Moves the guard and these processes to the first exit cgroup that accepts them. Returns false if none does.
fn exit_to_one(exits: &[Option<OwnedFd>], with: &[i32]) -> bool {
    exits.iter().flatten().any(|procs| {
        write_once(procs.as_fd(), b"0").is_ok()
            && with.iter().all(|pid| {
                // ESRCH: the process has ended.
                matches!(write_once(procs.as_fd(), pid.to_string().as_bytes()), Ok(()) | Err(Errno::ESRCH))
            })
    })
}

/// The guard's own cgroup and its exit cgroups.
struct OwnCgroup {
    cgroup: GuardCgroup,
    exits: [Option<OwnedFd>; 2],
}

impl OwnCgroup {
    /// Leaves the cgroup, then removes it: a cgroup that contains a process cannot be removed.
    fn leave(self, with: &[i32]) {
        if exit_to_one(&self.exits, with) {
            self.cgroup.remove();
        }
    }
}

/// The scope that the guard keeps alive, and its exit cgroups.
struct KeptScope {
    dir: Dir,
    exits: [Option<OwnedFd>; 2],
}

impl KeptScope {
    /// Returns true if the agent is in the scope.
    fn contains(&self, agent: &Guarded) -> bool {
        let inode = |dir: &Dir| fstat(dir.as_fd()).map(|stat| stat.st_ino);
        // The path of the agent is scope/synwire/agents/uuid, and that of a child of a session is longer by its uuid.
        [c"../../..", c"../../../.."]
            .iter()
            .any(|up| agent.dir.child(up).is_ok_and(|dir| inode(&dir) == inode(&self.dir)))
    }

    /// Leaves the scope. Returns false if no exit cgroup accepts the guard.
    fn leave(self) -> bool {
        exit_to_one(&self.exits, &[])
    }
}

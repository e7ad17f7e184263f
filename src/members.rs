// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who lives in a group and below it, and how one of them is reached by a signal.
//!
//! `cgroup.procs` tells neither all nor only the living: before Linux 5.2 it lists zombies not waited for, it
//! has nothing on a process whose main thread was dead when it was moved here, and cannot be read in a
//! threaded cgroup. `cgroup.threads` has the rest, by thread.

use crate::cgroupfs::{Dir, Step};
use crate::sys::fallible;
use crate::{parse, procfs, sys};
use nix::errno::Errno;
use std::ffi::c_int;
use std::os::fd::AsFd;

const LOOKS: usize = 5;

/// A group with all that is in it.
pub struct Members<'a> {
    /// Its directory.
    pub dir: &'a Dir,
    /// What the path of all its members holds, from whatever namespace it is seen: `/<uuid>`.
    pub mark: Vec<u8>,
}

/// A process, and which of its threads is listed: the others may be elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    /// The process.
    pub pid: i32,
    /// Its main thread, or another.
    pub thread: i32,
}

/// What one look finds.
#[derive(Debug, Default)]
pub struct Census {
    /// The living, each once.
    pub processes: Vec<Process>,
    /// There are some outside our pid namespace too: they show as pid 0.
    pub unnameable: bool,
}

/// A set of ids of processes or threads, however many.
#[derive(Debug, Default)]
pub struct Ids(Vec<i32>);

impl Ids {
    /// Returns true if it was not in the set. Cheap for ids in ascending order, in which the kernel lists them.
    pub fn insert(&mut self, id: i32) -> nix::Result<bool> {
        if self.0.last().is_none_or(|&last| last < id) {
            return fallible::push(&mut self.0, id).map(|()| true);
        }
        match self.0.binary_search(&id) {
            Ok(_) => Ok(false),
            Err(at) => {
                fallible::reserve(&mut self.0, 1)?;
                self.0.insert(at, id);
                Ok(true)
            }
        }
    }
}

/// What the lists of a group tell at a glance.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Listed {
    /// There is somebody.
    pub anyone: bool,
    /// We are in it ourselves.
    pub caller: bool,
}

impl Members<'_> {
    /// The living processes of all cgroups, but for those in `known`, which is added to.
    pub fn census(&self, known: &mut Ids) -> nix::Result<Census> {
        let mut census = Census::default();
        self.each_cgroup(|dir| {
            let procs = ignore_gone(dir.read_all(c"cgroup.procs"), Vec::new())?;
            let threads = ignore_gone(dir.read_all(c"cgroup.threads"), Vec::new())?;
            let listed = parse::ids(&procs).map(|id| (id, true));
            for (id, is_process) in listed.chain(parse::ids(&threads).map(|id| (id, false))) {
                if id < 1 {
                    census.unnameable = true;
                } else if known.insert(id)? {
                    let Some(pid) = process_of(id, is_process)? else { continue };
                    if pid == id || known.insert(pid)? {
                        fallible::push(&mut census.processes, Process { pid, thread: id })?;
                    }
                }
            }
            Ok(())
        })?;
        Ok(census)
    }

    /// Whether we are among them ourselves, with any one thread.
    pub fn holds_caller(&self) -> nix::Result<bool> {
        Ok(self.listed()?.caller)
    }

    /// Who is listed. A process whose main thread was dead when it was moved here is not.
    pub fn listed(&self) -> nix::Result<Listed> {
        let own = i32::try_from(std::process::id()).map_err(|_| Errno::ESRCH)?;
        let mut found = Listed::default();
        self.each_cgroup(|dir| {
            // A threaded cgroup has no list of processes, and may hold any one thread of ours.
            let (ids, threaded) = match dir.read_all(c"cgroup.procs") {
                Err(Errno::EOPNOTSUPP) => (dir.read_all(c"cgroup.threads"), true),
                procs => (procs, false),
            };
            for id in parse::ids(&ignore_gone(ids, Vec::new())?) {
                found.anyone = true;
                found.caller |= if threaded { procfs::is_own_thread(id) } else { id == own };
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Whether a process is among them, with its main thread or any other. `ESRCH` if it does not live.
    pub fn hold(&self, pid: i32) -> nix::Result<bool> {
        procfs::Process::open(pid)?.living()?;
        // A main thread that was dead when the process was moved has stayed where it was.
        Ok(self.hold_thread(pid, pid)?
            || procfs::threads_of(pid)?.iter().any(|&id| self.hold_thread(pid, id) == Ok(true)))
    }

    /// The same, for certain: an agent can give its cgroups any names, those of other agents too, but the group's
    /// own lists cannot be imitated. Whoever goes from one cgroup to another while we look is looked for again.
    pub fn list(&self, pid: i32) -> nix::Result<bool> {
        for _ in 0..LOOKS {
            if !self.hold(pid)? {
                return Ok(false);
            }
            let threads = procfs::threads_of(pid)?;
            let mut found = false;
            self.each_cgroup(|dir| {
                let listed = ignore_gone(dir.read_all(c"cgroup.threads"), Vec::new())?;
                found |= parse::ids(&listed).any(|id| threads.contains(&id));
                Ok(())
            })?;
            if found {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn hold_thread(&self, pid: i32, thread: i32) -> nix::Result<bool> {
        let path = if pid == thread { pid.to_string() } else { format!("{pid}/task/{thread}") };
        match procfs::cgroup_of(&path) {
            Ok(path) => Ok(path.is_some_and(|path| parse::holds(&path, &self.mark))),
            Err(Errno::ENOENT) => Err(Errno::ESRCH),
            Err(e) => Err(e),
        }
    }

    /// Send a signal; tells whether there still was one to take it. Between the list and the signal
    /// the id may have been given to a stranger. Held by a pidfd it cannot be, and its cgroup tells
    /// whether it still is the one that we mean.
    pub fn signal(&self, process: Process, signal: c_int) -> nix::Result<bool> {
        let Process { pid, thread } = process;
        let pidfd = match sys::pidfd_open(pid) {
            Ok(pidfd) => Some(pidfd),
            Err(Errno::ESRCH) => return Ok(false),
            // No such call (before 5.3, seccomp), a thread's id, or no descriptor left.
            Err(_) => None,
        };
        match self.hold_thread(pid, thread) {
            Ok(false) => return Ok(false),
            Err(Errno::ESRCH) if procfs::is_there() => {
                // Gone; or of another uid and hidden from us (hidepid).
                return if sys::kill(pid, 0) == Err(Errno::EPERM) { Err(Errno::EPERM) } else { Ok(false) };
            }
            // Without /proc there is no telling: a member that lives on would be worse.
            _ => {}
        }
        // A seccomp filter may know the one call and not the other.
        let sent = match pidfd.as_ref().map(|pidfd| sys::pidfd_send_signal(pidfd.as_fd(), signal)) {
            None | Some(Err(Errno::EPERM | Errno::ENOSYS)) => sys::kill(pid, signal),
            Some(sent) => sent,
        };
        match sent {
            Ok(()) => Ok(true),
            Err(Errno::ESRCH) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// The group, then all below it.
    pub fn each_cgroup(&self, mut visit: impl FnMut(&Dir) -> nix::Result<()>) -> nix::Result<()> {
        visit(self.dir)?;
        let mut outcome = Ok(());
        self.dir.walk(|step| {
            if let (Step::Enter(dir), Ok(())) = (step, outcome) {
                outcome = visit(dir);
            }
        })?;
        outcome
    }
}

/// The living process that a listed id belongs to.
fn process_of(id: i32, is_process: bool) -> nix::Result<Option<i32>> {
    match procfs::task(id) {
        Ok(task) => Ok(task.lives.then_some(task.pid)),
        // Gone; or hidden from us (hidepid), or there is no /proc: the kernel knows which.
        Err(Errno::ENOENT | Errno::ESRCH | Errno::EPERM | Errno::EACCES) => {
            let lives = is_process && sys::kill(id, 0) != Err(Errno::ESRCH);
            Ok(lives.then_some(id))
        }
        Err(e) => Err(e),
    }
}

/// A nested cgroup may go while we look, and a threaded one has no list of processes.
pub fn ignore_gone<T>(result: nix::Result<T>, nothing: T) -> nix::Result<T> {
    match result {
        Err(Errno::ENODEV | Errno::ENOENT | Errno::EOPNOTSUPP) => Ok(nothing),
        other => other,
    }
}

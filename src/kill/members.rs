// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who lives in a group and below it, and how one of them is reached by a signal.
//!
//! `cgroup.procs` tells neither all nor only the living: before Linux 5.2 it lists zombies not waited for, it
//! has nothing on a process whose main thread was dead when it was moved here, and cannot be read in a
//! threaded cgroup. `cgroup.threads` has the rest, by thread.

use crate::cgroupfs::{Dir, Next, Step};
use crate::parse;
use crate::procfs;
use crate::sys;
use crate::sys::deadline::Deadline;
use crate::sys::try_alloc;
use nix::errno::Errno;
use std::ffi::c_int;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};

const LOOKS: usize = 5;

/// A group with all that is in it.
#[derive(Debug)]
pub struct Members<'a> {
    /// Its directory.
    pub dir: &'a Dir,
    /// `/` and its name, which stand in the path of each of its members, from whatever namespace it is seen.
    pub mark: &'a [u8],
}

/// The cgroup namespace from which paths are known to tell whether a process is in a group; 0 for none.
#[derive(Debug, Default)]
pub struct PathsKnown(AtomicU64);

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
    /// No cgroup was left out.
    pub complete: bool,
}

/// A set of ids of processes or threads, however many.
#[derive(Debug, Default)]
pub struct Ids(Vec<i32>);

impl Ids {
    /// Returns true if it was not in the set. Cheap for ids in ascending order, in which the kernel lists them.
    pub fn insert(&mut self, id: i32) -> nix::Result<bool> {
        if self.0.last().is_none_or(|&last| last < id) {
            return try_alloc::push(&mut self.0, id).map(|()| true);
        }
        match self.0.binary_search(&id) {
            Ok(_) => Ok(false),
            Err(at) => {
                try_alloc::reserve(&mut self.0, 1)?;
                self.0.insert(at, id);
                Ok(true)
            }
        }
    }
}

impl Members<'_> {
    /// The living processes of all cgroups, but for those in `known`, which is added to.
    pub fn census(&self, deadline: Deadline, known: &mut Ids) -> nix::Result<Census> {
        let mut census = Census::default();
        census.complete = self.each_cgroup(deadline, |dir| {
            let procs = ignore_gone(dir.read_all(c"cgroup.procs"), Vec::new())?;
            let threads = ignore_gone(dir.read_all(c"cgroup.threads"), Vec::new())?;
            let listed = parse::ids(&procs).map(|id| (id, true));
            for (id, is_process) in listed.chain(parse::ids(&threads).map(|id| (id, false))) {
                if id < 1 {
                    census.unnameable = true;
                } else if known.insert(id)? {
                    let Some(pid) = process_of(id, is_process)? else { continue };
                    if pid == id || known.insert(pid)? {
                        try_alloc::push(&mut census.processes, Process { pid, thread: id })?;
                    }
                }
            }
            Ok(())
        })?;
        Ok(census)
    }

    /// True if the calling process is in the group, with any of its threads. `known` remembers what is asked once.
    ///
    /// The caller's own path answers this, and no member can delay that answer. Only where the path has the group's name in
    /// it, which another cgroup may have, too, or where it is not known from where on it is shown, are the lists of the
    /// group read.
    pub fn hold_caller(&self, deadline: Deadline, known: &PathsKnown) -> nix::Result<bool> {
        let named = procfs::with_own_cgroup(|path| parse::holds(path, self.mark));
        match named {
            Ok(Some(false)) if self.paths_tell(known) => Ok(false),
            Ok(Some(true)) => {
                let (listed, complete) = self.list_caller(deadline)?;
                Ok(listed || !complete)
            }
            _ => self.list_caller(deadline).map(|(listed, _)| listed),
        }
    }

    /// Whether the path of each process in the group has the group's name in it, seen from the caller's cgroup namespace:
    /// the group lies below the root of that.
    pub fn paths_tell(&self, known: &PathsKnown) -> bool {
        let namespace = procfs::cgroup_namespace();
        if namespace == 0 {
            return false;
        }
        if namespace == procfs::INITIAL_CGROUP_NAMESPACE || namespace == known.0.load(Ordering::Relaxed) {
            return true;
        }
        let tell = procfs::is_in_cgroup_namespace(self.dir.as_fd()) == Ok(true);
        if tell {
            known.0.store(namespace, Ordering::Relaxed);
        }
        tell
    }

    /// Whether the calling process is listed, and whether all lists were read.
    fn list_caller(&self, deadline: Deadline) -> nix::Result<(bool, bool)> {
        let own = i32::try_from(std::process::id()).map_err(|_| Errno::ESRCH)?;
        let mut found = false;
        let complete = self.each_cgroup(deadline, |dir| {
            // A threaded cgroup has no list of processes, and may hold any one thread of ours.
            let (ids, threaded) = match dir.read_all(c"cgroup.procs") {
                Err(Errno::EOPNOTSUPP) => (dir.read_all(c"cgroup.threads"), true),
                procs => (procs, false),
            };
            for id in parse::ids(&ignore_gone(ids, Vec::new())?) {
                found |= if threaded { procfs::is_own_thread(id) } else { id == own };
            }
            Ok(())
        })?;
        Ok((found, complete))
    }

    /// True if no cgroup of the group lists a process or a thread. What is dying may be listed still, and what goes from
    /// one cgroup to another meanwhile may be missed.
    pub fn list_nobody(&self, deadline: Deadline) -> nix::Result<bool> {
        let mut nobody = true;
        let complete = self.each_cgroup(deadline, |dir| {
            for file in [c"cgroup.procs", c"cgroup.threads"] {
                nobody &= ignore_gone(dir.is_empty(file), true)?;
            }
            Ok(())
        })?;
        Ok(nobody && complete)
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
            self.each_cgroup(Deadline::FOREVER, |dir| {
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
            Ok(path) => Ok(path.is_some_and(|path| parse::holds(&path, self.mark))),
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

    /// Visit the group, then all cgroups below it. Returns false if some were left out: the deadline came first, or they are
    /// closed to the calling process.
    pub fn each_cgroup(
        &self,
        deadline: Deadline,
        mut visit: impl FnMut(&Dir) -> nix::Result<()>,
    ) -> nix::Result<bool> {
        let top = match visit(self.dir) {
            Err(Errno::EACCES) => false,
            visited => visited.map(|()| true)?,
        };
        let below = self.dir.walk(deadline, |step| {
            if let Step::Enter(dir) = step {
                visit(dir)?;
            }
            Ok(Next::Enter)
        })?;
        Ok(top && below)
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

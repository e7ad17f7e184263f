// SPDX-License-Identifier: MIT OR Apache-2.0
//! The processes in a group and in the cgroups inside it, and signals for them.
//!
//! `cgroup.procs` lists neither all living processes nor only living ones. Before Linux 5.2 it lists zombies. It leaves
//! out a process whose main thread was dead when the process was moved into the cgroup. In a threaded cgroup it cannot
//! be read. `cgroup.threads` lists the other processes by their threads.

use crate::cgroupfs::{Dir, Next, WalkStep};
use crate::parse;
use crate::procfs;
use crate::sys;
use crate::sys::deadline::Deadline;
use crate::sys::try_alloc;
use nix::errno::Errno;
use std::ffi::c_int;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};

/// How often the lists are read to find a process that moves from one cgroup to another.
const MOST_READINGS: usize = 5;

/// A group and the cgroups inside it, for work on their processes.
#[derive(Debug, Clone, Copy)]
pub struct Members<'a> {
    /// The directory of the group.
    pub dir: &'a Dir,
    /// `/` and the name of the group. The path of each member contains it, in whatever cgroup namespace it is read.
    pub component: &'a [u8],
}

/// The inode number of the cgroup namespace that was last found to contain the group; 0 if there is none.
#[derive(Debug, Default)]
pub struct NamespaceCache(AtomicU64);

/// A process and one thread of it that a cgroup lists. Its other threads may be in other cgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    /// The id of the process.
    pub pid: i32,
    /// The id of the listed thread, which is `pid` for the main thread.
    pub thread: i32,
}

/// The result of [`Members::scan`].
#[derive(Debug, Default)]
pub struct Scan {
    /// The living processes, each once.
    pub processes: Vec<Process>,
    /// Some processes are outside the pid namespace of the calling process: the kernel lists them as pid 0.
    pub unnameable: bool,
    /// All cgroups were read.
    pub complete: bool,
}

/// A set of ids of processes or threads.
#[derive(Debug, Default)]
pub struct Ids(Vec<i32>);

impl Ids {
    /// Adds an id. Returns false if the set contained it. Ids in ascending order, as the kernel lists them, are added
    /// without a search.
    pub fn insert(&mut self, id: i32) -> nix::Result<bool> {
        if self.0.last().is_none_or(|&last| last < id) {
            return try_alloc::push(&mut self.0, id).map(|()| true);
        }
        match self.0.binary_search(&id) {
            Ok(_) => Ok(false),
            Err(index) => {
                try_alloc::reserve(&mut self.0, 1)?;
                self.0.insert(index, id);
                Ok(true)
            }
        }
    }
}

impl Members<'_> {
    /// Returns the living processes of all cgroups, except those in `seen`, and adds them to `seen`.
    pub fn scan(&self, deadline: Deadline, seen: &mut Ids) -> nix::Result<Scan> {
        let mut scan = Scan::default();
        scan.complete = self.each_cgroup(deadline, &mut |dir| {
            let procs = or_if_gone(dir.read_all(c"cgroup.procs"), Vec::new())?;
            let threads = or_if_gone(dir.read_all(c"cgroup.threads"), Vec::new())?;
            let listed = parse::ids(&procs).map(|id| (id, true));
            for (id, is_process) in listed.chain(parse::ids(&threads).map(|id| (id, false))) {
                if id < 1 {
                    scan.unnameable = true;
                } else if seen.insert(id)? {
                    let Some(pid) = process_of(id, is_process)? else { continue };
                    if pid == id || seen.insert(pid)? {
                        try_alloc::push(&mut scan.processes, Process { pid, thread: id })?;
                    }
                }
            }
            Ok(())
        })?;
        Ok(scan)
    }

    /// Returns true if any thread of the calling process is in the group.
    ///
    /// The caller's own cgroup path answers this, and no member can delay that. The lists of the group are read only in
    /// two cases: the path contains the group's name, which another cgroup may also have, or the group may be outside
    /// the caller's cgroup namespace, which cuts the path off.
    pub fn contains_caller(&self, deadline: Deadline, cache: &NamespaceCache) -> nix::Result<bool> {
        let named = procfs::with_own_cgroup(|path| parse::has_component(path, self.component));
        match named {
            Ok(Some(false)) if self.is_in_cgroup_namespace(cache) => Ok(false),
            Ok(Some(true)) => {
                let (listed, complete) = self.list_caller(deadline)?;
                Ok(listed || !complete)
            }
            _ => self.list_caller(deadline).map(|(listed, _)| listed),
        }
    }

    /// Returns true if the group is below the root of the caller's cgroup namespace. Then the path of each member, as
    /// the caller reads it, contains the group's name.
    pub fn is_in_cgroup_namespace(&self, cache: &NamespaceCache) -> bool {
        let namespace = procfs::cgroup_namespace();
        if namespace == 0 {
            return false;
        }
        if namespace == procfs::INITIAL_CGROUP_NAMESPACE || namespace == cache.0.load(Ordering::Relaxed) {
            return true;
        }
        let inside = procfs::is_in_cgroup_namespace(self.dir.as_fd()) == Ok(true);
        if inside {
            cache.0.store(namespace, Ordering::Relaxed);
        }
        inside
    }

    /// Returns two results: the calling process is listed, and all lists were read.
    fn list_caller(&self, deadline: Deadline) -> nix::Result<(bool, bool)> {
        let own = i32::try_from(std::process::id()).map_err(|_| Errno::ESRCH)?;
        let mut found = false;
        let complete = self.each_cgroup(deadline, &mut |dir| {
            // A threaded cgroup has no list of processes, and may contain any thread of the calling process.
            let (ids, threaded) = match dir.read_all(c"cgroup.procs") {
                Err(Errno::EOPNOTSUPP) => (dir.read_all(c"cgroup.threads"), true),
                procs => (procs, false),
            };
            for id in parse::ids(&or_if_gone(ids, Vec::new())?) {
                found |= if threaded { procfs::is_own_thread(id) } else { id == own };
            }
            Ok(())
        })?;
        Ok((found, complete))
    }

    /// Returns true if no process of the group lives: the lists are empty in this many readings in a row, and no process of
    /// the group is exiting. Returns false if a list cannot be read.
    ///
    /// A process that changes its cgroup while the lists are read can be in none of them, so that a reading misses it.
    pub fn lists_stay_empty(&self, readings: u32, deadline: Deadline) -> nix::Result<bool> {
        for _ in 0..readings {
            match self.lists_are_empty(deadline) {
                Ok(true) => {}
                Err(e @ Errno::ENODEV) => return Err(e),
                Ok(false) | Err(_) => return Ok(false),
            }
        }
        // From Linux 7.0 on the lists leave out an exiting process whose files are not closed yet.
        Ok(!procfs::any_exits_in(self.component))
    }

    /// Returns true if no cgroup of the group lists a process or a thread. The lists may include a dying process.
    fn lists_are_empty(&self, deadline: Deadline) -> nix::Result<bool> {
        let complete = self.each_cgroup(deadline, &mut |dir| {
            for file in [c"cgroup.procs", c"cgroup.threads"] {
                if !or_if_gone(dir.is_empty(file), true)? {
                    return Err(Errno::ENOTEMPTY);
                }
            }
            Ok(())
        });
        if complete == Err(Errno::ENOTEMPTY) { Ok(false) } else { complete }
    }

    /// Returns true if the path of any thread of the process contains the group's name. Fails with `ESRCH` if the
    /// process does not live.
    pub fn contains(&self, pid: i32) -> nix::Result<bool> {
        procfs::Process::open(pid)?.living()?;
        // If the main thread was dead when the process was moved, it is in the cgroup from before.
        Ok(self.contains_thread(pid, pid)?
            || procfs::threads_of(pid)?.iter().any(|&id| self.contains_thread(pid, id) == Ok(true)))
    }

    /// Returns true if the lists of the group contain a thread of the process. Unlike [`Self::contains`], an agent
    /// cannot deceive this by giving a cgroup the name of another agent. If the process moves between cgroups of the
    /// group, the lists are read again.
    pub fn lists_contain(&self, pid: i32) -> nix::Result<bool> {
        for _ in 0..MOST_READINGS {
            if !self.contains(pid)? {
                return Ok(false);
            }
            let threads = procfs::threads_of(pid)?;
            let mut found = false;
            self.each_cgroup(Deadline::FOREVER, &mut |dir| {
                let listed = or_if_gone(dir.read_all(c"cgroup.threads"), Vec::new())?;
                found |= parse::ids(&listed).any(|id| threads.contains(&id));
                Ok(())
            })?;
            if found {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn contains_thread(&self, pid: i32, thread: i32) -> nix::Result<bool> {
        let path = if pid == thread { pid.to_string() } else { format!("{pid}/task/{thread}") };
        match procfs::cgroup_of(&path) {
            Ok(path) => Ok(path.is_some_and(|path| parse::has_component(&path, self.component))),
            Err(Errno::ENOENT) => Err(Errno::ESRCH),
            Err(e) => Err(e),
        }
    }

    /// Sends a signal to a listed process. Returns false if it has ended. The kernel may have given its id to another
    /// process after the list was read. A process that the signal reaches by its pidfd has had the id since the pidfd was
    /// opened, and its cgroup shows if it is the listed one.
    pub fn signal(&self, process: Process, signal: c_int) -> nix::Result<bool> {
        let Process { pid, thread } = process;
        let pidfd = match sys::pidfd_open(pid) {
            Ok(pidfd) => Some(pidfd),
            Err(Errno::ESRCH) => return Ok(false),
            // The call is not available (before 5.3, seccomp), the id is that of a thread, or no descriptor is left.
            Err(_) => None,
        };
        match self.contains_thread(pid, thread) {
            Ok(false) => return Ok(false),
            Err(Errno::ESRCH) if procfs::is_there() => {
                // It has ended, or it is another uid's and hidden (hidepid).
                return if sys::kill(pid, 0) == Err(Errno::EPERM) { Err(Errno::EPERM) } else { Ok(false) };
            }
            // Without /proc this cannot be checked. The signal is sent, because a surviving member would be worse.
            _ => {}
        }
        // A seccomp filter may allow kill(2) but not pidfd_send_signal(2).
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

    /// Visits the group, then all cgroups inside it. Returns false if some were left out because the deadline passed or
    /// the calling process may not read them.
    pub fn each_cgroup(
        &self,
        deadline: Deadline,
        visit: &mut dyn FnMut(&Dir) -> nix::Result<()>,
    ) -> nix::Result<bool> {
        let top = match visit(self.dir) {
            Err(Errno::EACCES) => false,
            visited => visited.map(|()| true)?,
        };
        let below = self.dir.walk(deadline, &mut |step| {
            if let WalkStep::Enter(dir) = step {
                visit(dir)?;
            }
            Ok(Next::Enter)
        })?;
        Ok(top && below)
    }
}

/// Returns the living process of a listed id, or `None` if it does not live.
fn process_of(id: i32, is_process: bool) -> nix::Result<Option<i32>> {
    match procfs::task(id) {
        Ok(task) => Ok(task.lives.then_some(task.pid)),
        // It has ended, it is hidden (hidepid), or /proc is not mounted. kill(2) finds out which.
        Err(Errno::ENOENT | Errno::ESRCH | Errno::EPERM | Errno::EACCES) => {
            let lives = is_process && sys::kill(id, 0) != Err(Errno::ESRCH);
            Ok(lives.then_some(id))
        }
        Err(e) => Err(e),
    }
}

/// Returns `nothing` if the read failed because the cgroup was removed, or because it is threaded and has no list of
/// processes.
pub fn or_if_gone<T>(result: nix::Result<T>, nothing: T) -> nix::Result<T> {
    match result {
        Err(Errno::ENODEV | Errno::ENOENT | Errno::EOPNOTSUPP) => Ok(nothing),
        other => other,
    }
}

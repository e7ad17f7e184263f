// SPDX-License-Identifier: MIT OR Apache-2.0
//! The agent of a process.
//!
//! The path of the process's cgroup in /proc names the agent. A pid leads to the right process because the file is opened
//! once: it belongs to the process and not to its pid, and cannot be read after the process was reaped. A pidfd is asked after
//! the reading if its process still has the pid.

use super::orphans::each_agent;
use crate::cgroupfs::{AgentName, Dir, Next, OWN, WalkStep};
use crate::error::{Error, Reason, Result, out_of_memory, shown, words};
use crate::owner;
use crate::parse::{self, OwnerNote};
use crate::place::{self, AgentInPath};
use crate::procfs::{self, CgroupFile};
use crate::sys::deadline::Deadline;
use crate::sys::descriptors::occupy_stdio_for_several;
use crate::sys::pidfd_info::{self, PidfdInfo, pidfd_info};
use crate::sys::{pidfd_open, pidfd_send_signal, try_alloc};
use nix::errno::Errno;
use nix::sys::stat::fstat;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd};

/// The agent of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The uuid of the agent.
    pub uuid: String,
    /// The process is in a cgroup below the group: neither in the group itself nor in the cgroup of a session's own processes.
    pub below: bool,
    /// The child in whose group the process is, if the agent is a session.
    pub child: Option<AgentName>,
    /// The absolute path of the place, as mounted here. Empty if no mount of the calling process shows the group.
    pub place: Vec<u8>,
    /// The note that the owner has written.
    pub owner: OwnerNote,
}

/// How often the path is read again because the process moves and its former group is removed.
const MOVES: usize = 10;

/// Returns the agent of the process with this pid.
pub fn find(pid: i32) -> Result<Found> {
    if pid < 1 {
        return Err(Error::new(Errno::EINVAL, format_args!("{pid} is not a pid: a pid is 1 or more")));
    }
    if procfs::shows_own_pid_namespace().map_err(|e| not_read(e, pid))? {
        return find_in_proc(pid);
    }
    // /proc has another number for the process. The pidfd translates it.
    let pidfd = pidfd_open(pid).map_err(|e| match e {
        Errno::ESRCH | Errno::EINVAL | Errno::ENOENT => no_process(pid),
        Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM => not_read(e, pid),
        e => Error::new(
            Errno::EACCES,
            format_args!(
                "process {pid} is not found: /proc belongs to another pid namespace, and pidfd_open(2) fails: {}",
                words(e)
            ),
        ),
    })?;
    find_pidfd(pidfd.as_fd())
}

/// Returns the agent of the process of a pidfd.
pub fn find_pidfd(pidfd: BorrowedFd<'_>) -> Result<Found> {
    let stdio = occupy_stdio_for_several().map_err(no_process_of_pidfd)?;
    let asked = pidfd_info::may_be_asked(pidfd);
    let (found, reaped) = match pid_of(pidfd, asked).map_err(no_process_of_pidfd)? {
        // If the process has not been reaped afterwards, the pid was its own during the whole call.
        PidfdInfo::Unreaped { pid } => (Some(find_in_proc(pid)), cgroup_if_reaped(pidfd, asked)),
        PidfdInfo::Reaped { cgroup } => (None, Ok(Some(cgroup))),
    };
    drop(stdio);
    match (found, reaped.map_err(no_process_of_pidfd)?) {
        (_, Some(cgroup)) => find_by_id(cgroup),
        (Some(found), None) => found,
        (None, None) => Err(no_process_of_pidfd(Errno::ESRCH)),
    }
}

/// Returns the pid of the process as /proc shows it, or its cgroup if it was reaped. Fails with `ESRCH` if it was reaped and the
/// kernel does not report its cgroup.
fn pid_of(pidfd: BorrowedFd<'_>, asked: bool) -> nix::Result<PidfdInfo> {
    if asked {
        match pidfd_info(pidfd) {
            Ok(PidfdInfo::Unreaped { .. }) if !procfs::shows_own_pid_namespace()? => {}
            answer @ (Ok(_) | Err(Errno::ESRCH)) => return answer,
            // An older kernel.
            Err(_) => {}
        }
    }
    procfs::pid_of(pidfd).map(|pid| PidfdInfo::Unreaped { pid })
}

/// Returns the cgroup of the process if it was reaped, and none if it was not. Fails with `ESRCH` as [`pid_of`] does.
fn cgroup_if_reaped(pidfd: BorrowedFd<'_>, asked: bool) -> nix::Result<Option<u64>> {
    if asked {
        match pidfd_info(pidfd) {
            Ok(PidfdInfo::Unreaped { .. }) => return Ok(None),
            Ok(PidfdInfo::Reaped { cgroup }) => return Ok(Some(cgroup)),
            Err(Errno::ESRCH) => return Err(Errno::ESRCH),
            Err(_) => {}
        }
    }
    match pidfd_send_signal(pidfd, 0) {
        Ok(()) => Ok(None),
        Err(Errno::ESRCH) => Err(Errno::ESRCH),
        // EPERM: the process has another uid, or a seccomp filter refuses the call.
        Err(_) => procfs::pid_of(pidfd).map(|_| None),
    }
}

fn find_in_proc(pid: i32) -> Result<Found> {
    let _stdio = occupy_stdio_for_several().map_err(|e| not_read(e, pid))?;
    let file = CgroupFile::of(pid).map_err(|e| not_read(e, pid))?;
    let mut path = path_of(&file, pid).map_err(|e| not_read(e, pid))?;
    for _ in 0..MOVES {
        if let Some(found) = found_at(&path, pid)? {
            return Ok(found);
        }
        let now = path_of(&file, pid).map_err(|e| not_read(e, pid))?;
        // If the path is the same, the process did not move: no mount shows the group.
        if now == path {
            break;
        }
        path = now;
    }
    let agent = agent_of(&path, pid)?;
    let uuid = try_alloc::copy_str(agent.name.as_str()).map_err(out_of_memory)?;
    let AgentInPath { below, child, .. } = agent;
    Ok(Found { uuid, below, child, place: Vec::new(), owner: OwnerNote::default() })
}

/// Returns the path of the cgroup of a process. A main thread that has ended stays in its cgroup when the process is moved: the
/// process is where its other threads are.
fn path_of(file: &CgroupFile, pid: i32) -> nix::Result<Vec<u8>> {
    for _ in 0..MOVES {
        let path = match procfs::living_thread(pid)? {
            None => None,
            Some(thread) => match procfs::cgroup_of(&format!("{pid}/task/{thread}")) {
                // The thread has ended meanwhile.
                Err(Errno::ENOENT | Errno::ESRCH) => continue,
                path => path?,
            },
        };
        // Last: if the file can be read, the pid has been that of the process up to now.
        let of_main_thread = file.path()?;
        return Ok(path.unwrap_or(of_main_thread));
    }
    Err(Errno::EAGAIN)
}

/// Returns the agent in the path of a cgroup.
fn agent_of(path: &[u8], pid: i32) -> Result<AgentInPath<'_>> {
    if parse::leads_out(path) {
        return Err(Error::new(
            Errno::ENOENT,
            format_args!(
                "process {pid} is in no agent that the caller can see: its cgroup {} is outside the caller's cgroup namespace",
                shown(path)
            ),
        )
        .because(Reason::OutsideNamespace));
    }
    place::agent_of(path).map_err(|e| not_read(e, pid))?.ok_or_else(|| {
        Error::new(Errno::ENOENT, format_args!("process {pid} is in no agent: its cgroup is {}", shown(path)))
    })
}

/// Returns the agent in the path of a cgroup. Returns none if no mount shows its group.
fn found_at(path: &[u8], pid: i32) -> Result<Option<Found>> {
    let (path, removed) = place::without_mark(path);
    let agent = agent_of(path, pid)?;
    if removed && !agent.below {
        let message = format!("process {pid} has ended in the agent {}, which was removed", agent.name);
        return Err(Error::new(Errno::ENODEV, message).because(Reason::Gone));
    }
    let note = |mounted: nix::Result<Option<CString>>| {
        let Some(path) = mounted? else { return Ok(None) };
        Ok(owner::read_note_at(&path)?.map(|note| (path, note)))
    };
    let found = match note(place::in_last_mount(agent.group)) {
        Ok(None) => note(place::in_any_mount(agent.group)),
        found => found,
    };
    let Some((mounted, owner)) = found.map_err(|e| not_read_group(e, agent.group))? else { return Ok(None) };
    let uuid = try_alloc::copy_str(agent.name.as_str()).map_err(out_of_memory)?;
    let tail = agent.group.len() - agent.place.len();
    let mut place = mounted.into_bytes();
    place.truncate(place.len().saturating_sub(tail));
    // The place is the root of the file system.
    if place.is_empty() {
        place.push(b'/');
    }
    Ok(Some(Found { uuid, below: agent.below, child: agent.child, place, owner }))
}

/// Returns the agent that has the cgroup with this id in its group, from all places in which the caller's agents can be. Of an
/// ended process the kernel reports nothing else.
fn find_by_id(id: u64) -> Result<Found> {
    let places = match place::existing(None) {
        Ok(places) => places,
        Err(e) if e.reason().is_none() => return Err(e),
        Err(_) => return Err(no_process_of_pidfd(Errno::ESRCH)),
    };
    let mut found = None;
    each_agent(&places, |place, dir, name| {
        let Some(dir) = dir.filter(|_| found.is_none()) else { return Ok(()) };
        let inside = match contains(&dir, id) {
            Ok(Some(inside)) => inside,
            Ok(None) | Err(Errno::ENODEV | Errno::ENOENT | Errno::EACCES) => return Ok(()),
            Err(e) => return Err(not_read_group(e, &place.path_of(&name))),
        };
        let copy = || {
            let owner = owner::read_note(&dir)?;
            Ok(Found {
                uuid: try_alloc::copy_str(name.as_str())?,
                below: inside != Inside::Group,
                child: if let Inside::Child(name) = inside { Some(name) } else { None },
                place: try_alloc::copy(&place.path)?,
                owner,
            })
        };
        found = Some(copy().map_err(|e| not_read_group(e, &place.path_of(&name)))?);
        Ok(())
    })?;
    found.ok_or_else(|| {
        Error::new(
            Errno::ESRCH,
            "the process of the pidfd has ended, and its cgroup is in no agent that exists in the caller's places",
        )
    })
}

/// Where in the group of an agent a cgroup is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inside {
    /// It is the group, or that of a session's own processes.
    Group,
    /// It is the group of this child, or below it.
    Child(AgentName),
    /// It is another cgroup below the group.
    Below,
}

/// Returns where in this group the cgroup with this id is, or none.
fn contains(dir: &Dir, id: u64) -> nix::Result<Option<Inside>> {
    let is_it = |dir: &Dir| fstat(dir).map(|stat| stat.st_ino == id);
    if is_it(dir)? {
        return Ok(Some(Inside::Group));
    }
    // The cgroup directly in the group that the walk is in.
    let (mut depth, mut top) = (0, Inside::Below);
    let mut found = None;
    dir.walk(Deadline::FOREVER, &mut |step| {
        match step {
            WalkStep::Found(_, name) if depth == 0 => {
                top = match AgentName::of_directory(name.to_bytes()) {
                    Some(child) => Inside::Child(child),
                    None if name == OWN => Inside::Group,
                    None => Inside::Below,
                };
            }
            WalkStep::Enter(dir) => {
                depth += 1;
                if is_it(dir)? {
                    found = Some(if depth > 1 && top == Inside::Group { Inside::Below } else { top });
                }
            }
            WalkStep::Leave(..) => depth -= 1,
            WalkStep::Found(..) => {}
        }
        Ok(if found.is_some() { Next::Skip } else { Next::Enter })
    })?;
    Ok(found)
}

fn no_process(pid: i32) -> Error {
    Error::new(Errno::ESRCH, format_args!("process {pid} has ended, or is hidden from the caller in /proc"))
}

fn not_read(e: Errno, pid: i32) -> Error {
    match e {
        Errno::ENOENT | Errno::ESRCH if procfs::is_there() => no_process(pid),
        Errno::ENOENT | Errno::ESRCH => {
            Error::new(Errno::EACCES, "/proc is not mounted, and shows the cgroup of a process: mount it")
        }
        // With the mount option hidepid.
        Errno::EPERM => {
            Error::new(Errno::EACCES, format_args!("the caller has no right to read process {pid} in /proc"))
        }
        e => Error::new(e, format_args!("cannot read /proc/{pid}/cgroup: {}", words(e))),
    }
}

fn no_process_of_pidfd(e: Errno) -> Error {
    match e {
        Errno::EBADF => Error::new(e, "the descriptor is not a pidfd: open one with pidfd_open(2)"),
        Errno::ESRCH => Error::new(
            e,
            "the process of the pidfd has ended and was waited for, or is outside the caller's pid namespace",
        ),
        // Only /proc shows the pid of a pidfd.
        Errno::ENOENT => Error::new(Errno::EACCES, "/proc is not mounted, and shows the process of a pidfd"),
        e => Error::new(e, format_args!("cannot read /proc/self/fdinfo: {}", words(e))),
    }
}

fn not_read_group(e: Errno, group: &[u8]) -> Error {
    Error::new(e, format_args!("cannot read the owner of {}: {}", shown(group), words(e)))
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Starting a guard in a cgroup of its own.

use super::cgroup::{CGROUP_PREFIX, GuardCgroup};
use super::failure::{Failure, Result};
use super::message::Message;
use super::process::Process;
use crate::cgroupfs::Dir;
use crate::cgroupfs::events_file::Events;
use crate::spawn::child::Step;
use crate::spawn::parent::{self, Entry};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};

/// How often the cgroup is made. A reaper may remove it before the guard is in it.
const TRIES: usize = 100;

/// Starts a guard in a cgroup of its own in the directory to which `path` leads from this agent: beside `agents`. By `exits` the guard
/// can leave it when its work is done. Without exits that cgroup is left, empty, and a reaper removes it.
pub fn beside(agent: &Dir, path: &CStr, exits: &[OwnedFd]) -> Result<Process> {
    let name = format!("{CGROUP_PREFIX}{}", std::process::id());
    let cgroup = GuardCgroup::new(agent.child(path)?, CString::new(name).unwrap_or_default());
    for _ in 0..TRIES {
        match inside(&cgroup) {
            Ok(process) => return announce(cgroup, process, exits),
            // A reaper has removed it.
            Err(Failure::Errno(Errno::ENOENT | Errno::ENODEV)) => {}
            // A process that starts in a frozen cgroup, or moves there, does not reach its program.
            Err(Failure::Frozen) if Events::open(agent)?.state()?.frozen => return Err(Failure::Frozen),
            // The kernel does not allow it. Then the guard starts in the host's cgroup.
            Err(Failure::Frozen | Failure::NotStarted(_) | Failure::Errno(Errno::EACCES)) => break,
            Err(e) => {
                cgroup.remove();
                return Err(e);
            }
        }
    }
    cgroup.remove();
    Process::start(None)
}

/// Sends the guard its cgroup and the exits. A guard that does not get them is killed, since it could not remove the cgroup.
fn announce(cgroup: GuardCgroup, process: Process, exits: &[OwnedFd]) -> Result<Process> {
    let mut passed = vec![cgroup.parent()];
    passed.extend(exits.iter().map(AsFd::as_fd));
    let announced = process.request(Message::Cgroup(cgroup.name()), &passed);
    process.set_cgroup(cgroup);
    match announced {
        Ok(()) => Ok(process),
        Err(e) => {
            process.end();
            Err(e)
        }
    }
}

/// Makes the cgroup and starts a guard that is created in it. If that is not possible (before Linux 5.7, under a
/// seccomp filter, or on kernels of 2025-26 that kill such a process), the guard moves there before its program begins.
fn inside(cgroup: &GuardCgroup) -> Result<Process> {
    cgroup.make()?;
    if cgroup.is_frozen()? {
        return Err(Failure::Frozen);
    }
    let dir = cgroup.open()?;
    match as_errno(Process::start(Some(Entry::CreatedInside(dir.as_fd())))) {
        Err(Failure::NotStarted(
            parent::Failure::Killed(Step::Start)
            | parent::Failure::NotCreated(Errno::ENOSYS | Errno::EPERM | Errno::EINVAL | Errno::E2BIG),
        )) => {}
        started => return started,
    }
    let procs = dir.open_file(c"cgroup.procs", OFlag::O_WRONLY)?;
    as_errno(Process::start(Some(Entry::WritesItself(procs.as_fd()))))
}

/// Turns a failure to start into its errno if the cgroup was removed, or if a resource that each process needs is
/// missing.
fn as_errno(started: Result<Process>) -> Result<Process> {
    started.map_err(|failure| match failure {
        Failure::NotStarted(
            parent::Failure::NotCreated(
                e @ (Errno::ENODEV
                | Errno::ENOENT
                | Errno::EAGAIN
                | Errno::ENOMEM
                | Errno::EMFILE
                | Errno::ENFILE),
            )
            | parent::Failure::Failed(Step::Enter, e @ (Errno::ENODEV | Errno::ENOENT | Errno::ENOMEM)),
        ) => Failure::Errno(e),
        other => other,
    })
}

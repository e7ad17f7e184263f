// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guard's own cgroup, beside `agents`: whoever stops the host's unit, or kills all in the host's cgroup, does not
//! mean the guard, which has its work to do then.

use super::message::Message;
use super::process::Process;
use super::{Failure, LEAVES, Result};
use crate::cgroupfs::Dir;
use crate::cgroupfs::events_file::Events;
use crate::spawn::child::Step;
use crate::spawn::parent::{self, Entry};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};

/// How often a reaper may take it away before the guard is in it.
const TRIES: usize = 100;

/// A cgroup, by its parent and its name.
#[derive(Debug)]
pub struct Leaf {
    above: Dir,
    name: CString,
}

impl Leaf {
    /// The cgroup of this name.
    pub fn new(above: Dir, name: CString) -> Self {
        Self { above, name }
    }

    /// Start a guard in one beside the `agents` that this agent is in. By `ways` it can leave again. Without one the
    /// guard stays in the host's cgroup: its own could not be removed.
    pub fn with_guard(agent: &Dir, ways: &[OwnedFd]) -> Result<Process> {
        if ways.is_empty() {
            return Process::start(None);
        }
        let name = format!("{LEAVES}{}", std::process::id());
        let leaf = Self::new(agent.child(c"../..")?, CString::new(name).unwrap_or_default());
        for _ in 0..TRIES {
            match leaf.start_inside() {
                Ok(process) => return leaf.told_to(process, ways),
                // A reaper took it away.
                Err(Failure::Errno(Errno::ENOENT | Errno::ENODEV)) => {}
                // What is born or moved there would not get as far as its program.
                Err(Failure::Frozen) if Events::open(agent)?.state()?.frozen => return Err(Failure::Frozen),
                // The kernel does not let it: then it stays with the host.
                Err(Failure::Frozen | Failure::NotStarted(_) | Failure::Errno(Errno::EACCES)) => break,
                Err(e) => {
                    leaf.remove();
                    return Err(e);
                }
            }
        }
        leaf.remove();
        Process::start(None)
    }

    fn told_to(self, process: Process, ways: &[OwnedFd]) -> Result<Process> {
        let mut passed = vec![self.above.as_fd()];
        passed.extend(ways.iter().map(AsFd::as_fd));
        process.ask(Message::Leaf(&self.name), &passed)?;
        process.is_in(self);
        Ok(process)
    }

    /// Start a guard that is created in the cgroup. Where that is not possible (before 5.7, under a seccomp filter, on kernels
    /// of 2025-26 that kill such a process) it moves there before its program begins.
    fn start_inside(&self) -> Result<Process> {
        match self.above.make(&self.name) {
            // That of a guard before this one, which was killed.
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(e) => return Err(Failure::Errno(e)),
        }
        if self.is_frozen()? {
            return Err(Failure::Frozen);
        }
        let dir = self.above.child(&self.name)?;
        let done = Process::start(Some(Entry::BornInside(dir.as_fd())));
        match gone(done) {
            Err(Failure::NotStarted(
                parent::Failure::Killed(Step::Start)
                | parent::Failure::NotCreated(Errno::ENOSYS | Errno::EPERM | Errno::EINVAL | Errno::E2BIG),
            )) => {}
            done => return done,
        }
        let procs = dir.open_file(c"cgroup.procs", OFlag::O_WRONLY)?;
        gone(Process::start(Some(Entry::WritesItself(procs.as_fd()))))
    }

    /// Returns true if all in it stands still.
    pub fn is_frozen(&self) -> nix::Result<bool> {
        let dir = self.above.child(&self.name)?;
        Ok(Events::open(&dir)?.state()?.frozen)
    }

    /// Returns true if this process is in it.
    pub fn lists(&self, pid: i32) -> bool {
        self.above.child(&self.name).and_then(|dir| dir.lists(c"cgroup.procs", pid)) == Ok(true)
    }

    /// Remove it, if nobody is in it.
    pub fn remove(&self) {
        remove(&self.above, &self.name);
    }
}

/// The errno of a cgroup that is gone, or of a lack of what every process needs.
fn gone(started: Result<Process>) -> Result<Process> {
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

/// Remove a guard's cgroup, and `synwire` above it if that is empty.
pub fn remove(above: &Dir, leaf: &CStr) {
    // EBUSY: a guard is in it.
    if above.remove(leaf).is_ok() {
        let _in_use = above.remove(c"../synwire");
    }
}

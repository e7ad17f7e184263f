// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guard: a small process beside the host program, of which there is one at most, with a program of its own,
//! `agentcg-guard`. When the host ends, however that comes, it kills and removes the agents that are guarded; and it
//! keeps a scope of systemd's alive. It stays until the host ends, or until it has had no work for ten seconds.

mod executable;
mod leaf;
mod message;
mod process;
mod program;
mod scope;

pub use leaf::Leaf;
pub use message::Message;
pub use process::Process;
pub use program::run;
pub use scope::Scope;

use crate::cgroupfs::{AgentName, Dir};
use crate::error::{Error, Reason, shown, words};
use crate::spawn::parent;
use crate::sys::fork_mutex::{ForkMutex, ForkMutexGuard};
use nix::errno::Errno;
use nix::sys::stat::fstat;
use scope::OwnScope;
use std::ffi::CString;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// What the names of guards' cgroups begin with.
pub const LEAVES: &str = "guard-";

/// Why there is no guard.
#[derive(Debug)]
pub enum Failure {
    /// The system refused something.
    Errno(Errno),
    /// No process could be started.
    NotStarted(parent::Failure),
    /// The program at this path cannot be executed.
    NoProgram(Vec<u8>, Errno),
    /// The program at this path is not the guard of this library. One of another version says which protocol it speaks.
    Foreign(Vec<u8>, Option<u64>),
    /// The cgroups are frozen, and so would be what is started there.
    Frozen,
    /// It has ended, was stopped, or does not answer.
    Ended,
}

/// The result of what needs a guard.
pub type Result<T> = std::result::Result<T, Failure>;

impl From<Errno> for Failure {
    fn from(e: Errno) -> Self {
        Self::Errno(e)
    }
}

impl Failure {
    fn no_program(candidates: &[CString], e: Errno) -> Self {
        Self::NoProgram(first(candidates), e)
    }

    fn foreign(candidates: &[CString], theirs: Option<u64>) -> Self {
        let there = candidates
            .iter()
            .find(|path| nix::unistd::access(path.as_c_str(), nix::unistd::AccessFlags::F_OK).is_ok());
        Self::Foreign(there.map_or_else(|| first(candidates), |path| path.to_bytes().to_vec()), theirs)
    }

    /// What the caller is told; `purpose` completes "cannot start the process that".
    pub fn told(&self, purpose: &str) -> Error {
        match self {
            Self::Errno(e)
            | Self::NotStarted(parent::Failure::NotCreated(e) | parent::Failure::Failed(_, e)) => {
                let code = match e {
                    Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM => *e,
                    _ => Errno::EAGAIN,
                };
                Error::new(code, format!("cannot start the process that {purpose}: {}: try again", words(*e)))
            }
            Self::NotStarted(_) | Self::Ended => Error::new(
                Errno::EAGAIN,
                format!("the process that {purpose} was killed or stopped as it began: try again"),
            ),
            Self::NoProgram(path, e) => {
                let code = if *e == Errno::ENOENT { Errno::ENOENT } else { Errno::EACCES };
                Error::new(
                    code,
                    format!("cannot execute the guard {}: {}: install it there", shown(path), words(*e)),
                )
                .because(Reason::NoGuard)
            }
            Self::Foreign(path, theirs) => {
                let path = shown(path);
                let message = match theirs {
                    Some(theirs) => format!(
                        "{path} speaks protocol {theirs}, and this library {}: install the guard of this library",
                        message::PROTOCOL
                    ),
                    None => format!(
                        "{path} is not the guard of this library, or cannot run: install the right one"
                    ),
                };
                Error::new(Errno::ENOEXEC, message).because(Reason::NoGuard)
            }
            Self::Frozen => Error::new(
                Errno::EBUSY,
                format!(
                    "the cgroup above is frozen, and so would be the process that {purpose}: thaw it first"
                ),
            ),
        }
    }
}

fn first(candidates: &[CString]) -> Vec<u8> {
    candidates.first().map(|path| path.to_bytes().to_vec()).unwrap_or_default()
}

/// What this process has.
#[derive(Debug, Default)]
pub struct Own {
    guard: Option<Arc<Process>>,
    /// Its scope of systemd's.
    pub scope: OwnScope,
}

impl Own {
    /// The guard, started if there is none that works.
    pub fn guard(&mut self) -> Result<Arc<Process>> {
        self.guard_or(|| Process::start(None))
    }

    fn guard_or(&mut self, start: impl FnOnce() -> Result<Process>) -> Result<Arc<Process>> {
        if let Some(guard) = &self.guard {
            if guard.works() {
                return Ok(Arc::clone(guard));
            }
            guard.clear_up();
        }
        let guard = Arc::new(start()?);
        self.guard = Some(Arc::clone(&guard));
        Ok(guard)
    }
}

/// The one exception to "what must be remembered is in the handle". A forked child does not drop its copy: that would
/// wait for the parent's scope to end.
static OWN: ForkMutex<ManuallyDrop<Own>> = ForkMutex::new();

/// The scope that this process has, if it has one.
pub fn standing() -> Option<Arc<Scope>> {
    own().scope.standing()
}

/// What this process has, of which there is one; a forked child has nothing yet.
pub fn own() -> ForkMutexGuard<'static, ManuallyDrop<Own>> {
    OWN.lock()
}

/// If the guard has ended, have nothing left of it: in a subreaper or an init it is a child of this process.
pub fn clear_up() {
    // A thread that is at it does the same.
    if let Some(own) = OWN.try_lock() {
        if let Some(guard) = &own.guard {
            guard.clear_up();
        }
    }
}

/// That an agent is guarded: until this is dropped.
#[derive(Debug)]
pub struct Guarded {
    guard: Arc<Process>,
    id: u64,
}

/// Guard the group of this directory and name. `ways` are asked for when a guard is started: files by which a
/// process can move to cgroups that outlive the agents.
pub fn over(dir: &Dir, name: AgentName, ways: impl Fn() -> nix::Result<Vec<OwnedFd>>) -> Result<Guarded> {
    let id = fstat(dir.as_fd()).map_err(Failure::Errno)?.st_ino;
    let mut own = own();
    let mut retried = false;
    loop {
        let guard = own.guard_or(|| Leaf::with_guard(dir, &ways()?))?;
        match guard.ask(Message::Guard(id, name), &[dir.as_fd()]) {
            Ok(()) => return Ok(Guarded { guard, id }),
            // It had no work for ten seconds and ended, or was stopped, at this very moment.
            Err(Failure::Ended) if !retried => {
                retried = true;
                guard.tell(Message::Release(id));
            }
            Err(e) => {
                guard.tell(Message::Release(id));
                return Err(e);
            }
        }
    }
}

impl Guarded {
    /// Returns true if it still is, and by this process: somebody may have killed or stopped the guard.
    pub fn holds(&self) -> bool {
        self.guard.works()
    }
}

/// A forked child's copy changes nothing.
impl Drop for Guarded {
    fn drop(&mut self) {
        if self.guard.is_ours() {
            self.guard.tell(Message::Release(self.id));
        }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guard: a process with a program of its own, `agentcg-guard`, of which each host has at most one. When the host
//! ends, for whatever reason, the guard kills and removes the guarded agents. It also keeps a systemd scope alive. It
//! runs until the host ends, or until it has had no work for ten seconds.
//!
//! ```text
//! start scope                    starting a guard in its own cgroup; the scope that a guard keeps alive
//! process                        the guard as the host sees it
//! program                        the guard's own program
//! cgroup executable failure      the cgroup of a guard; where its program is; why there is no guard
//! message relay setup            what the two send each other; the workers of the guard; the setup of its process
//! ```
//!
//! A file uses only files of the lines below its own.

mod cgroup;
mod executable;
mod failure;
mod message;
mod process;
mod program;
mod relay;
mod scope;
mod setup;
mod start;

pub use cgroup::{CGROUP_PREFIX, GuardCgroup};
pub use message::Message;
pub use process::Process;
pub use program::run;
pub use scope::Scope;

use crate::cgroupfs::{AgentName, Dir};
use crate::sys::fork_mutex::{ForkMutex, ForkMutexGuard};
use failure::{Failure, Result};
use nix::sys::stat::fstat;
use scope::ScopeState;
use std::ffi::CStr;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// The guard and the scope of this process.
#[derive(Debug, Default)]
pub struct GuardState {
    guard: Option<Arc<Process>>,
    /// The systemd scope of this process.
    pub scope: ScopeState,
}

impl GuardState {
    /// Returns the guard. Starts one in the host's cgroup if none works.
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

    /// Ends this guard if it guards no agent and keeps no scope. Otherwise its cgroup would be left for ten seconds after a
    /// call that has failed.
    fn end_unused(&mut self, guard: Arc<Process>) {
        self.guard =
            self.guard.take().filter(|known| !Arc::ptr_eq(known, &guard) || Arc::strong_count(&guard) > 2);
        if Arc::strong_count(&guard) == 1 {
            guard.end();
        }
    }
}

/// The one exception to the rule that all state is in a handle. A forked child does not drop its copy, because the drop
/// would wait for the parent's scope to end.
static STATE: ForkMutex<ManuallyDrop<GuardState>> = ForkMutex::new();

/// Returns the scope of this process, if it has one that is usable.
pub fn current_scope() -> Option<Arc<Scope>> {
    state().scope.current()
}

/// Locks the guard state of this process. In a forked child it is empty.
pub fn state() -> ForkMutexGuard<'static, ManuallyDrop<GuardState>> {
    STATE.lock()
}

/// Reaps the guard and removes its cgroup if the guard has ended. In a subreaper or an init it is a child of this
/// process.
pub fn clear_up() {
    // If another thread holds the lock, that thread does this.
    if let Some(state) = STATE.try_lock() {
        if let Some(guard) = &state.guard {
            guard.clear_up();
        }
    }
}

/// One guarded agent. Dropping it makes the guard release the agent.
#[derive(Debug)]
pub struct Guarded {
    guard: Arc<Process>,
    id: u64,
}

/// Has the agent of this directory and name guarded. Starts a guard if none works, in a cgroup of its own in the directory to
/// which `beside` leads from the agent. `exits` then opens the exit cgroups:
/// `cgroup.procs` files of cgroups that outlive the agents, by which the guard leaves its own cgroup.
pub fn guard_agent(
    dir: &Dir,
    name: AgentName,
    beside: &CStr,
    exits: impl Fn() -> nix::Result<Vec<OwnedFd>>,
) -> Result<Guarded> {
    let id = fstat(dir.as_fd()).map_err(Failure::Errno)?.st_ino;
    let mut state = state();
    let mut retried = false;
    loop {
        let guard = state.guard_or(|| start::beside(dir, beside, &exits()?))?;
        match guard.request(Message::Guard(id, name), &[dir.as_fd()]) {
            Ok(()) => return Ok(Guarded { guard, id }),
            // It was stopped, or it ended because it had had no work for ten seconds.
            Err(Failure::Ended) if !retried => {
                retried = true;
                guard.notify(Message::Release(id));
            }
            Err(e) => {
                guard.notify(Message::Release(id));
                state.end_unused(guard);
                return Err(e);
            }
        }
    }
}

impl Guarded {
    /// Returns true if the agent is guarded, for this process. The guard may have been killed or stopped.
    pub fn is_in_effect(&self) -> bool {
        self.guard.works()
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // The copy of a forked child must change nothing.
        if self.guard.serves_this_process() {
            self.guard.notify(Message::Release(self.id));
        }
    }
}

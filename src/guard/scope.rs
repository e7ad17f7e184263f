// SPDX-License-Identifier: MIT OR Apache-2.0
//! The systemd scope of this process. The guard keeps it alive, because systemd removes a scope without processes.

use super::message::Message;
use super::process::{Process, TIMEOUT};
use crate::cgroupfs::Dir;
use crate::cgroupfs::events_file::Events;
use crate::sys::deadline::Deadline;
use crate::sys::try_alloc;
use nix::errno::Errno;
use std::ffi::CString;
use std::sync::{Arc, Weak};

/// The number of references to a guard whose only work is the scope: those of the guard state and of the scope.
const REFERENCES: usize = 2;

/// A scope that systemd has made for this process.
#[derive(Debug)]
pub struct Scope {
    /// The absolute path of its directory, as mounted in this mount namespace.
    pub path: Vec<u8>,
    /// The guard that keeps it alive.
    pub guard: Arc<Process>,
    /// An earlier program has made it. Agents in it were adopted, and the guard has no other work.
    pub held: bool,
}

impl Scope {
    /// Returns true if agents can be made in the scope. The guard leaves a scope that systemd stops. The directory may
    /// exist longer, because agents in it may take time to end.
    pub fn is_usable(&self) -> bool {
        let is_gone = || matches!(self.open(), Err(Errno::ENODEV | Errno::ENOENT | Errno::ENOTTY));
        self.guard.lives() && self.guard.is_in_its_cgroup() && !is_gone()
    }

    /// Opens the directory of the scope.
    pub fn open(&self) -> nix::Result<Dir> {
        Dir::open(&CString::new(self.path.as_slice()).map_err(|_| Errno::ENOENT)?)
    }
}

/// Ends a scope in which no agent was made. Waits a few seconds for systemd to remove it. A scope of an earlier program is
/// left to systemd.
impl Drop for Scope {
    fn drop(&mut self) {
        if self.held {
            if self.guard.serves_this_process() {
                self.guard.end();
            }
            return;
        }
        if !self.guard.serves_this_process() || Arc::strong_count(&self.guard) > REFERENCES {
            return;
        }
        let dir = self.open();
        self.guard.notify(Message::LeaveScope);
        // systemd may not have moved it yet. A guard that is about to end would otherwise serve the next scope.
        let deadline = Deadline::after(TIMEOUT);
        if !self.guard.wait_for_end(deadline) {
            self.guard.kill();
        }
        if let Ok(dir) = dir {
            // It fails when the scope is removed.
            let _ = Events::open(&dir).and_then(|events| events.wait(deadline, |_| false));
        }
        self.guard.clear_up();
    }
}

/// The scopes of this process.
#[derive(Debug, Default)]
pub struct ScopeState {
    /// The scope to keep until this process ends: an agent was made in it.
    kept: Option<Arc<Scope>>,
    /// The latest scope. No agent may have been made in it yet.
    latest: Weak<Scope>,
    /// The scopes of earlier programs that handles of adopted agents keep.
    held: Vec<Weak<Scope>>,
    /// The number of scopes that were requested. Each has another name.
    pub count: u32,
}

impl ScopeState {
    /// Returns the scope if it is usable.
    pub fn current(&self) -> Option<Arc<Scope>> {
        self.kept.clone().or_else(|| self.latest.upgrade()).filter(|scope| scope.is_usable())
    }

    /// Returns the scope of an earlier program with this path, if it is kept alive.
    pub fn held(&mut self, path: &[u8]) -> Option<Arc<Scope>> {
        self.held.retain(|scope| scope.strong_count() > 0);
        self.held.iter().filter_map(Weak::upgrade).find(|scope| scope.path == path && scope.is_usable())
    }

    /// Records a scope of an earlier program. Fails if there is no memory.
    pub fn hold(&mut self, scope: &Arc<Scope>) -> nix::Result<()> {
        try_alloc::push(&mut self.held, Arc::downgrade(scope))
    }

    /// Records a new scope. If its guard has other work, the guard cannot leave the scope, and the scope is kept.
    pub fn set(&mut self, scope: &Arc<Scope>) {
        let shared = Arc::strong_count(&scope.guard) > REFERENCES;
        self.kept = shared.then(|| Arc::clone(scope));
        self.latest = Arc::downgrade(scope);
    }

    /// Keeps a scope until this process ends.
    pub fn keep(&mut self, scope: &Arc<Scope>) {
        self.kept = Some(Arc::clone(scope));
    }
}

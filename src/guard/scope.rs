// SPDX-License-Identifier: MIT OR Apache-2.0
//! A scope of systemd's, kept alive by the guard, since systemd removes one that holds no process.

use super::message::Message;
use super::process::{PATIENCE, Process};
use crate::cgroupfs::Dir;
use crate::cgroupfs::events_file::Events;
use crate::sys::deadline::Deadline;
use nix::errno::Errno;
use std::ffi::CString;
use std::sync::{Arc, Weak};

/// The holders of a guard that has no other work than a scope: the process's state, and the scope.
const HOLDERS: usize = 2;

/// A scope that systemd made for us.
#[derive(Debug)]
pub struct Scope {
    /// Its directory, absolute, as mounted here.
    pub path: Vec<u8>,
    /// What keeps it alive.
    pub guard: Arc<Process>,
}

impl Scope {
    /// Returns true if agents can still be put in it. One that systemd stops is left by its guard, though agents that
    /// take their time to end may hold it for a while.
    pub fn stands(&self) -> bool {
        let is_gone = || matches!(self.open(), Err(Errno::ENODEV | Errno::ENOENT | Errno::ENOTTY));
        self.guard.lives() && self.guard.is_in_its_leaf() && !is_gone()
    }

    /// Its directory.
    pub fn open(&self) -> nix::Result<Dir> {
        Dir::open(&CString::new(self.path.as_slice()).map_err(|_| Errno::ENOENT)?)
    }
}

/// A scope that nothing came of is gone when this returns, if systemd is quick.
impl Drop for Scope {
    fn drop(&mut self) {
        if !self.guard.is_ours() || Arc::strong_count(&self.guard) > HOLDERS {
            return;
        }
        let dir = self.open();
        self.guard.tell(Message::LeaveScope);
        if let Ok(dir) = dir {
            let deadline = Deadline::after(PATIENCE);
            let _ends_anyway = Events::open(&dir).and_then(|events| events.wait(deadline, |_| false));
        }
        self.guard.clear_up();
    }
}

/// The scope of this process.
#[derive(Debug, Default)]
pub struct OwnScope {
    /// An agent has been made in it: it lives as long as we do.
    lasting: Option<Arc<Scope>>,
    /// None has yet.
    tried: Weak<Scope>,
    /// How many there have been: each has a name of its own.
    pub count: u32,
}

impl OwnScope {
    /// The one that there is.
    pub fn standing(&self) -> Option<Arc<Scope>> {
        self.lasting.clone().or_else(|| self.tried.upgrade()).filter(|scope| scope.stands())
    }

    /// A new one. Where its guard has other work it cannot leave the scope, whatever comes of that.
    pub fn remember(&mut self, scope: &Arc<Scope>) {
        let shared = Arc::strong_count(&scope.guard) > HOLDERS;
        self.lasting = shared.then(|| Arc::clone(scope));
        self.tried = Arc::downgrade(scope);
    }

    /// Keep it as long as this process lives.
    pub fn keep(&mut self, scope: &Arc<Scope>) {
        self.lasting = Some(Arc::clone(scope));
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! A scope of systemd's, kept alive by the helper, since systemd removes one that holds no process.

use super::keeper::{Keeper, PATIENCE};
use crate::cgroupfs::Dir;
use crate::deadline::Deadline;
use crate::events::Events;
use std::ffi::CString;
use std::sync::{Arc, Weak};

/// A scope that systemd made for us.
#[derive(Debug)]
pub struct Scope {
    /// Its directory, absolute, as mounted here.
    pub path: Vec<u8>,
    /// Whom it lives by. An Option so that drop can end it first.
    pub keeper: Option<Arc<Keeper>>,
}

impl Scope {
    /// Whether agents can still be put in it.
    pub fn stands(&self) -> bool {
        self.keeper.as_ref().is_some_and(|keeper| keeper.lives()) && self.open().is_some()
    }

    /// Its directory.
    pub fn open(&self) -> Option<Dir> {
        Dir::open(&CString::new(self.path.as_slice()).ok()?).ok()
    }
}

/// A scope that nothing came of is gone when this returns, if systemd is quick.
impl Drop for Scope {
    fn drop(&mut self) {
        let dir = self.open();
        let ended = self.keeper.take().and_then(Arc::into_inner).is_some();
        if let (Some(dir), true) = (dir, ended) {
            let deadline = Deadline::after(PATIENCE);
            let _ends_anyway = Events::open(&dir).and_then(|events| events.wait(deadline, |_| false));
        }
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

    /// A new one. Where the helper has other work it cannot leave the scope, whatever comes of that.
    pub fn remember(&mut self, scope: &Arc<Scope>) {
        let shared = scope.keeper.as_ref().is_some_and(|keeper| Arc::strong_count(keeper) > 1);
        self.lasting = shared.then(|| Arc::clone(scope));
        self.tried = Arc::downgrade(scope);
    }

    /// Keep it for good.
    pub fn keep(&mut self, scope: &Arc<Scope>) {
        self.lasting = Some(Arc::clone(scope));
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The helper: a small process beside the host program, of which there is one at most. When the host ends,
//! however that comes, it kills and removes the agents that are guarded; and it keeps a scope of systemd's
//! alive. It ends with its work.

mod helper;
mod keeper;
mod leaf;
mod message;
mod scope;

pub use keeper::Keeper;
pub use scope::Scope;

use crate::cgroupfs::Dir;
use crate::sys::fork_mutex::{ForkMutex, ForkMutexGuard};
use leaf::Leaf;
use message::Message;
use nix::errno::Errno;
use nix::sys::stat::fstat;
use scope::OwnScope;
use std::ffi::CStr;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Weak};

/// What the names of helpers' cgroups begin with.
pub const LEAVES: &str = "keeper-";

/// What this process has.
#[derive(Debug, Default)]
pub struct Own {
    keeper: Weak<Keeper>,
    /// Its scope of systemd's.
    pub scope: OwnScope,
}

impl Own {
    /// The helper, started if there is none; or if somebody has killed it.
    pub fn keeper(&mut self) -> nix::Result<Arc<Keeper>> {
        self.keeper_or(|| Keeper::start(None))
    }

    fn keeper_or(&mut self, start: impl FnOnce() -> nix::Result<Keeper>) -> nix::Result<Arc<Keeper>> {
        if let Some(keeper) = self.keeper.upgrade().filter(|keeper| keeper.lives()) {
            return Ok(keeper);
        }
        let keeper = Arc::new(start()?);
        self.keeper = Arc::downgrade(&keeper);
        Ok(keeper)
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

/// That an agent is guarded: until this is dropped.
#[derive(Debug)]
pub struct Guarded {
    keeper: Option<Arc<Keeper>>,
    id: u64,
}

/// Guard the group of this directory and name. `ways` are asked for when a helper is started: files by which a
/// process can move to cgroups that outlive the agents.
pub fn over(dir: &Dir, name: &CStr, ways: impl FnOnce() -> Vec<OwnedFd>) -> nix::Result<Guarded> {
    let id = fstat(dir.as_fd())?.st_ino;
    let mut own = own();
    let keeper = own.keeper_or(|| Leaf::with_helper(dir, &ways()))?;
    keeper.ask(Message::Guard(id, name), &[dir.as_fd()]).inspect_err(|e| {
        if *e == Errno::ETIMEDOUT {
            keeper.tell(Message::Release(id));
        }
    })?;
    Ok(Guarded { keeper: Some(keeper), id })
}

impl Guarded {
    /// Whether it still is, and by this process: somebody may have killed the helper.
    pub fn holds(&self) -> bool {
        self.keeper.as_ref().is_some_and(|keeper| keeper.lives())
    }
}

/// A forked child's copy changes nothing.
impl Drop for Guarded {
    fn drop(&mut self) {
        let Some(keeper) = self.keeper.take() else { return };
        if keeper.is_ours() {
            // Held until the helper has ended, if this was its last work: the next is started after that.
            let _own = own();
            keeper.tell(Message::Release(self.id));
            drop(keeper);
        }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The helper's own cgroup, beside `agents`: whoever stops the host's unit, or kills all in the host's cgroup,
//! does not mean the helper, which has its work to do then.

use super::LEAVES;
use super::keeper::Keeper;
use super::message::Message;
use crate::cgroupfs::Dir;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// How often a reaper may take it away before we are in it.
const TRIES: usize = 100;

/// Known by its parent.
#[derive(Debug)]
pub struct Leaf {
    above: Dir,
    name: CString,
}

impl Leaf {
    /// Start a helper in one beside the `agents` that this agent is in. `ways` lead out of it again.
    pub fn with_helper(agent: &Dir, ways: &[OwnedFd]) -> nix::Result<Keeper> {
        let name = format!("{LEAVES}{}", std::process::id());
        let leaf = Self { above: agent.child(c"../..")?, name: CString::new(name).unwrap_or_default() };
        // The kernel takes some 10 ms to move the first process after a while, and none to make one there.
        if let Ok(keeper) = leaf.bear(ways) {
            keeper.settled(Some(leaf));
            return Ok(keeper);
        }
        let keeper = Keeper::start(None).inspect_err(|_| leaf.remove())?;
        keeper.settled(leaf.settle(&keeper, ways)?);
        Ok(keeper)
    }

    /// Not where the kernel cannot (before 5.7), is not let (seccomp), or kills whom it makes so (2025-26).
    fn bear(&self, ways: &[OwnedFd]) -> nix::Result<Keeper> {
        self.make()?;
        let keeper = Keeper::start(Some(self.above.child(&self.name)?.as_fd()))?;
        let mut passed = vec![self.above.as_fd()];
        passed.extend(ways.iter().map(AsFd::as_fd));
        keeper.ask(Message::Born(&self.name), &passed)?;
        Ok(keeper)
    }

    /// Have the helper move there. Nothing, where the kernel does not let it: then it stays with the host.
    fn settle(self, keeper: &Keeper, ways: &[OwnedFd]) -> nix::Result<Option<Self>> {
        for _ in 0..TRIES {
            match self.enter(keeper, ways) {
                Ok(()) => return Ok(Some(self)),
                Err(Errno::ENOENT | Errno::ENODEV) => {}
                Err(e) => {
                    self.remove();
                    let lacking = matches!(e, Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM);
                    return if lacking { Err(e) } else { Ok(None) };
                }
            }
        }
        Ok(None)
    }

    fn make(&self) -> nix::Result<()> {
        match self.above.make(&self.name) {
            // That of a helper before ours, which was killed.
            Err(Errno::EEXIST) => Ok(()),
            made => made,
        }
    }

    fn enter(&self, keeper: &Keeper, ways: &[OwnedFd]) -> nix::Result<()> {
        self.make()?;
        let procs = CString::new([self.name.to_bytes(), b"/cgroup.procs"].concat()).unwrap_or_default();
        let procs = self.above.open_file(&procs, OFlag::O_WRONLY)?;
        let mut passed: Vec<BorrowedFd<'_>> = vec![procs.as_fd(), self.above.as_fd()];
        passed.extend(ways.iter().map(AsFd::as_fd));
        keeper.ask(Message::Settle(&self.name), &passed)
    }

    /// Once nobody is in it.
    pub fn remove(&self) {
        remove(&self.above, &self.name);
    }
}

/// And what is above it, if nobody needs that.
pub fn remove(above: &Dir, leaf: &CStr) {
    // EBUSY: another helper is in it.
    if above.remove(leaf).is_ok() {
        let _in_use = above.remove(c"../synwire");
    }
}

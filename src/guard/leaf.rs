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
    /// Have the helper move to one beside the `agents` that this agent is in. `ways` lead out of it again.
    /// Nothing, where the kernel does not let it move: then it stays with the host.
    pub fn settle(keeper: &Keeper, agent: &Dir, ways: &[OwnedFd]) -> nix::Result<Option<Self>> {
        let name = format!("{LEAVES}{}", std::process::id());
        let leaf = Self { above: agent.child(c"../..")?, name: CString::new(name).unwrap_or_default() };
        for _ in 0..TRIES {
            match leaf.enter(keeper, ways) {
                Ok(()) => return Ok(Some(leaf)),
                Err(Errno::ENOENT | Errno::ENODEV) => {}
                Err(e) => {
                    leaf.remove();
                    let lacking = matches!(e, Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM);
                    return if lacking { Err(e) } else { Ok(None) };
                }
            }
        }
        Ok(None)
    }

    fn enter(&self, keeper: &Keeper, ways: &[OwnedFd]) -> nix::Result<()> {
        match self.above.make(&self.name) {
            // That of a helper before ours, which was killed.
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(e) => return Err(e),
        }
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

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The cgroup [`OWN`] of a session's own processes, which the agent can remove or make threaded.

use super::{AgentName, Dir, LINKS_WITHOUT_CHILDREN, OWN};
use nix::errno::Errno;
use nix::sys::stat::fstat;

impl Dir {
    /// Opens the cgroup of the own processes of the session whose group this is. Returns none if the group is not that of a
    /// session: one without controllers for its children, where such a cgroup may be one that the agent has made.
    pub fn own(&self) -> nix::Result<Option<Self>> {
        // Most groups need no look for it.
        if !self.has_children()? {
            return Ok(None);
        }
        match self.agents_child(OWN) {
            Ok(own) => Ok((!self.is_empty(c"cgroup.subtree_control")?).then_some(own)),
            Err(Errno::ENOENT | Errno::ENODEV) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Does the same in a group that takes no process, and makes the cgroup again if the agent has removed it. With
    /// `is_session` the group is known to be that of a session. Otherwise it is one if it holds children.
    pub fn own_again(&self, is_session: bool) -> nix::Result<Option<Self>> {
        match self.own()? {
            None if is_session || self.holds_children()? => {}
            own => return Ok(own),
        }
        match self.make(OWN) {
            Ok(()) | Err(Errno::EEXIST) => self.agents_child(OWN).map(Some),
            Err(e) => Err(e),
        }
    }

    /// Returns the number of cgroups directly in this one.
    #[allow(clippy::useless_conversion, reason = "the type of st_nlink differs between architectures")]
    pub fn number_of_children(&self) -> nix::Result<u64> {
        Ok(fstat(&self.fd)?.st_nlink.saturating_sub(LINKS_WITHOUT_CHILDREN).into())
    }

    /// Returns true if a cgroup directly in this one has the name of an agent.
    pub fn holds_children(&self) -> nix::Result<bool> {
        Ok(self.children()?.iter().any(|name| AgentName::is_of_directory(name.to_bytes())))
    }
}

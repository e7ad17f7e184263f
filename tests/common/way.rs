// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ways into a group that the library has, and how one of them is closed.

use super::cgroup::Cgroup;
use super::seccomp;
use agentcg::{Agent, Errno};
use std::io::ErrorKind;

/// What stands between us and a birth in the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Nothing.
    Born,
    /// A seccomp filter that says ENOSYS to clone3(2), as containers have it.
    Refused,
    /// The kernel, which kills what is born in a group after cgroup.kill was used in it: 6.1.176 does.
    KilledAtBirth,
}

impl Way {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Born, Self::Refused, Self::KilledAtBirth];

    /// By its name in the code, which a role can be told.
    pub fn named(name: &str) -> Self {
        Self::ALL.into_iter().find(|way| format!("{way:?}") == name).expect("one of the ways")
    }

    /// From now on, for the calling thread and those that it starts.
    pub fn close(self, agent: &Agent) {
        match self {
            Self::Born => {}
            Self::Refused => seccomp::refuse(&[(libc::SYS_clone3, Errno::ENOSYS)]),
            // As kill_all() does where there is something to kill; an empty group it leaves as it is.
            Self::KilledAtBirth => match Cgroup::at(agent.path()).try_write("cgroup.kill", "1") {
                // Before Linux 5.14 there is none, and nobody is killed at birth.
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                done => done.expect("cgroup.kill"),
            },
        }
    }
}

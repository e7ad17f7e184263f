// SPDX-License-Identifier: MIT OR Apache-2.0
//! How the library starts a process in a group, and what prevents that it is created there.

use super::cgroup::Cgroup;
use super::seccomp;
use agentcg::{Agent, Errno};
use std::io::ErrorKind;

/// What prevents that a process is created in the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpawnPath {
    /// Nothing: the process is created there.
    CreatedInside,
    /// A seccomp filter returns ENOSYS for clone3(2), as in containers.
    Clone3Refused,
    /// The kernel kills each process that is created in a group after cgroup.kill was used in it. 6.1.176 does.
    KilledAtCreation,
}

impl SpawnPath {
    /// Every spawn path.
    pub const ALL: [Self; 3] = [Self::CreatedInside, Self::Clone3Refused, Self::KilledAtCreation];

    /// Returns the variant by its name in the code, which a role gets as an argument.
    pub fn named(name: &str) -> Self {
        Self::ALL.into_iter().find(|path| format!("{path:?}") == name).expect("a spawn path")
    }

    /// Applies to the calling thread and those that it starts.
    pub fn close(self, agent: &Agent) {
        match self {
            Self::CreatedInside => {}
            Self::Clone3Refused => seccomp::refuse(&[(libc::SYS_clone3, Errno::ENOSYS)]),
            // kill_all() does the same if there is a process to kill; it leaves an empty group as it is.
            Self::KilledAtCreation => match Cgroup::at(agent.path()).try_write("cgroup.kill", "1") {
                // Before Linux 5.14 the file does not exist, and no process is killed at its creation.
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                done => done.expect("cgroup.kill"),
            },
        }
    }
}

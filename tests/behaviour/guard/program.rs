// SPDX-License-Identifier: MIT OR Apache-2.0
//! A program that uses agentcg, as the tests see it.

use crate::common::cgroup::{Cgroup, Scratch};
use crate::common::member::Member;
use crate::common::wait_until;

/// A program that uses agentcg, under its own parent.
pub struct Program {
    pub member: Member,
    pub scratch: Scratch,
}

impl Program {
    pub fn start() -> Self {
        let scratch = Scratch::new();
        let parent = scratch.parent.0.to_str().expect("a UTF-8 path").to_owned();
        Self { member: Member::start("guard::host::host", &[&parent]), scratch }
    }

    pub fn request(&mut self, command: &str) -> String {
        self.member.send(command);
        self.member.receive()
    }

    pub fn run(&mut self, command: &str) {
        assert_eq!(self.request(command), "done", "{command}");
    }

    /// Makes a guarded agent with so many processes in it.
    pub fn new_guarded(&mut self, processes: u32) -> Cgroup {
        Cgroup::at(self.request(&format!("new guarded {processes}")).as_bytes())
    }

    pub fn guard_cgroup(&self) -> Cgroup {
        self.scratch.parent.join(format!("synwire/guard-{}", self.member.pid()))
    }

    /// Returns the pid of the guard.
    pub fn guard(&self) -> i32 {
        let pids = self.guard_cgroup().words("cgroup.procs");
        assert_eq!(pids.len(), 1, "{pids:?}");
        pids.first().expect("one").parse().expect("a pid")
    }

    /// Waits until every process is dead and the tree of the agents is removed.
    pub fn wait_for_cleanup(&mut self) {
        self.member.wait_dead();
        wait_until("the tree is gone", || !self.scratch.parent.join("synwire").exists());
    }
}

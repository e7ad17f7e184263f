// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the tests see of a program that uses agentcg.

use crate::common::cgroup::{Cgroup, Scratch};
use crate::common::member::Member;
use crate::common::wait_until;

/// A program that uses agentcg, under a parent of its own.
pub struct Program {
    pub member: Member,
    pub scratch: Scratch,
}

impl Program {
    pub fn start() -> Self {
        let scratch = Scratch::new();
        let parent = scratch.parent.0.to_str().expect("a path of ours").to_owned();
        Self { member: Member::start("host", &[&parent]), scratch }
    }

    pub fn asked(&mut self, order: &str) -> String {
        self.member.say(order);
        self.member.hear()
    }

    pub fn does(&mut self, order: &str) {
        assert_eq!(self.asked(order), "done", "{order}");
    }

    /// Make one, with so many processes in it.
    pub fn guarded(&mut self, processes: u32) -> Cgroup {
        Cgroup::at(self.asked(&format!("new guarded {processes}")).as_bytes())
    }

    pub fn leaf(&self) -> Cgroup {
        self.scratch.parent.join(format!("synwire/guard-{}", self.member.pid()))
    }

    /// The pid of the guard.
    pub fn guard(&self) -> i32 {
        let pids = self.leaf().words("cgroup.procs");
        assert_eq!(pids.len(), 1, "{pids:?}");
        pids.first().expect("one").parse().expect("a pid")
    }

    /// Nothing is alive, and nothing of the tree is left.
    pub fn wait_for_no_trace(&mut self) {
        self.member.wait_dead();
        wait_until("the tree is gone", || !self.scratch.parent.join("synwire").exists());
    }
}

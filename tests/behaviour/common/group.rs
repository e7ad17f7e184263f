// SPDX-License-Identifier: MIT OR Apache-2.0
//! An agent whose cgroup is removed at the end of the test, even if the test fails.

use super::cgroup::{Cgroup, Scratch};
use super::member::Member;
use super::{deadline, lab};
use agentcg::stats::Stats;
use agentcg::{Agent, Limits};
use std::ops::Deref;

/// An agent for a test. It dereferences to the agent.
pub struct Group {
    agent: Agent,
    /// Its cgroup, seen without the library.
    pub cgroup: Cgroup,
}

impl Group {
    /// Creates a group at the place that the library finds.
    pub fn new(limits: &Limits) -> Self {
        lab::layout();
        Self::of(Agent::new(None, None, limits))
    }

    /// Creates a group without limits.
    pub fn plain() -> Self {
        Self::new(&Limits::default())
    }

    /// Creates a group under the parent of this test.
    pub fn under(scratch: &Scratch, limits: &Limits) -> Self {
        Self::of(Agent::new(Some(&scratch.path()), None, limits))
    }

    fn of(made: agentcg::Result<Agent>) -> Self {
        let agent = made.unwrap_or_else(|e| panic!("new: {e}"));
        let cgroup = Cgroup::at(agent.path());
        Self { agent, cgroup }
    }

    /// Returns the agent, for the methods that `Group` redefines.
    pub fn agent(&self) -> &Agent {
        &self.agent
    }

    /// Starts a member with this role and moves it into the group. Then it sends the line for which the role
    /// waits.
    pub fn start(&self, role: &str, args: &[&str]) -> Member {
        let mut member = Member::start(role, args);
        self.agent.move_pid(member.pid()).unwrap_or_else(|e| panic!("move_pid: {e}"));
        member.send("go");
        member
    }

    /// Destroys the group and checks that its cgroup is removed.
    pub fn destroy(&self) -> Stats {
        let last = self.agent.destroy(false, deadline(), true).unwrap_or_else(|e| panic!("destroy: {e}"));
        assert!(!self.cgroup.exists(), "destroyed, but still there: {}", self.cgroup.0.display());
        last
    }
}

impl Deref for Group {
    type Target = Agent;
    fn deref(&self) -> &Agent {
        &self.agent
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.cgroup.kill_and_remove();
    }
}

/// Returns the pid of this process.
pub fn own_pid() -> i32 {
    i32::try_from(std::process::id()).expect("a pid is an int")
}

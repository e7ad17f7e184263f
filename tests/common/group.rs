// SPDX-License-Identifier: MIT OR Apache-2.0
//! An agent's cgroup that goes with the test, even with one that fails.

use super::cgroup::{Cgroup, Scratch};
use super::member::Member;
use super::{lab, patience};
use agentcg::stats::Stats;
use agentcg::{Agent, Limits};
use std::ops::Deref;

/// Used like the agent that it holds.
pub struct Group {
    agent: Agent,
    /// The same, seen from outside of the library.
    pub cgroup: Cgroup,
}

impl Group {
    /// At the place that the library finds.
    pub fn new(limits: &Limits) -> Self {
        lab::layout();
        Self::of(Agent::new(None, None, limits))
    }

    /// Without limits.
    pub fn plain() -> Self {
        Self::new(&Limits::default())
    }

    /// Under a parent of the test's own.
    pub fn under(scratch: &Scratch, limits: &Limits) -> Self {
        Self::of(Agent::new(Some(&scratch.path()), None, limits))
    }

    fn of(made: agentcg::Result<Agent>) -> Self {
        let agent = made.unwrap_or_else(|e| panic!("new: {e}"));
        let cgroup = Cgroup::at(agent.path());
        Self { agent, cgroup }
    }

    /// The agent alone, for what `Group` does in a way of its own.
    pub fn agent(&self) -> &Agent {
        &self.agent
    }

    /// Start a member with the role; it goes to work once it is inside.
    pub fn start(&self, role: &str, args: &[&str]) -> Member {
        let mut member = Member::start(role, args);
        self.agent.move_pid(member.pid()).unwrap_or_else(|e| panic!("move_pid: {e}"));
        member.say("go");
        member
    }

    /// Destroy and see that it worked.
    pub fn destroy(&self) -> Stats {
        let last = self.agent.destroy(false, patience(), true).unwrap_or_else(|e| panic!("destroy: {e}"));
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
        self.cgroup.clear();
    }
}

/// Our pid.
pub fn own_pid() -> i32 {
    i32::try_from(std::process::id()).expect("a pid is an int")
}

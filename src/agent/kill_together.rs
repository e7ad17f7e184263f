// SPDX-License-Identifier: MIT OR Apache-2.0
//! Killing the processes of many agents in the time that those of the slowest need to die.

use super::Agent;
use crate::error::Result;
use crate::kill::Begun;
use crate::sys::deadline::Deadline;
use crate::sys::try_alloc;
use crate::verdict::Call;
use std::time::Duration;

/// Kills all processes of these agents, and waits until none lives. All agents get the kill before the first is waited for.
/// Passes the number of each agent and its result, which is that of [`Agent::kill_all`], to `each`.
pub fn kill_all_of<'a>(
    agents: impl Iterator<Item = &'a Agent> + Clone,
    deadline: Deadline,
    mut each: impl FnMut(usize, Result<()>),
) {
    // Without memory for this list each agent gets the kill once more.
    let mut sent = Vec::new();
    let has_memory = try_alloc::reserve(&mut sent, agents.clone().count()).is_ok();
    for agent in agents.clone() {
        let one = agent.begin_kill();
        if has_memory {
            sent.push(one);
        }
    }
    for (number, agent) in agents.enumerate() {
        let is_dead = sent.get(number) == Some(&true) && agent.wait_for_death(deadline.at_most(DYING_TIME));
        let killed = if is_dead {
            agent.after_kill(Ok(true), deadline).map(drop)
        } else {
            agent.kill_all_for(Call::KillAllOf, deadline)
        };
        each(number, killed);
    }
}

/// How long the processes of one agent may need to die before the kill is sent again.
const DYING_TIME: Duration = Duration::from_millis(50);

impl Agent {
    /// Writes cgroup.kill if processes live in the group and the caller is not one of them. Returns true if it was written.
    /// [`Self::after_kill`] or [`Self::kill_all`], which must follow, does what is left to do, and reports what fails.
    fn begin_kill(&self) -> bool {
        self.killer_for(Call::KillAllOf).begin(Deadline::after(Duration::ZERO)) == Ok(Begun::Sent)
    }

    /// Waits until no process lives. Returns false at the deadline, and after a failure, which [`Self::kill_all`] reports.
    fn wait_for_death(&self, deadline: Deadline) -> bool {
        let killer = self.killer();
        let empty = killer.events().and_then(|events| events.wait(deadline, |now| !now.populated));
        empty == Ok(true)
    }
}

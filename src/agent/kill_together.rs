// SPDX-License-Identifier: MIT OR Apache-2.0
//! Killing the processes of many agents in the time that those of the slowest need to die.

use super::Agent;
use crate::error::Result;
use crate::sys::deadline::Deadline;
use std::time::Duration;

/// Kills all processes of these agents, and waits until none lives. All agents get the kill before the first is waited for.
/// Passes the number of each agent and its result, which is that of [`Agent::kill_all`], to `each`. Allocates nothing but
/// errors.
pub fn kill_all_of<'a>(
    agents: impl Iterator<Item = &'a Agent> + Clone,
    deadline: Deadline,
    mut each: impl FnMut(usize, Result<()>),
) {
    agents.clone().for_each(Agent::begin_kill);
    agents.enumerate().for_each(|(number, agent)| each(number, agent.kill_all(deadline)));
}

impl Agent {
    /// Writes cgroup.kill if processes live in the group and the caller is not one of them. [`Self::kill_all`], which must
    /// follow, does what is left to do, and reports what fails.
    fn begin_kill(&self) {
        let killer = self.killer();
        if killer.contains_caller(Deadline::after(Duration::ZERO)) != Ok(false) {
            return;
        }
        // Not in an empty group: most kernels then kill what is created in it later.
        if killer.events().and_then(|events| events.state()).is_ok_and(|state| state.populated) {
            let _ = killer.send(); // The call that follows tries again.
        }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The verdict: why an agent ended.

use super::Agent;
use crate::error::{Error, Result};
use crate::events::final_counters;
use crate::sys::descriptors::occupy_stdio_for_several;
use crate::verdict::{self, End, Evidence, MemoryCounts, Verdict};
use nix::errno::Errno;

impl Agent {
    /// Finds out why the agent ended. `wait_status` is that of waitpid(2) for its main program, or `None`. If the group was
    /// removed, only the counters that its remover has left are known.
    pub fn explain(&self, wait_status: Option<i32>) -> Result<Verdict> {
        let end = wait_status.map_or(Ok(End::Unknown), |status| {
            End::of(status).ok_or_else(|| {
                let message = format!("{status:#x} is not the wait status of a process that has ended");
                Error::new(Errno::EINVAL, message)
            })
        })?;
        // Before the counters: a kill that comes later did not end the program.
        let record = {
            let ledger = self.kill_state.ledger.lock();
            if let Some(verdict) = wait_status.and_then(|status| ledger.same_verdict(status)) {
                return Ok(verdict);
            }
            ledger.record()
        };
        let failed = |e| self.failed("explain the end of", "", e);
        let _stdio = occupy_stdio_for_several().map_err(failed)?;
        let (evidence, now) = match Evidence::read(&self.dir, &record.baseline) {
            Ok((evidence, now)) => (evidence, Some(now)),
            Err(Errno::ENODEV) => (self.evidence_left()?, None),
            Err(e) => return Err(failed(e)),
        };
        let verdict = verdict::judge(end, &evidence, &record);
        if let (Some(status), Some(now)) = (wait_status, now) {
            self.kill_state.ledger.lock().explained(status, verdict, now);
        }
        Ok(verdict)
    }

    /// Returns what the remover of the group has left for its watchers.
    fn evidence_left(&self) -> Result<Evidence> {
        let left =
            final_counters::read(&self.dir).map_err(|e| self.failed("read the final counters of", "", e))?;
        Ok(left.map_or_else(
            || Evidence::of_removed(None, verdict::Remover::Unknown),
            |left| {
                let memory = MemoryCounts { oom_kill: left.oom_kill, oom: left.oom, group_kill: 0 };
                Evidence::of_removed(Some(memory), left.remover)
            },
        ))
    }

    /// Records that a program was started, which may write attributes of the group's directory.
    pub(super) fn record_start(&self, may_write: bool) {
        let has_children = self.children_made() > 0;
        self.kill_state.ledger.lock().started(may_write, has_children);
    }
}

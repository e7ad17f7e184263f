// SPDX-License-Identifier: MIT OR Apache-2.0
//! What this process has done with an agent, as far as a verdict needs it. It is in memory only, and costs no system call.

use super::evidence::Baseline;
use super::types::{Call, Verdict};

/// Signals are numbered from 1 to 64.
const SIGNALS: usize = 65;

/// The calls of one process on one handle.
#[derive(Debug)]
pub struct Ledger {
    /// The last call that has sent each signal to all processes, while some lived.
    sent: [Call; SIGNALS],
    /// Programs that were started since the counters of `baseline`.
    programs: u32,
    /// Verdicts on ended programs since then.
    explained: u32,
    /// Other processes were in the group before, or may have been.
    had_others: bool,
    /// A signal may have been meant for a program that had ended.
    may_concern_another: bool,
    /// A program may change attributes of the group's directory.
    attributes_are_unsafe: bool,
    /// The counters when the first of the programs was started, `None` for those of a new group.
    baseline: Option<Baseline>,
    /// The counters at the last verdict.
    last: Option<Baseline>,
    /// The last verdict, and the wait status.
    last_verdict: Option<(i32, Verdict)>,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            sent: [Call::None; SIGNALS],
            programs: 0,
            explained: 0,
            // Until `made`: a forked child does not know what its parent has done.
            had_others: true,
            may_concern_another: false,
            attributes_are_unsafe: true,
            baseline: None,
            last: None,
            last_verdict: None,
        }
    }
}

/// What the verdict needs of a [`Ledger`].
#[derive(Debug, Clone)]
pub struct Record {
    sent: [Call; SIGNALS],
    /// The signals may have been meant for another program than the one in question.
    pub may_concern_another: bool,
    /// No other program has run in the group since the baseline.
    pub is_only_program: bool,
    /// No program could change attributes of the group's directory.
    pub attributes_are_safe: bool,
    /// The counters at the start of the program, `None` for those of a new group.
    pub baseline: Option<Baseline>,
}

impl Ledger {
    /// Records that this process has made the group, with the counters of that moment.
    pub fn made(&mut self, baseline: Baseline) {
        self.baseline = Some(baseline);
        self.had_others = false;
    }

    /// Records that a call sends a signal to all processes, of which some live. Returns the call that it replaces.
    pub fn sends(&mut self, signal: i32, call: Call) -> Call {
        let sent = usize::try_from(signal).ok().filter(|signal| *signal > 0 && call != Call::None);
        let Some(sent) = sent.and_then(|signal| self.sent.get_mut(signal)) else { return Call::None };
        self.may_concern_another |= self.explained > 0;
        std::mem::replace(sent, call)
    }

    /// Takes back [`Self::sends`]: no process got the signal.
    pub fn sent_to_nobody(&mut self, signal: i32, before: Call) {
        let sent = usize::try_from(signal).ok().filter(|signal| *signal > 0);
        if let Some(sent) = sent.and_then(|signal| self.sent.get_mut(signal)) {
            *sent = before;
        }
    }

    /// Records that a program was started. `may_write` says that it may change attributes of the group's directory.
    pub fn started(&mut self, may_write: bool) {
        if self.explained >= self.programs.max(1) {
            // All programs before have ended and were explained.
            let last = self.last.take();
            *self = Self {
                had_others: last.as_ref().is_none_or(|last| last.populated != Some(false)),
                attributes_are_unsafe: self.attributes_are_unsafe,
                baseline: last,
                ..Self::default()
            };
        } else {
            self.may_concern_another |= self.sent.iter().any(|call| *call != Call::None);
            if self.programs == 0 && !self.had_others {
                self.attributes_are_unsafe = false;
            }
        }
        self.programs = self.programs.saturating_add(1);
        self.attributes_are_unsafe |= may_write;
    }

    /// Records a verdict on an ended program, with the counters of that moment.
    pub fn explained(&mut self, wait_status: i32, verdict: Verdict, now: Baseline) {
        self.explained = self.explained.saturating_add(1);
        self.last = Some(now);
        self.last_verdict = Some((wait_status, verdict));
    }

    /// Returns the last verdict if this is a question about the same program: all programs were explained.
    pub fn same_verdict(&self, wait_status: i32) -> Option<Verdict> {
        let (status, verdict) = self.last_verdict?;
        (self.programs > 0 && self.explained >= self.programs && status == wait_status).then_some(verdict)
    }

    /// Returns what the verdict on a program needs.
    pub fn record(&self) -> Record {
        // A program that this process has not started through the handle is not counted.
        let is_only_program = if self.programs == 0 { self.explained == 0 } else { self.programs == 1 };
        Record {
            sent: self.sent,
            may_concern_another: self.may_concern_another,
            is_only_program: is_only_program && !self.had_others,
            attributes_are_safe: !self.attributes_are_unsafe,
            baseline: self.baseline.clone(),
        }
    }
}

impl Record {
    /// Returns the last call that has sent this signal.
    pub fn sender_of(&self, signal: u32) -> Call {
        usize::try_from(signal).ok().and_then(|signal| self.sent.get(signal)).copied().unwrap_or_default()
    }

    /// Returns true if a call has sent any signal.
    pub fn any_sender(&self) -> bool {
        self.sent.iter().any(|call| *call != Call::None)
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! What this process has done with an agent, as far as a verdict needs it. It is in memory only, and costs no system call.

use super::evidence::Baseline;
use super::types::{Call, Verdict};
use crate::sys::try_alloc;

/// The last call that has sent each signal to all processes, while some lived.
#[derive(Debug, Clone, Copy, Default)]
struct Sent {
    kill: Call,
    term: Call,
    /// The other signals, which only `agentcg_signal_all` sends: bit n - 1 is signal n.
    others: u64,
}

impl Sent {
    /// Signals are numbered from 1 to 64.
    fn bit(signal: u32) -> u64 {
        signal.checked_sub(1).and_then(|bit| 1u64.checked_shl(bit)).unwrap_or_default()
    }

    fn by(&self, signal: u32) -> Call {
        match i32::try_from(signal) {
            Ok(libc::SIGKILL) => self.kill,
            Ok(libc::SIGTERM) => self.term,
            _ if self.others & Self::bit(signal) != 0 => Call::SignalAll,
            _ => Call::None,
        }
    }

    fn set(&mut self, signal: u32, call: Call) {
        match i32::try_from(signal) {
            Ok(libc::SIGKILL) => self.kill = call,
            Ok(libc::SIGTERM) => self.term = call,
            _ if call == Call::None => self.others &= !Self::bit(signal),
            _ => self.others |= Self::bit(signal),
        }
    }

    fn any(&self) -> bool {
        self.kill != Call::None || self.term != Call::None || self.others != 0
    }
}

/// The calls of one process on one handle.
#[derive(Debug)]
pub struct Ledger {
    sent: Sent,
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
    /// The counters when the first of the programs was started.
    baseline: Baseline,
    /// The last verdict, unless there was no memory to keep it. It is on the heap, because most agents have none.
    last: Option<Box<Explained>>,
}

/// A verdict on an ended program.
#[derive(Debug)]
struct Explained {
    wait_status: i32,
    verdict: Verdict,
    /// The counters at that moment.
    counters: Baseline,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            sent: Sent::default(),
            programs: 0,
            explained: 0,
            // Until `made`: a forked child does not know what its parent has done.
            had_others: true,
            may_concern_another: false,
            attributes_are_unsafe: true,
            baseline: Baseline::default(),
            last: None,
        }
    }
}

/// What the verdict needs of a [`Ledger`].
#[derive(Debug, Clone)]
pub struct Record {
    sent: Sent,
    /// The signals may have been meant for another program than the one in question.
    pub may_concern_another: bool,
    /// No other program has run in the group since the baseline.
    pub is_only_program: bool,
    /// No program could change attributes of the group's directory.
    pub attributes_are_safe: bool,
    /// The counters at the start of the program.
    pub baseline: Baseline,
}

impl Ledger {
    /// Records that this process has made the group, with the counters of that moment.
    pub fn made(&mut self, baseline: Baseline) {
        self.baseline = baseline;
        self.had_others = false;
    }

    /// Records that a call sends a signal to all processes, of which some live. Returns the call that it replaces.
    pub fn sends(&mut self, signal: i32, call: Call) -> Call {
        let Ok(signal) = u32::try_from(signal) else { return Call::None };
        if signal == 0 || call == Call::None {
            return Call::None;
        }
        self.may_concern_another |= self.explained > 0;
        let before = self.sent.by(signal);
        self.sent.set(signal, call);
        before
    }

    /// Takes back [`Self::sends`]: no process got the signal.
    pub fn sent_to_nobody(&mut self, signal: i32, before: Call) {
        if let Ok(signal) = u32::try_from(signal) {
            self.sent.set(signal, before);
        }
    }

    /// Records that a program was started. `may_write` says that it may change attributes of the group's directory,
    /// `has_children` that programs of children may have run in the group before.
    pub fn started(&mut self, may_write: bool, has_children: bool) {
        if self.explained >= self.programs.max(1) {
            // All programs before have ended and were explained.
            let last = self.last.take().map(|explained| explained.counters).unwrap_or_default();
            *self = Self {
                had_others: last.own.as_ref().is_none_or(|own| own.populated),
                attributes_are_unsafe: self.attributes_are_unsafe,
                baseline: last,
                ..Self::default()
            };
        } else {
            self.may_concern_another |= self.sent.any();
            if self.programs == 0 && !self.had_others {
                self.attributes_are_unsafe = false;
            }
        }
        self.programs = self.programs.saturating_add(1);
        self.attributes_are_unsafe |= may_write;
        self.had_others |= has_children;
    }

    /// Records a verdict on an ended program, with the counters of that moment.
    pub fn explained(&mut self, wait_status: i32, verdict: Verdict, now: Baseline) {
        self.explained = self.explained.saturating_add(1);
        // Without memory the counters are unknown, as if other programs had run.
        self.last = try_alloc::boxed(Explained { wait_status, verdict, counters: now }).ok();
    }

    /// Returns the last verdict if this is a question about the same program: all programs were explained.
    pub fn same_verdict(&self, wait_status: i32) -> Option<Verdict> {
        let last = self.last.as_ref()?;
        let is_same = self.programs > 0 && self.explained >= self.programs && last.wait_status == wait_status;
        is_same.then_some(last.verdict)
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
        self.sent.by(signal)
    }

    /// Returns true if a call has sent any signal.
    pub fn any_sender(&self) -> bool {
        self.sent.any()
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why an agent ended: the verdict, from the wait status of its main program, the kernel's counters and the calls of this
//! library.
//!
//! A cause is possible if it has left a trace: a counter that has grown, an attribute, or a call of this library. A signal of
//! another process leaves no trace. A cause is reported if it is the only possible one, and if its trace covers the whole agent,
//! so that the main program must have been among the victims. Otherwise the verdict is "unknown", with all candidates.
//! docs/verdict.md has the rules of each kernel.
//!
//! ```text
//! judge                the rules
//! ledger sentence      the calls of this library; the verdict as a sentence
//! evidence             what the files of the group show
//! surroundings types   the cgroups above and the machine; the verdict
//! oomd                 the kills of systemd-oomd
//! ```
//!
//! A file uses only files of the lines below its own.

mod evidence;
mod judge;
mod ledger;
mod oomd;
mod sentence;
mod surroundings;
mod types;

pub use evidence::{Baseline, Evidence, MemoryCounts};
pub use judge::judge;
pub use ledger::{Ledger, Record};
pub use types::{Call, End, Remover, Verdict, cause, known};

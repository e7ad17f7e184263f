// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is changed in a group so that its members die, and put back afterwards. None of it is needed to kill: what cannot
//! be changed makes dying slower.

use crate::cgroupfs::events_file::Events;
use crate::cgroupfs::overrides::{Hold, Overrides};
use crate::cgroupfs::{Dir, FileError, Next, Step};
use crate::parse::{self, UNLIMITED};
use crate::sys::deadline::Deadline;
use std::cell::Cell;
use std::ffi::CStr;
use std::time::Duration;

const FREEZE: &CStr = c"cgroup.freeze";
const FREEZE_WAIT: Duration = Duration::from_millis(250);

/// A group with some of its files set to what killing needs.
pub struct Overridden<'a> {
    hold: Hold<'a>,
    dir: &'a Dir,
    /// Whether members are kept from forking, once that was tried.
    pinned: Cell<Option<bool>>,
}

impl<'a> Overridden<'a> {
    /// Nothing is changed yet.
    pub fn begin(overrides: &'a Overrides, dir: &'a Dir) -> Self {
        Self { hold: overrides.begin(), dir, pinned: Cell::new(None) }
    }

    /// Lift cpu.max: dying takes CPU time. Ten processes that share a thousandth of a CPU need half a
    /// minute for it, and an agent may set lower limits on cgroups of its own; there it is not put back,
    /// since that of the group holds.
    pub fn unthrottle(&self, deadline: Deadline) {
        let limits = |text: &[u8]| parse::cpu_max(text).is_some_and(|(quota_us, _)| quota_us != UNLIMITED);
        // Refused: its members die at the pace that the limit leaves them.
        let _ = self.hold.set(self.dir, c"cpu.max", b"max", limits);
        let _ = self.dir.walk(deadline, |step| {
            if let Step::Enter(dir) = step {
                let mut buf = [0; 64];
                if limits(dir.read(c"cpu.max", &mut buf)?) {
                    dir.write(c"cpu.max", b"max")?;
                }
            }
            Ok(Next::Enter)
        });
    }

    /// Keep members from forking. Frozen (5.2) they are parked in the kernel, where SIGKILL reaches
    /// them; else pids.max is set to 0, past which no fork gets. Where neither is there, killing must
    /// outrun forking. Returns true if one of them is.
    pub fn pin(&self, events: &Events<'_>, deadline: Deadline) -> bool {
        if let Some(pinned) = self.pinned.get() {
            return pinned;
        }
        let frozen = self.freeze();
        if frozen {
            // A member in uninterruptible sleep keeps this from coming true: then the sweep goes on without.
            let _ = events.wait(deadline.at_most(FREEZE_WAIT), |now| now.frozen || !now.populated);
        }
        let pinned = frozen || self.hold.set(self.dir, c"pids.max", b"0", |_| true) == Ok(true);
        self.pinned.set(Some(pinned));
        pinned
    }

    /// Begin to freeze all. Returns false if that cannot be.
    pub fn freeze(&self) -> bool {
        self.hold.set(self.dir, FREEZE, b"1", |_| true) == Ok(true)
    }

    /// Thaw them until the next pin, and return true if they were frozen. Up to 5.15 one that was held by a tracer when
    /// SIGKILL came goes on to sleep frozen, and no further signal wakes it. It cannot fork any more.
    pub fn loosen(&self) -> bool {
        let frozen = self.pinned.get() == Some(true) && self.hold.holds(FREEZE);
        if frozen && self.hold.set(self.dir, FREEZE, b"0", |_| true) == Ok(true) {
            self.pinned.set(None);
            return true;
        }
        false
    }

    /// Put everything back. The first file that could not be is returned.
    pub fn end(self) -> Result<(), FileError> {
        self.hold.release(self.dir)
    }
}

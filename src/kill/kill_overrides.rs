// SPDX-License-Identifier: MIT OR Apache-2.0
//! The files of a group that are changed temporarily while its members are killed. Killing does not depend on them:
//! where a file cannot be changed, the members die later.

use crate::cgroupfs::events_file::Events;
use crate::cgroupfs::overrides::{OverrideUser, Overrides};
use crate::cgroupfs::{Dir, FileError, Next, WalkStep};
use crate::parse::{self, UNLIMITED};
use crate::sys::deadline::Deadline;
use std::cell::Cell;
use std::ffi::CStr;
use std::time::Duration;

const FREEZE: &CStr = c"cgroup.freeze";
const FREEZE_WAIT: Duration = Duration::from_millis(250);

/// The temporary overrides of one call that kills.
pub struct KillOverrides<'a> {
    files: OverrideUser<'a>,
    dir: &'a Dir,
    /// The result of [`Self::prevent_forks`], if it was called.
    forks_prevented: Cell<Option<bool>>,
}

impl<'a> KillOverrides<'a> {
    /// Begins the call and changes nothing.
    pub fn begin(overrides: &'a Overrides, dir: &'a Dir) -> Self {
        Self { files: overrides.begin(), dir, forks_prevented: Cell::new(None) }
    }

    /// Sets cpu.max to unlimited, because dying takes CPU time: ten processes that share a thousandth of a CPU need
    /// half a minute. An agent may have set lower limits on cgroups inside the group. Those are not restored: the limit
    /// of the group applies to them.
    pub fn unthrottle(&self, deadline: Deadline) {
        let limits = |text: &[u8]| parse::cpu_max(text).is_some_and(|(quota_us, _)| quota_us != UNLIMITED);
        // If it is refused, the members die at the pace that the limit allows.
        let _ = self.files.set(self.dir, c"cpu.max", b"max", limits);
        let _ = self.dir.walk(deadline, &mut |step| {
            if let WalkStep::Enter(dir) = step {
                let mut buf = [0; 64];
                if limits(dir.read(c"cpu.max", &mut buf)?) {
                    dir.write(c"cpu.max", b"max")?;
                }
            }
            Ok(Next::Enter)
        });
    }

    /// Prevents forks in the group. Freezes it (Linux 5.2), because SIGKILL reaches frozen processes. Where that is not
    /// possible, sets pids.max to 0. Returns false if neither is possible: then killing must be faster than forking.
    pub fn prevent_forks(&self, events: &Events<'_>, deadline: Deadline) -> bool {
        if let Some(prevented) = self.forks_prevented.get() {
            return prevented;
        }
        let frozen = self.freeze();
        if frozen {
            // A member in uninterruptible sleep delays this. The sweep does not depend on it.
            let _ = events.wait(deadline.at_most(FREEZE_WAIT), |now| now.frozen || !now.populated);
        }
        let prevented = frozen || self.files.set(self.dir, c"pids.max", b"0", |_| true) == Ok(true);
        self.forks_prevented.set(Some(prevented));
        prevented
    }

    /// Begins to freeze the group. Returns false if that is not possible.
    pub fn freeze(&self) -> bool {
        self.files.set(self.dir, FREEZE, b"1", |_| true) == Ok(true)
    }

    /// Thaws the group until the next [`Self::prevent_forks`]. Returns true if it was frozen. Up to Linux 5.15 a
    /// process that a tracer held when SIGKILL came stays asleep while it is frozen, and no further signal wakes it. It
    /// cannot fork.
    pub fn thaw(&self) -> bool {
        let frozen = self.forks_prevented.get() == Some(true) && self.files.overrides(FREEZE);
        if frozen && self.files.set(self.dir, FREEZE, b"0", |_| true) == Ok(true) {
            self.forks_prevented.set(None);
            return true;
        }
        false
    }

    /// Restores all files. Returns the first failure.
    pub fn restore(self) -> Result<(), FileError> {
        self.files.restore(self.dir)
    }
}

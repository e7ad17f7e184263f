// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is changed in a group so that its members die, and changed back afterwards.

use crate::cgroupfs::{Dir, Step};
use crate::deadline::Deadline;
use crate::events::Events;
use crate::parse::{self, UNLIMITED};
use nix::errno::Errno;
use std::ffi::CStr;
use std::time::Duration;

const FREEZE_WAIT: Duration = Duration::from_millis(250);

/// A group with some of its files set to what killing needs.
pub struct Grip<'a> {
    dir: &'a Dir,
    before: Vec<(&'static CStr, Vec<u8>)>,
    /// Whether members are kept from forking, once that was tried.
    pinned: Option<bool>,
}

impl<'a> Grip<'a> {
    /// Nothing is changed yet.
    pub fn on(dir: &'a Dir) -> Self {
        Self { dir, before: Vec::new(), pinned: None }
    }

    /// Lift cpu.max: dying takes CPU time. Ten processes that share a thousandth of a CPU need half a
    /// minute for it, and an agent may set lower limits on cgroups of its own; there it is not put back,
    /// since ours above holds.
    pub fn unthrottle(&mut self) -> nix::Result<()> {
        let held_back = |dir: &Dir| {
            let mut buf = [0; 64];
            let text = dir.read(c"cpu.max", &mut buf).ok()?;
            parse::cpu_max(text).is_some_and(|(quota_us, _)| quota_us != UNLIMITED).then_some(())
        };
        if held_back(self.dir).is_some() {
            self.set(c"cpu.max", b"max")?;
        }
        self.dir.walk(|step| {
            if let Step::Enter(dir) = step {
                // Gone, or made by another uid: then it dies at its own pace.
                let _as_it_was = held_back(dir).and_then(|()| dir.write(c"cpu.max", b"max").ok());
            }
        })
    }

    /// Keep members from forking. Frozen (5.2) they are parked in the kernel, where SIGKILL reaches
    /// them; else pids.max is set to 0, past which no fork gets. Where neither is there, killing must
    /// outrun forking. Tells whether one of them is.
    pub fn pin(&mut self, events: &Events, deadline: Deadline) -> nix::Result<bool> {
        if let Some(pinned) = self.pinned {
            return Ok(pinned);
        }
        let frozen = self.set(c"cgroup.freeze", b"1")?;
        if frozen {
            // A member in uninterruptible sleep keeps this from coming true: then we go on without.
            let parked = deadline.at_most(FREEZE_WAIT);
            let _all_or_not = events.wait(parked, |now| now.frozen || !now.populated)?;
        }
        let pinned = frozen || self.set(c"pids.max", b"0")?;
        self.pinned = Some(pinned);
        Ok(pinned)
    }

    /// Thaw them until the next pin, and tell whether they were frozen by us. Up to 5.15 one that was held by a
    /// tracer when SIGKILL came goes on to sleep frozen, and no further signal wakes it. It cannot fork any more.
    pub fn loosen(&mut self) -> nix::Result<bool> {
        let frozen =
            self.pinned == Some(true) && self.before.iter().any(|(file, _)| *file == c"cgroup.freeze");
        if frozen {
            self.dir.write(c"cgroup.freeze", b"0")?;
            self.pinned = None;
        }
        Ok(frozen)
    }

    /// Tells whether there is such a file.
    fn set(&mut self, file: &'static CStr, value: &[u8]) -> nix::Result<bool> {
        let mut buf = [0; 64];
        match self.dir.read(file, &mut buf) {
            Ok(_) if self.before.iter().any(|(known, _)| *known == file) => {}
            Ok(before) => self.before.push((file, before.strip_suffix(b"\n").unwrap_or(before).to_vec())),
            Err(Errno::ENOENT) => return Ok(false),
            Err(e) => return Err(e),
        }
        self.dir.write(file, value).map(|()| true)
    }

    /// Put everything back. The first failure is told, the rest is put back all the same.
    pub fn release(self) -> nix::Result<()> {
        let mut outcome = Ok(());
        for (file, before) in self.before.iter().rev() {
            outcome = outcome.and(self.dir.write(file, before));
        }
        outcome
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! How an agent ends, for certain, and what is said where it does not.

use super::Agent;
use crate::deadline::Deadline;
use crate::error::{Error, Reason, Result, shown, words};
use crate::events::Events;
use crate::farewell::{self, Farewell};
use crate::stats::Stats;
use crate::{kill, remove};
use nix::errno::Errno;
use std::ffi::CString;
use std::time::Duration;

/// Above us a rmdir may meet EBUSY for a while after the last process has gone.
const FIRST_RETRY: Duration = Duration::from_micros(100);
const LAST_RETRY: Duration = Duration::from_millis(10);

impl Agent {
    /// Wait until no process lives in it.
    pub fn wait_empty(&self, deadline: Deadline) -> Result<()> {
        let empty = Events::open(&self.dir)
            .and_then(|events| events.wait(deadline, |now| !now.populated))
            .map_err(|e| self.failed("read", "cgroup.events", e))?;
        if empty {
            return Ok(());
        }
        let group = shown(&self.path);
        Err(Error::new(Errno::ETIMEDOUT, format!("processes still live in {group}")).on("cgroup.events"))
    }

    /// Kill all in it and below it, and wait until none lives.
    pub fn kill_all(&self, deadline: Deadline) -> Result<()> {
        self.members().kill_all(deadline).map_err(|failure| self.not_killed(failure))
    }

    pub(super) fn not_killed(&self, failure: kill::Failure) -> Error {
        let group = shown(&self.path);
        match failure {
            kill::Failure::CallerInside => {
                Error::new(Errno::EDEADLK, format!("we ourselves are in {group}: nothing was killed; kill it from outside"))
                    .because(Reason::CallerInside)
            }
            kill::Failure::Alive(who) if who.forbidden => {
                Error::new(Errno::EACCES, format!("processes of another uid live on in {group}, and cgroup.kill is not there to reach them"))
                    .because(Reason::NotDelegated)
            }
            kill::Failure::Alive(who) if who.unnameable => {
                Error::new(Errno::ETIMEDOUT, format!("processes outside our pid namespace live on in {group}: only cgroup.kill (5.14) reaches them"))
            }
            kill::Failure::Alive(_) => {
                Error::new(Errno::ETIMEDOUT, format!("killed, but not yet gone: processes still live in {group}, perhaps in uninterruptible sleep"))
            }
            kill::Failure::Errno(e) => self.failed("kill all by", "cgroup.kill", e),
        }
        .on("cgroup.kill")
    }

    /// Kill all, wait, measure a last time, remove the group and all below it. On failure it stays, and
    /// this can be called again. With `if_empty` nothing is killed.
    pub fn destroy(&self, if_empty: bool, deadline: Deadline, measure: bool) -> Result<Stats> {
        let name = CString::new(format!("../{}", self.uuid)).unwrap_or_default();
        let mut retry = FIRST_RETRY;
        let mut last = Stats::default();
        // Most are empty when they are given up, and then the kernel lets go at the first word.
        if !measure && !farewell::is_asked_for(&self.dir) && remove::leaf(&self.dir, &name).is_ok() {
            self.end();
            return Ok(last);
        }
        let mut farewell: Option<Farewell<'_>> = None;
        loop {
            match self.empty(if_empty, deadline) {
                Ok(()) => {
                    if measure {
                        last = self.read_last().or_else(gone_is_nothing(last))?;
                        last.frozen =
                            farewell.as_ref().and_then(Farewell::was_frozen).map_or(last.frozen, u64::from);
                    }
                    farewell = farewell.or_else(|| Farewell::say(&self.dir));
                }
                // Somebody else has removed it: nothing of it is left.
                Err(e) if e.reason() == Some(Reason::Gone) => {
                    self.end();
                    return Ok(last);
                }
                Err(e) => return Err(e),
            }
            match remove::tree(&self.dir, &name) {
                Ok(()) => {
                    self.end();
                    return Ok(last);
                }
                Err(Errno::EBUSY) if !deadline.passed() => {
                    std::thread::sleep(deadline.left().map_or(retry, |left| left.min(retry)));
                    retry = (retry * 2).min(LAST_RETRY);
                }
                Err(e) => return Err(self.not_removed(e)),
            }
        }
    }

    fn read_last(&self) -> Result<Stats> {
        match self.read_stats(u64::MAX) {
            Err(e) if e.errno() == Errno::EACCES && self.dir.take_back() == Ok(true) => {
                self.read_stats(u64::MAX)
            }
            read => read,
        }
    }

    fn empty(&self, if_empty: bool, deadline: Deadline) -> Result<()> {
        if !if_empty {
            return self.kill_all(deadline);
        }
        let state = Events::open(&self.dir)
            .and_then(|events| events.state())
            .map_err(|e| self.failed("read", "cgroup.events", e))?;
        if state.populated {
            let group = shown(&self.path);
            return Err(Error::new(Errno::EBUSY, format!("processes live in {group}")).on("cgroup.events"));
        }
        Ok(())
    }

    fn not_removed(&self, errno: Errno) -> Error {
        let group = shown(&self.path);
        match errno {
            Errno::EBUSY => Error::new(
                Errno::ETIMEDOUT,
                format!("all is dead in {group}, but the kernel does not let it go yet: try again"),
            ),
            Errno::EACCES => {
                Error::new(errno, format!("no right to remove {group}: its parent is not ours to write"))
                    .because(Reason::NotDelegated)
            }
            e => Error::new(e, format!("cannot remove {group}: {}", words(e))),
        }
    }

    /// It is removed, and what of the tree was for it alone.
    fn end(&self) {
        remove::above(&self.dir);
        self.owner.clear();
    }
}

fn gone_is_nothing(last: Stats) -> impl Fn(Error) -> Result<Stats> {
    move |e| if e.reason() == Some(Reason::Gone) { Ok(last) } else { Err(e) }
}

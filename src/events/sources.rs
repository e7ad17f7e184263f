// SPDX-License-Identifier: MIT OR Apache-2.0
//! The files of a group in its epoll instance. Each watch has its own descriptors: a read takes the notification away from
//! everyone that shares the descriptor.

use super::counters::{COUNTER, Counters, notification};
use crate::cgroupfs::events_file::{Events, State};
use crate::cgroupfs::{Dir, FileError};
use crate::events::final_counters::{self, Counts};
use nix::sys::epoll::Epoll;
use std::ffi::CStr;

const EVENTS: &CStr = c"cgroup.events";

/// The bit of `cgroup.events` in the epoll instance.
pub(super) const STATE: u64 = COUNTER << 1;

/// The files of one watch. `cgroup.events` is always among them, because each removal begins with the end of the last
/// process.
#[derive(Debug)]
pub struct Sources {
    events: Events<'static>,
    counters: Counters,
    /// The group's directory, open with the request for the final counters.
    _request: Dir,
}

impl Sources {
    /// Adds `cgroup.events` and these counters to the epoll instance, all or none. Returns the state of the group.
    pub fn open(dir: &Dir, epoll: &Epoll, counters: Counters) -> Result<(Self, State), FileError> {
        let opened = Events::open(dir).and_then(|events| {
            let _request = final_counters::request(dir)?;
            // The file is ready until the first read.
            let state = events.state()?;
            epoll.add(&events, notification(STATE))?;
            Ok((Self { events, counters, _request }, state))
        });
        let (sources, state) = opened.map_err(|e| (e, EVENTS))?;
        sources.counters.add_to(epoll).inspect_err(|_| sources.remove_from(epoll))?;
        Ok((sources, state))
    }

    /// Replaces the counters. The descriptor of `cgroup.events` stays: a change and its reverse may leave nothing but the
    /// notification, which a new descriptor would not have.
    pub fn replace_counters(&mut self, fresh: Counters, epoll: &Epoll) -> Result<(), FileError> {
        fresh.add_to(epoll)?;
        std::mem::replace(&mut self.counters, fresh).remove_from(epoll);
        Ok(())
    }

    /// Removes all files from the epoll instance. Closing them is not enough, since a forked child may have them open.
    pub fn remove_from(&self, epoll: &Epoll) {
        let _ = epoll.delete(&self.events); // ENOENT: it was not added.
        self.counters.remove_from(epoll);
    }

    /// Reads the state and the counters. Fails with `ENODEV` if the group was removed. If epoll has reported `cgroup.events`
    /// the read takes its notification. Otherwise it leaves one that comes just now for the next call.
    pub fn read(
        &mut self,
        dir: &Dir,
        epoll: &Epoll,
        notified: bool,
        known: &mut Counts,
        counts: &mut Counts,
    ) -> Result<State, FileError> {
        let state = if notified { self.events.state() } else { self.state_by_another(dir) };
        let state = state.map_err(|e| (e, EVENTS))?;
        self.counters.read(dir, epoll, known, counts)?;
        Ok(state)
    }

    /// Reads `cgroup.events` by another descriptor, which takes no notification. That descriptor is not cached: most reads
    /// follow a notification, and there may be thousands of groups.
    fn state_by_another(&self, dir: &Dir) -> nix::Result<State> {
        // Without another descriptor, or without the right to open the file, this one still shows a removal.
        Events::open(dir).map_or_else(|_| self.events.state(), |events| events.state())
    }
}

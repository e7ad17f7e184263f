// SPDX-License-Identifier: MIT OR Apache-2.0
//! The files of a group that are listened to. Each has a descriptor of its own: a read takes the notifications from
//! all who share one.

use super::counters::Counters;
use super::token::{STATE, on};
use crate::cgroupfs::events_file::{Events, State};
use crate::cgroupfs::{Dir, FileError};
use crate::events::final_counters::{self, Counts};
use nix::sys::epoll::Epoll;
use std::ffi::CStr;

const EVENTS: &CStr = c"cgroup.events";

/// `cgroup.events`, whatever is asked for, since each removal begins with the end of the last process; the
/// others as they are needed.
#[derive(Debug)]
pub struct Sources {
    events: Events<'static>,
    counters: Counters,
}

impl Sources {
    /// Be woken by `cgroup.events` and these counters, all or none. Tells what it says.
    pub fn open(dir: &Dir, epoll: &Epoll, counters: Counters) -> Result<(Self, State), FileError> {
        let opened = Events::open(dir).and_then(|events| {
            final_counters::ask_for(dir)?;
            // Until it is read for the first time it is ready.
            let state = events.state()?;
            epoll.add(&events, on(STATE))?;
            Ok((Self { events, counters }, state))
        });
        let (sources, state) = opened.map_err(|e| (e, EVENTS))?;
        sources.counters.listen(epoll).inspect_err(|_| sources.ignore(epoll))?;
        Ok((sources, state))
    }

    /// Count these from now on, and not the others. `cgroup.events` stays listened to: of what came and went there may
    /// be nothing to see but the notification, and that must not fall between two descriptors.
    pub fn count(&mut self, fresh: Counters, epoll: &Epoll) -> Result<(), FileError> {
        fresh.listen(epoll)?;
        std::mem::replace(&mut self.counters, fresh).ignore(epoll);
        Ok(())
    }

    /// Not any more. Closing alone would not do: a forked child may hold them open.
    pub fn ignore(&self, epoll: &Epoll) {
        let _it_may_not_have_been_there = epoll.delete(&self.events);
        self.counters.ignore(epoll);
    }

    /// What they say now. `ENODEV`: the group was removed. If epoll told of `cgroup.events` its notifications until now
    /// are taken; else they stay, for one that comes just now is still to be told of.
    pub fn read(
        &mut self,
        dir: &Dir,
        epoll: &Epoll,
        notified: bool,
        known: &mut Counts,
        counts: &mut Counts,
    ) -> Result<State, FileError> {
        let state = if notified { self.events.state() } else { self.glance(dir) };
        let state = state.map_err(|e| (e, EVENTS))?;
        self.counters.read(dir, epoll, known, counts)?;
        Ok(state)
    }

    /// What `cgroup.events` says, read by a descriptor that takes no notification from the other. It is not kept: most
    /// looks are told of, and there may be thousands of groups.
    fn glance(&self, dir: &Dir) -> nix::Result<State> {
        // With no descriptor left, or no right to open the file any more, the other still tells a removal.
        Events::open(dir).map_or_else(|_| self.events.state(), |events| events.state())
    }
}

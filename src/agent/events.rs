// SPDX-License-Identifier: MIT OR Apache-2.0
//! The events of an agent.

use super::Agent;
use crate::cgroupfs::FileError;
use crate::cgroupfs::events_file::wait_for;
use crate::error::{Error, Reason, Result, out_of_memory, shown};
use crate::events::{Resource, StallKind, Threshold, Watch};
use crate::sys::deadline::Deadline;
use crate::sys::descriptors::occupy_stdio_for_several;
use crate::sys::try_alloc;
use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::epoll::Epoll;
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

/// In shorter windows the kernel's weighting of CPUs by clock ticks is coarse.
const WINDOWS: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3600);

impl Agent {
    /// Selects the events to report (bits of [`crate::events`]). Returns a descriptor, the same in each call, that is
    /// readable when an event may have happened.
    pub fn event_fd(&self, which: u64) -> Result<RawFd> {
        self.with_watch(|watch| {
            watch.select(self.members(), &self.files, which).map_err(|e| self.not_watched(e))?;
            Ok(watch.epoll().0.as_raw_fd())
        })
    }

    /// Reports [`crate::events::STALLED`] when processes have waited for a resource for as long as `threshold` says, or no
    /// longer if there is none.
    pub fn watch_stall(
        &self,
        resource: Resource,
        kind: StallKind,
        threshold: Option<Threshold>,
    ) -> Result<()> {
        let Some(threshold) = threshold else {
            if let Some(watch) = &mut self.rare.lock().watch {
                watch.end_stall(self.members(), resource, kind);
            }
            return Ok(());
        };
        if !WINDOWS.contains(&threshold.window) {
            return Err(Error::new(Errno::EINVAL, "window_us is not from 100000 to 3600000000"));
        }
        if threshold.stall > threshold.window {
            return Err(Error::new(Errno::EINVAL, "stall_us is greater than window_us"));
        }
        self.with_watch(|watch| {
            watch
                .watch_stall(self.members(), &self.files, resource, kind, threshold)
                .map_err(|e| self.not_measured(e))
        })
    }

    /// Calls `change` with the watch of this process. A watch that is new is dropped if `change` fails.
    fn with_watch<T>(&self, change: impl FnOnce(&mut Watch) -> Result<T>) -> Result<T> {
        let mut rare = self.rare.lock();
        let _stdio = occupy_stdio_for_several().map_err(|e| self.failed("have a descriptor for", "", e))?;
        if let Some(watch) = &mut rare.watch {
            return change(watch);
        }
        let fresh = Watch::new().map_err(|e| self.failed("have a descriptor for", "", e))?;
        let mut fresh = try_alloc::boxed(fresh).map_err(out_of_memory)?;
        let changed = change(&mut fresh)?;
        rare.watch = Some(fresh);
        Ok(changed)
    }

    /// Returns the events since the last call. Waits for one until the deadline, and returns 0 if none came.
    pub fn next_events(&self, deadline: Deadline) -> Result<u64> {
        loop {
            let (found, epoll) = self.found_events()?;
            if found != 0 || deadline.passed() {
                return Ok(found);
            }
            wait_for(epoll.0.as_fd(), PollFlags::POLLIN, deadline.left());
        }
    }

    fn found_events(&self) -> Result<(u64, Arc<Epoll>)> {
        match &mut self.rare.lock().watch {
            Some(watch) if watch.which() != 0 => {
                let found = watch.next(self.members(), &self.files).map_err(|e| self.not_watched(e))?;
                Ok((found, Arc::clone(watch.epoll())))
            }
            _ => Err(Error::new(
                Errno::EINVAL,
                "this process has selected no events: call agentcg_event_fd() first",
            )),
        }
    }

    fn not_measured(&self, (errno, file): FileError) -> Error {
        let (group, name) = (shown(&self.path()), file.to_str().unwrap_or_default());
        let why = match errno {
            Errno::ENOENT => "the kernel needs PSI, which psi=1 at boot and 1 in cgroup.pressure turn on",
            Errno::ENODATA => "its kernel measures only AGENTCG_STALL_SOME here: full needs Linux 5.13",
            _ => return self.failed("read", name, errno),
        };
        let what = if errno == Errno::ENOENT { "no" } else { "no full line in" };
        Error::new(Errno::EOPNOTSUPP, format_args!("{group} has {what} {name}: {why}")).on(name)
    }

    fn not_watched(&self, (errno, file): FileError) -> Error {
        let file = file.to_str().unwrap_or_default();
        if errno != Errno::ENOENT {
            return self.failed("watch", file, errno);
        }
        let (group, controller) = (shown(&self.path()), file.split('.').next().unwrap_or_default());
        Error::new(
            Errno::EOPNOTSUPP,
            format_args!("{group} has no {file}: its events need the {controller} controller"),
        )
        .because(Reason::NoController)
        .on(file)
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The events of an agent.

use super::Agent;
use crate::cgroupfs::FileError;
use crate::cgroupfs::events_file::wait_for;
use crate::error::{Error, Reason, Result, out_of_memory, shown};
use crate::events::Watch;
use crate::sys::deadline::Deadline;
use crate::sys::descriptors::occupy_stdio_for_several;
use crate::sys::try_alloc;
use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::epoll::Epoll;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::Arc;

impl Agent {
    /// Selects the events to report (bits of [`crate::events`]). Returns a descriptor, the same in each call, that is
    /// readable when an event may have happened.
    pub fn event_fd(&self, which: u64) -> Result<RawFd> {
        let mut watch = self.watch.lock();
        let _stdio = occupy_stdio_for_several().map_err(|e| self.failed("have a descriptor for", "", e))?;
        let mut fresh = None;
        let selected = match &mut *watch {
            Some(watch) => watch,
            None => {
                let watch = Watch::new().map_err(|e| self.failed("have a descriptor for", "", e))?;
                fresh.insert(try_alloc::boxed(watch).map_err(out_of_memory)?)
            }
        };
        selected.select(self.members(), which).map_err(|e| self.not_watched(e))?;
        let fd = selected.epoll().0.as_raw_fd();
        if let Some(fresh) = fresh {
            *watch = Some(fresh);
        }
        Ok(fd)
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
        match &mut *self.watch.lock() {
            Some(watch) if watch.which() != 0 => {
                let found = watch.next(self.members()).map_err(|e| self.not_watched(e))?;
                Ok((found, Arc::clone(watch.epoll())))
            }
            _ => Err(Error::new(
                Errno::EINVAL,
                "this process has selected no events: call agentcg_event_fd() first",
            )),
        }
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

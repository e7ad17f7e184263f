// SPDX-License-Identifier: MIT OR Apache-2.0
//! How an agent's events reach who waits for them.

use super::Agent;
use crate::cgroupfs::FileError;
use crate::cgroupfs::events_file::wait_for;
use crate::error::{Error, Reason, Result, shown};
use crate::events::Watch;
use crate::sys::deadline::Deadline;
use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::epoll::Epoll;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::Arc;

impl Agent {
    /// Listen to these events (bits of [`crate::events`]) and no others. The descriptor, which is the same each time, is
    /// readable when one may have happened.
    pub fn event_fd(&self, which: u64) -> Result<RawFd> {
        let mut watch = self.watch.lock();
        let mut fresh = None;
        let chosen = match &mut *watch {
            Some(watch) => watch,
            None => fresh.insert(Watch::new().map_err(|e| self.failed("have a descriptor for", "", e))?),
        };
        chosen.choose(&self.dir, which).map_err(|e| self.not_watched(e))?;
        let fd = chosen.epoll().0.as_raw_fd();
        if let Some(fresh) = fresh {
            *watch = Some(fresh);
        }
        Ok(fd)
    }

    /// The events since the last time, waiting for one until the deadline; 0 if none came.
    pub fn next_events(&self, deadline: Deadline) -> Result<u64> {
        loop {
            let (found, epoll) = self.look()?;
            if found != 0 || deadline.passed() {
                return Ok(found);
            }
            wait_for(epoll.0.as_fd(), PollFlags::POLLIN, deadline.left());
        }
    }

    fn look(&self) -> Result<(u64, Arc<Epoll>)> {
        match &mut *self.watch.lock() {
            Some(watch) if watch.which() != 0 => {
                let found = watch.look(&self.dir).map_err(|e| self.not_watched(e))?;
                Ok((found, Arc::clone(watch.epoll())))
            }
            _ => Err(Error::new(
                Errno::EINVAL,
                "no events were asked for, in this process: call agentcg_event_fd() first",
            )),
        }
    }

    fn not_watched(&self, (errno, file): FileError) -> Error {
        let file = file.to_str().unwrap_or_default();
        if errno != Errno::ENOENT {
            return self.failed("listen to", file, errno);
        }
        let (group, controller) = (shown(&self.path), file.split('.').next().unwrap_or_default());
        Error::new(
            Errno::EOPNOTSUPP,
            format!("{group} has no {file}: without the {controller} controller its events cannot be told"),
        )
        .because(Reason::NoController)
        .on(file)
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The keeper: a small process beside the host program that keeps a scope of systemd's alive, since
//! systemd removes one that holds no process. It ends with the host, however that ends.

use crate::cgroupfs::Dir;
use crate::deadline::Deadline;
use crate::events::Events;
use crate::kernfile::errno;
use crate::sys::{self, PerProcess};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// How long we give what should take microseconds: an end that is seen in the process table, a scope that
/// is empty and will be removed.
const PATIENCE: Duration = Duration::from_secs(5);

/// The process.
#[derive(Debug)]
pub struct Keeper {
    pid: i32,
    pidfd: Option<OwnedFd>,
    /// Taken only to end it.
    line: Option<OwnedFd>,
}

impl Keeper {
    /// Start one.
    pub fn start() -> nix::Result<Self> {
        let (line, far_end) = UnixStream::pair().map_err(|e| errno(&e))?;
        let own = i32::try_from(std::process::id()).map_err(|_| Errno::ESRCH)?;
        // Before Linux 5.3 it has to rely on the line.
        sys::keeper::start(far_end.into(), sys::pidfd_open(own).ok())?;
        let mut pid = [0; size_of::<i32>()];
        loop {
            match nix::unistd::read(&line, &mut pid) {
                Ok(n) if n == pid.len() => break,
                Ok(_) => return Err(Errno::ESRCH),
                Err(Errno::EINTR) => {}
                Err(e) => return Err(e),
            }
        }
        let pid = i32::from_ne_bytes(pid);
        Ok(Self { pid, pidfd: sys::pidfd_open(pid).ok(), line: Some(line.into()) })
    }

    /// Its number.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Its descriptor, from Linux 5.3 on.
    pub fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.pidfd.as_ref().map(AsFd::as_fd)
    }

    /// Whether it is still there.
    pub fn lives(&self) -> bool {
        self.line.as_ref().is_some_and(|line| !hung_up(line.as_fd(), PollFlags::empty(), PollTimeout::ZERO))
    }
}

/// Ends it, and waits until it has.
impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.line.take());
        if let Some(pidfd) = self.pidfd() {
            let patience = PollTimeout::try_from(PATIENCE).unwrap_or(PollTimeout::MAX);
            let _ends_anyway = hung_up(pidfd, PollFlags::POLLIN, patience);
        }
    }
}

fn hung_up(fd: BorrowedFd<'_>, events: PollFlags, patience: PollTimeout) -> bool {
    let mut fds = [PollFd::new(fd, events)];
    loop {
        match poll(&mut fds, patience) {
            Ok(count) => return count > 0,
            Err(Errno::EINTR) => {}
            Err(_) => return false,
        }
    }
}

/// A scope that systemd made for us.
#[derive(Debug)]
pub struct Scope {
    /// Its directory, absolute, as mounted here.
    pub path: Vec<u8>,
    /// Whom it lives by. An Option so that drop can end it first.
    pub keeper: Option<Keeper>,
}

impl Scope {
    /// Whether agents can still be put in it.
    pub fn stands(&self) -> bool {
        self.keeper.as_ref().is_some_and(Keeper::lives) && self.open().is_some()
    }

    /// Its directory.
    pub fn open(&self) -> Option<Dir> {
        Dir::open(&CString::new(self.path.as_slice()).ok()?).ok()
    }
}

/// A scope that nothing came of is gone when this returns, if systemd is quick.
impl Drop for Scope {
    fn drop(&mut self) {
        let dir = self.open();
        drop(self.keeper.take());
        if let Some(dir) = dir {
            let deadline = Deadline::after(PATIENCE);
            let _ends_anyway = Events::open(&dir).and_then(|events| events.wait(deadline, |_| false));
        }
    }
}

/// The scope of this process.
#[derive(Debug, Default)]
pub struct OwnScope {
    /// An agent has been made in it: it lives as long as we do.
    lasting: Option<Arc<Scope>>,
    /// None has yet.
    tried: Weak<Scope>,
    /// How many there have been: each has a name of its own.
    pub count: u32,
}

impl OwnScope {
    /// The one that there is.
    pub fn standing(&self) -> Option<Arc<Scope>> {
        self.lasting.clone().or_else(|| self.tried.upgrade()).filter(|scope| scope.stands())
    }

    /// A new one.
    pub fn remember(&mut self, scope: &Arc<Scope>) {
        self.lasting = None;
        self.tried = Arc::downgrade(scope);
    }

    /// Keep it for good.
    pub fn keep(&mut self, scope: &Arc<Scope>) {
        self.lasting = Some(Arc::clone(scope));
    }
}

/// The one exception to "what must be remembered is in the handle".
static OWN: PerProcess<Mutex<OwnScope>> = PerProcess::new();

/// The scope that this process has, if it has one. Nothing is kept for those that never ask for one.
pub fn standing() -> Option<Arc<Scope>> {
    OWN.known()?.lock().unwrap_or_else(PoisonError::into_inner).standing()
}

/// This process's scope, of which there is one; a forked child has none.
pub fn own() -> MutexGuard<'static, OwnScope> {
    OWN.get().lock().unwrap_or_else(PoisonError::into_inner)
}

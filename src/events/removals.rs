// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's reports of removed cgroups. From Linux 7.1 on inotify(7) reports at once that the files of a cgroup are
//! deleted. It reports an open file only at the last close, so the watch is on a file that nobody keeps open. A user has 128
//! inotify instances; therefore the process has one instance for up to 64 watches. All of them wait for it. The first one
//! that wakes reads all reports and dispatches them to the watches.
//!
//! If the instance does not report a removal that a watch has found by a read, this kernel reports none, and the instance is
//! closed.

use crate::cgroupfs::Dir;
use crate::events::final_counters;
use crate::sys::descriptors;
use crate::sys::fork_mutex::ForkMutex;
use crate::sys::inotify::{self, ATTRIBUTES, DELETED, FileEvent};
use crate::sys::try_alloc;
use nix::errno::Errno;
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{Expiration, TimerFd, TimerSetTimeFlags};
use std::ffi::{CString, c_int};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

static PROCESS: ForkMutex<Process> = ForkMutex::new();

/// How many watches share the instance. Further watches find a removal by reads at growing intervals. The kernel lets a file
/// wake 500 epoll instances through another, and 100 through two (`path_limits` of fs/eventpoll.c). With more watches the
/// host's own epoll_ctl(2) would fail with EINVAL.
const MOST_WATCHES: usize = 64;
/// A kernel that reports removals does so within this time.
const REPORTED_WITHIN: Duration = Duration::from_secs(1);

/// The watches of the process.
#[derive(Default)]
struct Process {
    inotify: Option<Arc<OwnedFd>>,
    watched: Vec<(c_int, Arc<Wakeup>)>,
    /// The file of a removal that a watch has found and the kernel has not reported, and the time at which it was found.
    unreported: Option<(c_int, Instant)>,
    /// This kernel reports no removal.
    useless: bool,
}

/// A timer that makes the descriptor of one watch readable.
#[derive(Debug)]
pub struct Wakeup {
    timer: TimerFd,
    woken: AtomicBool,
}

impl Wakeup {
    /// Makes a timer that is not set.
    pub fn new() -> nix::Result<Self> {
        Ok(Self { timer: descriptors::timer()?, woken: AtomicBool::new(false) })
    }

    /// Makes the descriptor readable now.
    pub fn wake(&self) {
        self.woken.store(true, Ordering::SeqCst);
        self.set(Duration::from_nanos(1));
    }

    /// Returns true if [`Self::wake`] was called since the last call.
    pub fn take_woken(&self) -> bool {
        self.woken.swap(false, Ordering::SeqCst)
    }

    /// Makes the descriptor readable after that time, or now if another thread has called [`Self::wake`].
    pub fn wake_after(&self, wait: Duration) {
        self.set(wait);
        if self.woken.load(Ordering::SeqCst) {
            self.set(Duration::from_nanos(1));
        }
    }

    fn set(&self, wait: Duration) {
        // The only error is that of an invalid time.
        let _ = self.timer.set(Expiration::OneShot(TimeSpec::from(wait)), TimerSetTimeFlags::empty());
    }

    /// Cancels the timer, except for a [`Self::wake`].
    pub fn cancel(&self) {
        let _ = self.timer.unset(); // It was not set.
        if self.woken.load(Ordering::SeqCst) {
            self.set(Duration::from_nanos(1));
        }
    }

    /// Makes the descriptor unreadable until the timer expires again.
    pub fn acknowledge(&self) {
        let _ = self.timer.wait(); // EAGAIN: it has not expired.
    }
}

impl AsFd for Wakeup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }
}

/// The kernel's reports for one watch.
#[derive(Debug)]
pub struct Removal {
    inotify: Arc<OwnedFd>,
    file: c_int,
    wakeup: Arc<Wakeup>,
}

impl Removal {
    /// Wakes `wakeup` when the group is removed or [`final_counters::wake_watchers`] is called. Fails if no inotify instance
    /// is left, without /proc, without the right to the file, or if the kernel reports nothing (`EOPNOTSUPP`).
    pub fn watch(dir: &Dir, wakeup: &Arc<Wakeup>) -> nix::Result<Self> {
        let mut process = PROCESS.lock();
        process.close_if_useless();
        if process.useless {
            return Err(Errno::EOPNOTSUPP);
        }
        if process.watched.len() >= MOST_WATCHES {
            return Err(Errno::EMFILE);
        }
        let inotify = match &process.inotify {
            Some(inotify) => Arc::clone(inotify),
            None => Arc::new(descriptors::inotify()?),
        };
        let path = format!(
            "/proc/self/fd/{}/{}",
            dir.as_fd().as_raw_fd(),
            final_counters::WATCHED.to_string_lossy()
        );
        let path = CString::new(path).map_err(|_| Errno::EINVAL)?;
        let file = inotify::add(inotify.as_fd(), &path, DELETED | ATTRIBUTES)?;
        let wakeup = Arc::clone(wakeup);
        if let Err(e) = try_alloc::push(&mut process.watched, (file, Arc::clone(&wakeup))) {
            process.unwatch(&inotify, file);
            return Err(e);
        }
        // Not before: an instance without a watch would stay open.
        process.inotify = Some(Arc::clone(&inotify));
        Ok(Self { inotify, file, wakeup })
    }

    /// Returns the inotify instance, which is readable when there are reports for any watch.
    pub fn inotify(&self) -> &Arc<OwnedFd> {
        &self.inotify
    }

    /// Records that the watch has found the removal by a read.
    pub fn found(&self) {
        let mut process = PROCESS.lock();
        if process.has(&self.inotify) {
            process.unreported.get_or_insert((self.file, Instant::now()));
            process.dispatch();
        }
    }
}

impl Drop for Removal {
    fn drop(&mut self) {
        let mut process = PROCESS.lock();
        // In a forked child the watches are the parent's.
        if !process.has(&self.inotify) {
            return;
        }
        let (file, wakeup) = (self.file, &self.wakeup);
        process.watched.retain(|(other, one)| *other != file || !Arc::ptr_eq(one, wakeup));
        process.unwatch(&self.inotify, file);
        // The last watch closes the instance.
        if process.watched.is_empty() {
            process.watched = Vec::new();
            process.inotify = None;
            process.unreported = None;
        }
    }
}

/// Reads all reports and wakes the watches that they are for.
pub fn dispatch() {
    PROCESS.lock().dispatch();
}

impl Process {
    fn has(&self, inotify: &Arc<OwnedFd>) -> bool {
        self.inotify.as_ref().is_some_and(|own| Arc::ptr_eq(own, inotify))
    }

    /// Remove the kernel's watch of a file that no watch of the process needs.
    fn unwatch(&self, inotify: &OwnedFd, file: c_int) {
        if self.watched.iter().all(|(other, _)| *other != file) {
            // EINVAL: the file is deleted.
            let _ = inotify::remove(inotify.as_fd(), file);
        }
    }

    fn dispatch(&mut self) {
        let Some(inotify) = self.inotify.clone() else { return };
        let mut buf = [0; 4096];
        loop {
            // ENOMEM: the kernel keeps the reports.
            let Ok(reports) = inotify::read(inotify.as_fd(), &mut buf) else { return };
            let mut any = false;
            for FileEvent { file, what } in reports {
                any = true;
                if what & DELETED != 0 && self.unreported.is_some_and(|(unreported, _)| unreported == file) {
                    self.unreported = None;
                }
                let all = file == -1;
                self.watched
                    .iter()
                    .filter(|(one, _)| all || *one == file)
                    .for_each(|(_, wakeup)| wakeup.wake());
            }
            if !any {
                return;
            }
        }
    }

    /// Closes an instance that has not reported a removal.
    fn close_if_useless(&mut self) {
        self.dispatch();
        if self.unreported.is_some_and(|(_, since)| since.elapsed() > REPORTED_WITHIN) {
            self.useless = true;
            self.inotify = None;
            self.watched = Vec::new();
        }
    }
}

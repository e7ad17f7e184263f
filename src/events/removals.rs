// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the kernel reports the removal of a cgroup at once: from Linux 7.1 on inotify(7) reports that its files are
//! deleted. Of a file that somebody has open it does so at the last close, so a file is watched that nobody keeps. A user has
//! 128 inotify instances, so the process has one for its watches, up to 64 of them. Every one of those waits for it. Whoever is
//! woken first takes all reports, and passes them on to the watches that they concern.
//!
//! An instance that does not report a removal that a watch has found by itself is closed: this kernel reports none.

use crate::cgroupfs::Dir;
use crate::events::final_counters;
use crate::sys::descriptors;
use crate::sys::fork_mutex::ForkMutex;
use crate::sys::inotify::{self, ATTRIBUTES, DELETED, Report};
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

/// How many watches share the instance; others look for a removal themselves, at growing intervals. The kernel lets a file
/// wake 500 epoll instances through another, and 100 through two (`path_limits` of fs/eventpoll.c): with more the host's own
/// epoll_ctl(2) would be EINVAL.
const MOST_WATCHES: usize = 64;
/// By when a removal is reported where removals are.
const REPORTED_WITHIN: Duration = Duration::from_secs(1);

/// All that the process watches.
#[derive(Default)]
struct Process {
    inotify: Option<Arc<OwnedFd>>,
    watched: Vec<(c_int, Arc<Alarm>)>,
    /// Since when a removal is found that is not reported yet.
    unreported: Option<(c_int, Instant)>,
    /// This kernel reports no removal.
    useless: bool,
}

/// What makes the descriptor of one watch readable.
#[derive(Debug)]
pub struct Alarm {
    timer: TimerFd,
    rung: AtomicBool,
}

impl Alarm {
    /// One that is silent.
    pub fn new() -> nix::Result<Self> {
        Ok(Self { timer: descriptors::timer()?, rung: AtomicBool::new(false) })
    }

    /// It is readable from now on.
    pub fn ring(&self) {
        self.rung.store(true, Ordering::SeqCst);
        self.set(Duration::from_nanos(1));
    }

    /// Returns true if it was rung since.
    pub fn take(&self) -> bool {
        self.rung.swap(false, Ordering::SeqCst)
    }

    /// It is readable after that time, at once if it was rung meanwhile.
    pub fn ring_after(&self, wait: Duration) {
        self.set(wait);
        if self.rung.load(Ordering::SeqCst) {
            self.set(Duration::from_nanos(1));
        }
    }

    fn set(&self, wait: Duration) {
        let _a_time_is_valid =
            self.timer.set(Expiration::OneShot(TimeSpec::from(wait)), TimerSetTimeFlags::empty());
    }

    /// It is readable only if it was rung.
    pub fn silence(&self) {
        let _was_not_set = self.timer.unset();
        if self.rung.load(Ordering::SeqCst) {
            self.set(Duration::from_nanos(1));
        }
    }

    /// It is unreadable until its time comes again.
    pub fn expire(&self) {
        let _not_expired = self.timer.wait();
    }
}

impl AsFd for Alarm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }
}

/// The reports for one watch.
#[derive(Debug)]
pub struct Removal {
    inotify: Arc<OwnedFd>,
    file: c_int,
    alarm: Arc<Alarm>,
}

impl Removal {
    /// Have `alarm` rung when the group is removed, or [`final_counters::ring`] called. Fails where there is no inotify instance left,
    /// no /proc, no right to the file any more, or where the kernel reports nothing (`EOPNOTSUPP`).
    pub fn watch(dir: &Dir, alarm: &Arc<Alarm>) -> nix::Result<Self> {
        let mut process = PROCESS.lock();
        process.judge();
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
        let path =
            format!("/proc/self/fd/{}/{}", dir.as_fd().as_raw_fd(), final_counters::BELL.to_string_lossy());
        let path = CString::new(path).map_err(|_| Errno::EINVAL)?;
        let file = inotify::add(inotify.as_fd(), &path, DELETED | ATTRIBUTES)?;
        let alarm = Arc::clone(alarm);
        if let Err(e) = try_alloc::push(&mut process.watched, (file, Arc::clone(&alarm))) {
            process.unwatch(&inotify, file);
            return Err(e);
        }
        // Only now: an instance without a watch would stay open for ever.
        process.inotify = Some(Arc::clone(&inotify));
        Ok(Self { inotify, file, alarm })
    }

    /// Readable when there may be reports, for whichever watch.
    pub fn inotify(&self) -> &Arc<OwnedFd> {
        &self.inotify
    }

    /// The watch has found the group removed.
    pub fn found(&self) {
        let mut process = PROCESS.lock();
        if process.has(&self.inotify) {
            process.unreported.get_or_insert((self.file, Instant::now()));
            process.pass_on();
        }
    }
}

impl Drop for Removal {
    fn drop(&mut self) {
        let mut process = PROCESS.lock();
        // Not in a forked child, whose parent goes on to watch.
        if !process.has(&self.inotify) {
            return;
        }
        let (file, alarm) = (self.file, &self.alarm);
        process.watched.retain(|(other, one)| *other != file || !Arc::ptr_eq(one, alarm));
        process.unwatch(&self.inotify, file);
        // The instance goes with the last watch.
        if process.watched.is_empty() {
            process.watched = Vec::new();
            process.inotify = None;
            process.unreported = None;
        }
    }
}

/// Take all reports, and ring the alarms that they are for.
pub fn pass_on() {
    PROCESS.lock().pass_on();
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

    fn pass_on(&mut self) {
        let Some(inotify) = self.inotify.clone() else { return };
        let mut buf = [0; 4096];
        loop {
            // Without memory the reports stay where they are.
            let Ok(reports) = inotify::read(inotify.as_fd(), &mut buf) else { return };
            let mut any = false;
            for Report { file, what } in reports {
                any = true;
                if what & DELETED != 0 && self.unreported.is_some_and(|(unreported, _)| unreported == file) {
                    self.unreported = None;
                }
                let all = file == -1;
                self.watched
                    .iter()
                    .filter(|(one, _)| all || *one == file)
                    .for_each(|(_, alarm)| alarm.ring());
            }
            if !any {
                return;
            }
        }
    }

    /// Give up an instance that reports no removal.
    fn judge(&mut self) {
        self.pass_on();
        if self.unreported.is_some_and(|(_, since)| since.elapsed() > REPORTED_WITHIN) {
            self.useless = true;
            self.inotify = None;
            self.watched = Vec::new();
        }
    }
}

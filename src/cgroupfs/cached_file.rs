// SPDX-License-Identifier: MIT OR Apache-2.0
//! A file that is read again and again. Its descriptor is kept from the first use on, since one
//! pread(2) costs a fifth of open, read and close, unless that would eat into what the host has left.

use super::{Dir, pread_once};
use crate::sys::Slot;
use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit};
use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// One file of one cgroup, with or without a descriptor on it.
#[derive(Debug)]
pub struct Kept {
    name: &'static CStr,
    slot: Slot,
    /// It was not there when it was last looked for; should there be a descriptor, the kernel has ended it: with its
    /// controller, or with `cgroup.pressure`, a file goes, and another comes when that is switched on again.
    away: AtomicBool,
}

impl Kept {
    /// Opens nothing yet.
    pub const fn new(name: &'static CStr) -> Self {
        Self { name, slot: Slot::new(), away: AtomicBool::new(false) }
    }

    /// The file's name.
    pub fn name(&self) -> &'static CStr {
        self.name
    }

    /// Read it: one system call once it is kept, and one as long as it is not there. That is looked for each time, so
    /// that a file that comes later is found by the next reading. Nothing, too, where the cgroup itself is no
    /// more: [`Dir::is_alive`] tells. Inlined, since a call and a copy would be a twentieth of what the kernel takes.
    #[inline(always)]
    pub fn read<'b>(&self, dir: &Dir, buf: &'b mut [u8]) -> nix::Result<Option<&'b [u8]>> {
        Ok(self.read_length(dir, buf)?.map(|n| buf.get(..n).unwrap_or_default()))
    }

    #[inline(always)]
    fn read_length(&self, dir: &Dir, buf: &mut [u8]) -> nix::Result<Option<usize>> {
        match self.slot.get() {
            Some(fd) if !self.away.load(Ordering::Relaxed) => match pread_once(fd, buf) {
                Err(Errno::ENODEV) => {}
                other => return offered(other),
            },
            _ => {}
        }
        self.read_anew(dir, buf)
    }

    #[cold]
    fn read_anew(&self, dir: &Dir, buf: &mut [u8]) -> nix::Result<Option<usize>> {
        // To open what is not there takes a descriptor all the same, and the host may have none left.
        if self.away.load(Ordering::Relaxed) && !dir.has(self.name) {
            return Ok(None);
        }
        let Some(fd) = dir.look_up(self.name)? else {
            self.away.store(true, Ordering::Relaxed);
            return Ok(None);
        };
        let read = pread_once(fd.as_fd(), buf);
        let mut away = false;
        if self.slot.get().is_some() {
            // Another thread may be reading by the old one, so that its number stays ours.
            away = self.slot.replace(fd.as_fd()).is_err();
        } else if worth_keeping(fd.as_raw_fd()) {
            self.slot.keep(fd);
        }
        self.away.store(away, Ordering::Relaxed);
        offered(read)
    }
}

/// Where PSI is off some kernels have the files all the same, and say so when they are read.
fn offered(read: nix::Result<usize>) -> nix::Result<Option<usize>> {
    match read {
        Err(Errno::ENODEV | Errno::EOPNOTSUPP) => Ok(None),
        other => other.map(Some),
    }
}

/// A library must not eat its host's descriptors: low numbers only mean that there are many left.
pub fn worth_keeping(fd: i32) -> bool {
    getrlimit(Resource::RLIMIT_NOFILE).is_ok_and(|(soft, _)| u64::try_from(fd).is_ok_and(|fd| fd < soft / 2))
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! A file that is read again and again. Its descriptor is kept from the first use on, since one
//! pread(2) costs a fifth of open, read and close, unless that would eat into what the host has left.

use super::{Dir, read_once};
use crate::sys::Slot;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::resource::{Resource, getrlimit};
use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd};

/// One file of one cgroup, with or without a descriptor on it.
#[derive(Debug)]
pub struct Kept {
    name: &'static CStr,
    slot: Slot,
}

impl Kept {
    /// Opens nothing yet.
    pub const fn new(name: &'static CStr) -> Self {
        Self { name, slot: Slot::new() }
    }

    /// The file's name.
    pub fn name(&self) -> &'static CStr {
        self.name
    }

    /// Read it whole: one system call once it is kept.
    pub fn read<'b>(&self, dir: &Dir, buf: &'b mut [u8]) -> nix::Result<&'b [u8]> {
        if let Some(fd) = self.slot.get() {
            // pread and not a match on the slice: the borrow checker would hold `buf` for ever.
            match nix::sys::uio::pread(fd, buf, 0) {
                Ok(n) => return Ok(buf.get(..n).unwrap_or_default()),
                Err(Errno::ENODEV) => {
                    // Either the cgroup is gone, or its controller was switched off and on again,
                    // which ends every descriptor on its files though the cgroup lives. Another
                    // thread may be reading this one, so it is not replaced: reads reopen from now on.
                    if !dir.is_alive() {
                        return Err(Errno::ENODEV);
                    }
                }
                Err(Errno::EINTR) => return read_once(fd, buf),
                Err(e) => return Err(e),
            }
            return dir.read(self.name, buf);
        }
        let fd = dir.open_file(self.name, OFlag::O_RDONLY)?;
        if worth_keeping(fd.as_raw_fd()) {
            if let Some(kept) = self.slot.keep(fd) {
                return read_once(kept, buf);
            }
            return dir.read(self.name, buf);
        }
        read_once(fd.as_fd(), buf)
    }
}

/// A library must not eat its host's descriptors: low numbers only mean that there are many left.
fn worth_keeping(fd: i32) -> bool {
    getrlimit(Resource::RLIMIT_NOFILE).is_ok_and(|(soft, _)| u64::try_from(fd).is_ok_and(|fd| fd < soft / 2))
}

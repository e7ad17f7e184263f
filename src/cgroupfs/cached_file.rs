// SPDX-License-Identifier: MIT OR Apache-2.0
//! A file that is read repeatedly. Its descriptor stays open after the first read, because one pread(2) costs a fifth of
//! open, read and close. If the host has few descriptors left, the descriptor is closed again.

use super::{Dir, pread_once};
use crate::sys::OnceFd;
use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit};
use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// One file of one cgroup, with a cached descriptor or without one. A handle has about twenty of them, so its name is not part of it:
/// [`Self::named`].
#[derive(Debug)]
pub struct CachedFile {
    /// Marked if the file was missing at the last look, and a cached descriptor is dead. Disabling the controller, or
    /// `cgroup.pressure`, removes the file; enabling it makes a new file.
    slot: OnceFd,
}

/// A cached file together with its name.
#[derive(Debug, Clone, Copy)]
pub struct NamedFile<'a> {
    /// The name, which is always the same for one file.
    pub name: &'static CStr,
    file: &'a CachedFile,
}

impl CachedFile {
    /// Returns an entry without a descriptor.
    pub const fn new() -> Self {
        Self { slot: OnceFd::new() }
    }

    /// Returns an entry with this descriptor.
    pub fn opened(fd: OwnedFd) -> Self {
        let file = Self::new();
        file.slot.set(fd);
        file
    }

    /// Returns the cached descriptor.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.slot.get()
    }

    /// Returns the file of this name.
    pub const fn named(&self, name: &'static CStr) -> NamedFile<'_> {
        NamedFile { name, file: self }
    }

    /// Returns true if a descriptor is cached.
    pub fn is_open(&self) -> bool {
        self.slot.get().is_some()
    }
}

impl Default for CachedFile {
    fn default() -> Self {
        Self::new()
    }
}

impl NamedFile<'_> {
    /// Reads the file by one system call if its descriptor is cached, and looks for a missing file by one system call.
    /// Returns `None` if the file does not exist or the cgroup was removed; [`Dir::is_alive`] shows which. Inlined, because
    /// a call and a copy would cost a twentieth of the kernel's time.
    #[inline(always)]
    pub fn read<'b>(&self, dir: &Dir, buf: &'b mut [u8]) -> nix::Result<Option<&'b [u8]>> {
        Ok(self.read_length(dir, buf)?.map(|n| buf.get(..n).unwrap_or_default()))
    }

    #[inline(always)]
    fn read_length(&self, dir: &Dir, buf: &mut [u8]) -> nix::Result<Option<usize>> {
        if let Some(fd) = self.file.slot.get_unmarked() {
            match pread_once(fd, buf) {
                Err(Errno::ENODEV) => {}
                other => return offered(other),
            }
        }
        self.read_anew(dir, buf)
    }

    #[cold]
    fn read_anew(&self, dir: &Dir, buf: &mut [u8]) -> nix::Result<Option<usize>> {
        // An attempt to open a missing file needs a free descriptor, too, and the host may have none.
        if self.file.slot.is_marked() && !dir.has(self.name) {
            return Ok(None);
        }
        let Some(fd) = dir.look_up(self.name)? else {
            self.file.slot.set_mark(true);
            return Ok(None);
        };
        let read = pread_once(fd.as_fd(), buf);
        let mut away = false;
        if self.file.slot.get().is_some() {
            // The number of the old descriptor must stay in use: another thread may be reading by it.
            away = self.file.slot.replace(fd.as_fd()).is_err();
        } else if worth_keeping(fd.as_raw_fd()) {
            self.file.slot.set(fd);
        }
        self.file.slot.set_mark(away);
        offered(read)
    }
}

/// Maps the errors of files that exist but are not available to `None`. Some kernels have the pressure files although PSI is
/// off, and fail each read.
fn offered(read: nix::Result<usize>) -> nix::Result<Option<usize>> {
    match read {
        Err(Errno::ENODEV | Errno::EOPNOTSUPP) => Ok(None),
        other => other.map(Some),
    }
}

/// Returns true if the number of a descriptor is below half of RLIMIT_NOFILE. Then the host has many descriptors left, and
/// the library may cache one.
pub fn worth_keeping(fd: i32) -> bool {
    getrlimit(Resource::RLIMIT_NOFILE).is_ok_and(|(soft, _)| u64::try_from(fd).is_ok_and(|fd| fd < soft / 2))
}

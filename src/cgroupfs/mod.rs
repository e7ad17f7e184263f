// SPDX-License-Identifier: MIT OR Apache-2.0
//! The one module that opens files in the hierarchy, always relative to a directory held open: a
//! cgroup that is removed and made again under its old name is another one, and a descriptor never
//! mistakes the two.
//!
//! Two errnos mean more here than elsewhere, and are sorted out here alone: `ENODEV` is "this cgroup was removed" and
//! `ENOENT` is "this cgroup has no such file" (its controller is off, or the kernel older). The kernel itself says `ENOENT`
//! for both when asked through a directory descriptor, and `ENODEV` for both when asked through a file's: disabling a
//! controller ends its files. Only the directory itself says whether the cgroup is removed.

mod cached_file;
pub mod controllers;
pub mod events_file;
pub mod overrides;
mod permissions;
mod walk;

pub use cached_file::{Kept, worth_keeping};
pub use walk::{Next, Step};

use crate::parse;
use crate::sys::descriptors::{open, openat};
use crate::sys::fallible;
use crate::sys::fork_mutex::ForkMutex;
use crate::sys::kernfile;
use crate::sys::listing::directories;
use crate::sys::retried;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{Mode, fstat, fstatat, mkdirat};
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, fstatfs};
use nix::unistd::{AccessFlags, UnlinkatFlags, Whence, faccessat, geteuid, lseek, unlinkat};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// More than any single-valued or flat-keyed file that is read into a fixed buffer: one read of the
/// whole is one consistent snapshot.
pub const FILE_MAX: usize = 4096;

/// What went wrong, and on which file.
pub type FileError = (Errno, &'static CStr);

/// How often access is restored and taken away again before a call gives up. Each time the agent must be faster than two
/// system calls.
const RESTORES: u32 = 8;

/// A cgroup, held open by its directory.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    /// It is an agent's group or inside of one, where access that the agent takes away is restored.
    restores: bool,
}

impl Dir {
    /// Open a directory by its absolute path. `ENOTTY` if it is not of the cgroup2 file system.
    pub fn open(path: &CStr) -> nix::Result<Self> {
        let fd = retried(|| open(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY))?;
        let dir = Self { fd, restores: false };
        match retried(|| fstatfs(&dir.fd))?.filesystem_type() {
            CGROUP2_SUPER_MAGIC => Ok(dir),
            _ => Err(Errno::ENOTTY),
        }
    }

    /// Open a cgroup below this one. `..` gives the parent, but past a mount's root it leaves the
    /// hierarchy.
    pub fn child(&self, path: &CStr) -> nix::Result<Self> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        let restores = self.restores && !path.to_bytes().starts_with(b"..");
        self.open_at(path, flags).map(|fd| Self { fd, restores })
    }

    /// Open the parent of one that was found on the way down.
    fn up(&self) -> nix::Result<Self> {
        self.child(c"..").map(|dir| Self { restores: self.restores, ..dir })
    }

    /// Make a cgroup below this one.
    pub fn make(&self, path: &CStr) -> nix::Result<()> {
        self.make_with(path, 0o755)
    }

    /// Make one that other uids cannot open, and so not lock. They can read its files: a program looks up
    /// its own limits.
    pub fn make_private(&self, path: &CStr) -> nix::Result<()> {
        self.make_with(path, 0o711)
    }

    fn make_with(&self, path: &CStr, mode: u32) -> nix::Result<()> {
        retried(|| mkdirat(&self.fd, path, Mode::from_bits_truncate(mode))).map_err(|e| self.settle(e))?;
        // The caller's umask may have taken away what its owner needs, too.
        self.allow(path, permissions::DIRECTORY);
        Ok(())
    }

    /// Remove a cgroup below this one: `EBUSY` while it has processes, dying ones too, or children.
    pub fn remove(&self, path: &CStr) -> nix::Result<()> {
        let remove = || retried(|| unlinkat(&self.fd, path, UnlinkatFlags::RemoveDir));
        let removed = match remove() {
            Err(Errno::EACCES) if self.restore_directory() => remove(),
            removed => removed,
        };
        removed.map_err(|e| self.settle(e))
    }

    /// Whether we may write (for a directory: make children). `EACCES` or `EROFS` if not.
    pub fn may_write(&self, path: &CStr) -> nix::Result<()> {
        faccessat(&self.fd, path, AccessFlags::W_OK, AtFlags::AT_EACCESS).map_err(|e| self.settle(e))
    }

    /// Whether there is such a file.
    pub fn has(&self, file: &CStr) -> bool {
        let look = || faccessat(&self.fd, file, AccessFlags::F_OK, AtFlags::empty());
        match look() {
            Err(Errno::EACCES) if self.restore_directory() => look().is_ok(),
            found => found.is_ok(),
        }
    }

    /// Read a file that fits into `buf` in one piece.
    pub fn read<'b>(&self, file: &CStr, buf: &'b mut [u8]) -> nix::Result<&'b [u8]> {
        read_once(self.open_file(file, OFlag::O_RDONLY)?.as_fd(), buf).map_err(|e| self.settle(e))
    }

    /// Read a list as long as it may be (`cgroup.procs`).
    pub fn read_all(&self, file: &CStr) -> nix::Result<Vec<u8>> {
        kernfile::read_all(self.open_file(file, OFlag::O_RDONLY)?.into()).map_err(|e| self.settle(e))
    }

    /// True if a list has nothing in it.
    pub fn is_empty(&self, file: &CStr) -> nix::Result<bool> {
        Ok(self.read(file, &mut [0; 16])?.is_empty())
    }

    /// Whether `cgroup.procs` or `cgroup.threads` lists this id.
    pub fn lists(&self, file: &CStr, id: i32) -> nix::Result<bool> {
        let file = self.open_file(file, OFlag::O_RDONLY)?.into();
        let found = kernfile::find_line(file, |line| parse::ids(line).find(|&listed| listed == id))
            .map_err(|e| self.settle(e))?;
        Ok(found.is_some())
    }

    /// Write one value, whole, in one write(2): the kernel takes each write for a command of its own.
    pub fn write(&self, file: &CStr, value: &[u8]) -> nix::Result<()> {
        write_once(self.open_file(file, OFlag::O_WRONLY)?.as_fd(), value).map_err(|e| self.settle(e))
    }

    /// The same for a group that may be full. Lowering memory.max makes its writer reclaim, for seconds, and
    /// then kill, unless (from Linux 6.16 on) it says that it will not wait. Asked to reclaim it shall.
    pub fn write_living(&self, file: &CStr, value: &[u8]) -> nix::Result<()> {
        let waits = !file.to_bytes().starts_with(b"memory.") || file == c"memory.reclaim";
        let flags = if waits { OFlag::O_WRONLY } else { OFlag::O_WRONLY | OFlag::O_NONBLOCK };
        write_once(self.open_file(file, flags)?.as_fd(), value).map_err(|e| self.settle_write(file, e))
    }

    /// Whether it is a file that nobody may write, or read.
    pub fn nobody_may(&self, write: bool, file: &CStr) -> bool {
        let any = if write { 0o222 } else { 0o444 };
        fstatat(&self.fd, file, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok_and(|stat| stat.st_mode & any == 0)
    }

    /// Write a value and read back what the kernel made of it.
    pub fn set<'b>(&self, file: &CStr, value: &[u8], buf: &'b mut [u8]) -> nix::Result<&'b [u8]> {
        let fd = self.open_file(file, OFlag::O_RDWR)?;
        write_once(fd.as_fd(), value).map_err(|e| self.settle(e))?;
        read_once(fd.as_fd(), buf).map_err(|e| self.settle(e))
    }

    /// Open a file to keep. Never with O_CREAT: that would turn "no such file" into `EACCES`.
    pub fn open_file(&self, file: &CStr, access: OFlag) -> nix::Result<OwnedFd> {
        self.open_at(file, access)
    }

    /// Open a file to read, if it is there. Nothing, too, where the cgroup itself is no more: what that costs to find
    /// out is left to the caller.
    fn look_up(&self, file: &CStr) -> nix::Result<Option<OwnedFd>> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW;
        match self.open_raw(file, flags) {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::ENOENT | Errno::ENODEV) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The names of the cgroups right below.
    pub fn children(&self) -> nix::Result<Vec<CString>> {
        let mut names = Vec::new();
        self.each_child(|name| fallible::push(&mut names, fallible::copy_cstr(name)?))?;
        Ok(names)
    }

    /// Pass the name of each cgroup right below to `each`, until that fails.
    fn each_child(&self, mut each: impl FnMut(&CStr) -> nix::Result<()>) -> nix::Result<()> {
        // kernfs counts child directories in st_nlink (2 + children): most groups need no listing.
        if fstat(&self.fd)?.st_nlink == 2 {
            return Ok(());
        }
        // Opened anew: the position of a listing belongs to the open file.
        let listing = match self.open_raw(c".", OFlag::O_RDONLY | OFlag::O_DIRECTORY) {
            // Removed: it had none left.
            Err(Errno::ENOENT) => return Ok(()),
            Err(Errno::EMFILE | Errno::ENFILE) => return self.each_child_here(each),
            opened => opened?,
        };
        match directories(listing.as_fd(), &mut each) {
            Err(Errno::ENOENT) => Ok(()),
            listed => listed,
        }
    }

    /// [`Self::each_child`] with no descriptor left: by the directory's own, one thread after the other.
    fn each_child_here(&self, mut each: impl FnMut(&CStr) -> nix::Result<()>) -> nix::Result<()> {
        static POSITION: ForkMutex<()> = ForkMutex::new();
        let mut names = Vec::new();
        {
            let _position = POSITION.lock();
            lseek(&self.fd, 0, Whence::SeekSet)?;
            directories(self.fd.as_fd(), |name| fallible::push(&mut names, fallible::copy_cstr(name)?))?;
        }
        names.iter().try_for_each(|name| each(name))
    }

    /// True if the calling process's user owns the directory.
    pub fn is_own(&self) -> bool {
        fstat(&self.fd).is_ok_and(|stat| stat.st_uid == geteuid().as_raw())
    }

    /// Remove the cgroups right below, listed by this directory's own descriptor: for a process that may not open
    /// another. Nobody else is to list it at the same time. The first refusal is returned.
    pub fn remove_children(&self) -> nix::Result<()> {
        lseek(self.fd.as_fd(), 0, Whence::SeekSet)?;
        let mut names = Vec::new();
        directories(self.fd.as_fd(), |name| fallible::push(&mut names, fallible::copy_cstr(name)?))?;
        names.iter().map(|name| self.remove(name)).fold(Ok(()), Result::and)
    }

    /// False once the cgroup is removed. Every cgroup has this file, the real root included. Takes no descriptor, so that
    /// the answer does not depend on there being one left.
    pub fn is_alive(&self) -> bool {
        let found = || faccessat(&self.fd, c"cgroup.controllers", AccessFlags::F_OK, AtFlags::empty());
        retried(found) != Err(Errno::ENOENT)
    }

    fn open_at(&self, path: &CStr, flags: OFlag) -> nix::Result<OwnedFd> {
        self.open_raw(path, flags | OFlag::O_NOFOLLOW).map_err(|e| self.settle(e))
    }

    /// Open with these flags, restoring access if the agent has taken it away.
    fn open_raw(&self, path: &CStr, flags: OFlag) -> nix::Result<OwnedFd> {
        let open = || retried(|| openat(&self.fd, path, flags));
        let mut opened = open();
        for _ in 0..RESTORES {
            if opened.as_ref().err() != Some(&Errno::EACCES) || !self.restore(path, flags) {
                break;
            }
            opened = open();
        }
        opened
    }

    /// Of `io.max` `ENODEV` says that there is no such device.
    fn settle_write(&self, file: &CStr, errno: Errno) -> Errno {
        match errno {
            Errno::ENODEV if self.has(file) => errno,
            other => self.settle(other),
        }
    }

    /// What an errno means, of a call on the directory or on an open file in it: `ENOENT` if the file is no longer there,
    /// `ENODEV` if the cgroup is removed.
    pub fn settle(&self, errno: Errno) -> Errno {
        match errno {
            Errno::ENOENT if !self.is_alive() => Errno::ENODEV,
            Errno::ENODEV if self.is_alive() => Errno::ENOENT,
            // A security module, or a namespace root's own limits under nsdelegate: no right, again.
            Errno::EPERM => Errno::EACCES,
            other => other,
        }
    }
}

impl From<OwnedFd> for Dir {
    /// One that was open in another process.
    fn from(fd: OwnedFd) -> Self {
        Self { fd, restores: false }
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// One pread(2) from the start: a kept descriptor gives the content anew each time.
pub fn read_once<'b>(fd: BorrowedFd<'_>, buf: &'b mut [u8]) -> nix::Result<&'b [u8]> {
    let length = pread_once(fd, buf)?;
    Ok(buf.get(..length).unwrap_or_default())
}

fn pread_once(fd: BorrowedFd<'_>, buf: &mut [u8]) -> nix::Result<usize> {
    retried(|| nix::sys::uio::pread(fd, buf, 0))
}

/// One write(2) of the whole.
pub fn write_once(fd: BorrowedFd<'_>, value: &[u8]) -> nix::Result<()> {
    match retried(|| nix::unistd::write(fd, value)) {
        Ok(n) if n == value.len() => Ok(()),
        Ok(_) => Err(Errno::EIO),
        Err(Errno::EPERM) => Err(Errno::EACCES),
        Err(e) => Err(e),
    }
}

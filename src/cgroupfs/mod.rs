// SPDX-License-Identifier: MIT OR Apache-2.0
//! The only module that opens files in the hierarchy. It opens them relative to an open directory: a descriptor never
//! confuses a cgroup with a later one of the same name.
//!
//! This module gives two errnos one meaning each. `ENODEV`: the cgroup was removed. `ENOENT`: the cgroup has no such file,
//! because its controller is disabled or the kernel is older. The kernel returns `ENOENT` for both through a directory
//! descriptor, and `ENODEV` for both through a file descriptor, because disabling a controller ends its files. Only the
//! directory itself shows that the cgroup was removed.

mod agent_name;
mod cached_file;
pub mod controllers;
pub mod events_file;
pub mod overrides;
mod own;
mod permissions;
mod walk;

pub use agent_name::{AgentName, OWN};
pub use cached_file::{CachedFile, NamedFile, worth_keeping};
pub use walk::{Next, WalkStep};

use crate::parse;
use crate::sys::descriptors::{open, openat};
use crate::sys::fork_mutex::ForkMutex;
use crate::sys::getdents::for_each_directory;
use crate::sys::kernfile;
use crate::sys::retry_on_eintr;
use crate::sys::try_alloc;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{Mode, fstat, fstatat, mkdirat};
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, fstatfs};
use nix::unistd::{AccessFlags, UnlinkatFlags, Whence, faccessat, geteuid, lseek, unlinkat};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The size of the buffer for single-valued and flat-keyed files. All of them are shorter, so one read returns a
/// consistent snapshot of the whole file.
pub const FILE_MAX: usize = 4096;

/// `st_nlink` of a cgroup without child cgroups. kernfs adds one for each child.
const LINKS_WITHOUT_CHILDREN: libc::nlink_t = 2;

/// An error and the file on which it occurred.
pub type FileError = (Errno, &'static CStr);

/// How often a call restores access that the agent removes again, before the call fails. Each time the agent must be faster
/// than two system calls.
const RESTORES: u32 = 8;

/// A cgroup, by an open descriptor of its directory.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    /// The cgroup is an agent's group or inside one. There the library restores access that the agent removes.
    restores: bool,
}

impl Dir {
    /// Opens a directory by its absolute path. Fails with `ENOTTY` if it is not on a cgroup2 file system.
    pub fn open(path: &CStr) -> nix::Result<Self> {
        let fd = retry_on_eintr(|| open(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY))?;
        let dir = Self { fd, restores: false };
        match retry_on_eintr(|| fstatfs(&dir.fd))?.filesystem_type() {
            CGROUP2_SUPER_MAGIC => Ok(dir),
            _ => Err(Errno::ENOTTY),
        }
    }

    /// Opens a cgroup below this one. `..` opens the parent; at the root of the mount `..` leaves the hierarchy.
    pub fn child(&self, path: &CStr) -> nix::Result<Self> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        let restores = self.restores && !path.to_bytes().starts_with(b"..");
        self.open_at(path, flags).map(|fd| Self { fd, restores })
    }

    /// Opens the parent of a cgroup that a walk has entered.
    fn up(&self) -> nix::Result<Self> {
        self.child(c"..").map(|dir| Self { restores: self.restores, ..dir })
    }

    /// Creates a cgroup below this one.
    pub fn make(&self, path: &CStr) -> nix::Result<()> {
        self.make_with(path, 0o755)?;
        // The caller's umask may have removed rights that the owner needs.
        self.allow(path, permissions::DIRECTORY);
        Ok(())
    }

    /// Creates an agent's group, and opens it: the inner result, with the id of the group. Other uids cannot open it, and
    /// therefore cannot lock it. They can read its files, because a program of another uid may look up its own limits.
    pub fn make_private(&self, path: &CStr) -> nix::Result<nix::Result<(Self, u64)>> {
        self.make_with(path, 0o711)?;
        Ok(self.agents_child(path).and_then(|dir| {
            let stat = fstat(&dir.fd)?;
            dir.restore_directory_from(stat.st_mode); // The caller's umask may have removed rights that the owner needs.
            Ok((dir, stat.st_ino))
        }))
    }

    fn make_with(&self, path: &CStr, mode: u32) -> nix::Result<()> {
        let make = || retry_on_eintr(|| mkdirat(&self.fd, path, Mode::from_bits_truncate(mode)));
        let made = match make() {
            Err(Errno::EACCES) if self.restore_directory() => make(),
            made => made,
        };
        made.map_err(|e| self.settle(e))
    }

    /// Removes a cgroup below this one. Fails with `EBUSY` while it has children or processes, exiting processes included.
    pub fn remove(&self, path: &CStr) -> nix::Result<()> {
        let remove = || retry_on_eintr(|| unlinkat(&self.fd, path, UnlinkatFlags::RemoveDir));
        let removed = match remove() {
            Err(Errno::EACCES) if self.restore_directory() => remove(),
            removed => removed,
        };
        removed.map_err(|e| self.settle(e))
    }

    /// Checks the right to write a file, or to create children in a directory. Fails with `EACCES` or `EROFS` without it.
    pub fn may_write(&self, path: &CStr) -> nix::Result<()> {
        faccessat(&self.fd, path, AccessFlags::W_OK, AtFlags::AT_EACCESS).map_err(|e| self.settle(e))
    }

    /// Returns true if the file exists.
    pub fn has(&self, file: &CStr) -> bool {
        let look = || faccessat(&self.fd, file, AccessFlags::F_OK, AtFlags::empty());
        match look() {
            Err(Errno::EACCES) if self.restore_directory() => look().is_ok(),
            found => found.is_ok(),
        }
    }

    /// Reads a file that fits into `buf`, by one read.
    pub fn read<'b>(&self, file: &CStr, buf: &'b mut [u8]) -> nix::Result<&'b [u8]> {
        read_once(self.open_file(file, OFlag::O_RDONLY)?.as_fd(), buf).map_err(|e| self.settle(e))
    }

    /// Reads a file like [`Self::read`]. Returns `None` if the file does not exist or the cgroup was removed.
    /// [`Self::is_alive`] shows which.
    pub fn read_if_there<'b>(&self, file: &CStr, buf: &'b mut [u8]) -> nix::Result<Option<&'b [u8]>> {
        match self.look_up(file)?.map(|fd| read_once(fd.as_fd(), buf)) {
            Some(Err(Errno::ENODEV)) | None => Ok(None),
            Some(read) => read.map(Some),
        }
    }

    /// Reads a file of any length, such as `cgroup.procs`.
    pub fn read_all(&self, file: &CStr) -> nix::Result<Vec<u8>> {
        kernfile::read_all(self.open_file(file, OFlag::O_RDONLY)?.into()).map_err(|e| self.settle(e))
    }

    /// Returns true if a file has no content.
    pub fn is_empty(&self, file: &CStr) -> nix::Result<bool> {
        Ok(self.read(file, &mut [0; 16])?.is_empty())
    }

    /// Returns true if `cgroup.procs` or `cgroup.threads` lists this id.
    pub fn lists(&self, file: &CStr, id: i32) -> nix::Result<bool> {
        let file = self.open_file(file, OFlag::O_RDONLY)?.into();
        let found = kernfile::find_line(file, |line| parse::ids(line).find(|&listed| listed == id))
            .map_err(|e| self.settle(e))?;
        Ok(found.is_some())
    }

    /// Writes one value by one write(2), because the kernel takes each write for a command.
    pub fn write(&self, file: &CStr, value: &[u8]) -> nix::Result<()> {
        write_once(self.open_file(file, OFlag::O_WRONLY)?.as_fd(), value).map_err(|e| self.settle(e))
    }

    /// Writes one value in a group that may be at its memory limit. Lowering `memory.max` makes the writer reclaim, for
    /// seconds, and then kill; from Linux 6.16 on O_NONBLOCK prevents that. `memory.reclaim` is written without it.
    pub fn write_living(&self, file: &CStr, value: &[u8]) -> nix::Result<()> {
        let waits = !file.to_bytes().starts_with(b"memory.") || file == c"memory.reclaim";
        let flags = if waits { OFlag::O_WRONLY } else { OFlag::O_WRONLY | OFlag::O_NONBLOCK };
        write_once(self.open_file(file, flags)?.as_fd(), value).map_err(|e| self.settle_write(file, e))
    }

    /// Returns true if the mode of the file lets no user write it (`write`), or read it.
    pub fn nobody_may(&self, write: bool, file: &CStr) -> bool {
        let any = if write { 0o222 } else { 0o444 };
        fstatat(&self.fd, file, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok_and(|stat| stat.st_mode & any == 0)
    }

    /// Writes a value and returns what the kernel then reads.
    pub fn set<'b>(&self, file: &CStr, value: &[u8], buf: &'b mut [u8]) -> nix::Result<&'b [u8]> {
        let fd = self.open_file(file, OFlag::O_RDWR)?;
        write_once(fd.as_fd(), value).map_err(|e| self.settle(e))?;
        read_once(fd.as_fd(), buf).map_err(|e| self.settle(e))
    }

    /// Opens a file and returns its descriptor. O_CREAT must not be set: with it the kernel returns `EACCES` for a missing
    /// file.
    pub fn open_file(&self, file: &CStr, access: OFlag) -> nix::Result<OwnedFd> {
        self.open_at(file, access)
    }

    /// Opens a file to read it. Returns `None` if the file does not exist or the cgroup was removed. The caller asks
    /// [`Self::is_alive`] if it must know which, because that costs a system call.
    fn look_up(&self, file: &CStr) -> nix::Result<Option<OwnedFd>> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW;
        match self.open_raw(file, flags) {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::ENOENT | Errno::ENODEV) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Returns the names of the direct child cgroups.
    pub fn children(&self) -> nix::Result<Vec<CString>> {
        let mut names = Vec::new();
        self.each_child(|name| try_alloc::push(&mut names, try_alloc::copy_cstr(name)?))?;
        Ok(names)
    }

    /// Passes the name of each direct child cgroup to `each`, until `each` fails.
    fn each_child(&self, mut each: impl FnMut(&CStr) -> nix::Result<()>) -> nix::Result<()> {
        // Most groups need no listing.
        if !self.has_children()? {
            return Ok(());
        }
        // A new descriptor, because the position of a listing belongs to the open file.
        let listing = match self.open_raw(c".", OFlag::O_RDONLY | OFlag::O_DIRECTORY) {
            // The cgroup was removed: it had no children.
            Err(Errno::ENOENT) => return Ok(()),
            Err(Errno::EMFILE | Errno::ENFILE) => return self.each_child_here(each),
            opened => opened?,
        };
        match for_each_directory(listing.as_fd(), &mut each) {
            Err(Errno::ENOENT) => Ok(()),
            listed => listed,
        }
    }

    /// Does the work of [`Self::each_child`] if no descriptor is left: lists by the directory's own descriptor, one thread at
    /// a time.
    fn each_child_here(&self, mut each: impl FnMut(&CStr) -> nix::Result<()>) -> nix::Result<()> {
        static POSITION: ForkMutex<()> = ForkMutex::new();
        let mut names = Vec::new();
        {
            let _position = POSITION.lock();
            lseek(&self.fd, 0, Whence::SeekSet)?;
            for_each_directory(self.fd.as_fd(), |name| {
                try_alloc::push(&mut names, try_alloc::copy_cstr(name)?)
            })?;
        }
        names.iter().try_for_each(|name| each(name))
    }

    /// Returns true if the cgroup has child cgroups.
    pub fn has_children(&self) -> nix::Result<bool> {
        Ok(fstat(&self.fd)?.st_nlink > LINKS_WITHOUT_CHILDREN)
    }

    /// Returns true if the parent has child cgroups, also if this cgroup was removed.
    pub fn parent_has_children(&self) -> bool {
        fstatat(&self.fd, c"..", AtFlags::empty())
            .is_ok_and(|parent| parent.st_nlink > LINKS_WITHOUT_CHILDREN)
    }

    /// Returns true if the effective uid of the calling process owns the directory.
    pub fn is_own(&self) -> bool {
        fstat(&self.fd).is_ok_and(|stat| stat.st_uid == geteuid().as_raw())
    }

    /// Removes the direct child cgroups. Lists them by this directory's own descriptor, for a process that cannot open
    /// another one. No other thread may list the directory at the same time. Returns the first error.
    pub fn remove_children(&self) -> nix::Result<()> {
        lseek(self.fd.as_fd(), 0, Whence::SeekSet)?;
        let mut names = Vec::new();
        for_each_directory(self.fd.as_fd(), |name| try_alloc::push(&mut names, try_alloc::copy_cstr(name)?))?;
        names.iter().map(|name| self.remove(name)).fold(Ok(()), Result::and)
    }

    /// Returns false if the cgroup was removed. Every cgroup has the file that this looks for, the real root included. The
    /// check needs no free descriptor.
    pub fn is_alive(&self) -> bool {
        let found = || faccessat(&self.fd, c"cgroup.controllers", AccessFlags::F_OK, AtFlags::empty());
        retry_on_eintr(found) != Err(Errno::ENOENT)
    }

    fn open_at(&self, path: &CStr, flags: OFlag) -> nix::Result<OwnedFd> {
        self.open_raw(path, flags | OFlag::O_NOFOLLOW).map_err(|e| self.settle(e))
    }

    /// Opens with these flags. Restores access if the agent has removed it.
    fn open_raw(&self, path: &CStr, flags: OFlag) -> nix::Result<OwnedFd> {
        let open = || retry_on_eintr(|| openat(&self.fd, path, flags));
        let mut opened = open();
        for _ in 0..RESTORES {
            if opened.as_ref().err() != Some(&Errno::EACCES) || !self.restore(path, flags) {
                break;
            }
            opened = open();
        }
        opened
    }

    /// Settles the error of a write. For `io.max`, `ENODEV` means that the device does not exist.
    fn settle_write(&self, file: &CStr, errno: Errno) -> Errno {
        match errno {
            Errno::ENODEV if self.has(file) => errno,
            other => self.settle(other),
        }
    }

    /// Returns the meaning of an errno from a call on the directory or on an open file in it: `ENOENT` if the file no longer
    /// exists, `ENODEV` if the cgroup was removed.
    pub fn settle(&self, errno: Errno) -> Errno {
        match errno {
            Errno::ENOENT if !self.is_alive() => Errno::ENODEV,
            Errno::ENODEV if self.is_alive() => Errno::ENOENT,
            // From a security module, or for the limits of a namespace's root under nsdelegate.
            Errno::EPERM => Errno::EACCES,
            other => other,
        }
    }
}

impl From<OwnedFd> for Dir {
    /// Takes a descriptor that was open in another process.
    fn from(fd: OwnedFd) -> Self {
        Self { fd, restores: false }
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Reads by one pread(2) from the start: each call on an open descriptor returns the current content.
pub fn read_once<'b>(fd: BorrowedFd<'_>, buf: &'b mut [u8]) -> nix::Result<&'b [u8]> {
    let length = pread_once(fd, buf)?;
    Ok(buf.get(..length).unwrap_or_default())
}

fn pread_once(fd: BorrowedFd<'_>, buf: &mut [u8]) -> nix::Result<usize> {
    retry_on_eintr(|| nix::sys::uio::pread(fd, buf, 0))
}

/// Writes the whole value by one write(2).
pub fn write_once(fd: BorrowedFd<'_>, value: &[u8]) -> nix::Result<()> {
    match retry_on_eintr(|| nix::unistd::write(fd, value)) {
        Ok(n) if n == value.len() => Ok(()),
        Ok(_) => Err(Errno::EIO),
        Err(Errno::EPERM) => Err(Errno::EACCES),
        Err(e) => Err(e),
    }
}

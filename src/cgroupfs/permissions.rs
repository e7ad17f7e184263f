// SPDX-License-Identifier: MIT OR Apache-2.0
//! Access to an agent's files that the agent has taken away. An agent of the calling process's uid owns the files of its
//! group as the calling process does, and can change their modes. A process that is not root must obey modes, but as an
//! owner it can change them back.

use super::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FchmodatFlags, Mode, fchmod, fchmodat, fstat, fstatat, mode_t};
use std::ffi::CStr;

/// What listing a directory, opening its files and removing its children takes.
pub(super) const DIRECTORY: Mode = Mode::S_IRWXU;

/// The kernel makes these files without a right to read them.
const WRITE_ONLY: [&CStr; 2] = [c"cgroup.kill", c"memory.reclaim"];

/// The files that the library writes. The kernel makes each of them with the owner's right to write.
const WRITTEN: [&CStr; 19] = [
    c"cgroup.kill",
    c"cgroup.freeze",
    c"cgroup.procs",
    c"cgroup.subtree_control",
    c"cgroup.max.depth",
    c"cgroup.max.descendants",
    c"cpu.idle",
    c"cpu.max",
    c"cpu.max.burst",
    c"cpu.weight",
    c"io.weight",
    c"memory.high",
    c"memory.low",
    c"memory.max",
    c"memory.min",
    c"memory.oom.group",
    c"memory.reclaim",
    c"memory.swap.max",
    c"pids.max",
];

impl Dir {
    /// Open a cgroup of an agent below this one, whatever its mode. Access to its files, and to those of the cgroups
    /// below it, is restored where it is needed.
    pub fn agents_child(&self, name: &CStr) -> nix::Result<Self> {
        let opened = match self.child(name) {
            Err(Errno::EACCES) if self.allow(name, DIRECTORY) => self.child(name),
            other => other,
        };
        opened.map(Self::of_agent)
    }

    /// The same directory, as one of an agent.
    #[must_use]
    pub fn of_agent(self) -> Self {
        Self { restores: true, ..self }
    }

    /// Restore the right to write a file, for a system call that asks for it by the directory. Returns true if it was
    /// lacking and now is there.
    pub fn restore_write(&self, file: &CStr) -> bool {
        self.restore(file, OFlag::O_WRONLY)
    }

    /// Restore the access to an entry that opening it with these flags takes. Returns true if it was lacking and now is
    /// there. Does nothing outside of an agent's group.
    pub(super) fn restore(&self, name: &CStr, flags: OFlag) -> bool {
        if !self.restores {
            return false;
        }
        let search = self.restore_directory();
        if name.to_bytes().starts_with(b"..") {
            return search;
        }
        let access = flags & OFlag::O_ACCMODE;
        let mut rights = Mode::empty();
        if flags.contains(OFlag::O_DIRECTORY) {
            rights |= DIRECTORY;
        }
        if access != OFlag::O_WRONLY && !WRITE_ONLY.contains(&name) {
            rights |= Mode::S_IRUSR;
        }
        if access != OFlag::O_RDONLY && WRITTEN.contains(&name) {
            rights |= Mode::S_IWUSR;
        }
        self.allow(name, rights) || search
    }

    /// The same for the directory itself.
    pub(super) fn restore_directory(&self) -> bool {
        let lacking = fstat(&self.fd).ok().and_then(|stat| with(stat.st_mode, DIRECTORY));
        self.restores && lacking.is_some_and(|mode| fchmod(&self.fd, mode).is_ok())
    }

    /// Give a file the mode that it has, which inotify(7) reports.
    pub fn touch(&self, name: &CStr) -> nix::Result<()> {
        let mode = fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW)?.st_mode;
        fchmodat(&self.fd, name, Mode::from_bits_truncate(mode), FchmodatFlags::FollowSymlink)
    }

    pub(super) fn allow(&self, name: &CStr, rights: Mode) -> bool {
        let stat = fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW);
        let lacking = stat.ok().and_then(|stat| with(stat.st_mode, rights));
        // EPERM: another uid owns it.
        lacking.is_some_and(|mode| fchmodat(&self.fd, name, mode, FchmodatFlags::FollowSymlink).is_ok())
    }
}

/// A mode with these rights, if it lacks one of them.
fn with(mode: mode_t, rights: Mode) -> Option<Mode> {
    let now = Mode::from_bits_truncate(mode);
    (!now.contains(rights)).then_some(now | rights)
}

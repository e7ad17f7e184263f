// SPDX-License-Identifier: MIT OR Apache-2.0
//! Restores access to an agent's files that the agent has removed. An agent with the uid of the calling process owns the
//! files of its group, too, and can change their modes. Without root the calling process is bound by these modes, but as
//! an owner it can change them back.

use super::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FchmodatFlags, Mode, fchmod, fchmodat, fstat, fstatat, mode_t};
use std::ffi::CStr;

/// The rights that are needed to list a directory, open its files and remove its children.
pub(super) const DIRECTORY: Mode = Mode::S_IRWXU;

/// The kernel creates these files without the right to read them.
const WRITE_ONLY: [&CStr; 2] = [c"cgroup.kill", c"memory.reclaim"];

/// The files that the library writes. The kernel creates each of them with the owner's right to write.
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
    /// Opens an agent's cgroup below this one, whatever its mode. Calls on it restore access to its files, and to those of
    /// the cgroups below it, if they need it.
    pub fn agents_child(&self, name: &CStr) -> nix::Result<Self> {
        let opened = match self.child(name) {
            Err(Errno::EACCES) if self.allow(name, DIRECTORY) => self.child(name),
            other => other,
        };
        opened.map(Self::of_agent)
    }

    /// Marks the directory as one of an agent.
    #[must_use]
    pub fn of_agent(self) -> Self {
        Self { restores: true, ..self }
    }

    /// Restores the right to write a file, for a system call that checks it by the directory. Returns true if the right was
    /// missing and has been restored.
    pub fn restore_write(&self, file: &CStr) -> bool {
        self.restore(file, OFlag::O_WRONLY)
    }

    /// Restores the rights that are needed to open an entry with these flags. Returns true if one was missing and has been
    /// restored. Does nothing outside an agent's group.
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

    /// Restores the rights of the directory itself, in the same way. Its attributes need them.
    pub fn restore_directory(&self) -> bool {
        self.restores && fstat(&self.fd).is_ok_and(|stat| self.restore_directory_from(stat.st_mode))
    }

    /// Does the same for a directory that has this mode.
    pub(super) fn restore_directory_from(&self, mode: mode_t) -> bool {
        with(mode, DIRECTORY).is_some_and(|mode| fchmod(&self.fd, mode).is_ok())
    }

    /// Restores the rights of the directory around this one, which is in an agent's group, too.
    pub fn restore_parent(&self) -> bool {
        self.restores && self.allow(c"..", DIRECTORY)
    }

    /// Sets the mode of a file to its present mode, which inotify(7) reports as a change of attributes.
    pub fn touch(&self, name: &CStr) -> nix::Result<()> {
        let mode = fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW)?.st_mode;
        fchmodat(&self.fd, name, Mode::from_bits_truncate(mode), FchmodatFlags::FollowSymlink)
    }

    /// Adds rights to the mode of an entry. Returns true if one was missing and has been added.
    pub(super) fn allow(&self, name: &CStr, rights: Mode) -> bool {
        let stat = fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW);
        let lacking = stat.ok().and_then(|stat| with(stat.st_mode, rights));
        // EPERM: another uid owns it.
        lacking.is_some_and(|mode| fchmodat(&self.fd, name, mode, FchmodatFlags::FollowSymlink).is_ok())
    }
}

/// Returns the mode with these rights added, or `None` if it has all of them.
fn with(mode: mode_t, rights: Mode) -> Option<Mode> {
    let now = Mode::from_bits_truncate(mode);
    (!now.contains(rights)).then_some(now | rights)
}

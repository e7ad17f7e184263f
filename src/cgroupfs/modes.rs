// SPDX-License-Identifier: MIT OR Apache-2.0
//! An agent of our own uid owns the files of its group as much as we do, and may take our rights to them by their modes,
//! which a host that is not root has to keep to. Being their owner, too, we can take them back.

use super::{Dir, Step};
use crate::sys::descriptors::openat;
use crate::sys::listing::files;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FchmodatFlags, Mode, fchmod, fchmodat, fstat, fstatat, mode_t};
use std::ffi::CStr;
use std::os::fd::AsFd;

/// What is needed to look into a cgroup and to remove those below it.
pub(super) const DIRECTORY: Mode = Mode::S_IRWXU;

/// What killing writes to. All files it may read, and measuring does.
const WRITTEN: [&CStr; 5] = [c"cgroup.kill", c"cgroup.freeze", c"cgroup.procs", c"cpu.max", c"pids.max"];

impl Dir {
    /// Open an agent's cgroup below this one, whatever its mode.
    pub fn agents_child(&self, name: &CStr) -> nix::Result<Self> {
        match self.child(name) {
            Err(Errno::EACCES) if self.allow(name, DIRECTORY) => self.child(name),
            other => other,
        }
    }

    /// Take back what killing, measuring and removing needs, in it and in all below. Tells whether anything was lacking that we
    /// could give ourselves.
    pub fn take_back(&self) -> nix::Result<bool> {
        let mut given = self.take_back_here();
        self.walk(|step| {
            if let Step::Enter(dir) = step {
                given |= dir.take_back_here();
            }
        })?;
        Ok(given)
    }

    fn take_back_here(&self) -> bool {
        let lacking = fstat(&self.0).ok().and_then(|stat| with(stat.st_mode, DIRECTORY));
        let mut given = lacking.is_some_and(|mode| fchmod(&self.0, mode).is_ok());
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        let listing = openat(&self.0, c".", flags);
        // What cannot be listed is not ours, or gone.
        let _listed = listing.and_then(|listing| {
            files(listing.as_fd(), |file| {
                let write = if WRITTEN.contains(&file) { Mode::S_IWUSR } else { Mode::empty() };
                given |= self.allow(file, Mode::S_IRUSR | write);
                Ok(())
            })
        });
        given
    }

    pub(super) fn allow(&self, name: &CStr, rights: Mode) -> bool {
        let stat = fstatat(&self.0, name, AtFlags::AT_SYMLINK_NOFOLLOW);
        let lacking = stat.ok().and_then(|stat| with(stat.st_mode, rights));
        // EPERM: it is another uid's.
        lacking.is_some_and(|mode| fchmodat(&self.0, name, mode, FchmodatFlags::FollowSymlink).is_ok())
    }
}

/// A mode with these rights, if it lacks one.
fn with(mode: mode_t, rights: Mode) -> Option<Mode> {
    let now = Mode::from_bits_truncate(mode);
    (!now.contains(rights)).then_some(now | rights)
}

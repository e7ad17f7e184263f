// SPDX-License-Identifier: MIT OR Apache-2.0
//! The descriptors of a program: each is moved to the number at which the program expects it, and all others are closed.
//!
//! The parent prepares the lists, and the child applies them. The child may share the parent's memory, so it allocates
//! nothing.

#![allow(unsafe_code)]

use super::command::{CLOSED, Command, DEVNULL, Redirection};
use crate::sys::close_from::close_all_but;
use crate::sys::syscall::{close, dup_at_least, open, syscall};
use crate::sys::try_alloc;
use nix::errno::Errno;
use std::ffi::c_int;
use std::os::fd::{AsRawFd, RawFd};

/// The numbers that a program expects, and the descriptors that it gets there.
#[derive(Debug)]
pub(super) struct Redirections {
    /// Sorted by the target, and no target is there twice.
    list: Vec<Redirection>,
    /// The sources of `list`, or where they were moved.
    sources: Vec<RawFd>,
    /// The program's file, close-on-exec once it was moved.
    file: Option<RawFd>,
    /// The numbers that are not closed, sorted. There is room for the file.
    kept: Vec<RawFd>,
    /// The numbers that are in use before that, sorted.
    needed: Vec<RawFd>,
    /// If too few numbers are free, all that are not needed are closed first.
    may_make_room: bool,
}

impl Redirections {
    /// Prepares the descriptors of a program. One of [`Command::descriptors`] has precedence over one of
    /// [`Command::stdio`] with the same number. `also` is another descriptor that the child uses.
    pub fn new(command: &Command<'_>, also: Option<RawFd>) -> nix::Result<Self> {
        let more = &command.descriptors;
        let stdio = (0..).zip(command.stdio).map(|(target, source)| Redirection { source, target });
        let mut list = Vec::new();
        try_alloc::extend(
            &mut list,
            stdio.filter(|one| more.iter().all(|other| other.target != one.target)),
        )?;
        try_alloc::extend(&mut list, more.iter().copied())?;
        list.sort_unstable_by_key(|one| one.target);
        let (mut sources, mut kept, mut needed) = (Vec::new(), Vec::new(), Vec::new());
        try_alloc::extend(&mut sources, list.iter().map(|one| one.source))?;
        try_alloc::extend(&mut kept, list.iter().map(|one| one.target))?;
        try_alloc::reserve(&mut kept, 1)?;
        let file = command.file.map(|file| file.as_raw_fd());
        try_alloc::extend(
            &mut needed,
            kept.iter().chain(&sources).chain(&file).copied().filter(|&fd| fd >= 0),
        )?;
        let before = [command.directory, command.controlling_terminal, command.foreground_of];
        try_alloc::extend(&mut needed, before.iter().flatten().map(AsRawFd::as_raw_fd).chain(also))?;
        needed.sort_unstable();
        needed.dedup();
        Ok(Self { list, sources, file, kept, needed, may_make_room: true })
    }

    /// Fails with `EMFILE` if the host has too few free numbers: the program inherits its RLIMIT_NOFILE.
    pub fn fail_if_short(&mut self) {
        self.may_make_room = false;
    }

    /// Sets up the descriptors of the calling process, which executes a program next.
    ///
    /// # Safety
    /// Nothing else in this process uses a descriptor from now on.
    pub unsafe fn apply(&mut self) -> nix::Result<()> {
        // EINVAL: all numbers from the lowest possible one on are beyond RLIMIT_NOFILE.
        let mut file = self.move_all();
        if matches!(file, Err(Errno::EMFILE | Errno::EINVAL)) && self.may_make_room {
            // SAFETY: as the caller promises.
            unsafe { close_all_but(&self.needed) };
            self.sources.iter_mut().zip(&self.list).for_each(|(source, one)| *source = one.source);
            file = self.move_all();
        }
        self.file = file?;
        for (one, &source) in self.list.iter().zip(&self.sources) {
            put(source, one.target)?;
        }
        if let Some(file) = self.file {
            // It is none of the targets, and there is room for it.
            self.kept.insert(self.kept.partition_point(|&target| target < file), file);
        }
        // SAFETY: as the caller promises.
        unsafe { close_all_but(&self.kept) };
        Ok(())
    }

    /// Closes what neither the program nor the steps before it use.
    ///
    /// # Safety
    /// Nothing else in this process uses the other descriptors from now on.
    pub unsafe fn close_unneeded(&self) {
        // SAFETY: as the caller promises.
        unsafe { close_all_but(&self.needed) };
    }

    /// Returns the descriptor of the program's file.
    pub fn file(&self) -> Option<RawFd> {
        self.file
    }

    /// Moves the sources and the file. Returns the new descriptor of the file.
    fn move_all(&mut self) -> nix::Result<Option<RawFd>> {
        self.move_sources()?;
        self.file.map(|file| dup_elsewhere(file, &self.kept)).transpose()
    }

    /// Moves each source whose number is also a target: it would be overwritten before it is used.
    fn move_sources(&mut self) -> nix::Result<()> {
        for (at, one) in self.list.iter().enumerate() {
            let is_overwritten = one.source != one.target && self.kept.binary_search(&one.source).is_ok();
            if one.source != DEVNULL && !is_overwritten {
                continue;
            }
            // The same source of an earlier one has been moved already, unless it was in its place.
            let earlier = self.list.iter().zip(&self.sources).take(at);
            let moved = earlier
                .into_iter()
                .find(|(other, moved)| other.source == one.source && **moved != one.source);
            let moved = match moved {
                Some((_, &moved)) => moved,
                None if one.source == DEVNULL => open_elsewhere(&self.kept)?,
                None => dup_elsewhere(one.source, &self.kept)?,
            };
            if let Some(source) = self.sources.get_mut(at) {
                *source = moved;
            }
        }
        Ok(())
    }
}

/// Makes a descriptor the program's descriptor `target`.
fn put(source: RawFd, target: RawFd) -> nix::Result<()> {
    if source == CLOSED {
        close(target);
        return Ok(());
    }
    if source < 0 && is_placeholder(target) {
        // The host has this number closed. The placeholder is close-on-exec, so the program has it closed as well.
        return Ok(());
    }
    if source >= 0 && source != target {
        return syscall(libc::SYS_dup3, [source as isize, target as isize, 0, 0, 0]).map(drop);
    }
    match syscall(libc::SYS_fcntl, [target as isize, libc::F_SETFD as isize, 0, 0, 0]) {
        // The host has this number closed, and the child inherits that.
        Err(Errno::EBADF) if source < 0 => Ok(()),
        other => other.map(drop),
    }
}

/// Opens /dev/null at a number that is none of `targets`, which are sorted.
fn open_elsewhere(targets: &[RawFd]) -> nix::Result<RawFd> {
    let null = open(libc::AT_FDCWD, c"/dev/null", libc::O_RDWR)?;
    if targets.binary_search(&null).is_err() {
        return Ok(null);
    }
    let moved = dup_elsewhere(null, targets);
    close(null);
    moved
}

/// Duplicates a descriptor, close-on-exec, to a number that is none of `targets`, which are sorted. All numbers above the
/// targets may be beyond RLIMIT_NOFILE, so the lowest number that is free is used.
fn dup_elsewhere(fd: RawFd, targets: &[RawFd]) -> nix::Result<RawFd> {
    let mut lowest = 0;
    loop {
        lowest = first_number_outside(targets, lowest);
        let moved = dup_at_least(fd, lowest)?;
        if targets.binary_search(&moved).is_err() {
            return Ok(moved);
        }
        close(moved);
        lowest = moved;
    }
}

/// Returns the lowest number that is none of `targets`, from `lowest` on.
fn first_number_outside(targets: &[RawFd], mut lowest: RawFd) -> RawFd {
    let start = targets.partition_point(|&target| target < lowest);
    for &target in targets.get(start..).unwrap_or_default() {
        if target != lowest {
            break;
        }
        lowest = lowest.saturating_add(1);
    }
    lowest
}

/// Returns true if another thread of the host has put a placeholder there while it creates a descriptor
/// ([`crate::sys::descriptors`]).
fn is_placeholder(fd: RawFd) -> bool {
    let has = |command: c_int, flag| {
        syscall(libc::SYS_fcntl, [fd as isize, command as isize, 0, 0, 0])
            .is_ok_and(|flags| flags & flag != 0)
    };
    has(libc::F_GETFL, libc::O_PATH) && has(libc::F_GETFD, libc::FD_CLOEXEC)
}

#[cfg(test)]
mod tests {
    use super::first_number_outside;

    #[test]
    fn a_number_outside_of_the_targets_is_found() {
        for (targets, lowest, expected) in [
            (&[0, 1, 2][..], 0, 3),
            (&[0, 1, 2, 3, 5], 0, 4),
            (&[0, 1, 2, 3, 5], 5, 6),
            (&[0, 1, 2], 7, 7),
            (&[i32::MAX], i32::MAX, i32::MAX),
        ] {
            assert_eq!(first_number_outside(targets, lowest), expected, "{targets:?} from {lowest}");
        }
    }
}

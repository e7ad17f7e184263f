// SPDX-License-Identifier: MIT OR Apache-2.0
//! inotify(7) for single files. nix's wrapper allocates for each event, and owns the descriptor.

use super::retry::retry_on_eintr;
use nix::errno::Errno;
use std::ffi::{CStr, c_int};
use std::os::fd::{AsRawFd, BorrowedFd};

/// A bit of [`FileEvent::what`]: the file was deleted.
pub const DELETED: u32 = libc::IN_DELETE_SELF;
/// A bit of [`FileEvent::what`]: the file's attributes were set, possibly to the values that they had.
pub const ATTRIBUTES: u32 = libc::IN_ATTRIB;

/// Events of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileEvent {
    /// The number that [`add`] returned for the file; -1 if reports were lost.
    pub file: c_int,
    /// The events, as bits.
    pub what: u32,
}

/// Requests reports of these events of a file, in addition to the events that are reported already. Returns the file's
/// number, which is the same each time.
pub fn add(inotify: BorrowedFd<'_>, path: &CStr, what: u32) -> nix::Result<c_int> {
    let what = what | libc::IN_MASK_ADD;
    // SAFETY: the path ends with NUL.
    Errno::result(unsafe { libc::inotify_add_watch(inotify.as_raw_fd(), path.as_ptr(), what) })
}

/// Ends all reports about a file.
pub fn remove(inotify: BorrowedFd<'_>, file: c_int) -> nix::Result<()> {
    // SAFETY: the call takes two integers.
    Errno::result(unsafe { libc::inotify_rm_watch(inotify.as_raw_fd(), file) }).map(drop)
}

/// Reads the next reports, as many as fit into `buf`, without waiting. Returns an empty iterator if there are none.
pub fn read<'b>(
    inotify: BorrowedFd<'_>,
    buf: &'b mut [u8; 4096],
) -> nix::Result<impl Iterator<Item = FileEvent> + use<'b>> {
    let length = match retry_on_eintr(|| nix::unistd::read(inotify, buf)) {
        Err(Errno::EAGAIN) => 0,
        other => other?,
    };
    let mut rest = buf.get(..length).unwrap_or_default();
    Ok(std::iter::from_fn(move || {
        // `struct inotify_event`: the number, the bits, a cookie and the length of the name, which is 0 for a file.
        let (header, behind) = rest.split_first_chunk::<16>()?;
        let mut words = header.chunks_exact(4).map(|word| word.try_into().map_or(0, u32::from_ne_bytes));
        let (file, what, _, name) = (words.next()?, words.next()?, words.next()?, words.next()?);
        rest = behind.get(usize::try_from(name).ok()?..)?;
        Some(FileEvent { file: c_int::from_ne_bytes(file.to_ne_bytes()), what })
    }))
}

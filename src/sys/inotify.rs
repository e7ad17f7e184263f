// SPDX-License-Identifier: MIT OR Apache-2.0
//! inotify(7), for single files.

use nix::errno::Errno;
use std::ffi::{CStr, c_int};
use std::os::fd::{AsRawFd, BorrowedFd};

/// The file was deleted.
pub const DELETED: u32 = libc::IN_DELETE_SELF;
/// Its attributes were set, be it to what they were.
pub const ATTRIBUTES: u32 = libc::IN_ATTRIB;

/// What is reported of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// As [`add`] has returned it; -1 if reports were lost.
    pub file: c_int,
    /// Bits of what happened.
    pub what: u32,
}

/// Have these reported of a file, beside what is reported of it already. Returns a number for it, the same each time.
pub fn add(inotify: BorrowedFd<'_>, path: &CStr, what: u32) -> nix::Result<c_int> {
    let what = what | libc::IN_MASK_ADD;
    // SAFETY: the string ends with NUL.
    Errno::result(unsafe { libc::inotify_add_watch(inotify.as_raw_fd(), path.as_ptr(), what) })
}

/// Have nothing reported of it any more.
pub fn remove(inotify: BorrowedFd<'_>, file: c_int) -> nix::Result<()> {
    // SAFETY: the call takes two integers.
    Errno::result(unsafe { libc::inotify_rm_watch(inotify.as_raw_fd(), file) }).map(drop)
}

/// The next reports, those of `buf` at most, without waiting: none if there are none.
pub fn read<'b>(
    inotify: BorrowedFd<'_>,
    buf: &'b mut [u8; 4096],
) -> nix::Result<impl Iterator<Item = Report> + use<'b>> {
    let length = loop {
        match nix::unistd::read(inotify, buf) {
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => break 0,
            other => break other?,
        }
    };
    let mut rest = buf.get(..length).unwrap_or_default();
    Ok(std::iter::from_fn(move || {
        // Number, bits, a cookie, the length of the name behind, which a file has not.
        let (header, behind) = rest.split_first_chunk::<16>()?;
        let mut words = header.chunks_exact(4).map(|word| word.try_into().map_or(0, u32::from_ne_bytes));
        let (file, what, _, name) = (words.next()?, words.next()?, words.next()?, words.next()?);
        rest = behind.get(usize::try_from(name).ok()?..)?;
        Some(Report { file: c_int::from_ne_bytes(file.to_ne_bytes()), what })
    }))
}

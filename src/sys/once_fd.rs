// SPDX-License-Identifier: MIT OR Apache-2.0
//! A descriptor that threads share without a lock.

use nix::errno::Errno;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU32, Ordering};

/// A cell for one descriptor and a mark, in four bytes: a handle has twenty of them. The descriptor is set at most once, and
/// dropping the cell closes it. The cell has no lock, which a fork could leave locked in the child.
#[derive(Debug)]
pub struct OnceFd(AtomicU32);

/// Bit 0 is the mark. The other bits are the number of the descriptor plus 1, or 0. The kernel's numbers are below 2^28.
const MARK: u32 = 1;

/// Returns the word of a descriptor without a mark.
fn word_of(fd: RawFd) -> u32 {
    (fd.unsigned_abs() + 1) << 1
}

/// Returns the number of the descriptor, if the word has one.
fn number_in(word: u32) -> Option<RawFd> {
    (word >> 1).checked_sub(1).and_then(|fd| RawFd::try_from(fd).ok())
}

impl OnceFd {
    /// Creates an empty cell without a mark.
    pub const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Returns the descriptor, if the cell is set.
    pub fn get(&self) -> Option<BorrowedFd<'_>> {
        self.borrow(self.0.load(Ordering::Acquire))
    }

    /// Returns the descriptor, if the cell is set and has no mark.
    #[inline]
    pub fn get_unmarked(&self) -> Option<BorrowedFd<'_>> {
        let word = self.0.load(Ordering::Acquire);
        if word & MARK == 0 { self.borrow(word) } else { None }
    }

    /// Returns true if the cell has a mark.
    pub fn is_marked(&self) -> bool {
        self.0.load(Ordering::Relaxed) & MARK != 0
    }

    /// Adds or removes the mark.
    pub fn set_mark(&self, marked: bool) {
        if marked {
            self.0.fetch_or(MARK, Ordering::Relaxed);
        } else {
            self.0.fetch_and(!MARK, Ordering::Relaxed);
        }
    }

    #[inline]
    fn borrow(&self, word: u32) -> Option<BorrowedFd<'_>> {
        // SAFETY: `set` gave the descriptor's ownership to this cell. Only drop closes it, and the borrow does not outlive
        // the cell.
        number_in(word).map(|fd| unsafe { BorrowedFd::borrow_raw(fd) })
    }

    /// Sets the cell and keeps the mark. If another thread has set it before, `fd` is closed, and the descriptor of the
    /// other thread is returned.
    pub fn set(&self, fd: OwnedFd) -> Option<BorrowedFd<'_>> {
        let word = word_of(fd.as_raw_fd());
        let add = |now| number_in(now).is_none().then_some(now | word);
        if self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, add).is_ok() {
            // The cell owns it from now on.
            let _ = fd.into_raw_fd();
        }
        self.get()
    }

    /// Replaces the open file behind the cell's descriptor, whose number stays the same. A thread that is reading from the
    /// old file completes its read.
    pub fn replace(&self, fd: BorrowedFd<'_>) -> nix::Result<()> {
        let own = number_in(self.0.load(Ordering::Acquire)).ok_or(Errno::EBADF)?;
        // SAFETY: the cell owns the number and continues to own it: dup3(2) replaces the file atomically.
        Errno::result(unsafe { libc::dup3(fd.as_raw_fd(), own, libc::O_CLOEXEC) }).map(drop)
    }
}

impl Drop for OnceFd {
    fn drop(&mut self) {
        if let Some(fd) = number_in(*self.0.get_mut()) {
            // SAFETY: `set` made this cell the only owner of the descriptor.
            drop(unsafe { OwnedFd::from_raw_fd(fd) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::descriptors::open;
    use nix::fcntl::OFlag;

    fn opened() -> OwnedFd {
        open(c"/", OFlag::O_PATH).expect("a descriptor")
    }

    #[test]
    fn a_mark_and_a_descriptor_do_not_change_each_other() {
        let cell = OnceFd::new();
        cell.set_mark(true);
        assert!(cell.get().is_none() && cell.is_marked());
        let fd = opened();
        let number = fd.as_raw_fd();
        let is_there = |fd: Option<BorrowedFd<'_>>| fd.map(|fd| fd.as_raw_fd()) == Some(number);
        assert!(is_there(cell.set(fd)));
        assert!(is_there(cell.get()) && cell.get_unmarked().is_none() && cell.is_marked());
        cell.set_mark(false);
        assert!(is_there(cell.get()) && is_there(cell.get_unmarked()) && !cell.is_marked());
    }

    #[test]
    fn the_first_descriptor_stays_and_a_later_one_is_closed() {
        let cell = OnceFd::new();
        let (first, later) = (opened(), opened());
        let numbers = [first.as_raw_fd(), later.as_raw_fd()];
        for fd in [first, later] {
            assert_eq!(cell.set(fd).map(|fd| fd.as_raw_fd()), Some(numbers[0]));
        }
        drop(cell);
        let entry = |fd| format!("/proc/self/fd/{fd}");
        // Another test may have got a number again, for another file than this.
        let is_closed = |fd| std::fs::read_link(entry(fd)).map_or(true, |file| file.as_os_str() != "/");
        assert!(numbers.into_iter().all(is_closed));
    }
}

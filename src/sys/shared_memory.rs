// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory that a process and its children have in common even where all else is copied.

use nix::errno::Errno;
use std::ffi::c_void;
use std::ops::Deref;
use std::ptr::{NonNull, null_mut};

/// One value, in a mapping of its own, which goes with it. Nothing in it is dropped: atomic integers need not be.
pub struct SharedMemory<T>(NonNull<T>);

impl<T: Default> SharedMemory<T> {
    pub fn new() -> nix::Result<Self> {
        let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping, where the kernel likes.
        let page = unsafe { libc::mmap(null_mut(), size_of::<T>(), access, flags, -1, 0) };
        let page = NonNull::new(page.cast::<T>()).filter(|page| page.as_ptr().cast() != libc::MAP_FAILED);
        let page = page.ok_or_else(Errno::last)?;
        // SAFETY: a page holds it, and is aligned for anything.
        unsafe { page.write(T::default()) };
        Ok(Self(page))
    }

    pub fn as_ptr(&self) -> *const T {
        self.0.as_ptr()
    }
}

impl<T> Deref for SharedMemory<T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the mapping is there until this is dropped, and written before anybody could look.
        unsafe { self.0.as_ref() }
    }
}

impl<T> Drop for SharedMemory<T> {
    fn drop(&mut self) {
        // SAFETY: our own mapping, which nobody here can name any more.
        unsafe { libc::munmap(self.0.as_ptr().cast::<c_void>(), size_of::<T>()) };
    }
}

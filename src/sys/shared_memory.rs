// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory that a process shares with its children even where all other memory is copied.

use nix::errno::Errno;
use std::ffi::c_void;
use std::ops::Deref;
use std::ptr::{NonNull, null_mut};

/// A value in a shared mapping of its own. Dropping this unmaps the value and does not drop it: it is for atomic integers,
/// which need no drop.
pub struct SharedMemory<T>(NonNull<T>);

impl<T: Default> SharedMemory<T> {
    /// Maps the memory and stores the default value in it.
    pub fn new() -> nix::Result<Self> {
        let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: the kernel chooses the address of the new mapping.
        let page = unsafe { libc::mmap(null_mut(), size_of::<T>(), access, flags, -1, 0) };
        let page = NonNull::new(page.cast::<T>()).filter(|page| page.as_ptr().cast() != libc::MAP_FAILED);
        let page = page.ok_or_else(Errno::last)?;
        // SAFETY: the mapping is as large as the value, and a page is aligned for any type.
        unsafe { page.write(T::default()) };
        Ok(Self(page))
    }

    /// Returns the address, which is the same in children.
    pub fn as_ptr(&self) -> *const T {
        self.0.as_ptr()
    }
}

impl<T> Deref for SharedMemory<T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: `new` has written the value, and the mapping exists until this is dropped.
        unsafe { self.0.as_ref() }
    }
}

impl<T> Drop for SharedMemory<T> {
    fn drop(&mut self) {
        // SAFETY: `new` created the mapping, and no reference to it is left.
        unsafe { libc::munmap(self.0.as_ptr().cast::<c_void>(), size_of::<T>()) };
    }
}

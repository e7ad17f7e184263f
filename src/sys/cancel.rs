// SPDX-License-Identifier: MIT OR Apache-2.0
//! Threads that are to be cancelled. libc ends such a thread in the next of its calls that may wait, by unwinding it, and a
//! frame of Rust's in the way ends the whole program.

use std::ffi::c_int;
use std::ptr::null_mut;

unsafe extern "C" {
    /// pthread_setcancelstate(3): no system call, and async-signal-safe.
    fn pthread_setcancelstate(state: c_int, before: *mut c_int) -> c_int;
}

const DISABLE: c_int = 1;

/// The calling thread is not cancelled until this is dropped. Then it is at its next chance.
pub struct Deferred(c_int);

impl Deferred {
    /// From now on.
    #[inline]
    pub fn begin() -> Self {
        let mut before = 0;
        // SAFETY: the integer is ours.
        unsafe { pthread_setcancelstate(DISABLE, &raw mut before) };
        Self(before)
    }
}

impl Drop for Deferred {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: a state that was in force; where that was goes nowhere.
        unsafe { pthread_setcancelstate(self.0, null_mut()) };
    }
}

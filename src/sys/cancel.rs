// SPDX-License-Identifier: MIT OR Apache-2.0
//! Thread cancellation. libc ends a cancelled thread in its next call that may wait, by unwinding the thread's stack. If
//! that reaches a Rust frame, the whole program aborts.

use std::ffi::c_int;
use std::ptr::null_mut;

unsafe extern "C" {
    /// pthread_setcancelstate(3). It makes no system call and is async-signal-safe.
    fn pthread_setcancelstate(state: c_int, before: *mut c_int) -> c_int;
}

const DISABLE: c_int = 1;

/// While this exists, the calling thread is not cancelled. A request is acted upon at the first cancellation point after
/// it was dropped.
pub struct CancellationDisabled(c_int);

impl CancellationDisabled {
    /// Disable cancellation of the calling thread.
    #[inline]
    pub fn begin() -> Self {
        let mut before = 0;
        // SAFETY: the pointer is that of a local variable.
        unsafe { pthread_setcancelstate(DISABLE, &raw mut before) };
        Self(before)
    }
}

impl Drop for CancellationDisabled {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the state was in force before; the old state is not wanted.
        unsafe { pthread_setcancelstate(self.0, null_mut()) };
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The signals of a thread that makes a child, and of the child: libc keeps two for its threads, and lets nobody
//! block or reset those, but in a child that shares memory no handler of the host's may run at all.

use nix::errno::Errno;
use std::ffi::c_int;
use std::ptr::{null, null_mut};

/// The kernel's sigset_t.
type Mask = u64;

/// Every signal is blocked for the calling thread, and for the children that it makes, until this is dropped.
pub struct BlockedSignals(Mask);

impl BlockedSignals {
    pub fn block_all() -> nix::Result<Self> {
        let mut before = 0;
        set_mask(Mask::MAX, &raw mut before)?;
        Ok(Self(before))
    }
}

impl Drop for BlockedSignals {
    fn drop(&mut self) {
        let _cannot_fail = set_mask(self.0, null_mut());
    }
}

fn set_mask(mask: Mask, before: *mut Mask) -> nix::Result<()> {
    // SAFETY: both are masks of the kernel's size, or none.
    let done = unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const mask, before, size_of::<Mask>())
    };
    Errno::result(done).map(drop)
}

/// In a child before it execs: what was ignored is so no more, nothing has a handler, nothing is blocked.
pub fn reset_signals() {
    // The kernel's struct is not libc's. It is shorter than this, and SIG_DFL without flags is all zero.
    let default = [0u64; 8];
    for signal in 1..=64 {
        let nothing = null::<u64>();
        // SAFETY: the struct is live, and longer than the kernel reads. SIGKILL and SIGSTOP are refused.
        unsafe {
            libc::syscall(libc::SYS_rt_sigaction, signal, &raw const default, nothing, size_of::<Mask>());
        }
    }
    let _cannot_fail = set_mask(0, null_mut());
}

unsafe extern "C" {
    /// pthread_setcancelstate(3): no system call, and async-signal-safe.
    fn pthread_setcancelstate(state: c_int, before: *mut c_int) -> c_int;
}

const DISABLE: c_int = 1;

/// The calling thread is not cancelled until this is dropped. Then it is at its next chance.
pub struct CancellationDisabled(c_int);

impl CancellationDisabled {
    /// From now on.
    #[inline]
    pub fn begin() -> Self {
        let mut before = 0;
        // SAFETY: the integer is ours.
        unsafe { pthread_setcancelstate(DISABLE, &raw mut before) };
        Self(before)
    }
}

impl Drop for CancellationDisabled {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: a state that was in force; where that was goes nowhere.
        unsafe { pthread_setcancelstate(self.0, null_mut()) };
    }
}

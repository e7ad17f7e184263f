// SPDX-License-Identifier: MIT OR Apache-2.0
//! The state of the calling thread: its signals, cancellation, scheduling and seccomp filters.
//!
//! Signals are blocked and reset by system calls. libc reserves two signals for its threads, and its functions do not block
//! or reset those, but in a child that shares memory no handler of the host may run.

use nix::errno::Errno;
use std::ffi::c_int;
use std::ptr::{null, null_mut};

/// The kernel's sigset_t.
type Mask = u64;

/// Blocks every signal for the calling thread, and for the children that it creates, until this value is dropped.
pub struct BlockedSignals(Mask);

impl BlockedSignals {
    /// Blocks every signal.
    pub fn block_all() -> nix::Result<Self> {
        let mut previous = 0;
        set_mask(Mask::MAX, &raw mut previous)?;
        Ok(Self(previous))
    }
}

impl Drop for BlockedSignals {
    fn drop(&mut self) {
        // It cannot fail: the arguments are valid.
        let _ = set_mask(self.0, null_mut());
    }
}

fn set_mask(mask: Mask, previous: *mut Mask) -> nix::Result<()> {
    // SAFETY: both masks have the kernel's size; `previous` may be null.
    let result = unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const mask,
            previous,
            size_of::<Mask>(),
        )
    };
    Errno::result(result).map(drop)
}

/// Sets the signals of a child before execve(2): none is handled, and only these are ignored or blocked. Signal n is bit
/// n - 1.
pub fn set_signals(ignored: u64, blocked: u64) {
    // The kernel's struct differs from libc's. It is shorter than these arrays, and SIG_DFL without flags is all zeros.
    let default = [0usize; 16];
    let mut ignore = default;
    if let Some(handler) = ignore.get_mut(HANDLER) {
        *handler = libc::SIG_IGN;
    }
    for signal in 1..=64 {
        let previous = null::<u64>();
        let action = if (ignored >> (signal - 1)) & 1 == 1 { &ignore } else { &default };
        // SAFETY: the array lives, and is longer than what the kernel reads. The kernel refuses SIGKILL and SIGSTOP.
        unsafe {
            libc::syscall(libc::SYS_rt_sigaction, signal, action.as_ptr(), previous, size_of::<Mask>());
        }
    }
    // It cannot fail: the arguments are valid.
    let _ = set_mask(blocked, null_mut());
}

/// The index of the handler in the kernel's struct sigaction, in words.
const HANDLER: usize = if cfg!(any(target_arch = "mips", target_arch = "mips64")) { 1 } else { 0 };

unsafe extern "C" {
    /// pthread_setcancelstate(3). It makes no system call and is async-signal-safe.
    fn pthread_setcancelstate(state: c_int, previous: *mut c_int) -> c_int;
}

const PTHREAD_CANCEL_DISABLE: c_int = 1;

/// Disables cancellation of the calling thread until this value is dropped. libc unwinds a cancelled thread from its next
/// cancellation point, and a frame of Rust on the stack would abort the whole program.
pub struct CancellationDisabled(c_int);

impl CancellationDisabled {
    /// Disables cancellation.
    #[inline]
    pub fn begin() -> Self {
        let mut previous = 0;
        // SAFETY: libc writes the previous state to an int that lives.
        unsafe { pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &raw mut previous) };
        Self(previous)
    }
}

impl Drop for CancellationDisabled {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: libc returned this state. The pointer may be null.
        unsafe { pthread_setcancelstate(self.0, null_mut()) };
    }
}

/// Returns the name of a thread's scheduling policy if it is a real-time policy. 0 is the calling thread.
pub fn realtime_policy(tid: i32) -> Option<&'static str> {
    // SAFETY: the call takes an integer.
    match unsafe { libc::sched_getscheduler(tid) } & !libc::SCHED_RESET_ON_FORK {
        libc::SCHED_FIFO => Some("SCHED_FIFO"),
        libc::SCHED_RR => Some("SCHED_RR"),
        libc::SCHED_DEADLINE => Some("SCHED_DEADLINE"),
        _ => None,
    }
}

/// Returns true if the calling thread, and therefore each child of it, has a seccomp filter.
pub fn is_filtered() -> bool {
    // SAFETY: this prctl(2) takes integers. Only a filter refuses it.
    unsafe { libc::prctl(libc::PR_GET_SECCOMP, 0, 0, 0, 0) != 0 }
}

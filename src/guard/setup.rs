// SPDX-License-Identifier: MIT OR Apache-2.0
//! The setup of the guard's process: its descriptors, signals, limits and memory.

#![allow(unsafe_code)]

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use std::ffi::c_int;
use std::hint::black_box;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// The descriptor of the socket.
const SOCKET: RawFd = 3;
/// The descriptor of the host's pidfd.
const HOST: RawFd = 4;

/// Returns the descriptors that the library has passed: the socket and, from Linux 5.3 on, a pidfd of the host. Returns None
/// if descriptor 3 is not such a socket: then the program was not started by the library. Call this once.
pub fn inherited() -> Option<(OwnedFd, Option<OwnedFd>)> {
    let mut kind: c_int = 0;
    let mut size = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: the kernel writes one int.
    let result = unsafe {
        libc::getsockopt(SOCKET, libc::SOL_SOCKET, libc::SO_TYPE, (&raw mut kind).cast(), &raw mut size)
    };
    if result != 0 || kind != libc::SOCK_SEQPACKET {
        return None;
    }
    // SAFETY: both are open, and nothing else in this process owns them.
    unsafe {
        let host = (libc::fcntl(HOST, libc::F_GETFD) >= 0).then(|| OwnedFd::from_raw_fd(HOST));
        Some((OwnedFd::from_raw_fd(SOCKET), host))
    }
}

/// True if a SIGTERM has arrived since [`was_terminated`] was called last.
static TERMINATED: AtomicBool = AtomicBool::new(false);

extern "C" fn on_sigterm(_: c_int) {
    TERMINATED.store(true, Ordering::Relaxed);
}

/// Blocks all signals. Returns the mask for a wait, which SIGTERM interrupts.
pub fn block_signals() -> nix::Result<SigSet> {
    SigSet::all().thread_block()?;
    let action = SigAction::new(SigHandler::Handler(on_sigterm), SaFlags::empty(), SigSet::all());
    // SAFETY: the handler stores to an atomic and does nothing else.
    unsafe { sigaction(Signal::SIGTERM, &action)? };
    let mut waiting = SigSet::all();
    waiting.remove(Signal::SIGTERM);
    Ok(waiting)
}

/// Returns true once after each SIGTERM.
pub fn was_terminated() -> bool {
    TERMINATED.swap(false, Ordering::Relaxed)
}

/// Makes the kernel send SIGCONT to this process when a message arrives or the other end of the socket is closed. A SIGSTOP
/// lasts no longer than until then.
pub fn continue_on(socket: BorrowedFd<'_>) -> nix::Result<()> {
    let fd = socket.as_raw_fd();
    // SAFETY: the calls take integers.
    unsafe {
        Errno::result(libc::fcntl(fd, libc::F_SETOWN, libc::getpid()))?;
        Errno::result(libc::fcntl(fd, F_SETSIG, libc::SIGCONT))?;
        let flags = Errno::result(libc::fcntl(fd, libc::F_GETFL))?;
        Errno::result(libc::fcntl(fd, libc::F_SETFL, flags | libc::O_ASYNC))?;
    }
    Ok(())
}

/// The libc crate defines it for few targets only.
const F_SETSIG: c_int = 10;

/// Raises the soft limit of descriptors to the hard limit.
pub fn allow_all_descriptors() {
    // If it fails, the guard has the limit of the host.
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// Returns true if this process has no hard limit of CPU time. With CAP_SYS_RESOURCE it removes such a limit. The soft limit
/// of RLIMIT_CPU only causes SIGXCPU, which is blocked.
pub fn has_unlimited_cpu_time() -> bool {
    let is_unlimited = |(_, hard): (u64, u64)| hard == libc::RLIM_INFINITY;
    getrlimit(Resource::RLIMIT_CPU).is_ok_and(is_unlimited)
        || setrlimit(Resource::RLIMIT_CPU, libc::RLIM_INFINITY, libc::RLIM_INFINITY).is_ok()
}

/// The size of the heap in bytes. It suffices for a walk through a large tree.
const HEAP: c_int = 8 << 20;
/// The size of the stack in bytes.
const STACK: usize = 256 << 10;

/// Reserves memory that no prlimit(2) can take away: a mapping stays, whatever values RLIMIT_AS, RLIMIT_DATA and RLIMIT_STACK
/// get. Pages that are not touched cost nothing.
pub fn reserve_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the parameters are valid. malloc(3) then returns no memory to the kernel, and serves no block by a mapping of
    // its own.
    unsafe {
        libc::mallopt(libc::M_TRIM_THRESHOLD, c_int::MAX);
        libc::mallopt(libc::M_MMAP_MAX, 0);
        libc::mallopt(libc::M_TOP_PAD, HEAP);
    }
    // The block is larger than the initial heap, so that malloc(3) extends the heap by the block and the padding.
    drop(black_box(Vec::<u8>::with_capacity(HEAP as usize / 8)));
    touch_stack();
}

/// Touches the stack, which makes the kernel extend it. The function is not inlined and writes volatile bytes because the
/// optimizer removes an array that is not read.
#[inline(never)]
fn touch_stack() {
    let mut stack = [const { MaybeUninit::<u8>::uninit() }; STACK];
    for byte in stack.iter_mut().step_by(1024) {
        // SAFETY: the byte is part of the array.
        unsafe { byte.as_mut_ptr().write_volatile(1) };
    }
    black_box(&mut stack);
}

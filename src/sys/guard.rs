// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the process of the guard asks of the kernel and of libc for itself, before it works.

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use std::ffi::c_int;
use std::hint::black_box;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

const SOCKET: RawFd = 3;
const HOST: RawFd = 4;

/// The descriptors that the library passes on: the socket and, from Linux 5.3 on, a pidfd of the host. Nothing if
/// descriptor 3 is not such a socket: somebody else started this program. To be called once.
pub fn inherited() -> Option<(OwnedFd, Option<OwnedFd>)> {
    let mut kind: c_int = 0;
    let mut size = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: the kernel writes one int.
    let done = unsafe {
        libc::getsockopt(SOCKET, libc::SOL_SOCKET, libc::SO_TYPE, (&raw mut kind).cast(), &raw mut size)
    };
    if done != 0 || kind != libc::SOCK_SEQPACKET {
        return None;
    }
    // SAFETY: both are open, and nobody else in this process has them.
    unsafe {
        let host = (libc::fcntl(HOST, libc::F_GETFD) >= 0).then(|| OwnedFd::from_raw_fd(HOST));
        Some((OwnedFd::from_raw_fd(SOCKET), host))
    }
}

/// A SIGTERM has come.
static TERMINATED: AtomicBool = AtomicBool::new(false);

extern "C" fn on_sigterm(_: c_int) {
    TERMINATED.store(true, Ordering::Relaxed);
}

/// Block all signals. Returns the mask with which to wait: SIGTERM interrupts that.
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

/// Have the kernel send this process SIGCONT when a message comes or the other end of the socket is closed, so that
/// somebody's SIGSTOP lasts no longer than until then.
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

/// Of Linux; the libc crate has it for few targets.
const F_SETSIG: c_int = 10;

/// As many descriptors as this process may have.
pub fn allow_all_descriptors() {
    // Where it is refused there are as many as the host has.
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    }
}

/// Returns true if the kernel sets no end to the time that this process may use the CPU. A process with
/// CAP_SYS_RESOURCE takes such a limit away. RLIMIT_CPU's soft limit alone only sends SIGXCPU, which is blocked.
pub fn has_endless_cpu_time() -> bool {
    let endless = |(_, most): (u64, u64)| most == libc::RLIM_INFINITY;
    getrlimit(Resource::RLIMIT_CPU).is_ok_and(endless)
        || setrlimit(Resource::RLIMIT_CPU, libc::RLIM_INFINITY, libc::RLIM_INFINITY).is_ok()
}

/// Enough for a walk through a large tree.
const HEAP: c_int = 8 << 20;
const STACK: usize = 256 << 10;

/// Have memory that nobody can take away any more by prlimit(2): a mapping stays, whatever RLIMIT_AS, RLIMIT_DATA and
/// RLIMIT_STACK become. What is not touched costs nothing.
pub fn reserve_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: parameters of malloc(3). It keeps what it has, and never maps a block by itself.
    unsafe {
        libc::mallopt(libc::M_TRIM_THRESHOLD, c_int::MAX);
        libc::mallopt(libc::M_MMAP_MAX, 0);
        libc::mallopt(libc::M_TOP_PAD, HEAP);
    }
    // More than malloc(3) has at the start, so that it asks the kernel once for this and for the padding.
    drop(black_box(Vec::<u8>::with_capacity(HEAP as usize / 8)));
    touch_stack();
}

/// The kernel extends the stack down to what is touched. Not inlined, and volatile: the optimizer makes nothing of an
/// array that is not read.
#[inline(never)]
fn touch_stack() {
    let mut stack = [const { MaybeUninit::<u8>::uninit() }; STACK];
    for byte in stack.iter_mut().step_by(1024) {
        // SAFETY: a byte of the array.
        unsafe { byte.as_mut_ptr().write_volatile(1) };
    }
    black_box(&mut stack);
}

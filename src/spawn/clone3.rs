// SPDX-License-Identifier: MIT OR Apache-2.0
//! Processes that clone3(2) makes right inside a cgroup (5.7). Whether that works here is found by doing it:
//! seccomp filters answer ENOSYS, and kernels of 2025-26 may kill such a child at its birth.

#![allow(unsafe_code)]

use crate::sys::process::{exit, wait};
use crate::sys::thread::BlockedSignals;
use nix::errno::Errno;
use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
/// Linux 7.1: the child's end leaves no zombie and sends no signal. That lasts beyond execve(2).
const CLONE_AUTOREAP: u64 = 0x4_0000_0000;

/// `struct clone_args` as of Linux 5.7, all of it u64.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// A child there ends at once. It sends no signal, and only our wait sees it.
pub fn works(cgroup: BorrowedFd<'_>) -> nix::Result<()> {
    // The host's handlers are not to run in the child.
    let blocked = BlockedSignals::block_all()?;
    let pid = fork(cgroup.as_raw_fd());
    if pid == Ok(0) {
        exit(0);
    }
    drop(blocked);
    match wait(pid?)? {
        0 => Ok(()),
        e => Err(Errno::from_raw(e)),
    }
}

/// fork(2), with an exit signal of 0, into the cgroup of this directory.
fn fork(cgroup: RawFd) -> nix::Result<i32> {
    let args = CloneArgs { flags: CLONE_INTO_CGROUP, cgroup: number(cgroup)?, ..CloneArgs::default() };
    // SAFETY: the arguments are live and as long as said; without CLONE_VM the child has a copy of
    // everything.
    let pid =
        Errno::result(unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) })?;
    i32::try_from(pid).map_err(|_| Errno::ESRCH)
}

/// What a child of [`start`] runs. It does not return.
pub(super) type ChildMain = extern "C" fn(*mut c_void) -> c_int;

/// Whether a child of [`start`] can have a stack of its own, and so the memory of its parent: only where it is made
/// by our own instructions, since from libc's syscall(3) it would return on a stack that is another.
pub(super) const HAS_OWN_STACK: bool = cfg!(any(target_arch = "x86_64", target_arch = "aarch64"));

/// clone(2) with these flags, no exit signal, on that stack, into the cgroup of this directory. The kernel leaves a
/// pidfd at `pidfd` if the flags ask for one.
///
/// # Safety
/// `life` gets along with `argument` and, with CLONE_VM, with the memory of the caller, which has to stand still
/// until the child has exec'd or ended (CLONE_VFORK).
pub(super) unsafe fn start(
    cgroup: RawFd,
    flags: c_int,
    stack: &mut [MaybeUninit<u8>],
    pidfd: *mut c_int,
    child_main: ChildMain,
    argument: *mut c_void,
) -> nix::Result<i32> {
    // SAFETY: the caller's promise.
    unsafe { start_with(0, cgroup, flags, stack, pidfd, child_main, argument) }
}

/// The same for a child that nobody has to wait for. `EINVAL` before Linux 7.1.
///
/// # Safety
/// As of [`start`].
pub(super) unsafe fn start_reaped(
    cgroup: RawFd,
    flags: c_int,
    stack: &mut [MaybeUninit<u8>],
    child_main: ChildMain,
    argument: *mut c_void,
) -> nix::Result<i32> {
    // SAFETY: the caller's promise.
    unsafe { start_with(CLONE_AUTOREAP, cgroup, flags, stack, std::ptr::null_mut(), child_main, argument) }
}

unsafe fn start_with(
    more_flags: u64,
    cgroup: RawFd,
    flags: c_int,
    stack: &mut [MaybeUninit<u8>],
    pidfd: *mut c_int,
    child_main: ChildMain,
    argument: *mut c_void,
) -> nix::Result<i32> {
    let mut args = CloneArgs {
        flags: more_flags | CLONE_INTO_CGROUP | u64::from(flags as u32),
        pidfd: pidfd as u64,
        cgroup: number(cgroup)?,
        ..CloneArgs::default()
    };
    if HAS_OWN_STACK {
        args.stack = stack.as_mut_ptr() as u64;
        // Aligned as the calls of all architectures have it.
        args.stack_size = ((args.stack + stack.len() as u64) & !15) - args.stack;
    }
    // SAFETY: the arguments are live, and the caller's promise.
    let result = unsafe { clone3(&raw const args, child_main, argument) };
    match i32::try_from(result) {
        Ok(pid @ 1..) => Ok(pid),
        Ok(e) => Err(Errno::from_raw(-e)),
        Err(_) => Err(Errno::ESRCH),
    }
}

fn number(cgroup: RawFd) -> nix::Result<u64> {
    u64::try_from(cgroup).map_err(|_| Errno::EBADF)
}

/// The child begins on its own stack, of which nothing is the parent's, and never leaves `life`.
#[cfg(target_arch = "x86_64")]
unsafe fn clone3(args: *const CloneArgs, child_main: ChildMain, argument: *mut c_void) -> isize {
    let result;
    // SAFETY: the caller's promise; the kernel keeps all registers but rax, rcx and r11.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r12",
            "call r13",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone3 as isize => result,
            in("rdi") args,
            in("rsi") size_of::<CloneArgs>(),
            in("r12") argument,
            in("r13") child_main as *const c_void,
            out("rcx") _,
            out("r11") _,
        );
    }
    result
}

/// As above.
#[cfg(target_arch = "aarch64")]
unsafe fn clone3(args: *const CloneArgs, child_main: ChildMain, argument: *mut c_void) -> isize {
    let result;
    // SAFETY: the caller's promise; the kernel keeps all registers but x0.
    unsafe {
        std::arch::asm!(
            "svc #0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, x20",
            "blr x21",
            "brk #1",
            "2:",
            in("x8") libc::SYS_clone3,
            inlateout("x0") args => result,
            in("x1") size_of::<CloneArgs>(),
            in("x20") argument,
            in("x21") child_main as *const c_void,
        );
    }
    result
}

/// Here the child is a copy on the stack that it was made on.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
unsafe fn clone3(args: *const CloneArgs, child_main: ChildMain, argument: *mut c_void) -> isize {
    // SAFETY: the caller's promise, and no memory is shared.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, args, size_of::<CloneArgs>()) };
    match pid {
        0 => {
            child_main(argument);
            exit(0)
        }
        -1 => -(Errno::last_raw() as isize),
        pid => pid as isize,
    }
}

/// clone(2) onto a new stack. Not by libc's function of that name: the thread sanitizer puts one before it which takes
/// every child for one with memory of its own. The child ends with what `life` returns. Returns a negative errno on failure.
#[cfg(target_arch = "x86_64")]
pub(super) unsafe fn clone(
    flags: c_int,
    top: *mut c_void,
    pidfd: *mut c_int,
    child_main: ChildMain,
    argument: *mut c_void,
) -> isize {
    let result;
    // SAFETY: as of `clone3`.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r12",
            "call r13",
            "mov edi, eax",
            "mov eax, {exit}",
            "syscall",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone as isize => result,
            in("rdi") flags as isize,
            in("rsi") top,
            in("rdx") pidfd,
            in("r10") 0_isize,
            in("r8") 0_isize,
            in("r12") argument,
            in("r13") child_main as *const c_void,
            out("rcx") _,
            out("r11") _,
            exit = const libc::SYS_exit_group,
        );
    }
    result
}

/// As above.
#[cfg(target_arch = "aarch64")]
pub(super) unsafe fn clone(
    flags: c_int,
    top: *mut c_void,
    pidfd: *mut c_int,
    child_main: ChildMain,
    argument: *mut c_void,
) -> isize {
    let result;
    // SAFETY: as of `clone3`.
    unsafe {
        std::arch::asm!(
            "svc #0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, x20",
            "blr x21",
            "mov x8, {exit}",
            "svc #0",
            "brk #1",
            "2:",
            in("x8") libc::SYS_clone,
            inlateout("x0") flags as isize => result,
            in("x1") top,
            in("x2") pidfd,
            in("x3") 0_isize,
            in("x4") 0_isize,
            in("x20") argument,
            in("x21") child_main as *const c_void,
            exit = const libc::SYS_exit_group,
        );
    }
    result
}

/// As above, by libc.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(super) unsafe fn clone(
    flags: c_int,
    top: *mut c_void,
    pidfd: *mut c_int,
    child_main: ChildMain,
    argument: *mut c_void,
) -> isize {
    let nothing = std::ptr::null_mut::<c_void>();
    // SAFETY: the caller's promise.
    match unsafe { libc::clone(child_main, top, flags, argument, pidfd, nothing, nothing) } {
        -1 => -(Errno::last_raw() as isize),
        pid => pid as isize,
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! clone(2) and clone3(2), for children that run a function on a stack of their own.
//!
//! clone3(2) can create a child inside a cgroup (CLONE_INTO_CGROUP, Linux 5.7). Only a trial shows whether that works:
//! seccomp filters answer ENOSYS, and kernels of 2025-26 may kill such a child before it runs.

#![allow(unsafe_code)]

use crate::sys::process::{exit, wait};
use crate::sys::thread::BlockedSignals;
use crate::sys::try_alloc;
use nix::errno::Errno;
use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::ptr::null_mut;

const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
/// Linux 7.1: when the child ends it leaves no zombie and sends no signal. This also holds after execve(2).
const CLONE_AUTOREAP: u64 = 0x4_0000_0000;

/// `struct clone_args` of Linux 5.7.
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

/// The size of a child's stack in bytes. The functions that run on it are part of this crate and need far less.
const STACK_BYTES: usize = 64 << 10;

/// The stack of a child. The parent does not touch its memory, so only the pages that the child uses are allocated.
pub(super) struct Stack(Vec<u8>);

impl Stack {
    pub fn new() -> nix::Result<Self> {
        try_alloc::with_capacity(STACK_BYTES).map(Self)
    }

    pub fn bytes(&mut self) -> &mut [MaybeUninit<u8>] {
        self.0.spare_capacity_mut()
    }
}

/// The function that a child runs.
pub(super) type ChildMain = extern "C" fn(*mut c_void) -> c_int;

/// True if [`clone_into_cgroup`] can give the child a stack of its own, and therefore the memory of its parent. It needs
/// the assembler code of this module: after libc's syscall(3) the child would return on a stack that is another.
pub(super) const HAS_OWN_STACK: bool = cfg!(any(target_arch = "x86_64", target_arch = "aarch64"));

/// Creates a child inside the cgroup of this directory and waits for it. The child exits at once, and its exit sends no
/// signal. An error means that programs cannot be started inside the cgroup by clone3(2).
pub fn works(cgroup: BorrowedFd<'_>) -> nix::Result<()> {
    // The host's signal handlers must not run in the child.
    let blocked = BlockedSignals::block_all()?;
    let pid = fork_into_cgroup(cgroup.as_raw_fd());
    if pid == Ok(0) {
        exit(0);
    }
    drop(blocked);
    match wait(pid?)? {
        0 => Ok(()),
        e => Err(Errno::from_raw(e)),
    }
}

/// fork(2) into the cgroup of this directory, with an exit signal of 0.
fn fork_into_cgroup(cgroup: RawFd) -> nix::Result<i32> {
    let args = CloneArgs { flags: CLONE_INTO_CGROUP, cgroup: to_u64(cgroup)?, ..CloneArgs::default() };
    // SAFETY: the kernel reads `args`, which is as long as stated. Without CLONE_VM the child has a copy of the memory.
    let result = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) };
    i32::try_from(Errno::result(result)?).map_err(|_| Errno::ESRCH)
}

/// clone(2) with an exit signal of 0. The child runs `child_main(argument)` on `stack` and exits with what that returns. If
/// `flags` contain CLONE_PIDFD, the kernel stores a pidfd at `pidfd`. In that case the caller has called
/// [`crate::sys::descriptors::occupy_stdio`].
///
/// # Safety
/// `child_main` accepts `argument`. With CLONE_VM it may run in the caller's memory, and `flags` contain CLONE_VFORK, or
/// `stack` and `argument` live until the child has ended.
pub unsafe fn clone(
    flags: c_int,
    stack: &mut [MaybeUninit<u8>],
    pidfd: *mut c_int,
    child_main: ChildMain,
    argument: *mut c_void,
) -> nix::Result<i32> {
    let end = stack.as_mut_ptr().wrapping_add(stack.len());
    let top = end.wrapping_sub(end as usize % 16).cast::<c_void>();
    // SAFETY: the caller's promise. `top` is aligned as the calling conventions require.
    to_pid(unsafe { clone_by_syscall(flags, top, pidfd, child_main, argument) })
}

/// The same as [`clone`], into the cgroup of this directory (Linux 5.7).
///
/// # Safety
/// As for [`clone`]; without [`HAS_OWN_STACK`] `flags` do not contain CLONE_VM.
pub(super) unsafe fn clone_into_cgroup(
    cgroup: RawFd,
    flags: c_int,
    stack: &mut [MaybeUninit<u8>],
    pidfd: *mut c_int,
    child_main: ChildMain,
    argument: *mut c_void,
) -> nix::Result<i32> {
    // SAFETY: the caller's promise.
    unsafe { clone_into_cgroup_with(0, cgroup, flags, stack, pidfd, child_main, argument) }
}

/// The same as [`clone_into_cgroup`], for a child that no process has to wait for. `EINVAL` before Linux 7.1.
///
/// # Safety
/// As for [`clone_into_cgroup`].
pub(super) unsafe fn clone_into_cgroup_autoreap(
    cgroup: RawFd,
    flags: c_int,
    stack: &mut [MaybeUninit<u8>],
    child_main: ChildMain,
    argument: *mut c_void,
) -> nix::Result<i32> {
    // SAFETY: the caller's promise.
    unsafe { clone_into_cgroup_with(CLONE_AUTOREAP, cgroup, flags, stack, null_mut(), child_main, argument) }
}

/// # Safety
/// As for [`clone_into_cgroup`].
unsafe fn clone_into_cgroup_with(
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
        cgroup: to_u64(cgroup)?,
        ..CloneArgs::default()
    };
    if HAS_OWN_STACK {
        args.stack = stack.as_mut_ptr() as u64;
        // The end is aligned to 16 bytes, as the calling conventions require.
        args.stack_size = ((args.stack + stack.len() as u64) & !15) - args.stack;
    }
    // SAFETY: the kernel reads `args`. For the rest the caller's promise holds.
    to_pid(unsafe { clone3(&raw const args, child_main, argument) })
}

/// A pid, or the error of a negative errno.
fn to_pid(result: isize) -> nix::Result<i32> {
    match i32::try_from(result) {
        Ok(pid @ 1..) => Ok(pid),
        Ok(e) => Err(Errno::from_raw(-e)),
        Err(_) => Err(Errno::ESRCH),
    }
}

fn to_u64(fd: RawFd) -> nix::Result<u64> {
    u64::try_from(fd).map_err(|_| Errno::EBADF)
}

/// The child begins on its own stack, of which nothing is the parent's, and never leaves `life`.
#[cfg(target_arch = "x86_64")]
unsafe fn clone3(args: *const CloneArgs, child_main: ChildMain, argument: *mut c_void) -> isize {
    let result;
    // SAFETY: the caller's promise. The kernel preserves all registers except rax, rcx and r11.
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

/// The same for aarch64.
#[cfg(target_arch = "aarch64")]
unsafe fn clone3(args: *const CloneArgs, child_main: ChildMain, argument: *mut c_void) -> isize {
    let result;
    // SAFETY: the caller's promise. The kernel preserves all registers except x0.
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

/// The same by libc. The child has a copy of the memory and runs on the copy of its parent's stack.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
unsafe fn clone3(args: *const CloneArgs, child_main: ChildMain, argument: *mut c_void) -> isize {
    // SAFETY: the caller's promise. Without CLONE_VM no memory is shared.
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

/// clone(2) with a new stack. libc's clone(3) is not used because the thread sanitizer intercepts it and assumes that
/// every child has memory of its own. The child exits with what `child_main` returns. Returns a negative errno on failure.
///
/// # Safety
/// As for [`clone`]. `top` is the end of the stack.
#[cfg(target_arch = "x86_64")]
unsafe fn clone_by_syscall(
    flags: c_int,
    top: *mut c_void,
    pidfd: *mut c_int,
    child_main: ChildMain,
    argument: *mut c_void,
) -> isize {
    let result;
    // SAFETY: as in `clone3`.
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

/// The same for aarch64.
#[cfg(target_arch = "aarch64")]
unsafe fn clone_by_syscall(
    flags: c_int,
    top: *mut c_void,
    pidfd: *mut c_int,
    child_main: ChildMain,
    argument: *mut c_void,
) -> isize {
    let result;
    // SAFETY: as in `clone3`.
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

/// The same by libc.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
unsafe fn clone_by_syscall(
    flags: c_int,
    top: *mut c_void,
    pidfd: *mut c_int,
    child_main: ChildMain,
    argument: *mut c_void,
) -> isize {
    let unused = null_mut::<c_void>();
    // SAFETY: the caller's promise. The arguments for thread data and the thread id are not used without their flags.
    match unsafe { libc::clone(child_main, top, flags, argument, pidfd, unused, unused) } {
        -1 => -(Errno::last_raw() as isize),
        pid => pid as isize,
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Processes that clone3(2) makes right inside a cgroup (5.7). Whether that works here is found by doing it:
//! seccomp filters answer ENOSYS, and kernels of 2025-26 may kill such a child at its birth.

use super::keeper::{exit, wait};
use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

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
    let mut before = SigSet::empty();
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut before))?;
    let pid = fork(cgroup.as_raw_fd());
    if pid == Ok(0) {
        exit(0);
    }
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?;
    match wait(pid?)? {
        0 => Ok(()),
        e => Err(Errno::from_raw(e)),
    }
}

/// fork(2), with an exit signal of 0, into the cgroup of this directory.
pub(super) fn fork(cgroup: RawFd) -> nix::Result<i32> {
    let cgroup = u64::try_from(cgroup).map_err(|_| Errno::EBADF)?;
    let args = CloneArgs { flags: CLONE_INTO_CGROUP, cgroup, ..CloneArgs::default() };
    // SAFETY: the arguments are live and as long as said; without CLONE_VM the child has a copy of
    // everything.
    let pid =
        Errno::result(unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) })?;
    i32::try_from(pid).map_err(|_| Errno::ESRCH)
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Processes: to signal them, to wait for them, and to exit.

use super::retry::retry_on_eintr;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::ffi::c_int;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Sends a signal to one process by kill(2). nix's function takes no real-time signals. Fails with `EINVAL` for a pid
/// below 1, which kill(2) takes for a process group or for all processes.
pub fn kill(pid: i32, signal: c_int) -> nix::Result<()> {
    if pid < 1 {
        return Err(Errno::EINVAL);
    }
    // SAFETY: the call takes two integers.
    Errno::result(unsafe { libc::kill(pid, signal) }).map(drop)
}

/// Sends a signal by pidfd_send_signal(2) (Linux 5.1).
pub fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: c_int) -> nix::Result<()> {
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: the descriptor is open as long as it is borrowed. The call accepts a null siginfo.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, no_info, 0) };
    Errno::result(result).map(drop)
}

/// Returns true if the process of a pidfd has ended, with all its threads. Its parent may not have reaped it yet.
pub fn has_ended(pidfd: BorrowedFd<'_>) -> nix::Result<bool> {
    let mut one = [PollFd::new(pidfd, PollFlags::POLLIN)];
    retry_on_eintr(|| poll(&mut one, PollTimeout::ZERO)).map(|ready| ready > 0)
}

/// Exits at once, without the host's handlers for exit(3).
pub fn exit(status: i32) -> ! {
    // SAFETY: the call ends the process.
    unsafe { libc::_exit(status) }
}

/// Waits for a child with an exit signal of 0, and returns its exit status. Fails with `ECHILD` if it was killed.
pub fn wait(pid: i32) -> nix::Result<i32> {
    let status = wait_status(pid)?;
    if libc::WIFEXITED(status) { Ok(libc::WEXITSTATUS(status)) } else { Err(Errno::ECHILD) }
}

/// Waits for a child with an exit signal of 0, and returns its status as waitpid(2) does.
pub fn wait_status(pid: i32) -> nix::Result<c_int> {
    let mut status = 0;
    // SAFETY: the kernel writes one int. nix's waitpid would fail for a child that a real-time signal has killed.
    retry_on_eintr(|| Errno::result(unsafe { libc::waitpid(pid, &raw mut status, libc::__WCLONE) }))?;
    Ok(status)
}

/// Waits until a child of any kind has ended. Does nothing if another thread of the host has waited for it.
pub fn reap(pid: i32) {
    let _ = waitid(libc::P_PID, pid.unsigned_abs(), libc::WEXITED | libc::__WALL);
}

/// The same as [`reap`] by a pidfd (Linux 5.4).
pub fn reap_pidfd(pidfd: BorrowedFd<'_>) {
    let id = pidfd.as_raw_fd().unsigned_abs();
    let _ = waitid(libc::P_PIDFD, id, libc::WEXITED | libc::__WALL);
}

/// Waits for a process by its pidfd, if it has ended and is a child of the caller. A program that was not started as a child
/// becomes one if the caller is a subreaper, or the init of its pid namespace.
pub fn reap_pidfd_if_ended(pidfd: BorrowedFd<'_>) {
    let id = pidfd.as_raw_fd().unsigned_abs();
    // ECHILD: it is not a child of the caller.
    let _ = waitid(libc::P_PIDFD, id, libc::WEXITED | libc::WNOHANG | libc::__WALL);
}

/// Returns true if a child of any kind has not ended.
pub fn has_not_ended(pid: i32) -> bool {
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | libc::__WALL;
    let (result, info) = waitid(libc::P_PID, pid.unsigned_abs(), flags);
    // SAFETY: the kernel filled in the fields of a child, or left them 0 because none has ended.
    result.is_ok() && unsafe { info.si_pid() } == 0
}

/// waitid(2), again as long as a signal interrupts it. nix's function would fail for a child that a real-time signal has
/// killed.
pub fn waitid(kind: libc::idtype_t, id: libc::id_t, flags: c_int) -> (nix::Result<()>, libc::siginfo_t) {
    // SAFETY: all zeros are a valid `siginfo_t`. The kernel writes to it.
    unsafe {
        let mut info = std::mem::zeroed();
        let result = retry_on_eintr(|| Errno::result(libc::waitid(kind, id, &raw mut info, flags)));
        (result.map(drop), info)
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! A process beside the host program that outlives it, and learns of its end.
//!
//! Made by clone(2) alone: no handler that the host registered for fork(2) runs, and the host may have
//! any number of threads, whose locks are for ever locked in the child. So between clone and its end
//! the child calls nothing that allocates or locks. It is a grandchild, handed to init at once, so that
//! it is nobody's zombie; the child between sends no SIGCHLD (its exit signal is 0), and only a wait
//! with __WCLONE, ours, sees it.

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// Start one. `line` is its end of a socket: it writes its pid there, and ends when the other end is
/// closed in all processes; or, sooner, when the process that `host` names by pidfd is gone, whose
/// children may hold that other end, too.
pub fn start(line: OwnedFd, host: Option<OwnedFd>) -> nix::Result<()> {
    // The host's handlers are not to run in the children.
    let mut before = SigSet::empty();
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut before))?;
    let between = clone();
    if between == Ok(0) {
        let (line, host) = (line.as_raw_fd(), host.as_ref().map_or(-1, AsRawFd::as_raw_fd));
        match clone() {
            Ok(0) => keep(line, host),
            Ok(_) => exit(0),
            Err(e) => exit(e as i32),
        }
    }
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?;
    match wait(between?)? {
        0 => Ok(()),
        e => Err(Errno::from_raw(e)),
    }
}

/// fork(2), with an exit signal of 0.
fn clone() -> nix::Result<i32> {
    // No flags, no stack of its own, no exit signal: whichever of them comes first, it is 0.
    // SAFETY: without CLONE_VM the child has a copy of everything; what it may call is said above.
    let pid = Errno::result(unsafe { libc::syscall(libc::SYS_clone, 0, 0, 0, 0, 0) })?;
    i32::try_from(pid).map_err(|_| Errno::ESRCH)
}

/// Its exit status.
pub(super) fn wait(pid: i32) -> nix::Result<i32> {
    let mut status = 0;
    loop {
        // SAFETY: status is an int of ours.
        match Errno::result(unsafe { libc::waitpid(pid, &raw mut status, libc::__WCLONE) }) {
            Ok(_) if libc::WIFEXITED(status) => return Ok(libc::WEXITSTATUS(status)),
            Ok(_) => return Err(Errno::ECHILD),
            Err(Errno::EINTR) => {}
            Err(e) => return Err(e),
        }
    }
}

pub(super) fn exit(status: i32) -> ! {
    // SAFETY: ends the process, without the host's handlers for exit(3).
    unsafe { libc::_exit(status) }
}

/// The life of the keeper. Signals stay blocked: those of the host's terminal are not for it.
fn keep(line: RawFd, host: RawFd) -> ! {
    const LINE: RawFd = 0;
    const HOST: RawFd = 1;
    // SAFETY: system calls on descriptors that are this process's own, with strings that end with NUL. The
    // two are moved to where nothing is in their way: above all others first, then to 0 and 1.
    unsafe {
        libc::setsid();
        libc::prctl(libc::PR_SET_NAME, c"agentcg-keeper".as_ptr());
        libc::chdir(c"/".as_ptr());
        let line = libc::fcntl(line, libc::F_DUPFD, 3);
        let host = if host < 0 { host } else { libc::fcntl(host, libc::F_DUPFD, 3) };
        libc::dup2(line, LINE);
        if host < 0 || libc::dup2(host, HOST) < 0 {
            libc::close(HOST);
        }
        close_from(HOST + 1);
        let pid = libc::getpid();
        libc::write(LINE, (&raw const pid).cast(), size_of_val(&pid));
    }
    let wait_for = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    let mut ends = [wait_for(LINE), wait_for(if host < 0 { -1 } else { HOST })];
    loop {
        // SAFETY: two pollfds of ours.
        let ended = unsafe { libc::poll(ends.as_mut_ptr(), 2, -1) };
        // Nothing is ever said on the line, so whatever it tells is its end.
        if ended > 0 {
            exit(0);
        }
    }
}

/// Close every descriptor from this one on.
///
/// # Safety
/// Nobody else in this process uses them.
unsafe fn close_from(first: RawFd) {
    // SAFETY: the caller's promise.
    unsafe {
        // Linux 5.9
        if libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) == 0 {
            return;
        }
        let mut limit = libc::rlimit { rlim_cur: 1024, rlim_max: 1024 };
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        let most = RawFd::try_from(limit.rlim_max).unwrap_or(RawFd::MAX).min(1 << 20);
        for fd in first..most {
            libc::close(fd);
        }
    }
}

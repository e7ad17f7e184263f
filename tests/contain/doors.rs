// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a contained agent can still do to others of its uid, and what it cannot.

use super::stage::Stage;
use crate::common::program::How;
use agentcg::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};

/// As a child of its own, which ends at once.
pub fn is_born_in(cgroup: RawFd) -> io::Result<()> {
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    // struct clone_args: flags first, the exit signal fifth, the cgroup's descriptor eleventh.
    let mut args = [0u64; 11];
    (args[0], args[4], args[10]) = (CLONE_INTO_CGROUP, libc::SIGCHLD as u64, cgroup as u64);
    // SAFETY: this process has one thread, and without CLONE_VM the child has a copy of everything.
    #[allow(unsafe_code, reason = "clone3")]
    let pid = unsafe { libc::syscall(libc::SYS_clone3, args.as_ptr(), size_of_val(&args)) };
    match pid {
        0 => crate::common::member::role::exit(0),
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// As a debugger would.
pub fn traces(pid: i32) -> io::Result<()> {
    // SAFETY: it reads and writes no memory.
    #[allow(unsafe_code, reason = "ptrace")]
    let done = unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, 0, 0) };
    Errno::result(done).map(drop).map_err(io::Error::from)
}

/// With a signal that is none, which asks for the same right.
pub fn signals(pid: i32) -> io::Result<()> {
    kill(Pid::from_raw(pid), None).map_err(io::Error::from)
}

#[test]
fn it_does_not_trace_its_host() {
    let stage = Stage::new();
    assert_eq!(stage.play("traces the host", &[], true, How::default()), Err(Errno::EPERM));
    assert_eq!(stage.play("traces the host", &[], false, How::default()), Ok(()));
}

#[test]
fn it_still_signals_its_host() {
    let stage = Stage::new();
    assert_eq!(stage.play("signals the host", &[], true, How::default()), Ok(()));
}

/// Whoever gives one away gives what is below it, and above.
#[test]
fn it_still_gets_out_by_a_directory_that_is_open_in_its_hosts_mounts() {
    let stage = Stage::new();
    let dir = File::open("/tmp").unwrap();
    let how = How { stdio: [dir.as_raw_fd(), 1, 2], ..How::default() };
    assert_eq!(stage.play("climbs from descriptor 0", &[], true, how), Ok(()));
}

/// memory.oom.group is a limit for us, but not for the kernel: /sys/kernel/cgroup/delegate names it.
#[test]
fn it_still_switches_memory_oom_group() {
    let stage = Stage::new();
    let more = ["memory.oom.group", "1"];
    assert_eq!(stage.play("writes to its own file", &more, true, How::default()), Ok(()));
    assert_eq!(stage.agent.cgroup.read("memory.oom.group"), "1");
}

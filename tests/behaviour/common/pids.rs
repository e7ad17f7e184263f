// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pids that are used again, and pidfds.

use super::member::Member;
use nix::sys::signal::kill;
use nix::unistd::{Pid, gettid};
use std::fs;
use std::os::fd::{FromRawFd, OwnedFd};

/// Opens a pidfd of a process.
#[allow(unsafe_code, reason = "nix has no pidfd_open; see SAFETY")]
pub fn pidfd_of(pid: i32) -> OwnedFd {
    // SAFETY: the call takes two integers and returns a new descriptor or an error.
    unsafe {
        let fd = i32::try_from(libc::syscall(libc::SYS_pidfd_open, pid, 0)).unwrap();
        assert!(fd >= 0, "{}", std::io::Error::last_os_error());
        OwnedFd::from_raw_fd(fd)
    }
}

/// While it lives, pids are reused soon.
pub struct FewPids(String);

const PID_MAX: &str = "/proc/sys/kernel/pid_max";

impl FewPids {
    /// After the last pid the kernel continues with this one.
    pub const FIRST: i32 = 300;

    /// Limits the pids of the system until it is dropped.
    pub fn new() -> Self {
        let usual = fs::read_to_string(PID_MAX).unwrap();
        fs::write(PID_MAX, "500").unwrap();
        Self(usual)
    }
}

impl Drop for FewPids {
    fn drop(&mut self) {
        fs::write(PID_MAX, &self.0).unwrap();
    }
}

/// Starts a process with this pid, which is free.
pub fn process_with_pid(pid: i32) -> Member {
    let lives = |id| kill(Pid::from_raw(id), None).is_ok();
    for _ in 0..10 {
        // Threads use up the ids before it.
        let mut ids = (0..1000).map(|_| std::thread::spawn(|| gettid().as_raw()).join().unwrap());
        ids.find(|&id| id < pid && (id + 1..pid).all(lives));
        let member = Member::start("sleeper", &[]);
        if member.pid() == pid {
            return member;
        }
    }
    panic!("the pid {pid} is not reused");
}

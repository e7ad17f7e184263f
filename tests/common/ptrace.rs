// SPDX-License-Identifier: MIT OR Apache-2.0
//! Stopping a member between any two of its system calls.

#![allow(unsafe_code, reason = "ptrace(2) itself; see SAFETY")]

use nix::errno::Errno;
use nix::sys::signal::{Signal, raise};

/// In the role: from here on it stops before and after each system call.
pub fn wait_for_tracer() {
    request(libc::PTRACE_TRACEME, 0);
    raise(Signal::SIGSTOP).expect("raise");
}

/// In the test, on the thread that has started the member: let it run to so manyth a stop, where it waits to be
/// killed. False if it has ended before.
pub fn runs_to_stop(pid: i32, stop: u32) -> bool {
    for stops in 0..=stop {
        if stops > 0 {
            request(libc::PTRACE_SYSCALL, pid);
        }
        if !stops_again(pid) {
            return false;
        }
    }
    true
}

/// The same, letting it run to its end: how often it stopped, twice a system call.
pub fn stops_to_end(pid: i32) -> u32 {
    let mut stops = 0;
    while stops_again(pid) {
        request(libc::PTRACE_SYSCALL, pid);
        stops += 1;
    }
    stops
}

/// Its end is left to be waited for.
fn stops_again(pid: i32) -> bool {
    let id = libc::id_t::try_from(pid).expect("a pid is not negative");
    let wait = |options| {
        let mut info = std::mem::MaybeUninit::<libc::siginfo_t>::zeroed();
        // SAFETY: the kernel fills in what is ours, and all zeros are a siginfo.
        let (done, info) = unsafe {
            let done = libc::waitid(libc::P_PID, id, info.as_mut_ptr(), options | libc::__WALL);
            (done, info.assume_init())
        };
        Errno::result(done).expect("waitid");
        info.si_code
    };
    let stopped = wait(libc::WEXITED | libc::WSTOPPED | libc::WNOWAIT) == libc::CLD_TRAPPED;
    if stopped {
        wait(libc::WSTOPPED);
    }
    stopped
}

fn request(request: libc::c_uint, pid: i32) {
    let nothing = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: none of these requests reads or writes memory.
    Errno::result(unsafe { libc::ptrace(request, pid, nothing, nothing) }).expect("ptrace");
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! System calls that are refused, as containers and sandboxes refuse them.

#![allow(unsafe_code, reason = "nix has no filters")]

use agentcg::Errno;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// From now on these are refused to the calling thread and all that it starts.
pub fn refuse(calls: &[(libc::c_long, Errno)]) {
    let actions: Vec<_> =
        calls.iter().map(|(call, errno)| (*call, libc::SECCOMP_RET_ERRNO | *errno as u32)).collect();
    install(&actions);
    for (call, errno) in calls {
        // SAFETY: it is refused before any argument is looked at.
        let refused = unsafe { libc::syscall(*call, -1, 0) };
        assert_eq!((refused, Errno::last()), (-1, *errno), "the filter refuses");
    }
}

/// From now on the process that makes this call is killed by SIGSYS, as systemd's SystemCallFilter= has it: the
/// calling thread's, and all that it starts.
pub fn kill(call: libc::c_long) {
    install(&[(call, libc::SECCOMP_RET_KILL_PROCESS)]);
}

/// Hears of a system call before it is made.
pub struct Listener(OwnedFd);

/// From now on each such call of the calling thread and of all that it starts waits for the listener.
pub fn listen(call: libc::c_long) -> Listener {
    let mut listener = -1;
    with_filter(&[(call, libc::SECCOMP_RET_USER_NOTIF)], |program| {
        let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
        // SAFETY: the filter is live while the kernel copies it.
        listener = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, program) };
    });
    let fd = Errno::result(i32::try_from(listener).expect("a descriptor")).expect("seccomp");
    // SAFETY: the kernel has just made it.
    Listener(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// struct seccomp_notif: the call's id first.
const NOTIFICATION_WORDS: usize = 10;

impl Listener {
    /// Return when somebody is about to make the call. It waits.
    pub fn wait(&self) -> u64 {
        let mut notification = [0u64; NOTIFICATION_WORDS];
        let request = 0xc000_2100 | (size_of_val(&notification) << 16) as libc::c_ulong;
        loop {
            // SAFETY: it fills what it is given.
            let done = unsafe { libc::ioctl(self.0.as_raw_fd(), request as _, notification.as_mut_ptr()) };
            match Errno::result(done) {
                Ok(_) => return notification[0],
                // It was interrupted, and makes the call anew.
                Err(Errno::ENOENT | Errno::EINTR) => {}
                Err(e) => panic!("seccomp notification: {e}"),
            }
        }
    }

    /// The call is made.
    pub fn go_on(&self, id: u64) {
        // struct seccomp_notif_resp: value, error and SECCOMP_USER_NOTIF_FLAG_CONTINUE.
        let response = [id, 0, 1 << 32];
        let request = 0xc000_2101 | (size_of_val(&response) << 16) as libc::c_ulong;
        // SAFETY: it reads what it is given.
        let done = unsafe { libc::ioctl(self.0.as_raw_fd(), request as _, response.as_ptr()) };
        Errno::result(done).expect("seccomp response");
    }
}

fn install(calls: &[(libc::c_long, u32)]) {
    with_filter(calls, |program| {
        // SAFETY: the filter is live while the kernel copies it.
        let done = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, program) };
        assert_eq!(done, 0);
    });
}

fn with_filter(calls: &[(libc::c_long, u32)], install: impl FnOnce(*const libc::sock_fprog)) {
    let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let number_in_call = 0;
    let mut filter = vec![statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, number_in_call)];
    for (call, action) in calls {
        let mut is_it = statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, *call as u32);
        is_it.jf = 1;
        filter.push(is_it);
        filter.push(statement(libc::BPF_RET | libc::BPF_K, *action));
    }
    filter.push(statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW));
    let len = filter.len().try_into().expect("a short filter");
    let program = libc::sock_fprog { len, filter: filter.as_mut_ptr() };
    // SAFETY: the call takes integers.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
    install(&raw const program);
}

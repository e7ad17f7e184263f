// SPDX-License-Identifier: MIT OR Apache-2.0
//! Filters that refuse system calls, as containers and sandboxes do.

#![allow(unsafe_code, reason = "nix has no filters")]

use agentcg::Errno;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Refuses these calls to the calling thread and all that it starts.
pub fn refuse(calls: &[(libc::c_long, Errno)]) {
    let actions: Vec<_> =
        calls.iter().map(|(call, errno)| (*call, libc::SECCOMP_RET_ERRNO | *errno as u32)).collect();
    install(&actions);
    for (call, errno) in calls {
        // SAFETY: the call is refused before the kernel looks at its arguments.
        let refused = unsafe { libc::syscall(*call, -1, 0) };
        assert_eq!((refused, Errno::last()), (-1, *errno), "the filter refuses");
    }
}

/// From now on SIGSYS kills the process that makes this call, as systemd's SystemCallFilter= does. This
/// applies to the calling thread and all that it starts.
pub fn kill(call: libc::c_long) {
    install(&[(call, libc::SECCOMP_RET_KILL_PROCESS)]);
}

/// Is notified of a system call before it is made.
pub struct Listener(OwnedFd);

/// From now on each such call, of the calling thread and all that it starts, waits for the listener.
pub fn listen(call: libc::c_long) -> Listener {
    let mut listener = -1;
    with_filter(&[(call, libc::SECCOMP_RET_USER_NOTIF)], |program| {
        let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
        // SAFETY: the filter is live while the kernel copies it.
        listener = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, program) };
    });
    let fd = Errno::result(i32::try_from(listener).expect("a descriptor")).expect("seccomp");
    // SAFETY: the kernel has just created the descriptor, and nothing else owns it.
    Listener(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The size of struct seccomp_notif in words. Its first word is the id of the call.
const NOTIFICATION_WORDS: usize = 10;

impl Listener {
    /// Waits until a process is about to make the call, and returns the id of the call.
    pub fn wait(&self) -> u64 {
        let mut notification = [0u64; NOTIFICATION_WORDS];
        let request = 0xc000_2100 | (size_of_val(&notification) << 16) as libc::c_ulong;
        loop {
            // SAFETY: the kernel writes no more than the size in the request, which is that of the array.
            let done = unsafe { libc::ioctl(self.0.as_raw_fd(), request as _, notification.as_mut_ptr()) };
            match Errno::result(done) {
                Ok(_) => return notification[0],
                // The call was interrupted and is made again.
                Err(Errno::ENOENT | Errno::EINTR) => {}
                Err(e) => panic!("seccomp notification: {e}"),
            }
        }
    }

    /// Lets the call proceed.
    pub fn go_on(&self, id: u64) {
        // struct seccomp_notif_resp: id, value, error and SECCOMP_USER_NOTIF_FLAG_CONTINUE.
        let response = [id, 0, 1 << 32];
        let request = 0xc000_2101 | (size_of_val(&response) << 16) as libc::c_ulong;
        // SAFETY: the kernel reads no more than the size in the request, which is that of the array.
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

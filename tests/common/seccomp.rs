// SPDX-License-Identifier: MIT OR Apache-2.0
//! System calls that are refused, as containers and sandboxes refuse them.

#![allow(unsafe_code, reason = "nix has no filters")]

use agentcg::Errno;

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

fn install(calls: &[(libc::c_long, u32)]) {
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
    // SAFETY: the filter is live while the kernel copies it.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program), 0);
    }
}

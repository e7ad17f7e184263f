// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the kernel's version decides. The library asks files and errnos for what a kernel can do. Three properties of
//! kernels show nowhere until it is too late to ask.

use crate::parse::{Release, release};
use nix::sys::utsname::uname;
use std::os::unix::ffi::OsStrExt;
use std::sync::OnceLock;

/// Whether `populated` in `cgroup.events` stays 1 for tasks that never run again. From Linux 6.19 on (commit d245698d727a) a
/// task leaves its cgroup in its last context switch. The init of a pid namespace waits before that for its zombies to be
/// reaped. Before 6.19 `populated` is exact, and nothing else is: a process that goes from cgroup to cgroup while their
/// lists are read can be in none of them.
pub fn populated_outlives_death() -> bool {
    running() >= Some(Release { version: (6, 19, 0), candidate: 0 })
}

/// Whether rmdir(2) of a cgroup with such tasks may sleep, uninterruptibly and for ever if the caller is the one that has
/// to reap them (CVE-2026-46223): from 6.19.11 on, and until commit 1b164b876c36 in 7.1-rc3. Stable kernels of 7.0 that
/// have that commit do not differ in anything that can be seen without trying.
pub fn rmdir_may_hang() -> bool {
    let [first, mended] =
        [Release { version: (6, 19, 11), candidate: 0 }, Release { version: (7, 1, 0), candidate: 3 }];
    running().is_some_and(|running| first <= running && running < mended)
}

/// Whether a core dump kills all processes that share the memory, as a child before execve(2) shares the host's. From Linux
/// 5.16 on (commit 0258b5fd7c71) it means one thread group.
pub fn core_dump_kills_all_who_share() -> bool {
    running().is_none_or(|running| running < Release { version: (5, 16, 0), candidate: 0 })
}

fn running() -> Option<Release> {
    static RUNNING: OnceLock<Option<Release>> = OnceLock::new();
    *RUNNING.get_or_init(|| uname().ok().and_then(|name| release(name.release().as_bytes())))
}

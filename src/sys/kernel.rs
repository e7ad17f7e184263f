// SPDX-License-Identifier: MIT OR Apache-2.0
//! Properties of the kernel that only its version shows.
//!
//! The library otherwise learns from files and errnos what a kernel can do. These three properties cannot be found out
//! that way before they do harm.

use crate::parse::{Release, release};
use nix::sys::utsname::uname;
use std::os::unix::ffi::OsStrExt;
use std::sync::OnceLock;

/// Returns true if `populated` in `cgroup.events` stays 1 for tasks that never run again.
///
/// From Linux 6.19 on (commit d245698d727a) a task leaves its cgroup in its last context switch. The init of a pid
/// namespace waits before that until its zombies are reaped. Before 6.19 `populated` is exact. It is the only exact source:
/// a process that moves from cgroup to cgroup while their lists are read can be missing in all of them.
pub fn populated_outlives_death() -> bool {
    running() >= Some(Release { version: (6, 19, 0), candidate: 0 })
}

/// Returns true if rmdir(2) of a cgroup with such tasks may sleep uninterruptibly (CVE-2026-46223). It sleeps forever if
/// the caller is the process that has to reap the tasks.
///
/// This applies from 6.19.11 until commit 1b164b876c36 in 7.1-rc3. A stable kernel 7.0 with that commit can be distinguished from
/// one without it only by trying.
pub fn rmdir_may_hang() -> bool {
    let [first, fixed] =
        [Release { version: (6, 19, 11), candidate: 0 }, Release { version: (7, 1, 0), candidate: 3 }];
    running().is_some_and(|running| first <= running && running < fixed)
}

/// Returns true if a core dump kills all processes that share the memory of the dumping process. A child shares the host's
/// memory until execve(2). From Linux 5.16 on (commit 0258b5fd7c71) a core dump kills only one thread group.
pub fn core_dump_kills_processes_with_same_memory() -> bool {
    running().is_none_or(|running| running < Release { version: (5, 16, 0), candidate: 0 })
}

fn running() -> Option<Release> {
    static RUNNING: OnceLock<Option<Release>> = OnceLock::new();
    *RUNNING.get_or_init(|| uname().ok().and_then(|name| release(name.release().as_bytes())))
}

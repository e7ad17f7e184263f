// SPDX-License-Identifier: MIT OR Apache-2.0
//! Code that the tests share. It reads the kernel's own files, never through the library under test.

pub mod cgroup;
pub mod device;
pub mod fixture;
pub mod group;
pub mod lab;
pub mod measured;
pub mod mounts;
pub mod pids;
pub mod program;
pub mod ptrace;
pub mod seccomp;
pub mod spawn_path;
#[macro_use]
pub mod member;

roles![member::sleeper, member::burner, member::hog, fixture::bystander, device::reads_on];

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Returns the state of a process's main thread as `/proc/PID/stat` has it, or `None` if there is no such process.
pub fn state_of(pid: i32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may contain parentheses itself.
    stat.rsplit(") ").next()?.chars().next()
}

/// A wait that lasts longer than this has failed. It is much longer than any wait here takes, even if two
/// guests share a busy machine.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// Returns the deadline for the library's waits.
pub fn deadline() -> agentcg::Deadline {
    agentcg::Deadline::after(TIMEOUT)
}

/// Waits for a condition that has no notification.
pub fn wait_until(what: &str, condition: impl FnMut() -> bool) {
    check_until(what, condition, std::thread::yield_now);
}

/// Waits for a condition that reads a total of a pressure file.
pub fn wait_until_stalled(condition: impl FnMut() -> bool) {
    check_until("the group has stalled", condition, pause_between_pressures);
}

/// Waits before a pressure file is read again. The kernel does not count the time between two reads that is shorter than a
/// tick (`get_recent_times` in kernel/sched/psi.c), so a total that is read all the time does not grow. A tick is at most
/// 10 ms.
pub fn pause_between_pressures() {
    std::thread::sleep(Duration::from_millis(20));
}

fn check_until(what: &str, mut condition: impl FnMut() -> bool, pause: fn()) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < TIMEOUT, "timeout while waiting until {what}");
        pause();
    }
}

/// Returns the number of repetitions for a test that has `most` of them: `make check` runs one of
/// `AGENTCG_STRIDE`.
pub fn repetitions(most: usize) -> usize {
    most.div_ceil(ptrace::stride() as usize)
}

/// Locks the place, for tests that look at all of it: only one at a time may change it.
pub fn lock_place() -> MutexGuard<'static, ()> {
    static PLACE: Mutex<()> = Mutex::new(());
    PLACE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns a snapshot of everything below the top of the mounted hierarchy and the cgroup of this process, or
/// nothing if there is no cgroup2.
pub fn hierarchy_snapshot() -> impl PartialEq + std::fmt::Debug {
    (lab::layout() != "legacy").then(|| {
        let mut top = cgroup::Cgroup::own();
        while top.parent().has("cgroup.controllers") {
            top = top.parent();
        }
        (top.snapshot(), std::fs::read("/proc/self/cgroup").expect("/proc is mounted"))
    })
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the tests of behaviour share. They look at the kernel's own files, never through the library
//! that they test.

#![allow(dead_code, unused_macros, reason = "each test program uses a part of it")]

pub mod arena;
pub mod cgroup;
pub mod device;
pub mod group;
pub mod lab;
pub mod measured;
pub mod mounts;
pub mod program;
pub mod ptrace;
pub mod seccomp;
pub mod way;
#[macro_use]
pub mod member;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Returns the state of a process's main thread as `/proc/PID/stat` has it, or `None` if there is no such process.
pub fn state_of(pid: i32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may contain parentheses itself.
    stat.rsplit(") ").next()?.chars().next()
}

/// A wait that lasts longer than this has failed. Far more than anything here takes, even where two
/// guests share a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// For the library's waits.
pub fn patience() -> agentcg::Deadline {
    agentcg::Deadline::after(PATIENCE)
}

/// Wait for what no file notifies of.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::yield_now();
    }
}

/// The number of repetitions for a test that has `most` of them: `make check` runs one of `AGENTCG_STRIDE`.
pub fn of_many(most: usize) -> usize {
    most.div_ceil(ptrace::stride() as usize)
}

/// For tests that look at the whole place: only one at a time may change it.
pub fn alone() -> MutexGuard<'static, ()> {
    static PLACE: Mutex<()> = Mutex::new(());
    PLACE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Everything under the top of what is mounted, and where we are in it; nothing, where no cgroup2 is.
pub fn whole() -> impl PartialEq + std::fmt::Debug {
    (lab::layout() != "legacy").then(|| {
        let mut top = cgroup::Cgroup::own();
        while top.parent().has("cgroup.controllers") {
            top = top.parent();
        }
        (top.picture(), std::fs::read("/proc/self/cgroup").expect("/proc is mounted"))
    })
}

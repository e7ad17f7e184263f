// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the tests of behaviour share. They look at the kernel's own files, never through the library
//! that they test.

#![allow(dead_code, unused_macros, reason = "each test program uses a part of it")]

pub mod cgroup;
pub mod group;
pub mod lab;
pub mod measured;
pub mod mounts;
#[macro_use]
pub mod member;

use std::time::{Duration, Instant};

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

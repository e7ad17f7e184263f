// SPDX-License-Identifier: MIT OR Apache-2.0
//! The agent is contained on each spawn path.

use super::fixture::Fixture;
use crate::common::program::StartOptions;
use crate::common::seccomp;
use crate::common::spawn_path::SpawnPath;
use agentcg::Errno;
use std::fs::File;
use std::os::fd::AsRawFd;

/// Runs the test on a new thread, since a filter cannot be removed.
pub fn on_each_spawn_path(
    filter: &'static [(libc::c_long, Errno)],
    test: impl Fn(&Fixture) + Copy + Send + 'static,
) {
    for path in SpawnPath::ALL {
        let thread = std::thread::spawn(move || {
            let fixture = Fixture::new();
            path.close(&fixture.agent);
            seccomp::refuse(filter);
            test(&fixture);
        });
        thread.join().unwrap_or_else(|_| panic!("spawn path {path:?}"));
    }
}

#[test]
fn an_agent_is_contained_on_each_spawn_path() {
    on_each_spawn_path(&[], check_contained);
}

pub fn check_contained(fixture: &Fixture) {
    let dir = File::open(&fixture.sibling.cgroup.0).unwrap();
    let options = StartOptions { stdio: [dir.as_raw_fd(), 1, 2], ..StartOptions::default() };
    for contain in [true, false] {
        let expected = |errno| if contain { Err(errno) } else { Ok(()) };
        let play = |attempt, more: &[&str]| fixture.attempt(attempt, more, contain, options);
        assert_eq!(play("writes to its own file", &["memory.max", "max"]), expected(Errno::EPERM));
        assert_eq!(play("reads memory.max of its sibling", &[]), expected(Errno::ENOENT));
        assert_eq!(play("unmounts in its own namespaces", &[]), expected(Errno::ENOENT));
        assert_eq!(play("moves to its sibling through descriptor 0", &[]), expected(Errno::ENOENT));
    }
}

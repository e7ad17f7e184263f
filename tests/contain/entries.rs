// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ways into the group, on all of which it is contained.

use super::fixture::Fixture;
use crate::common::program::StartOptions;
use crate::common::seccomp;
use crate::common::spawn_path::SpawnPath;
use agentcg::Errno;
use std::fs::File;
use std::os::fd::AsRawFd;

/// On a thread of its own, since filters stay.
pub fn on_each_spawn_path(
    filter: &'static [(libc::c_long, Errno)],
    test: impl Fn(&Fixture) + Copy + Send + 'static,
) {
    for path in SpawnPath::ALL {
        let alone = std::thread::spawn(move || {
            let stage = Fixture::new();
            path.close(&stage.agent);
            seccomp::refuse(filter);
            test(&stage);
        });
        alone.join().unwrap_or_else(|_| panic!("spawn path {path:?}"));
    }
}

#[test]
fn it_is_held_on_each_way() {
    on_each_spawn_path(&[], is_held);
}

pub fn is_held(stage: &Fixture) {
    let dir = File::open(&stage.sibling.cgroup.0).unwrap();
    let how = StartOptions { stdio: [dir.as_raw_fd(), 1, 2], ..StartOptions::default() };
    for contain in [true, false] {
        let done = |errno| if contain { Err(errno) } else { Ok(()) };
        let play = |act, more: &[&str]| stage.play(act, more, contain, how);
        assert_eq!(play("writes to its own file", &["memory.max", "max"]), done(Errno::EPERM));
        assert_eq!(play("reads its sibling's memory.max", &[]), done(Errno::ENOENT));
        assert_eq!(play("unmounts in namespaces of its own", &[]), done(Errno::ENOENT));
        assert_eq!(play("moves to its sibling by descriptor 0", &[]), done(Errno::ENOENT));
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ways into a group, and how one of them is closed.

use crate::common::group::Group;
use crate::common::member::role;
use crate::common::program::{self, StartOptions};
use agentcg::{Agent, Errno};
use nix::sys::wait::WaitStatus;

pub use crate::common::spawn_path::SpawnPath;

/// Exits with the status that it is told.
pub fn ends(args: &[String]) {
    role::exit(args[0].parse().unwrap());
}

/// On a thread of its own, since a filter stays.
fn on_each_spawn_path(test: impl Fn(SpawnPath, &Group) + Copy + Send + 'static) {
    for path in SpawnPath::ALL {
        let alone = std::thread::spawn(move || {
            let group = Group::plain();
            path.close(&group);
            test(path, &group);
            group.destroy();
        });
        alone.join().unwrap_or_else(|_| panic!("spawn path {path:?}"));
    }
}

#[test]
fn a_program_ends_as_it_likes_on_each_way() {
    on_each_spawn_path(|_, group| {
        for status in [0, 7] {
            let how = StartOptions { args: &[&status.to_string()], ..StartOptions::default() };
            let child = program::start(group, "ends", how).unwrap();
            assert!(child.pidfd.is_none());
            assert!(matches!(program::wait(&child), WaitStatus::Exited(_, code) if code == status));
        }
    });
}

/// Those that open it anew do not know what others have seen.
#[test]
fn what_is_killed_at_birth_is_started_once_and_by_each_handle() {
    let group = Group::plain();
    SpawnPath::KilledAtBirth.close(&group);
    for _ in 0..20 {
        let guest = Agent::open(None, group.uuid(), false).unwrap();
        let how = StartOptions { args: &["3"], ..StartOptions::default() };
        let child = program::start(&guest, "ends", how).unwrap();
        assert!(matches!(program::wait(&child), WaitStatus::Exited(_, 3)));
    }
    group.destroy();
}

#[test]
fn a_program_that_is_not_there_leaves_no_child_on_each_way() {
    on_each_spawn_path(|_, group| {
        let program = program::command(&[c"/nowhere", c"/proc/self/exe/nowhere"], [c"x"]);
        let e = group.spawn(&program, agentcg::SpawnOptions { pidfd: true, contain: false }).unwrap_err();
        assert_eq!((e.errno(), e.reason()), (Errno::ENOENT, None), "{e}");
        assert!(group.cgroup.members().is_empty() && program::no_child_is_left());
    });
}

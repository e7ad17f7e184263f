// SPDX-License-Identifier: MIT OR Apache-2.0
//! The spawn paths, and the exit status or error of a program on each of them.

use crate::common::group::Group;
use crate::common::member::role;
use crate::common::program::{self, StartOptions};
use agentcg::{Agent, Errno, Reason};
use nix::sys::wait::WaitStatus;

pub use crate::common::spawn_path::SpawnPath;

/// A role that exits with the status in its argument.
pub fn ends(args: &[String]) {
    role::exit(args[0].parse().unwrap());
}

/// Runs the test on a new thread, since a filter cannot be removed.
pub fn on_each_spawn_path(test: impl Fn(SpawnPath, &Group) + Copy + Send + 'static) {
    for path in SpawnPath::ALL {
        let thread = std::thread::spawn(move || {
            let group = Group::plain();
            path.close(&group);
            test(path, &group);
            group.destroy();
        });
        thread.join().unwrap_or_else(|_| panic!("spawn path {path:?}"));
    }
}

#[test]
fn the_exit_status_of_a_program_is_received_on_each_spawn_path() {
    on_each_spawn_path(|_, group| {
        for status in [0, 7] {
            let options = StartOptions { args: &[&status.to_string()], ..StartOptions::default() };
            let child = program::start(group, "ends", options).unwrap();
            assert!(child.pidfd.is_none());
            assert!(matches!(program::wait(&child), WaitStatus::Exited(_, code) if code == status));
        }
    });
}

/// A new handle does not know what another one has learned about the kernel.
#[test]
fn each_new_handle_starts_a_program_that_would_be_killed_at_its_creation() {
    let group = Group::plain();
    SpawnPath::KilledAtCreation.close(&group);
    for _ in 0..20 {
        let handle = Agent::open(None, group.uuid(), false).unwrap();
        let options = StartOptions { args: &["3"], ..StartOptions::default() };
        let child = program::start(&handle, "ends", options).unwrap();
        assert!(matches!(program::wait(&child), WaitStatus::Exited(_, 3)));
    }
    group.destroy();
}

#[test]
fn a_missing_program_leaves_no_child_on_each_spawn_path() {
    on_each_spawn_path(|_, group| {
        let program = program::command(&[c"/nowhere", c"/proc/self/exe/nowhere"], [c"x"]);
        let e = group.spawn(&program, agentcg::SpawnOptions { pidfd: true, contain: false }).unwrap_err();
        assert_eq!((e.errno(), e.reason()), (Errno::ENOENT, Some(Reason::NotExecuted)), "{e}");
        assert!(group.cgroup.members().is_empty() && program::no_child_is_left());
    });
}

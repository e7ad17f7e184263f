// SPDX-License-Identifier: MIT OR Apache-2.0
//! If a group is frozen while a program is being started in it, the calling thread does not wait for the
//! thaw.

use super::entries::SpawnPath;
use crate::common::group::Group;
use crate::common::program::{self, StartOptions};
use crate::common::{TIMEOUT, deadline, seccomp};
use agentcg::Errno;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

fn start_program(group: &Group) -> agentcg::Result<agentcg::Child> {
    program::start(group, "ends", StartOptions { args: &["0"], ..StartOptions::default() })
}

/// The child is in execve(2) when another program freezes the group. That program thaws it only after the
/// calling thread has returned.
fn check_no_wait(path: SpawnPath) {
    let group = Group::plain();
    // The first refusal makes the library expect a freeze by another program.
    group.freeze(deadline()).unwrap();
    assert_eq!(start_program(&group).unwrap_err().errno(), Errno::EBUSY);
    group.thaw(deadline()).unwrap();
    path.close(&group);
    let listener = seccomp::listen(libc::SYS_execve);
    let has_returned = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            listener.wait();
            group.cgroup.write("cgroup.freeze", 1);
            let start = Instant::now();
            while !has_returned.load(Ordering::SeqCst) && start.elapsed() < TIMEOUT {
                std::thread::yield_now();
            }
            group.cgroup.write("cgroup.freeze", 0);
            if !has_returned.load(Ordering::SeqCst) {
                // The execve(2) of the child is restarted.
                listener.go_on(listener.wait());
                panic!("the calling thread waits for the thaw");
            }
        });
        let e = start_program(&group).unwrap_err();
        has_returned.store(true, Ordering::SeqCst);
        assert_eq!((e.errno(), e.file()), (Errno::EBUSY, "cgroup.freeze"), "{e}");
    });
    assert!(program::no_child_is_left());
    group.destroy();
}

#[test]
fn spawn_does_not_wait_for_a_thaw_if_the_program_is_created_in_the_group() {
    std::thread::spawn(|| check_no_wait(SpawnPath::CreatedInside)).join().unwrap();
}

#[test]
fn spawn_does_not_wait_for_a_thaw_if_the_program_enters_the_group() {
    std::thread::spawn(|| check_no_wait(SpawnPath::Clone3Refused)).join().unwrap();
}

/// A freeze by the library waits until the programs that are being started have begun.
#[test]
fn the_first_freeze_by_the_library_does_not_block_spawn() {
    for _ in 0..10 {
        let group = Group::plain();
        std::thread::scope(|scope| {
            let starter = scope.spawn(|| {
                let mut begun = Vec::new();
                loop {
                    match start_program(&group) {
                        Ok(child) => begun.push(child),
                        Err(e) => {
                            assert_eq!(e.errno(), Errno::EBUSY, "{e}");
                            return begun;
                        }
                    }
                }
            });
            group.freeze(deadline()).unwrap();
            // The group is still frozen, but the starter returns.
            let begun = starter.join().unwrap();
            group.thaw(deadline()).unwrap();
            for child in &begun {
                program::wait(child);
            }
        });
        group.destroy();
    }
}

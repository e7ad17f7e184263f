// SPDX-License-Identifier: MIT OR Apache-2.0
//! A group that is frozen just while a program is being started in it does not hold the host's thread until it thaws.

use super::entries::SpawnPath;
use crate::common::group::Group;
use crate::common::program::{self, StartOptions};
use crate::common::{TIMEOUT, deadline, seccomp};
use agentcg::Errno;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

fn ends(group: &Group) -> agentcg::Result<agentcg::Child> {
    program::start(group, "ends", StartOptions { args: &["0"], ..StartOptions::default() })
}

/// The child is in execve(2) when somebody freezes it, as another program would, who thaws it again only once the host's
/// thread has come back.
fn nobody_waits(path: SpawnPath) {
    let group = Group::plain();
    // It is known from then on that somebody does.
    group.freeze(deadline()).unwrap();
    assert_eq!(ends(&group).unwrap_err().errno(), Errno::EBUSY);
    group.thaw(deadline()).unwrap();
    path.close(&group);
    let listener = seccomp::listen(libc::SYS_execve);
    let is_back = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            listener.wait();
            group.cgroup.write("cgroup.freeze", 1);
            let start = Instant::now();
            while !is_back.load(Ordering::SeqCst) && start.elapsed() < TIMEOUT {
                std::thread::yield_now();
            }
            group.cgroup.write("cgroup.freeze", 0);
            if !is_back.load(Ordering::SeqCst) {
                // Its execve(2) begins anew.
                listener.go_on(listener.wait());
                panic!("the host's thread waits for the thaw");
            }
        });
        let e = ends(&group).unwrap_err();
        is_back.store(true, Ordering::SeqCst);
        assert_eq!((e.errno(), e.file()), (Errno::EBUSY, "cgroup.freeze"), "{e}");
    });
    assert!(program::no_child_is_left());
    group.destroy();
}

#[test]
fn nobody_waits_for_a_thaw_for_one_that_is_born() {
    std::thread::spawn(|| nobody_waits(SpawnPath::Born)).join().unwrap();
}

#[test]
fn nobody_waits_for_a_thaw_for_one_that_enters() {
    std::thread::spawn(|| nobody_waits(SpawnPath::Clone3Refused)).join().unwrap();
}

/// The library's own freeze lets those that are under path begin first.
#[test]
fn the_first_freeze_by_the_library_holds_nobody() {
    for _ in 0..10 {
        let group = Group::plain();
        std::thread::scope(|scope| {
            let starter = scope.spawn(|| {
                let mut begun = Vec::new();
                loop {
                    match ends(&group) {
                        Ok(child) => begun.push(child),
                        Err(e) => {
                            assert_eq!(e.errno(), Errno::EBUSY, "{e}");
                            return begun;
                        }
                    }
                }
            });
            group.freeze(deadline()).unwrap();
            // Still frozen: the starter comes back all the same.
            let begun = starter.join().unwrap();
            group.thaw(deadline()).unwrap();
            for child in &begun {
                program::wait(child);
            }
        });
        group.destroy();
    }
}

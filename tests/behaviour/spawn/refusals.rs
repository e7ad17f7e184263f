// SPDX-License-Identifier: MIT OR Apache-2.0
//! The cases in which no program is started. Nothing is left of it.

use super::entries::SpawnPath;
use crate::common::group::Group;
use crate::common::member::role;
use crate::common::program::{self, StartOptions};
use crate::common::{deadline, repetitions};
use agentcg::{Errno, Limits, Reason};
use nix::sys::wait::WaitStatus;
use std::sync::atomic::{AtomicBool, Ordering};

/// A role that sleeps until it is killed.
pub fn sleeps(_: &[String]) {
    role::sleep();
}

#[test]
fn a_frozen_group_is_refused_at_once() {
    let group = Group::plain();
    group.freeze(deadline()).unwrap();
    let e = program::start(&group, "sleeps", StartOptions::default()).unwrap_err();
    assert_eq!((e.errno(), e.file()), (Errno::EBUSY, "cgroup.freeze"), "{e}");
    group.thaw(deadline()).unwrap();
    let child = program::start(&group, "sleeps", StartOptions::default()).unwrap();
    group.destroy();
    assert!(matches!(program::wait(&child), WaitStatus::Signaled(..)));
}

#[test]
fn a_removed_group_is_refused() {
    let group = Group::plain();
    group.cgroup.kill_and_remove();
    let e = program::start(&group, "sleeps", StartOptions::default()).unwrap_err();
    assert_eq!((e.errno(), e.reason()), (Errno::ENODEV, Some(Reason::Gone)), "{e}");
}

#[test]
fn no_more_programs_are_started_than_pids_max_allows_on_each_spawn_path() {
    for path in SpawnPath::ALL {
        let test = move || {
            let group = Group::new(&Limits { pids_max: Some(2), ..Limits::default() });
            path.close(&group);
            let children =
                [(); 2].map(|()| program::start(&group, "sleeps", StartOptions::default()).unwrap());
            let e = program::start(&group, "sleeps", StartOptions::default()).unwrap_err();
            assert_eq!((e.errno(), e.file()), (Errno::EAGAIN, "pids.max"), "{e}");
            group.destroy();
            children
                .iter()
                .for_each(|child| assert!(matches!(program::wait(child), WaitStatus::Signaled(..))));
        };
        std::thread::spawn(test).join().unwrap_or_else(|_| panic!("spawn path {path:?}"));
    }
}

struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A program that has begun is a child to wait for. Otherwise there never was a child.
#[test]
fn a_program_killed_while_it_starts_has_begun_or_is_cancelled() {
    let group = Group::plain();
    let over = AtomicBool::new(false);
    let (mut begun, mut cancelled) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                group.kill_all(deadline()).unwrap();
            }
        });
        let _even_if_this_panics = SetOnDrop(&over);
        for _ in 0..repetitions(500) {
            match program::start(&group, "sleeps", StartOptions::default()) {
                Ok(child) => {
                    assert!(matches!(program::wait(&child), WaitStatus::Signaled(..)));
                    begun += 1;
                }
                Err(e) => {
                    // Without cgroup.kill the library freezes the group to kill.
                    assert!(matches!(e.errno(), Errno::ECANCELED | Errno::EBUSY), "{e}");
                    cancelled += 1;
                }
            }
        }
    });
    println!("{begun} begun, {cancelled} cancelled");
    assert!(program::no_child_is_left());
    group.destroy();
}

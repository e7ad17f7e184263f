// SPDX-License-Identifier: MIT OR Apache-2.0
//! Processes that are dead and not gone. The init of a pid namespace that was killed waits in the kernel until its zombies
//! are reaped. From Linux 6.19 on its group stays `populated` as long, though nothing in it can run again.

use crate::common::group::Group;
use crate::common::{deadline, lab};
use agentcg::{Deadline, Errno};
use nix::sched::{CloneFlags, unshare};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork, pause, pipe, write};
use std::fs::File;
use std::io::Read;
use std::time::Duration;

/// Forks a process that moves itself into the group and stays there.
fn child_in(group: &Group) -> Pid {
    let (ours, its) = pipe().expect("pipe");
    // SAFETY: the child makes system calls only.
    #[allow(unsafe_code, reason = "it is the child of this thread's pid namespace that is tested")]
    match unsafe { fork() }.expect("fork") {
        ForkResult::Parent { child } => {
            drop(its);
            File::from(ours).read_exact(&mut [0]).expect("it is inside");
            child
        }
        ForkResult::Child => {
            if group.move_self().is_ok() {
                let _ = write(&its, b"x");
            }
            loop {
                pause();
            }
        }
    }
}

/// Makes a group with the init of a pid namespace and a child in it that is this process's to reap.
fn with_parked_init(work: impl FnOnce(&Group, Pid) + Send) {
    lab::needs(&["unified"]);
    // unshare(2) is about the calling thread's next children.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let group = Group::plain();
            unshare(CloneFlags::CLONE_NEWPID).expect("unshare");
            let init = child_in(&group);
            let second = child_in(&group);
            work(&group, second);
            // If it is not reaped yet.
            let _ = waitpid(second, None);
            waitpid(init, None).expect("waitpid");
        });
    });
}

#[test]
fn a_group_whose_dead_wait_to_be_reaped_is_killed_empty_and_removed() {
    for measure in [false, true] {
        with_parked_init(|group, _| {
            group.kill_all(deadline()).unwrap_or_else(|e| panic!("kill_all: {e}"));
            group.wait_empty(deadline()).unwrap_or_else(|e| panic!("wait_empty: {e}"));
            group.agent().destroy(true, deadline(), measure).unwrap_or_else(|e| panic!("destroy: {e}"));
            assert!(!group.cgroup.exists());
        });
    }
}

#[test]
fn a_group_whose_dead_wait_to_be_reaped_is_destroyed_without_a_kill_before() {
    for measure in [false, true] {
        with_parked_init(|group, _| {
            group.agent().destroy(false, deadline(), measure).unwrap_or_else(|e| panic!("destroy: {e}"));
            assert!(!group.cgroup.exists());
        });
    }
}

/// With LAB_RELEASE the kernel says that it is one whose rmdir(2) would sleep for ever there.
#[test]
fn where_rmdir_would_hang_the_error_names_who_must_be_reaped() {
    assert!(std::env::var("LAB_RELEASE").is_ok_and(|release| release.starts_with("7.0.")));
    with_parked_init(|group, zombie| {
        let e = group.agent().destroy(false, Deadline::after(Duration::from_secs(1)), false).unwrap_err();
        assert_eq!(e.errno(), Errno::ETIMEDOUT, "{e}");
        assert!(e.message().contains("reaped") && e.message().contains(&zombie.to_string()), "{e}");
        assert!(group.cgroup.exists());
        waitpid(zombie, None).expect("waitpid");
        group.destroy();
    });
}

#[test]
fn a_process_that_lives_is_not_taken_for_dead() {
    let group = Group::plain();
    let mut member = group.start("sleeper", &[]);
    member.expect_line("ready");
    let e = group.wait_empty(Deadline::after(Duration::from_millis(200))).unwrap_err();
    assert_eq!(e.errno(), Errno::ETIMEDOUT);
    assert!(!member.is_dead());
    group.destroy();
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Dead processes that are not reaped. After a kill, the init of a pid namespace waits in the kernel until
//! its zombies are reaped. From Linux 6.19 on its group stays `populated` until then, though no process in it
//! can run again.

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
    let (reader, writer) = pipe().expect("pipe");
    // SAFETY: the child only makes system calls.
    #[allow(unsafe_code, reason = "it is the child of this thread's pid namespace that is tested")]
    match unsafe { fork() }.expect("fork") {
        ForkResult::Parent { child } => {
            drop(writer);
            File::from(reader).read_exact(&mut [0]).expect("it is inside");
            child
        }
        ForkResult::Child => {
            if group.move_self().is_ok() {
                let _ = write(&writer, b"x");
            }
            loop {
                pause();
            }
        }
    }
}

/// Makes a group with the init of a pid namespace and a child of this process.
fn with_unreaped_init(work: impl FnOnce(&Group, Pid) + Send) {
    lab::needs(&["unified"]);
    // unshare(2) applies to the next children of the calling thread.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let group = Group::plain();
            unshare(CloneFlags::CLONE_NEWPID).expect("unshare");
            let init = child_in(&group);
            let second = child_in(&group);
            work(&group, second);
            // `work` may have reaped it already.
            let _ = waitpid(second, None);
            waitpid(init, None).expect("waitpid");
        });
    });
}

#[test]
fn a_group_with_unreaped_zombies_is_killed_empty_and_removed() {
    for measure in [false, true] {
        with_unreaped_init(|group, _| {
            group.kill_all(deadline()).unwrap_or_else(|e| panic!("kill_all: {e}"));
            group.wait_empty(deadline()).unwrap_or_else(|e| panic!("wait_empty: {e}"));
            group.agent().destroy(true, deadline(), measure).unwrap_or_else(|e| panic!("destroy: {e}"));
            assert!(!group.cgroup.exists());
        });
    }
}

#[test]
fn a_group_with_unreaped_zombies_is_destroyed_without_a_previous_kill() {
    for measure in [false, true] {
        with_unreaped_init(|group, _| {
            group.agent().destroy(false, deadline(), measure).unwrap_or_else(|e| panic!("destroy: {e}"));
            assert!(!group.cgroup.exists());
        });
    }
}

/// With LAB_RELEASE the kernel reports a release in which rmdir(2) would sleep for ever in this case.
#[test]
fn where_rmdir_would_hang_the_error_names_the_process_to_reap() {
    assert!(std::env::var("LAB_RELEASE").is_ok_and(|release| release.starts_with("7.0.")));
    with_unreaped_init(|group, zombie| {
        let e = group.agent().destroy(false, Deadline::after(Duration::from_secs(1)), false).unwrap_err();
        assert_eq!(e.errno(), Errno::ETIMEDOUT, "{e}");
        assert!(e.message().contains("reaped") && e.message().contains(&zombie.to_string()), "{e}");
        assert!(group.cgroup.exists());
        waitpid(zombie, None).expect("waitpid");
        group.destroy();
    });
}

#[test]
fn a_living_process_does_not_count_as_dead() {
    let group = Group::plain();
    let mut member = group.start("sleeper", &[]);
    member.expect_line("ready");
    let e = group.wait_empty(Deadline::after(Duration::from_millis(200))).unwrap_err();
    assert_eq!(e.errno(), Errno::ETIMEDOUT);
    assert!(!member.is_dead());
    group.destroy();
}

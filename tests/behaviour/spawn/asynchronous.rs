// SPDX-License-Identifier: MIT OR Apache-2.0
//! A start that the calling thread does not wait for, and how it learns what became of it.

use super::entries::on_each_spawn_path;
use crate::common::group::Group;
use crate::common::member::Member;
use crate::common::program::{self, command};
use crate::common::{deadline, seccomp, wait_until};
use agentcg::{Child, Command, Errno, Error, Limits, Reason, SpawnOptions};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::WaitStatus;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

const CONTAINED: SpawnOptions = SpawnOptions { contain: true, pidfd: true };

fn program() -> Command<'static> {
    command(&[c"/proc/self/exe"], [c"role", c"--play", c"ends", c"7"])
}

fn result(group: &Group, child: &Child) -> Result<bool, Error> {
    group.spawn_result(child.pidfd.as_ref().unwrap().as_fd())
}

/// Waits as an event loop does: a child that fails makes its pidfd readable.
fn failure(group: &Group, child: &Child) -> Error {
    let pidfd = child.pidfd.as_ref().unwrap().as_fd();
    let timeout = PollTimeout::try_from(crate::common::TIMEOUT).unwrap();
    assert_eq!(poll(&mut [PollFd::new(pidfd, PollFlags::POLLIN)], timeout), Ok(1));
    let e = result(group, child).unwrap_err();
    assert_eq!(result(group, child).unwrap_err().errno(), Errno::ECHILD, "it is reported once");
    assert!(program::no_child_is_left() && group.cgroup.members().is_empty());
    e
}

#[test]
fn a_start_is_not_waited_for_on_each_spawn_path() {
    on_each_spawn_path(|_, group| {
        for how in [SpawnOptions::default(), CONTAINED] {
            let child = group.spawn_async(&program(), how).unwrap();
            wait_until("it has begun", || result(group, &child).unwrap());
            assert!(matches!(program::wait(&child), WaitStatus::Exited(_, 7)));
            assert_eq!(result(group, &child).unwrap_err().errno(), Errno::ECHILD);
        }
        assert!(program::no_child_is_left());
    });
}

#[test]
fn a_start_that_fails_is_reported_with_its_step_on_each_spawn_path() {
    on_each_spawn_path(|_, group| {
        for how in [SpawnOptions::default(), CONTAINED] {
            let start = |command: &Command<'_>| failure(group, &group.spawn_async(command, how).unwrap());
            let e = start(&command(&[c"/nowhere"], [c"x"]));
            assert_eq!((e.errno(), e.reason()), (Errno::ENOENT, Some(Reason::NotExecuted)), "{e}");
            let e = start(&Command { oom_score_adj: Some(1001), ..program() });
            assert_eq!(e.errno(), Errno::EINVAL, "{e}");
            assert!(e.message().starts_with("oom_score_adj"), "{e}");
            let null = File::open("/dev/null").unwrap();
            let e = start(&Command { directory: Some(null.as_fd()), ..program() });
            assert_eq!(e.errno(), Errno::ENOTDIR, "{e}");
        }
    });
}

#[test]
fn a_child_is_in_the_group_before_its_program_begins_and_can_be_killed() {
    std::thread::spawn(|| {
        let group = Group::plain();
        let listener = seccomp::listen(libc::SYS_execve);
        let child = group.spawn_async(&program(), SpawnOptions::default()).unwrap();
        assert_eq!(group.cgroup.members(), [child.pid.to_string()].into());
        listener.wait();
        assert_eq!(result(&group, &child).ok(), Some(false));
        group.kill_all(deadline()).unwrap();
        let e = failure(&group, &child);
        assert_eq!((e.errno(), e.reason()), (Errno::ECANCELED, None), "{e}");
        group.destroy();
    })
    .join()
    .unwrap();
}

/// The child has a copy of each descriptor of its host, until it closes those that it does not need.
#[test]
fn a_child_whose_program_has_not_begun_keeps_no_pipe_of_its_host_open() {
    std::thread::spawn(|| {
        let group = Group::plain();
        let (reader, writer) = nix::unistd::pipe().unwrap();
        let listener = seccomp::listen(libc::SYS_setsid);
        let child =
            group.spawn_async(&Command { new_session: true, ..program() }, SpawnOptions::default()).unwrap();
        let id = listener.wait();
        drop(writer);
        assert_eq!(File::from(reader).read(&mut [0; 1]).unwrap(), 0, "the end of the pipe");
        listener.go_on(id);
        wait_until("it has begun", || result(&group, &child).unwrap());
        program::wait(&child);
        group.destroy();
    })
    .join()
    .unwrap();
}

#[test]
fn a_frozen_or_full_group_is_refused_at_once() {
    let group = Group::new(&Limits { pids_max: Some(1), ..Limits::default() });
    group.freeze(deadline()).unwrap();
    assert_eq!(group.spawn_async(&program(), SpawnOptions::default()).unwrap_err().errno(), Errno::EBUSY);
    group.thaw(deadline()).unwrap();
    let mut member = group.start("burner", &[]);
    member.expect_line("ready");
    assert_eq!(group.spawn_async(&program(), SpawnOptions::default()).unwrap_err().errno(), Errno::EAGAIN);
    group.destroy();
}

#[test]
fn a_throttled_group_does_not_hold_a_host_that_does_not_wait() {
    std::thread::spawn(|| {
        let group = Group::new(&Limits { cpu_weight: Some(100), ..Limits::default() });
        let mut burners: Vec<_> = (0..3).map(|_| group.start("burner", &[])).collect();
        burners.iter_mut().for_each(|burner| burner.expect_line("ready"));
        // 1 ms of CPU time in a second.
        group.cgroup.write("cpu.max", "1000 1000000");
        let children: Vec<_> = (0..10)
            .map(|_| {
                let start = Instant::now();
                let child = group.spawn_async(&program(), SpawnOptions::default()).unwrap();
                assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
                child
            })
            .collect();
        group.cgroup.write("cpu.max", "max");
        group.kill_all(deadline()).unwrap();
        burners.iter_mut().for_each(Member::reap);
        for child in &children {
            match result(&group, child) {
                Ok(begun) => {
                    assert!(begun);
                    program::wait(child);
                }
                Err(e) => assert_eq!(e.errno(), Errno::ECANCELED, "{e}"),
            }
        }
        assert!(program::no_child_is_left());
        group.destroy();
    })
    .join()
    .unwrap();
}

#[test]
fn only_the_pidfd_of_a_child_has_a_result() {
    let group = Group::plain();
    let other = File::open("/dev/null").unwrap();
    assert_eq!(group.spawn_result(other.as_fd()).unwrap_err().errno(), Errno::EINVAL);
    let command = program();
    let child = group.spawn(&command, SpawnOptions { pidfd: true, contain: false }).unwrap();
    assert_eq!(result(&group, &child).ok(), Some(true), "a start that was waited for has begun");
    program::wait(&child);
    group.destroy();
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! A program that does not begin does not hold its host: the calling thread waits only for a time.

use super::entries::{SpawnPath, on_each_spawn_path};
use crate::common::group::Group;
use crate::common::member::Member;
use crate::common::program::{self, command};
use crate::common::{deadline, seccomp, wait_until};
use agentcg::{BeginTimeout, Command, Errno, Limits, Reason, SpawnOptions};
use nix::sys::wait::WaitStatus;
use std::time::{Duration, Instant};

/// More than any start takes in the lab.
const LONG: Duration = Duration::from_secs(60);

fn within(time: Duration) -> Command<'static> {
    let command = command(&[c"/proc/self/exe"], [c"role", c"--play", c"ends", c"7"]);
    Command { begin: BeginTimeout::Within(time), ..command }
}

#[test]
fn a_program_that_begins_in_time_is_as_without_a_timeout_on_each_spawn_path() {
    on_each_spawn_path(|_, group| {
        for contain in [false, true] {
            for pidfd in [false, true] {
                let child = group.spawn(&within(LONG), SpawnOptions { contain, pidfd }).unwrap();
                assert_eq!(child.pidfd.is_some(), pidfd);
                assert!(matches!(program::wait(&child), WaitStatus::Exited(_, 7)));
                let missing = command(&[c"/nowhere"], [c"x"]);
                let missing = Command { begin: BeginTimeout::Within(LONG), ..missing };
                let e = group.spawn(&missing, SpawnOptions { contain, pidfd }).unwrap_err();
                assert_eq!((e.errno(), e.reason()), (Errno::ENOENT, Some(Reason::NotExecuted)), "{e}");
            }
        }
        assert!(program::no_child_is_left());
    });
}

/// The child waits in execve(2).
fn check_a_program_that_never_begins(path: SpawnPath) {
    let group = Group::plain();
    path.close(&group);
    let listener = seccomp::listen(libc::SYS_execve);
    for time in [Duration::from_millis(1), Duration::from_millis(300)] {
        let start = Instant::now();
        let e = group.spawn(&within(time), SpawnOptions::default()).unwrap_err();
        assert_eq!((e.errno(), e.file(), e.reason()), (Errno::ETIMEDOUT, "cpu.max", None), "{e}");
        assert!(start.elapsed() >= time);
        assert!(program::no_child_is_left() && group.cgroup.members().is_empty());
    }
    drop(listener);
    group.destroy();
}

#[test]
fn a_program_that_does_not_begin_in_time_never_begins() {
    for path in [SpawnPath::CreatedInside, SpawnPath::Clone3Refused] {
        std::thread::spawn(move || check_a_program_that_never_begins(path))
            .join()
            .unwrap_or_else(|_| panic!("spawn path {path:?}"));
    }
}

#[test]
fn ten_seconds_is_the_default_in_a_group_that_was_throttled() {
    std::thread::spawn(|| {
        let group = Group::new(&Limits { cpu_weight: Some(100), ..Limits::default() });
        let mut burner = group.start("burner", &[]);
        burner.expect_line("ready");
        group.cgroup.write("cpu.max", "1000 1000000");
        wait_until("it is throttled", || group.cgroup.value("cpu.stat", "nr_throttled") > 0);
        let child = Command { begin: BeginTimeout::Default, ..within(LONG) };
        // The child needs more CPU time than it gets in ten seconds, if the burner has not used all of it.
        let start = Instant::now();
        match group.spawn(&child, SpawnOptions::default()) {
            Ok(child) => drop(child),
            Err(e) => {
                assert_eq!(e.errno(), Errno::ETIMEDOUT, "{e}");
                assert!(start.elapsed() >= Duration::from_secs(10));
            }
        }
        assert!(start.elapsed() < Duration::from_secs(11), "{:?}", start.elapsed());
        group.cgroup.write("cpu.max", "max");
        group.destroy();
    })
    .join()
    .unwrap();
}

#[test]
fn a_throttled_group_does_not_hold_its_host_and_nothing_is_left_at_the_end() {
    std::thread::spawn(|| {
        // For the controller.
        let group = Group::new(&Limits { cpu_weight: Some(100), ..Limits::default() });
        let mut burners: Vec<_> = (0..3).map(|_| group.start("burner", &[])).collect();
        burners.iter_mut().for_each(|burner| burner.expect_line("ready"));
        // 1 ms of CPU time in a second.
        group.cgroup.write("cpu.max", "1000 1000000");
        let (mut timed_out, mut begun) = (0, Vec::new());
        for _ in 0..5 {
            let start = Instant::now();
            match group.spawn(&within(Duration::from_millis(20)), SpawnOptions::default()) {
                Ok(child) => begun.push(child),
                Err(e) => {
                    assert_eq!(e.errno(), Errno::ETIMEDOUT, "{e}");
                    timed_out += 1;
                }
            }
            // Without a limit the thread would also wait until the child has got CPU time to end in.
            assert!(start.elapsed() < Duration::from_millis(700), "{:?}", start.elapsed());
        }
        assert!(timed_out > 0);
        group.cgroup.write("cpu.max", "max");
        group.kill_all(deadline()).unwrap();
        burners.iter_mut().for_each(Member::reap);
        for child in begun {
            program::wait(&child);
        }
        // A later start waits for the children that were given up, once they have ended.
        wait_until("the children are reaped", || {
            let child = group.spawn(&within(LONG), SpawnOptions::default()).unwrap();
            assert!(matches!(program::wait(&child), WaitStatus::Exited(_, 7)));
            program::no_child_is_left()
        });
        group.destroy();
    })
    .join()
    .unwrap();
}

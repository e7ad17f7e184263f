// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `kill_all` says and how long it takes. That nothing survives it is tests/hostile.rs's.

#[path = "kill/closed.rs"]
mod closed;
#[macro_use]
mod common;
#[path = "kill/delays.rs"]
mod delays;
#[path = "kill/gone.rs"]
mod gone;
#[path = "kill/parked.rs"]
mod parked;
#[path = "kill/reuse.rs"]
mod reuse;

use agentcg::{CpuMax, Deadline, Errno, Limits, Reason};
use common::fixture::check_kill_all;
use common::group::{Group, own_pid};
use common::member::{Member, burner, role, sleeper};
use common::{deadline, lab};
use std::time::{Duration, Instant};

roles![
    four,
    ten_burners,
    burner,
    sleeper,
    closed::exits,
    delays::makes_cgroups,
    delays::closes_again_and_again,
    delays::has_no_descriptor_left,
    reuse::enters,
];

#[test]
fn the_run_has_the_files_that_it_says_it_has() {
    let group = Group::plain();
    for file in ["cgroup.kill", "cgroup.freeze", "pids.max"] {
        assert_eq!(group.cgroup.has(file), !lab::lacks(file), "{file}");
    }
}

#[test]
fn members_that_share_a_thousandth_of_a_cpu_die_without_waiting_for_it() {
    let cpu_max = CpuMax { millicpu: 1, period_us: 0 };
    let limits = Limits { cpu_max: Some(cpu_max), ..Limits::default() };
    for round in 0..3 {
        let group = Group::new(&limits);
        let mut member = Member::start("ten_burners", &[]);
        member.send("go");
        for _ in 0..10 {
            group.move_pid(member.receive().parse().unwrap()).unwrap();
        }
        common::wait_until("throttled", || group.cgroup.value("cpu.stat", "nr_throttled") > 0);
        let start = Instant::now();
        check_kill_all(&group, &mut [member], round);
        // Each needs some milliseconds of CPU time to die, and they get one each second.
        assert!(start.elapsed() < Duration::from_secs(5), "it took {:?}", start.elapsed());
        group.destroy();
    }
}

/// They use all the CPU time that they get. Tells their pids, to be moved before they are held back.
fn ten_burners(_: &[String]) {
    role::receive();
    for _ in 0..9 {
        if role::fork() {
            break;
        }
    }
    role::send(&own_pid().to_string());
    role::burn();
}

#[test]
fn an_empty_group_is_killed_at_once() {
    let group = Group::plain();
    group.kill_all(Deadline::after(Duration::ZERO)).unwrap();
    group.destroy();
}

#[test]
fn without_time_to_wait_it_kills_all_the_same() {
    for _ in 0..50 {
        let group = Group::plain();
        let mut member = group.start("four", &[]);
        (0..4).for_each(|_| member.expect_line("ready"));
        match group.kill_all(Deadline::after(Duration::ZERO)) {
            Ok(()) => assert!(member.is_dead()),
            Err(e) => assert_eq!((e.errno(), e.reason(), e.file()), (Errno::ETIMEDOUT, None, "cgroup.kill")),
        }
        group.wait_empty(deadline()).unwrap();
        assert!(member.is_dead());
        group.destroy();
    }
}

fn four(_: &[String]) {
    role::receive();
    role::fork();
    role::fork();
    role::send("ready");
    role::sleep();
}

#[test]
fn a_group_that_somebody_has_removed_is_gone() {
    let group = Group::plain();
    group.cgroup.remove();
    let e = group.kill_all(deadline()).unwrap_err();
    assert_eq!((e.errno(), e.reason()), (Errno::ENODEV, Some(Reason::Gone)));
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The results of `kill_all` and the time it takes. tests/behaviour/hostile.rs checks that nothing survives it.

mod delays;
mod gone;
mod removed_access;
mod reuse;
mod together;
mod unreaped;

use crate::common::fixture::check_kill_all;
use crate::common::group::{Group, own_pid};
use crate::common::member::{Member, role};
use crate::common::{self, deadline, lab};
use agentcg::{CpuMax, Deadline, Errno, Limits, Reason};
use std::time::{Duration, Instant};

roles![
    fork_twice,
    ten_burners,
    removed_access::exits,
    delays::makes_cgroups,
    delays::keeps_removing_access,
    delays::has_no_descriptor_left,
    reuse::enters,
    together::kills_from_inside,
];

#[test]
fn the_kernel_has_the_files_that_the_options_of_the_run_leave() {
    let group = Group::plain();
    for file in ["cgroup.kill", "cgroup.freeze", "pids.max"] {
        assert_eq!(group.cgroup.has(file), !lab::lacks(file), "{file}");
    }
}

#[test]
fn members_that_share_a_thousandth_of_a_cpu_die_without_waiting_for_cpu_time() {
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
        // Each process needs some milliseconds of CPU time to die, and the group gets one each second.
        assert!(start.elapsed() < Duration::from_secs(5), "it took {:?}", start.elapsed());
        group.destroy();
    }
}

/// Ten processes that use all the CPU time that they get. They send their pids, to be moved into the group
/// before it is throttled.
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
fn kill_all_without_time_to_wait_still_kills() {
    for _ in 0..50 {
        let group = Group::plain();
        let mut member = group.start("fork_twice", &[]);
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

fn fork_twice(_: &[String]) {
    role::receive();
    role::fork();
    role::fork();
    role::send("ready");
    role::sleep();
}

#[test]
fn a_removed_group_is_reported_as_gone() {
    let group = Group::plain();
    group.cgroup.remove();
    let e = group.kill_all(deadline()).unwrap_err();
    assert_eq!((e.errno(), e.reason()), (Errno::ENODEV, Some(Reason::Gone)));
}

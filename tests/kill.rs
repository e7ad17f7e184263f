// SPDX-License-Identifier: MIT OR Apache-2.0
//! After `kill_all` nothing of an agent lives, whatever it does to get away. Each case is run as often
//! as it takes to meet the kernel at a bad moment, with `cgroup.kill` and, hidden from us, without.

#[macro_use]
mod common;
#[path = "kill/escapes.rs"]
mod escapes;

use agentcg::{CpuMax, Deadline, Errno, Limits, Reason};
use common::cgroup::{Cgroup, Scratch};
use common::group::Group;
use common::member::{Member, sleeper};
use common::{lab, patience};
use std::fs;
use std::time::{Duration, Instant};

roles![
    sleeper,
    escapes::fork_bomb,
    escapes::rolling_forker,
    escapes::threads_that_fork,
    escapes::without_main_thread,
    escapes::in_new_sessions,
    escapes::five_cgroups_deep,
    escapes::in_a_threaded_cgroup,
    escapes::that_makes_cgroups,
    escapes::stopped,
    escapes::ignores_signals,
    escapes::in_a_pid_namespace,
    escapes::ten_burners,
];

fn rounds() -> u32 {
    // Without the freezer it is pids.max that holds them: the same sweep, so fewer rounds will do.
    if lab::hides("cgroup.freeze") { 10 } else { 50 }
}

fn no_limits() -> Limits {
    Limits::default()
}

fn so_many(pids_max: u64) -> Limits {
    Limits { pids_max: Some(pids_max), ..Limits::default() }
}

/// Round after round: a group with a member that plays the role, `ready` to be killed, and then killed.
fn each_round(limits: &Limits, role: &str, ready: impl Fn(&Group, &mut Member)) {
    for round in 0..rounds() {
        let group = Group::new(limits);
        let mut member = group.start(role, &[&group.cgroup.0.to_string_lossy()]);
        ready(&group, &mut member);
        nothing_survives(&group, &mut member, round);
        group.destroy();
    }
}

/// So many processes of it have said that they are what they are to be.
fn all_ready(processes: u32) -> impl Fn(&Group, &mut Member) {
    move |_, member| (0..processes).for_each(|_| member.hears("ready"))
}

fn nothing_survives(group: &Group, member: &mut Member, round: u32) {
    let used_on_the_way = ["cgroup.freeze", "pids.max", "cpu.max"];
    let settings = |cgroup: &Cgroup| used_on_the_way.map(|file| cgroup.try_read(file).unwrap_or_default());
    let before = settings(&group.cgroup);
    group.kill_all(patience()).unwrap_or_else(|e| panic!("round {round}: {e}"));
    let events = group.cgroup.read("cgroup.events");
    assert!(events.contains("populated 0"), "round {round}: {events}");
    assert!(member.is_dead(), "round {round}: something of it holds its pipe");
    for id in group.cgroup.members() {
        // A zombie that nobody has waited for yet is listed, and is none that lives.
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
        assert!(matches!(state, None | Some('Z' | 'X')), "round {round}: {id} lives on: {stat}");
    }
    assert_eq!(settings(&group.cgroup), before, "round {round}: {used_on_the_way:?} are not put back");
}

#[test]
fn the_run_has_the_files_that_it_says_it_has() {
    let group = Group::plain();
    for file in ["cgroup.kill", "cgroup.freeze", "pids.max"] {
        assert_eq!(group.cgroup.has(file), !lab::lacks(file), "{file}");
    }
}

#[test]
fn a_fork_bomb_dies() {
    each_round(&so_many(40), "fork_bomb", |group, _| group.cgroup.wait_for_value("pids.events", "max", 1));
}

#[test]
fn forkers_that_exit_at_once_die() {
    each_round(&no_limits(), "rolling_forker", all_ready(3));
}

#[test]
fn threads_that_fork_die() {
    each_round(&so_many(60), "threads_that_fork", all_ready(3));
}

#[test]
fn a_process_whose_main_thread_has_exited_dies() {
    each_round(&no_limits(), "without_main_thread", all_ready(1));
}

#[test]
fn a_process_that_was_moved_in_after_its_main_thread_had_exited_dies() {
    for round in 0..rounds() {
        let group = Group::plain();
        let mut member = Member::start("without_main_thread", &[]);
        member.say("go");
        member.hears("ready");
        group.move_pid(member.pid()).unwrap();
        assert!(!group.cgroup.lists(member.pid()), "the kernel moves zombies now: this case is no other");
        nothing_survives(&group, &mut member, round);
        group.destroy();
    }
}

#[test]
fn grandchildren_in_sessions_of_their_own_die() {
    each_round(&no_limits(), "in_new_sessions", all_ready(4));
}

#[test]
fn members_of_nested_cgroups_die() {
    each_round(&no_limits(), "five_cgroups_deep", all_ready(6));
}

#[test]
fn members_of_a_threaded_cgroup_die() {
    each_round(&no_limits(), "in_a_threaded_cgroup", all_ready(2));
}

#[test]
fn members_of_a_group_made_threaded_itself_die() {
    // Only where nothing is limited does the kernel let it be made so.
    let scratch = Scratch::having(&[]);
    for round in 0..rounds() {
        let group = Group::under(&scratch, &no_limits());
        group.cgroup.write("cgroup.type", "threaded");
        let mut member = group.start("in_new_sessions", &[]);
        all_ready(4)(&group, &mut member);
        nothing_survives(&group, &mut member, round);
        group.destroy();
    }
}

#[test]
fn those_that_go_on_making_cgroups_die() {
    let limits = Limits { max_descendants: Some(50), ..no_limits() };
    each_round(&limits, "that_makes_cgroups", all_ready(2));
}

#[test]
fn members_of_a_pid_namespace_of_their_own_die() {
    each_round(&no_limits(), "in_a_pid_namespace", all_ready(2));
}

#[test]
fn members_that_ignore_all_signals_die() {
    each_round(&no_limits(), "ignores_signals", all_ready(2));
}

#[test]
fn stopped_members_die() {
    each_round(&no_limits(), "stopped", |_, member| {
        for _ in 0..2 {
            let stat = format!("/proc/{}/stat", member.hear());
            common::wait_until("stopped", || fs::read_to_string(&stat).unwrap().contains(") T "));
        }
    });
}

#[test]
fn frozen_members_die_and_the_group_stays_frozen() {
    each_round(&no_limits(), "five_cgroups_deep", |group, member| {
        all_ready(6)(group, member);
        // Whether the library sees the file or not, the agent has used it.
        group.cgroup.write_hidden("cgroup.freeze", "1");
        group.cgroup.wait_for_value("cgroup.events", "frozen", 1);
    });
}

#[test]
fn members_that_share_a_thousandth_of_a_cpu_die_without_waiting_for_it() {
    let cpu_max = CpuMax { millicpu: 1, period_us: 0 };
    let limits = Limits { cpu_max: Some(cpu_max), ..no_limits() };
    for round in 0..3 {
        let group = Group::new(&limits);
        let mut member = Member::start("ten_burners", &[]);
        member.say("go");
        for _ in 0..10 {
            group.move_pid(member.hear().parse().unwrap()).unwrap();
        }
        common::wait_until("throttled", || group.cgroup.value("cpu.stat", "nr_throttled") > 0);
        let start = Instant::now();
        nothing_survives(&group, &mut member, round);
        // Each needs some milliseconds of CPU time to die, and they get one each second.
        assert!(start.elapsed() < Duration::from_secs(5), "it took {:?}", start.elapsed());
        group.destroy();
    }
}

#[test]
fn a_group_can_be_used_again_after() {
    let group = Group::new(&so_many(30));
    for round in 0..3 {
        let mut member = group.start("sleeper", &[]);
        member.hears("ready");
        nothing_survives(&group, &mut member, round);
    }
    group.destroy();
}

#[test]
fn those_outside_live_on() {
    let (group, neighbour) = (Group::plain(), Group::plain());
    let mut member = group.start("five_cgroups_deep", &[&group.cgroup.0.to_string_lossy()]);
    let mut beside = neighbour.start("sleeper", &[]);
    // In our own cgroup, and of our own process group.
    let mut ours = Member::start("sleeper", &[]);
    ours.say("go");
    beside.hears("ready");
    ours.hears("ready");
    all_ready(6)(&group, &mut member);
    nothing_survives(&group, &mut member, 0);
    assert!(!beside.is_dead(), "a neighbour was killed");
    assert!(!ours.is_dead(), "one of our own process group was killed");
    assert!(neighbour.cgroup.read("cgroup.events").contains("populated 1"));
    neighbour.destroy();
    group.destroy();
}

#[test]
fn an_empty_group_is_killed_at_once() {
    let group = Group::plain();
    group.kill_all(Deadline::after(Duration::ZERO)).unwrap();
    group.destroy();
}

#[test]
fn without_time_to_wait_it_kills_all_the_same() {
    for _ in 0..rounds() {
        let group = Group::plain();
        let mut member = group.start("in_new_sessions", &[]);
        all_ready(4)(&group, &mut member);
        match group.kill_all(Deadline::after(Duration::ZERO)) {
            Ok(()) => assert!(member.is_dead()),
            Err(e) => assert_eq!((e.errno(), e.reason(), e.file()), (Errno::ETIMEDOUT, None, "cgroup.kill")),
        }
        group.wait_empty(patience()).unwrap();
        assert!(member.is_dead());
        group.destroy();
    }
}

#[test]
fn a_group_that_somebody_has_removed_is_gone() {
    let group = Group::plain();
    group.cgroup.remove();
    let e = group.kill_all(patience()).unwrap_err();
    assert_eq!((e.errno(), e.reason()), (Errno::ENODEV, Some(Reason::Gone)));
}

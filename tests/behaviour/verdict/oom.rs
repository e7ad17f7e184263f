// SPDX-License-Identifier: MIT OR Apache-2.0
//! The OOM killer, because of each limit, and forks that are refused.

use super::{
    Expected, LimitAbove, MIB, Place, certain, counts_group_kills, explain, lab, rounds, send_signal, start,
    unknown,
};
use crate::common::group::Group;
use crate::common::member::role;
use agentcg::verdict::{cause, known};
use agentcg::{Agent, Limits};
use libc::SIGKILL;

fn touch(mib: usize) {
    let mut memory = vec![0u8; mib << 20];
    memory.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
    std::hint::black_box(&memory);
}

/// A role that touches more than any limit of these tests.
pub fn hog(_: &[String]) {
    touch(64);
    role::exit(0);
}

/// The same, with a child that sleeps.
pub fn hog_with_a_sleeper(_: &[String]) {
    if role::fork() {
        role::sleep();
    }
    touch(64);
    role::exit(0);
}

/// A role whose child the OOM killer kills. It exits with 7 after that if it gets an argument; otherwise it sleeps.
pub fn sleeper_whose_child_is_a_hog(args: &[String]) {
    if role::fork() {
        touch(64);
        role::exit(0);
    }
    nix::sys::wait::wait().expect("wait");
    if args.is_empty() {
        role::sleep();
    }
    role::exit(7);
}

/// A role that touches more memory than the machine has. The OOM killer takes it first.
pub fn hog_of_the_machine(_: &[String]) {
    std::fs::write("/proc/self/oom_score_adj", "1000").expect("oom_score_adj");
    for _ in 0..10_000 {
        let mut memory = vec![0u8; 4 << 20];
        memory.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
        std::mem::forget(std::hint::black_box(memory));
    }
    role::exit(0);
}

/// A role that forks until that is refused twice, and exits with 3.
pub fn forks_until_refused(_: &[String]) {
    let mut refused = 0;
    while refused < 2 {
        match role::try_fork() {
            Ok(true) => role::sleep(),
            Ok(false) => {}
            Err(_) => refused += 1,
        }
    }
    role::exit(3);
}

fn memory_max(mib: u64) -> Limits {
    Limits { memory_max: Some(mib * MIB), swap_max: Some(0), ..Limits::default() }
}

/// The verdict on a group of one thread, which is certain if the kernel shows that there was only one: Linux 6.1.
fn of_one_thread(cause: u64) -> Expected {
    if lab::lacks("pids.peak") { unknown(cause | cause::SIGNAL) } else { certain(cause) }
}

#[test]
fn the_memory_limit_of_the_group_is_told() {
    let place = Place::new();
    place.each_round(&memory_max(16), |group| {
        let verdict = explain(group, &start(group, "oom::hog", &[]));
        of_one_thread(cause::MEMORY_LIMIT).check(&verdict, group);
        assert_eq!((verdict.oom_kills, verdict.signal), (1, SIGKILL.unsigned_abs()));
        assert_eq!(verdict.memory_max_bytes, 16 * MIB);
        let sentence = verdict.sentence(b"");
        assert!(sentence.contains("the group's own memory limit of 16 MiB"), "{sentence}");
        if verdict.mask & known::MEMORY_PEAK != 0 {
            assert!(
                verdict.memory_peak_bytes <= 17 * MIB && verdict.memory_peak_bytes >= 15 * MIB,
                "{verdict:?}"
            );
        }
    });
}

#[test]
fn the_memory_limit_of_the_group_is_told_if_the_kernel_kills_the_group_as_a_whole() {
    let place = Place::new();
    let limits = Limits { oom_group: Some(true), ..memory_max(16) };
    place.each_round(&limits, |group| {
        let verdict = explain(group, &start(group, "hog_with_a_sleeper", &[]));
        let expected = if counts_group_kills(group) {
            certain(cause::MEMORY_LIMIT)
        } else {
            unknown(cause::MEMORY_LIMIT | cause::SIGNAL)
        };
        expected.check(&verdict, group);
    });
}

#[test]
fn which_process_of_several_was_killed_is_unknown() {
    let place = Place::new();
    let expected = unknown(cause::MEMORY_LIMIT | cause::SIGNAL);
    place.each_death(&memory_max(16), "hog_with_a_sleeper", &[], expected);
}

#[test]
fn an_oom_kill_of_a_child_is_not_told_as_the_cause_of_a_later_end() {
    let place = Place::new();
    place.each_round(&memory_max(16), |group| {
        let child = start(group, "sleeper_whose_child_is_a_hog", &[]);
        group.cgroup.wait_for_value("memory.events", "oom_kill", 1);
        send_signal(child.pid, SIGKILL);
        unknown(cause::MEMORY_LIMIT | cause::SIGNAL).check(&explain(group, &child), group);
    });
    place.each_round(&memory_max(16), |group| {
        let verdict = explain(group, &start(group, "sleeper_whose_child_is_a_hog", &["exit"]));
        certain(cause::EXITED).check(&verdict, group);
        assert_eq!((verdict.exit_code, verdict.oom_kills), (7, 1));
    });
}

#[test]
fn the_end_of_an_earlier_program_is_not_that_of_the_next() {
    let place = Place::new();
    let limits = Limits { oom_group: Some(true), ..memory_max(16) };
    place.each_round(&limits, |group| {
        explain(group, &start(group, "oom::hog", &[]));
        crate::common::wait_until("the group is empty", || {
            group.cgroup.value("cgroup.events", "populated") == 0
        });
        // A verdict in an empty group, from which the counters are compared.
        let first = start(group, "verdict::exits", &["0"]);
        explain(group, &first);
        let next = start(group, "sleeps_on", &[]);
        send_signal(next.pid, SIGKILL);
        let verdict = explain(group, &next);
        certain(cause::SIGNAL).check(&verdict, group);
        assert_eq!(verdict.oom_kills, 0);
    });
}

#[test]
fn the_memory_limit_of_a_cgroup_above_is_told_with_its_path() {
    let place = Place::new();
    let parent = place.scratch.parent.clone();
    let _limit = LimitAbove::set(&parent, "memory.max", 32 * MIB);
    place.each_round(&Limits { swap_max: Some(0), ..Limits::default() }, |group| {
        let verdict = explain(group, &start(group, "oom::hog", &[]));
        of_one_thread(cause::MEMORY_LIMIT_ABOVE).check(&verdict, group);
        if verdict.cause != 0 {
            assert_eq!(verdict.levels_up, 3);
            let sentence = verdict.sentence(&group.agent().path());
            assert!(sentence.contains(&format!("memory limit of {};", parent.0.display())), "{sentence}");
        }
    });
}

fn child_of(session: &Agent) -> Agent {
    session.new_in(None, &Limits::default(), None, None, false).unwrap_or_else(|e| panic!("new_in: {e}"))
}

#[test]
fn the_memory_limit_of_a_session_is_told_to_its_child_as_one_above() {
    let place = Place::new();
    place.each_round(&memory_max(32), |session| {
        let child = child_of(session);
        let verdict = explain(&child, &start(&child, "oom::hog", &[]));
        of_one_thread(cause::MEMORY_LIMIT_ABOVE).check(&verdict, &child);
        if verdict.cause != 0 {
            assert_eq!(verdict.levels_up, 1);
            let sentence = verdict.sentence(&child.path());
            let told = format!("memory limit of {};", session.cgroup.0.display());
            assert!(sentence.contains(&told), "{sentence}");
        }
    });
}

/// The kernel kills the session with its children. The next program was not among them.
#[test]
fn the_memory_limit_of_a_session_is_told_only_to_a_program_that_it_has_killed() {
    let place = Place::new();
    let limits = Limits { oom_group: Some(true), ..memory_max(32) };
    place.each_round(&limits, |session| {
        let first = start(session, "sleeps_on", &[]);
        let child = child_of(session);
        explain(&child, &start(&child, "oom::hog", &[]));
        let expected = if counts_group_kills(session) {
            certain(cause::MEMORY_LIMIT)
        } else {
            unknown(cause::MEMORY_LIMIT | cause::SIGNAL)
        };
        expected.check(&explain(session, &first), session);
        let next = start(session, "sleeps_on", &[]);
        send_signal(next.pid, SIGKILL);
        certain(cause::SIGNAL).check(&explain(session, &next), session);
    });
    place.each_round(&limits, |session| {
        let child = child_of(session);
        explain(&child, &start(&child, "oom::hog", &[]));
        let first = start(session, "sleeps_on", &[]);
        send_signal(first.pid, SIGKILL);
        unknown(cause::MEMORY_LIMIT | cause::SIGNAL).check(&explain(session, &first), session);
    });
}

#[test]
fn an_oom_kill_beside_the_group_is_not_told_as_its_end() {
    let place = Place::new();
    let _limit = LimitAbove::set(&place.scratch.parent, "memory.max", 32 * MIB);
    place.each_round(&Limits { swap_max: Some(0), ..Limits::default() }, |group| {
        let child = start(group, "sleeps_on", &[]);
        let neighbour = Group::under(&place.scratch, &Limits::default());
        explain(&neighbour, &start(&neighbour, "oom::hog", &[]));
        send_signal(child.pid, SIGKILL);
        certain(cause::SIGNAL).check(&explain(group, &child), group);
        neighbour.destroy();
    });
}

#[test]
fn without_the_memory_controller_a_kill_is_a_signal_if_the_machine_has_not_run_out_of_memory() {
    let place = Place::with_controllers(&["pids"]);
    place.each_round(&Limits::default(), |group| {
        let child = start(group, "sleeps_on", &[]);
        send_signal(child.pid, SIGKILL);
        let verdict = explain(group, &child);
        certain(cause::SIGNAL).check(&verdict, group);
        assert_eq!(verdict.mask & (known::OOM_KILLS | known::MEMORY_MAX | known::MEMORY_PEAK), 0);
    });
    // The limit is that of a cgroup above, which has the controller.
    let _limit = LimitAbove::set(&place.scratch.outer, "memory.max", 32 * MIB);
    place.each_round(&Limits::default(), |group| {
        let verdict = explain(group, &start(group, "oom::hog", &[]));
        unknown(cause::MEMORY_LIMIT_ABOVE | cause::SIGNAL).check(&verdict, group);
    });
}

/// If both limits were reached since the group was made, either can be the cause.
#[test]
fn two_limits_that_were_reached_are_both_candidates() {
    let place = Place::new();
    let limit = LimitAbove::set(&place.scratch.parent, "memory.max", 32 * MIB);
    place.each_round(&memory_max(16), |group| {
        let neighbour = Group::under(&place.scratch, &Limits::default());
        explain(&neighbour, &start(&neighbour, "oom::hog", &[]));
        let verdict = explain(group, &start(group, "oom::hog", &[]));
        assert_eq!(verdict.cause, 0, "{verdict:?}");
        let oom = cause::MEMORY_LIMIT | cause::MEMORY_LIMIT_ABOVE;
        assert_eq!(verdict.candidates & !cause::SIGNAL, oom, "{verdict:?}");
        neighbour.destroy();
    });
    drop(limit);
}

fn allocation_stalls() -> u64 {
    let vmstat = std::fs::read_to_string("/proc/vmstat").expect("/proc is mounted");
    let stalls = vmstat
        .lines()
        .filter_map(|line| line.strip_prefix("allocstall")?.rsplit(' ').next()?.parse::<u64>().ok());
    stalls.sum()
}

/// The guest must be small, and nothing else may run in it.
#[test]
fn a_machine_without_memory_is_told() {
    let place = Place::new();
    for _ in 0..rounds() {
        let group = Group::under(&place.scratch, &Limits::default());
        let before = allocation_stalls();
        let verdict = explain(&group, &start(&group, "hog_of_the_machine", &[]));
        of_one_thread(cause::MACHINE).check(&verdict, &group);
        // The library excludes a lack of memory of the machine if this counter has not grown.
        assert!(allocation_stalls() > before, "the kernel killed without reclaim");
        group.destroy();
    }
}

/// The limits above the root of a cgroup namespace are not visible.
#[test]
fn in_a_container_a_limit_above_its_root_is_a_candidate_if_the_own_limit_was_not_reached() {
    lab::needs(&["container"]);
    for _ in 0..rounds() {
        let group = Group::new(&memory_max(16));
        of_one_thread(cause::MEMORY_LIMIT).check(&explain(&group, &start(&group, "oom::hog", &[])), &group);
        group.destroy();
        let group = Group::plain();
        let verdict = explain(&group, &start(&group, "hog_of_the_machine", &[]));
        unknown(cause::MEMORY_LIMIT_ABOVE | cause::MACHINE).check(&verdict, &group);
        group.destroy();
    }
}

#[test]
fn refused_forks_are_counted_by_limit() {
    let place = Place::new();
    let limits = Limits { pids_max: Some(4), ..Limits::default() };
    place.each_round(&limits, |group| {
        let verdict = explain(group, &start(group, "oom::forks_until_refused", &[]));
        certain(cause::EXITED).check(&verdict, group);
        let forks = known::FORKS | known::FORKS_OWN | known::FORKS_ABOVE;
        assert_eq!(verdict.mask & forks, forks, "{verdict:?}");
        assert_eq!(
            (verdict.forks_refused, verdict.forks_refused_own, verdict.forks_refused_above),
            (2, 2, 0)
        );
    });
    let _limit = LimitAbove::set(&place.scratch.parent, "pids.max", 4);
    let tells_limit = !place.scratch.parent.has("pids.events.local");
    place.each_round(&Limits::default(), |group| {
        let verdict = explain(group, &start(group, "oom::forks_until_refused", &[]));
        assert_eq!(verdict.exit_code, 3);
        assert_eq!((verdict.mask & known::FORKS_OWN, verdict.forks_refused_own), (known::FORKS_OWN, 0));
        // From Linux 6.11 on the counter of the limit includes the forks of other groups.
        assert_eq!(verdict.mask & known::FORKS_ABOVE != 0, tells_limit, "{verdict:?}");
        assert_eq!(verdict.forks_refused_above, if tells_limit { 2 } else { 0 });
    });
    if tells_limit {
        // Both limit the group: which one has refused a fork is not told.
        place.each_round(&limits, |group| {
            let verdict = explain(group, &start(group, "oom::forks_until_refused", &[]));
            assert_eq!(verdict.forks_refused, 2, "{verdict:?}");
            assert_eq!(verdict.mask & (known::FORKS_OWN | known::FORKS_ABOVE), 0, "{verdict:?}");
        });
    }
}

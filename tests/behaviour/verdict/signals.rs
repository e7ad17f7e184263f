// SPDX-License-Identifier: MIT OR Apache-2.0
//! Signals: of the library, of others, and faults.

use super::{Place, certain, explain, send_signal, start, unknown, wait_status};
use crate::common::member::role;
use crate::common::program::{StartOptions, command};
use crate::common::{deadline, wait_until};
use agentcg::verdict::{Call, cause};
use agentcg::{Agent, Child, Command, Deadline, Limits, SpawnOptions, kill_all_of};
use libc::{SIGHUP, SIGKILL, SIGSEGV, SIGTERM};
use std::ffi::CString;
use std::time::Duration;

/// A role with a fault.
pub fn faults(_: &[String]) {
    // The test shall not dump core.
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0).expect("setrlimit");
    // SAFETY: the fault is the purpose.
    #[allow(unsafe_code, reason = "see SAFETY")]
    unsafe {
        // The handler of Rust's runtime is not installed in a role.
        libc::signal(SIGSEGV, libc::SIG_DFL);
        std::ptr::null_mut::<u8>().wrapping_add(8).write_volatile(1);
    }
}

/// A role that is killed by its own child.
pub fn is_killed_by_its_child(_: &[String]) {
    let parent = nix::unistd::getpid().as_raw();
    if role::fork() {
        send_signal(parent, SIGKILL);
        role::exit(0);
    }
    role::sleep();
}

#[test]
fn a_fault_is_a_signal() {
    let place = Place::new();
    place.each_round(&Limits::default(), |group| {
        let verdict = explain(group, &start(group, "faults", &[]));
        certain(cause::SIGNAL).check(&verdict, group);
        assert_eq!(verdict.signal, SIGSEGV.unsigned_abs());
    });
}

#[test]
fn a_kill_from_inside_and_one_from_outside_cannot_be_distinguished() {
    let place = Place::new();
    place.each_death(&Limits::default(), "is_killed_by_its_child", &[], certain(cause::SIGNAL));
    place.each_round(&Limits::default(), |group| {
        let child = start(group, "sleeps_on", &[]);
        send_signal(child.pid, SIGKILL);
        certain(cause::SIGNAL).check(&explain(group, &child), group);
    });
}

/// Another process writes cgroup.kill.
#[test]
fn a_kill_of_the_whole_group_by_another_process_is_a_signal() {
    let place = Place::new();
    place.each_round(&Limits::default(), |group| {
        let child = start(group, "sleeps_on", &[]);
        if !group.cgroup.has("cgroup.kill") {
            send_signal(child.pid, SIGKILL);
        } else {
            group.cgroup.write("cgroup.kill", 1);
        }
        certain(cause::SIGNAL).check(&explain(group, &child), group);
    });
}

/// A program that ignores SIGTERM.
fn start_ignoring_sigterm(agent: &Agent) -> Child {
    let words = ["role", "--play", "sleeps_on"].map(|word| CString::new(word).expect("no NUL"));
    let command = command(&[c"/proc/self/exe"], words.iter().map(CString::as_c_str));
    let ignored_signals = 1 << (SIGTERM - 1);
    let command = Command { stdio: StartOptions::default().stdio, ignored_signals, ..command };
    agent.spawn(&command, SpawnOptions::default()).unwrap_or_else(|e| panic!("spawn: {e}"))
}

/// Ends an agent, and says by which call and which signal.
type End = (Call, i32, fn(&Agent));

#[test]
fn each_call_of_the_library_is_told() {
    let ends: [End; 5] = [
        (Call::KillAll, SIGKILL, |agent| agent.kill_all(deadline()).unwrap()),
        (Call::KillAllOf, SIGKILL, |agent| {
            kill_all_of([agent].into_iter(), deadline(), |_, killed| killed.unwrap());
        }),
        (Call::Terminate, SIGTERM, |agent| {
            assert!(!agent.terminate(deadline(), None).unwrap(), "it ends by SIGTERM");
        }),
        (Call::SignalAll, SIGHUP, |agent| {
            assert_eq!(agent.signal_all(SIGHUP).unwrap(), 1);
        }),
        (Call::SignalAll, SIGKILL, |agent| {
            assert_eq!(agent.signal_all(SIGKILL).unwrap(), 1);
        }),
    ];
    let place = Place::new();
    for (call, signal, end) in ends {
        place.each_round(&Limits::default(), |group| {
            let child = start(group, "sleeps_on", &[]);
            end(group);
            let verdict = explain(group, &child);
            certain(cause::KILLED).check(&verdict, group);
            assert_eq!((verdict.call, verdict.signal), (call, signal.unsigned_abs()));
        });
    }
}

#[test]
fn the_kill_after_the_grace_is_told_as_that_of_terminate() {
    let place = Place::new();
    place.each_round(&Limits::default(), |group| {
        let child = start_ignoring_sigterm(group);
        assert!(group.terminate(Deadline::after(Duration::ZERO), None).unwrap());
        let verdict = explain(group, &child);
        certain(cause::KILLED).check(&verdict, group);
        assert_eq!((verdict.call, verdict.signal), (Call::Terminate, SIGKILL.unsigned_abs()));
    });
}

#[test]
fn destroy_tells_its_own_kill_if_the_program_lived() {
    let place = Place::new();
    for _ in 0..super::rounds() {
        let group = crate::common::group::Group::under(&place.scratch, &Limits::default());
        let child = start(&group, "sleeps_on", &[]);
        let (last, verdict) = group.destroy_explained(false, deadline(), None, true).unwrap();
        certain(cause::KILLED).check(&verdict, &group);
        assert_eq!((verdict.call, verdict.signal), (Call::Destroy, 0));
        assert!(last.mask != 0 && !group.cgroup.exists());
        wait_status(&child);
    }
}

#[test]
fn destroy_does_not_take_its_own_kill_for_the_end_of_a_program_that_has_ended() {
    let place = Place::new();
    for _ in 0..super::rounds() {
        let group = crate::common::group::Group::under(&place.scratch, &Limits::default());
        let child = start(&group, "sleeps_on", &[]);
        let other = start(&group, "sleeps_on", &[]);
        send_signal(child.pid, SIGKILL);
        let status = Some(wait_status(&child));
        let (_, verdict) = group.destroy_explained(false, deadline(), status, false).unwrap();
        certain(cause::SIGNAL).check(&verdict, &group);
        wait_status(&other);
    }
}

#[test]
fn a_kill_of_an_empty_group_is_not_told_as_the_cause() {
    let place = Place::new();
    place.each_round(&Limits::default(), |group| {
        let child = start(group, "sleeps_on", &[]);
        send_signal(child.pid, SIGKILL);
        let status = wait_status(&child);
        wait_until("the group is empty", || group.cgroup.value("cgroup.events", "populated") == 0);
        group.kill_all(deadline()).unwrap();
        group.signal_all(SIGKILL).unwrap();
        certain(cause::SIGNAL).check(&group.explain(Some(status)).unwrap(), group);
    });
}

#[test]
fn a_kill_is_not_told_as_the_cause_of_the_next_program() {
    let place = Place::new();
    place.each_round(&Limits::default(), |group| {
        let first = start(group, "sleeps_on", &[]);
        group.kill_all(deadline()).unwrap();
        certain(cause::KILLED).check(&explain(group, &first), group);
        let second = start(group, "sleeps_on", &[]);
        send_signal(second.pid, SIGKILL);
        certain(cause::SIGNAL).check(&explain(group, &second), group);
        // Without a verdict on the first program both are possible.
        let third = start(group, "sleeps_on", &[]);
        group.kill_all(deadline()).unwrap();
        wait_status(&third);
        let fourth = start(group, "sleeps_on", &[]);
        send_signal(fourth.pid, SIGKILL);
        unknown(cause::SIGNAL | cause::KILLED).check(&explain(group, &fourth), group);
    });
}

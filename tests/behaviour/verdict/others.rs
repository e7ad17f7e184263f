// SPDX-License-Identifier: MIT OR Apache-2.0
//! Groups that others end: the guard, a reaper.

use super::{Place, certain, deadline, explain, send_signal, start, unknown};
use crate::common::cgroup::Cgroup;
use crate::common::group::Group;
use crate::common::lab;
use crate::common::member::{Member, role};
use crate::common::program::command;
use agentcg::events::GONE;
use agentcg::verdict::{Call, cause};
use agentcg::{Agent, Command, Limits, PlaceRequest, SpawnOptions, reap};
use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;

/// A role that makes an agent in this place, with a process in it, and waits to be killed. The second argument says if the
/// agent is guarded.
pub fn host(args: &[String]) {
    let parent = CString::new(args[0].as_str()).expect("a path");
    let request =
        PlaceRequest { parent: Some(&parent), guard: args[1] == "guarded", ..PlaceRequest::default() };
    let agent = Agent::new_where(request, None, &Limits::default()).unwrap_or_else(|e| panic!("new: {e}"));
    if args[2] == "populated" {
        start(&agent, "sleeps_on", &[]);
    }
    role::send(agent.uuid());
    role::sleep();
}

/// Returns a handle that watches the agent of a host.
fn watch(place: &Place, uuid: &str) -> Agent {
    let watcher =
        Agent::open(Some(&place.scratch.path()), uuid, false).unwrap_or_else(|e| panic!("open: {e}"));
    watcher.event_fd(GONE).unwrap_or_else(|e| panic!("event_fd: {e}"));
    watcher
}

fn start_host(place: &Place, how: &[&str]) -> (Member, Agent) {
    let path = place.scratch.parent.0.to_string_lossy().into_owned();
    let mut host = Member::start("others::host", &[&[path.as_str()], how].concat());
    let uuid = host.receive();
    let watcher = watch(place, &uuid);
    (host, watcher)
}

#[test]
fn the_guard_is_told_if_it_has_killed_the_agent_of_a_host_that_ended() {
    let place = Place::new();
    for _ in 0..super::rounds() {
        let (mut host, watcher) = start_host(&place, &["guarded", "populated"]);
        host.kill_it_alone();
        while watcher.next_events(deadline()).unwrap() & GONE == 0 {}
        let verdict = watcher.explain(None).unwrap();
        assert_eq!((verdict.cause, verdict.candidates), (cause::GUARD, cause::GUARD), "{verdict:?}");
        assert!(verdict.sentence(b"").contains("the guard"), "{}", verdict.sentence(b""));
    }
}

#[test]
fn the_guard_is_not_told_if_no_process_lived() {
    let place = Place::new();
    for _ in 0..super::rounds().min(10) {
        let (mut host, watcher) = start_host(&place, &["guarded", "empty"]);
        host.kill_it_alone();
        while watcher.next_events(deadline()).unwrap() & GONE == 0 {}
        let verdict = watcher.explain(None).unwrap();
        assert_eq!(verdict.cause, 0, "{verdict:?}");
        assert_eq!(verdict.candidates & (cause::EXITED | cause::SIGNAL), cause::EXITED | cause::SIGNAL);
    }
}

#[test]
fn a_reaper_is_told() {
    let place = Place::new();
    for _ in 0..super::rounds() {
        let (mut host, watcher) = start_host(&place, &["unguarded", "populated"]);
        host.kill_it_alone();
        assert_eq!(reap(Some(&place.scratch.path()), deadline()).unwrap(), 1);
        while watcher.next_events(deadline()).unwrap() & GONE == 0 {}
        let verdict = watcher.explain(None).unwrap();
        assert_eq!((verdict.cause, verdict.call), (cause::KILLED, Call::Reap), "{verdict:?}");
    }
}

/// Does what systemd-oomd does: it counts the kill in an attribute, and kills each process.
fn kill_as_oomd(group: &Cgroup, name: &CStr, pid: i32) {
    let path = CString::new(group.0.as_os_str().as_bytes()).expect("a path");
    // SAFETY: both are strings, and the value is one byte long.
    #[allow(unsafe_code, reason = "see SAFETY")]
    let set = unsafe { libc::setxattr(path.as_ptr(), name.as_ptr(), c"1".as_ptr().cast(), 1, 0) };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
    send_signal(pid, libc::SIGKILL);
}

#[test]
fn a_kill_of_oomd_is_a_candidate_because_the_agent_can_write_the_attribute() {
    let place = Place::new();
    for name in [c"user.oomd_kill", c"user.oomd_ooms", c"user.systemd_oomd_kill"] {
        place.each_round(&Limits::default(), |group| {
            let child = start(group, "sleeps_on", &[]);
            kill_as_oomd(&group.cgroup, name, child.pid);
            unknown(cause::OOMD | cause::SIGNAL).check(&explain(group, &child), group);
        });
    }
}

/// As root: a program of another uid cannot write the attribute.
#[test]
fn a_kill_of_oomd_is_reported_if_no_program_can_write_the_attribute() {
    lab::needs(&["unified"]);
    let place = Place::new();
    place.each_round(&Limits::default(), |group: &Group| {
        let sleep = command(&[c"/bin/sleep"], [c"sleep", c"1000"]);
        let child =
            group.spawn(&Command { uid: Some(1000), ..sleep }, SpawnOptions::default()).expect("spawn");
        kill_as_oomd(&group.cgroup, c"user.oomd_kill", child.pid);
        certain(cause::OOMD).check(&explain(group, &child), group);
    });
}

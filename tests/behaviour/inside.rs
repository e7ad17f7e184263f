// SPDX-License-Identifier: MIT OR Apache-2.0
//! A caller inside the group itself is refused, and no process is killed.

use crate::common::cgroup::{Cgroup, Scratch};
use crate::common::deadline;
use crate::common::fixture::{Fixture, rounds, settings};
use crate::common::member::{Member, role};
use agentcg::{Agent, Limits, list, reap};
use std::ffi::CString;

roles![insider, answers, reaper];

/// In each round a member inside of its own agent's group tries to kill and then to destroy it.
fn check_refused_and_unharmed(where_inside: &str, mut fixture: Fixture) {
    let parent = fixture.scratch.parent.0.to_string_lossy().into_owned();
    for round in rounds() {
        let mut member = Member::start("insider", &[where_inside, &parent]);
        member.expect_line("kill_all: EDEADLK Some(CallerInside)");
        member.expect_line("destroy: EDEADLK Some(CallerInside)");
        member.expect_line("the other lives");
        member.expect_line("out again: destroyed");
        assert!(member.wait().success());
        drop(member);
        fixture.check_untouched(round);
    }
}

#[test]
fn a_caller_in_the_group_is_refused_and_no_process_dies() {
    check_refused_and_unharmed("group", Fixture::new());
}

#[test]
fn a_caller_in_a_nested_cgroup_is_refused_and_no_process_dies() {
    check_refused_and_unharmed("nested", Fixture::new());
}

#[test]
fn a_caller_in_a_threaded_cgroup_below_is_refused_and_no_process_dies() {
    check_refused_and_unharmed("threaded below", Fixture::new());
}

#[test]
fn a_caller_in_a_threaded_group_is_refused_and_no_process_dies() {
    check_refused_and_unharmed("threaded", Fixture::for_threads());
}

/// Another process in the same group answers that it lives.
fn insider(args: &[String]) {
    let [where_inside, parent] = args else { panic!("{args:?}") };
    let before = Cgroup::own();
    let parent = CString::new(parent.as_str()).expect("no NUL");
    let agent = Agent::new(Some(&parent), None, &Limits::default()).expect("new");
    let cgroup = Cgroup::at(agent.path());
    let into = match where_inside.as_str() {
        "nested" => cgroup.make("one").make("two"),
        "threaded below" => cgroup.make("one"),
        _ => cgroup.clone(),
    };
    if where_inside == "threaded" {
        into.write("cgroup.type", "threaded");
    }
    let mut other = Member::start("inside::answers", &[]);
    agent.move_pid(other.pid()).expect("move_pid");
    if where_inside == "threaded below" {
        into.write("cgroup.type", "threaded");
        agent.move_self().expect("move_self");
    }
    role::enter(&into);
    // The threads of this process are also listed in a threaded cgroup.
    std::thread::spawn(|| role::sleep());

    let set = settings(&cgroup);
    let describe = |e: agentcg::Error| format!("{:?} {:?}", e.errno(), e.reason());
    role::send(&format!("kill_all: {}", describe(agent.kill_all(deadline()).expect_err("killed"))));
    let destroyed = agent.destroy(false, deadline(), false);
    role::send(&format!("destroy: {}", describe(destroyed.expect_err("destroyed"))));
    assert_eq!(settings(&cgroup), set, "a setting is not restored");
    other.send("are you there?");
    other.expect_line("yes");
    role::send("the other lives");
    role::enter(&before);
    agent.destroy(false, deadline(), false).expect("destroy");
    assert!(other.is_dead() && !cgroup.exists());
    role::send("out again: destroyed");
}

fn answers(_: &[String]) {
    role::receive();
    role::send("yes");
    role::sleep();
}

#[test]
fn a_reaper_in_an_orphan_is_refused_and_reaps_the_others() {
    let scratch = Scratch::new();
    let mut member = Member::start("reaper", &[&scratch.parent.0.to_string_lossy()]);
    member.expect_line("EDEADLK Some(CallerInside)");
    member.expect_line("1 is left");
    member.expect_line("out again: Ok(1)");
    assert!(member.wait().success());
    assert_eq!(scratch.parent.all().len(), 1);
}

fn reaper(args: &[String]) {
    let parent = CString::new(args[0].as_str()).expect("no NUL");
    let before = Cgroup::own();
    let orphan = || {
        let agent = Agent::new(Some(&parent), None, &Limits::default()).expect("new");
        Cgroup::at(agent.path())
    };
    let (one, _other, _third) = (orphan(), orphan(), orphan());
    role::enter(&one);
    let e = reap(Some(&parent), deadline()).expect_err("reaped itself");
    role::send(&format!("{:?} {:?}", e.errno(), e.reason()));
    role::send(&format!("{} is left", list(Some(&parent)).expect("list").len()));
    role::enter(&before);
    role::send(&format!("out again: {:?}", reap(Some(&parent), deadline())));
}

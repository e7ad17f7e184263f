// SPDX-License-Identifier: MIT OR Apache-2.0
//! An agent can have its own agents. They are inside of it: its limits apply to them, and they end with it.

use crate::common::cgroup::Cgroup;
use crate::common::deadline;
use crate::common::group::Group;
use crate::common::member::{Member, role};
use agentcg::{Agent, Limits, PlaceKind};

roles![has_an_agent];

#[test]
fn a_nested_agent_is_inside_the_outer_one_and_dies_with_it() {
    let outer = Group::new(&Limits { pids_max: Some(20), memory_max: Some(64 << 20), ..Limits::default() });
    let outside = Cgroup::at(outer.agent().path());
    let mut host = Member::start("has_an_agent", &[]);
    outer.agent().move_pid(host.pid()).expect("move_pid");
    host.send("go");
    let inner = Cgroup::at(host.receive().as_bytes());
    assert!(inner.0.starts_with(outside.0.join("synwire/agents")), "{inner:?} is not inside {outside:?}");
    assert_eq!(inner.read("pids.max"), "5");
    assert_eq!(inner.read("cgroup.procs").lines().count(), 1);

    outer.agent().kill_all(deadline()).expect("kill_all");
    assert!(inner.members().is_empty() && outside.members().is_empty());
    host.wait();
    outer.destroy();
    assert!(!outside.exists());
}

fn has_an_agent(_: &[String]) {
    role::receive();
    let limits = Limits { pids_max: Some(5), ..Limits::default() };
    let agent = Agent::new(None, None, &limits).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(agent.info().expect("info").place, PlaceKind::Delegated);
    let member = Member::start("sleeper", &[]);
    agent.move_pid(member.pid()).expect("move_pid");
    role::send(&String::from_utf8_lossy(&agent.path()));
    role::sleep();
}

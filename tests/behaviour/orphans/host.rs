// SPDX-License-Identifier: MIT OR Apache-2.0
//! Another program that uses agentcg and ends in several ways.

use crate::common::cgroup::{Cgroup, Scratch};
use crate::common::member::{Member, role};
use agentcg::{Agent, Limits, PlaceRequest};
use std::ffi::CString;

/// The program and its agents, each with one process in it.
pub struct Host {
    pub member: Member,
    pub agents: Vec<Cgroup>,
}

impl Host {
    pub fn start(scratch: &Scratch, agents: usize) -> Self {
        Self::start_tagged(scratch, agents, None)
    }

    /// Starts a host whose agents have this tag.
    pub fn start_tagged(scratch: &Scratch, agents: usize, tag: Option<&str>) -> Self {
        let (parent, count) = (scratch.parent.0.to_string_lossy(), agents.to_string());
        let mut member =
            Member::start("orphans::host::host", &[&[&*parent, &count], tag.as_slice()].concat());
        let agents = (0..agents).map(|_| Cgroup(member.receive().into())).collect();
        Self { member, agents }
    }

    /// Kills the host only: the processes that it has started live on.
    pub fn crash(&mut self) {
        self.member.kill_it_alone();
    }
}

/// The role of the host.
pub fn host(args: &[String]) {
    let parent = CString::new(args[0].as_str()).expect("no NUL");
    let mut agents = Vec::new();
    let tag = args.get(2).map(String::as_str);
    for _ in 0..args[1].parse().expect("a number") {
        let request = PlaceRequest { parent: Some(&parent), ..PlaceRequest::default() };
        let agent =
            Agent::new_with(request, None, &Limits::default(), tag, tag).unwrap_or_else(|e| panic!("{e}"));
        if role::fork() {
            agent.move_self().expect("move_self");
            let path = String::from_utf8_lossy(&agent.path()).into_owned();
            // The copies of the child would keep the agents owned.
            drop(agents);
            drop(agent);
            role::send(&path);
            role::sleep();
        }
        agents.push(agent);
    }
    while role::receive() == "fork" {
        if role::fork() {
            drop(agents);
            role::exit(0);
        }
        nix::sys::wait::wait().expect("wait for the child");
        role::send("copies freed");
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! An agent that makes attempts, another agent beside it, and their host.

use crate::common::cgroup::{Cgroup, Scratch};
use crate::common::group::{Group, own_pid};
use crate::common::lab;
use crate::common::member::Member;
use crate::common::program::{self, StartOptions};
use agentcg::{Errno, Limits, SpawnOptions};
use nix::sys::wait::WaitStatus;
use std::sync::Once;

pub struct Fixture {
    pub agent: Group,
    pub sibling: Group,
    pub member: Member,
    host: Cgroup,
    /// Dropped last, since it removes the parent of the groups.
    _scratch: Option<Scratch>,
}

impl Fixture {
    /// Creates the agents under the parent of this test.
    pub fn new() -> Self {
        move_host_out_of_root();
        let scratch = Scratch::new();
        let (agent, sibling) = (Group::under(&scratch, &limits()), Group::under(&scratch, &limits()));
        // At the root of the hierarchy, the group of an agent would have the same path as the host's.
        let own = Cgroup::own();
        let is_apart = own.has("cgroup.type") && lab::layout() != "container";
        let host = if is_apart { own } else { scratch.outer.make("host") };
        Self::of(agent, sibling, host, Some(scratch))
    }

    /// Creates the agents at the place that the library finds.
    pub fn at_its_place() -> Self {
        Self::of(Group::new(&limits()), Group::new(&limits()), Cgroup::own(), None)
    }

    fn of(agent: Group, sibling: Group, host: Cgroup, scratch: Option<Scratch>) -> Self {
        let mut member = sibling.start("sleeper", &[]);
        member.expect_line("ready");
        Self { agent, sibling, member, host, _scratch: scratch }
    }

    /// Lets the agent make an attempt. Returns the error that prevented it.
    pub fn attempt(
        &self,
        attempt: &str,
        more: &[&str],
        contain: bool,
        options: StartOptions<'_>,
    ) -> Result<(), Errno> {
        self.attempt_on(own_pid(), attempt, more, contain, options)
    }

    /// Does the same with another process as the host.
    pub fn attempt_on(
        &self,
        host: i32,
        attempt: &str,
        more: &[&str],
        contain: bool,
        options: StartOptions<'_>,
    ) -> Result<(), Errno> {
        let paths = [&self.sibling.cgroup, &self.host].map(|cgroup| cgroup.0.to_string_lossy().into_owned());
        let pid = host.to_string();
        let args = [&[attempt, &paths[0], &paths[1], &pid], more].concat();
        let options = StartOptions { args: &args, spawn: SpawnOptions { contain, pidfd: false }, ..options };
        let child =
            program::start(&self.agent, "attempt", options).unwrap_or_else(|e| panic!("{attempt}: {e}"));
        match program::wait(&child) {
            WaitStatus::Exited(_, 0) => Ok(()),
            WaitStatus::Exited(_, errno) => Err(Errno::from_raw(errno)),
            other => panic!("{attempt}: {other:?}"),
        }
    }
}

fn limits() -> Limits {
    Limits { memory_max: Some(64 << 20), pids_max: Some(20), ..Limits::default() }
}

/// The first process of a container is in the root cgroup, which has no siblings.
fn move_host_out_of_root() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if lab::layout() == "container" {
            let root = Cgroup("/sys/fs/cgroup".into());
            // A role is another process and may come second.
            let host = root.join("host");
            if !host.exists() {
                root.make("host");
            }
            root.words("cgroup.procs").into_iter().for_each(|pid| host.write("cgroup.procs", pid));
        }
    });
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! An agent that misbehaves, one beside it, and their host.

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
    /// Removed last.
    _scratch: Option<Scratch>,
}

impl Fixture {
    /// Under a parent of its own.
    pub fn new() -> Self {
        make_room();
        let scratch = Scratch::new();
        let (agent, sibling) = (Group::under(&scratch, &limits()), Group::under(&scratch, &limits()));
        // Where we are at the root an agent's own group would have the same path.
        let own = Cgroup::own();
        let is_apart = own.has("cgroup.type") && lab::layout() != "container";
        let host = if is_apart { own } else { scratch.outer.make("host") };
        Self::of(agent, sibling, host, Some(scratch))
    }

    /// Where the library finds a place.
    pub fn at_its_place() -> Self {
        Self::of(Group::new(&limits()), Group::new(&limits()), Cgroup::own(), None)
    }

    fn of(agent: Group, sibling: Group, host: Cgroup, scratch: Option<Scratch>) -> Self {
        let mut member = sibling.start("sleeper", &[]);
        member.expect_line("ready");
        Self { agent, sibling, member, host, _scratch: scratch }
    }

    /// Have the agent do this: nothing, or why it could not.
    pub fn play(&self, act: &str, more: &[&str], contain: bool, how: StartOptions<'_>) -> Result<(), Errno> {
        self.play_on(own_pid(), act, more, contain, how)
    }

    /// The same with another process for the host.
    pub fn play_on(
        &self,
        host: i32,
        act: &str,
        more: &[&str],
        contain: bool,
        how: StartOptions<'_>,
    ) -> Result<(), Errno> {
        let paths = [&self.sibling.cgroup, &self.host].map(|cgroup| cgroup.0.to_string_lossy().into_owned());
        let pid = host.to_string();
        let args = [&[act, &paths[0], &paths[1], &pid], more].concat();
        let how = StartOptions { args: &args, spawn: SpawnOptions { contain, pidfd: false }, ..how };
        let child = program::start(&self.agent, "act", how).unwrap_or_else(|e| panic!("{act}: {e}"));
        match program::wait(&child) {
            WaitStatus::Exited(_, 0) => Ok(()),
            WaitStatus::Exited(_, errno) => Err(Errno::from_raw(errno)),
            other => panic!("{act}: {other:?}"),
        }
    }
}

fn limits() -> Limits {
    Limits { memory_max: Some(64 << 20), pids_max: Some(20), ..Limits::default() }
}

/// A container's first process stands at its root, where nothing can be made beside it.
fn make_room() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if lab::layout() == "container" {
            let root = Cgroup("/sys/fs/cgroup".into());
            // A role is a process of its own, and may come second.
            let host = root.join("host");
            if !host.exists() {
                root.make("host");
            }
            root.words("cgroup.procs").into_iter().for_each(|pid| host.write("cgroup.procs", pid));
        }
    });
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Programs that start inside a scope. In a session only systemd can move processes there.

use crate::common::cgroup::Cgroup;
use crate::common::program::{self, StartOptions};
use crate::common::{deadline, lab};
use crate::programs::{limits, only_systemd};
use agentcg::{Agent, Errno, SpawnOptions};
use nix::sys::wait::WaitStatus;
use std::os::fd::{AsFd, AsRawFd};

/// Exits with 0 if it is in this cgroup according to /proc/self/cgroup.
pub fn inside(args: &[String]) {
    let text = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    let own = text.lines().find_map(|line| line.strip_prefix("0::")).unwrap();
    assert!(own.ends_with(&args[0]), "{own}");
}

#[test]
fn a_program_starts_inside_a_scope() {
    lab::needs(&crate::LAYOUTS);
    let agent = Agent::new_where(only_systemd(), None, &limits()).unwrap_or_else(|e| panic!("{e}"));
    let tail = format!("/synwire/agents/{}", agent.uuid());
    for (contain, tail) in [(false, tail.as_str()), (true, "/")] {
        let spawn = SpawnOptions { contain, pidfd: true };
        let child = program::start(
            &agent,
            "inside",
            StartOptions { args: &[tail], spawn, ..StartOptions::default() },
        )
        .unwrap_or_else(|e| panic!("contained: {contain}: {e}"));
        let pidfd = child.pidfd.as_ref().unwrap();
        let info =
            std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_fd().as_raw_fd())).unwrap();
        assert!(info.contains(&format!("Pid:\t{}\n", child.pid)), "{info}");
        assert!(matches!(program::wait(&child), WaitStatus::Exited(_, 0)), "contained: {contain}");
    }

    let nowhere = program::command(&[c"/nowhere"], [c"nowhere"]);
    let e = agent.spawn(&nowhere, SpawnOptions::default()).unwrap_err();
    assert_eq!(e.errno(), Errno::ENOENT, "{e}");
    assert!(program::no_child_is_left());
    assert!(Cgroup::at(agent.path()).members().is_empty());
    agent.destroy(false, deadline(), false).unwrap();
}

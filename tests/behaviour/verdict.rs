// SPDX-License-Identifier: MIT OR Apache-2.0
//! Each cause of an agent's end is reported right, or is unknown where docs/verdict.md says that the kernel does not show.
//!
//! `AGENTCG_ROUNDS` is the number of deaths for each cause; without it, 100. One test runs at a time, because the counters of
//! the cgroups above and of the machine concern all of them.

mod oom;
mod oomd;
mod others;
mod signals;

use crate::common::cgroup::{Cgroup, Scratch};
use crate::common::group::Group;
use crate::common::member::role;
use crate::common::program::{self, StartOptions};
use crate::common::{deadline, lab, lock_place};
use agentcg::verdict::{Verdict, cause, known};
use agentcg::{Agent, Child, Limits};
use std::sync::MutexGuard;

roles![
    sleeps_on,
    exits,
    oom::hog,
    oom::hog_with_a_sleeper,
    oom::sleeper_whose_child_is_a_hog,
    oom::hog_of_the_machine,
    oom::forks_until_refused,
    signals::faults,
    signals::is_killed_by_its_child,
    others::host,
];

const MIB: u64 = 1 << 20;

fn rounds() -> u32 {
    std::env::var("AGENTCG_ROUNDS").map_or(100, |text| text.parse().expect("a number of rounds"))
}

/// A place of its own, and the lock that keeps other tests away.
struct Place {
    scratch: Scratch,
    _alone: MutexGuard<'static, ()>,
}

impl Place {
    fn new() -> Self {
        let alone = lock_place();
        Self { scratch: Scratch::new(), _alone: alone }
    }

    /// With these controllers only.
    fn with_controllers(controllers: &[&str]) -> Self {
        let alone = lock_place();
        Self { scratch: Scratch::with_controllers(controllers), _alone: alone }
    }

    /// In each round, `play` gets a new group with these limits, and the group is destroyed afterwards.
    fn each_round(&self, limits: &Limits, mut play: impl FnMut(&Group)) {
        for _ in 0..rounds() {
            let group = Group::under(&self.scratch, limits);
            play(&group);
            group.destroy();
        }
    }

    /// Plays a role that ends by itself and compares the verdict.
    fn each_death(&self, limits: &Limits, role: &str, args: &[&str], expected: Expected) {
        self.each_round(limits, |group| {
            let verdict = explain(group, &start(group, role, args));
            expected.check(&verdict, group);
        });
    }
}

/// A verdict without its counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Expected {
    cause: u64,
    candidates: u64,
}

/// The verdict with this cause alone.
const fn certain(cause: u64) -> Expected {
    Expected { cause, candidates: cause }
}

/// The verdict "unknown" with these candidates.
const fn unknown(candidates: u64) -> Expected {
    Expected { cause: 0, candidates }
}

impl Expected {
    #[track_caller]
    fn check(self, verdict: &Verdict, agent: &Agent) {
        let told = Self { cause: verdict.cause, candidates: verdict.candidates };
        assert_eq!(told, self, "{}\n{verdict:?}", verdict.sentence(&agent.path()));
    }
}

/// Starts a role as the main program of the agent.
fn start(agent: &Agent, role: &str, args: &[&str]) -> Child {
    let how = StartOptions { args, ..StartOptions::default() };
    program::start(agent, role, how).unwrap_or_else(|e| panic!("spawn: {e}"))
}

/// Waits for the program as a C program does.
fn wait_status(child: &Child) -> i32 {
    let mut status = 0;
    // SAFETY: the status is a local variable.
    #[allow(unsafe_code, reason = "nix decodes the status")]
    let waited = unsafe { libc::waitpid(child.pid, &raw mut status, 0) };
    assert_eq!(waited, child.pid);
    status
}

fn explain(agent: &Agent, child: &Child) -> Verdict {
    let status = wait_status(child);
    agent.explain(Some(status)).unwrap_or_else(|e| panic!("explain: {e}"))
}

/// Returns true if the kernel counts the group kills: Linux 5.17.
fn counts_group_kills(group: &Group) -> bool {
    group.cgroup.read("memory.events.local").contains("oom_group_kill")
}

fn sleeps_on(_: &[String]) {
    role::sleep();
}

/// A role that exits with this code.
fn exits(args: &[String]) {
    role::exit(args[0].parse().expect("a number"));
}

fn send_signal(pid: i32, signal: i32) {
    // SAFETY: the call takes integers.
    #[allow(unsafe_code, reason = "see SAFETY")]
    let sent = unsafe { libc::kill(pid, signal) };
    assert_eq!(sent, 0);
}

#[test]
fn an_exit_is_told_with_its_code() {
    let place = Place::new();
    for code in [0, 1, 137] {
        place.each_round(&Limits::default(), |group| {
            let verdict = explain(group, &start(group, "verdict::exits", &[&code.to_string()]));
            certain(cause::EXITED).check(&verdict, group);
            assert_eq!((verdict.exit_code, verdict.signal), (code, 0));
            assert_eq!(verdict.sentence(b""), format!("The program exited with code {code}."));
        });
    }
}

#[test]
fn a_living_group_is_told_as_running_and_a_stopped_process_is_refused() {
    let place = Place::new();
    let group = Group::under(&place.scratch, &Limits::default());
    let child = start(&group, "sleeps_on", &[]);
    certain(cause::RUNNING).check(&group.explain(None).unwrap(), &group);
    for status in [0x137f, 0xffff, 1 << 20] {
        let refused = group.explain(Some(status)).unwrap_err();
        assert_eq!(refused.errno(), agentcg::Errno::EINVAL, "{refused}");
    }
    group.kill_all(deadline()).unwrap();
    let verdict = explain(&group, &child);
    certain(cause::KILLED).check(&verdict, &group);
    group.destroy();
}

#[test]
fn the_counts_are_those_of_the_group() {
    let place = Place::new();
    let limits = Limits { memory_max: Some(64 * MIB), ..Limits::default() };
    let group = Group::under(&place.scratch, &limits);
    let verdict = explain(&group, &start(&group, "verdict::exits", &["0"]));
    assert!(verdict.mask & (known::OOM_KILLS | known::MEMORY_MAX | known::FORKS) != 0, "{verdict:?}");
    assert_eq!((verdict.oom_kills, verdict.memory_max_bytes, verdict.forks_refused), (0, 64 * MIB, 0));
    if group.cgroup.has("memory.peak") {
        assert_ne!(verdict.mask & known::MEMORY_PEAK, 0);
        assert_eq!(verdict.memory_peak_bytes, group.cgroup.number("memory.peak"));
    }
    assert_ne!(verdict.mask & known::CPU_THROTTLED, 0);
    group.destroy();
}

/// Sets a limit of a cgroup above the groups of a test for some time.
struct LimitAbove<'a>(&'a Cgroup, &'static str);

impl<'a> LimitAbove<'a> {
    fn set(cgroup: &'a Cgroup, file: &'static str, value: u64) -> Self {
        cgroup.write(file, value);
        Self(cgroup, file)
    }
}

impl Drop for LimitAbove<'_> {
    fn drop(&mut self) {
        let _ = self.0.try_write(self.1, "max"); // The place is removed in any case.
    }
}

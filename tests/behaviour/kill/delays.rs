// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an agent can do to delay or prevent the kill.

use crate::common::cgroup::{Cgroup, Scratch};
use crate::common::group::{Group, own_pid};
use crate::common::member::{Member, role};
use crate::common::{deadline, lab, wait_until};
use agentcg::{Agent, Deadline, Errno, Limits};
use nix::sys::resource::{Resource, setrlimit};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

/// The time limit of a call.
const SECOND: Duration = Duration::from_secs(1);

/// A kill that walks through all cgroups first takes many times longer.
#[test]
fn an_agent_that_makes_cgroups_without_end_does_not_delay_the_kill() {
    if lab::lacks("cgroup.kill") {
        // Without cgroup.kill the walk itself kills, and its duration depends on the cgroups.
        return killed_within_its_deadline();
    }
    let (group, mut member) = with_thousands_of_cgroups();
    let start = Instant::now();
    group.kill_all(Deadline::after(SECOND)).unwrap_or_else(|e| panic!("{e}"));
    assert!(start.elapsed() < 3 * SECOND, "it took {:?}", start.elapsed());
    assert!(member.is_dead());
    // There are more cgroups than can be removed in a second. Each call removes a part, and the next one
    // continues.
    let start = Instant::now();
    if let Err(e) = group.agent().destroy(false, Deadline::after(SECOND), false) {
        assert_eq!(e.errno(), Errno::ETIMEDOUT, "{e}");
    }
    assert!(start.elapsed() < 4 * SECOND, "it took {:?}", start.elapsed());
    group.destroy();
}

fn killed_within_its_deadline() {
    let (group, _member) = with_thousands_of_cgroups();
    let start = Instant::now();
    if let Err(e) = group.kill_all(Deadline::after(SECOND)) {
        assert_eq!(e.errno(), Errno::ETIMEDOUT, "{e}");
    }
    assert!(start.elapsed() < 4 * SECOND, "it took {:?}", start.elapsed());
    group.kill_all(deadline()).unwrap_or_else(|e| panic!("{e}"));
    group.destroy();
}

fn with_thousands_of_cgroups() -> (Group, Member) {
    let group = Group::plain();
    let member = group.start("delays::makes_cgroups", &[&group.cgroup.0.to_string_lossy()]);
    wait_until("there are thousands of cgroups", || {
        group.cgroup.value("cgroup.stat", "nr_descendants") > 6_000
    });
    (group, member)
}

/// Three processes, so that there are more new cgroups each time one has been read.
pub fn makes_cgroups(args: &[String]) {
    role::receive();
    let group = Cgroup(args[0].clone().into());
    role::fork();
    role::fork();
    let own = group.make(own_pid().to_string());
    for count in 0u64.. {
        if fs::create_dir(own.join(count.to_string()).0).is_err() {
            role::sleep();
        }
    }
}

#[test]
fn an_agent_that_keeps_removing_access_to_its_cgroups_is_killed() {
    // Root can open a file regardless of its mode.
    lab::needs(&["user"]);
    let group = Group::plain();
    let mut member = group.start("keeps_removing_access", &[&group.cgroup.0.to_string_lossy()]);
    (0..3).for_each(|_| member.expect_line("closing"));
    let start = Instant::now();
    group.kill_all(deadline()).unwrap_or_else(|e| panic!("after {:?}: {e}", start.elapsed()));
    assert!(member.is_dead());
    group.destroy();
}

/// Three processes, on a hundred cgroups.
pub fn keeps_removing_access(args: &[String]) {
    role::receive();
    let group = Cgroup(args[0].clone().into());
    let below: Vec<_> = (0..100).map(|count| group.make(count.to_string()).join("cgroup.procs").0).collect();
    if !role::fork() {
        role::fork();
    }
    for round in 0u64.. {
        for file in &below {
            fs::set_permissions(file, Permissions::from_mode(0o0)).expect("chmod");
        }
        if round == 1 {
            role::send("closing");
        }
    }
}

/// Any process of the same user can take them away with prlimit(2).
#[test]
fn a_host_with_no_descriptor_left_kills_and_destroys() {
    assert!(!lab::lacks("cgroup.kill"), "without it the library needs descriptors to find each process");
    let scratch = Scratch::new();
    let mut host = Member::start("delays::has_no_descriptor_left", &[&scratch.path().to_string_lossy()]);
    let group = Cgroup(host.receive().into());
    assert!(host.wait().success());
    assert!(!group.exists());
}

pub fn has_no_descriptor_left(args: &[String]) {
    let parent = std::ffi::CString::new(args[0].as_bytes()).expect("no NUL");
    let agent = Agent::new(Some(&parent), None, &Limits::default()).unwrap_or_else(|e| panic!("{e}"));
    let group = Cgroup::at(agent.path());
    let inner = group.make("inner");
    for enters in [None, Some(&inner)] {
        if role::fork() {
            assert_eq!(agent.move_self(), Ok(()));
            if let Some(inner) = enters {
                role::enter(inner);
            }
            role::sleep();
        }
    }
    wait_until("both are inside", || inner.members().len() == 1 && group.words("cgroup.procs").len() == 1);
    role::send(&group.0.to_string_lossy());
    setrlimit(Resource::RLIMIT_NOFILE, 0, 0).expect("setrlimit");
    agent.kill_all(deadline()).unwrap_or_else(|e| panic!("kill_all: {e}"));
    agent.destroy(false, deadline(), false).unwrap_or_else(|e| panic!("destroy: {e}"));
}

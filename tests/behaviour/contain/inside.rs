// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a contained agent sees, and what works for it as without containment.

use super::fixture::Fixture;
use crate::common::cgroup::{Cgroup, Scratch};
use crate::common::group::Group;
use crate::common::member::role;
use crate::common::program::{self, StartOptions};
use crate::common::{deadline, lab, wait_until};
use agentcg::{Agent, Errno, Limits, SpawnOptions};
use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;
use nix::unistd::{chown, getegid, geteuid};
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

/// Runs a role as a contained agent and returns its output.
fn output_of(role: &str, args: &[&str]) -> String {
    let fixture = Fixture::new();
    let (reader, writer): (OwnedFd, OwnedFd) = nix::unistd::pipe().unwrap();
    let options = StartOptions {
        args,
        spawn: SpawnOptions { contain: true, pidfd: false },
        stdio: [agentcg::DEVNULL, writer.as_raw_fd(), 2],
        ..StartOptions::default()
    };
    let child = program::start(&fixture.agent, role, options).unwrap_or_else(|e| panic!("{role}: {e}"));
    drop(writer);
    let mut output = String::new();
    File::from(reader).read_to_string(&mut output).unwrap();
    assert!(matches!(program::wait(&child), WaitStatus::Exited(_, 0)), "{output}");
    fixture.agent.destroy();
    output
}

#[test]
fn an_agent_sees_its_own_group_as_the_whole_hierarchy() {
    assert_eq!(output_of("reads_its_root", &[]), "0::/\n67108864\n20\n");
}

pub fn reads_its_root(_: &[String]) {
    let root = Cgroup("/sys/fs/cgroup".into());
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    role::send(own.lines().find(|line| line.starts_with("0::")).unwrap());
    role::send(&root.read("memory.max"));
    role::send(&root.read("pids.max"));
    assert!(root.lists(std::process::id().try_into().unwrap()));
}

#[test]
fn an_agent_makes_cgroups_and_moves_into_them() {
    assert_eq!(output_of("moves_into_its_cgroups", &[]), "0::/a/b\n0::/\n");
}

pub fn moves_into_its_cgroups(_: &[String]) {
    let root = Cgroup("/sys/fs/cgroup".into());
    for cgroup in [root.make("a").make("b"), root] {
        role::enter(&cgroup);
        role::send(fs::read_to_string("/proc/self/cgroup").unwrap().lines().last().unwrap());
    }
}

#[test]
fn an_agent_has_no_capabilities_and_keeps_its_uid_and_gid() {
    let (uid, gid) = (geteuid(), getegid());
    let zero = "0000000000000000";
    assert_eq!(
        output_of("sends_its_credentials", &[]),
        format!("{uid} {gid} {zero} {zero} {zero} {zero} {zero}\n")
    );
}

pub fn sends_its_credentials(_: &[String]) {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let value = |key| status.lines().find_map(|line| line.strip_prefix(key)).unwrap().trim().to_owned();
    let capabilities = ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"].map(value).join(" ");
    role::send(&format!("{} {} {capabilities}", geteuid(), getegid()));
}

/// The agent sees every uid and gid but its own as the overflow id.
#[test]
fn an_agent_writes_files_as_its_uid() {
    let path = std::env::temp_dir().join(format!("written-{}", std::process::id()));
    let text = path.to_string_lossy();
    let other = if lab::is_root() {
        let strangers = std::env::temp_dir().join("a-strangers");
        fs::write(&strangers, "").unwrap();
        chown(&strangers, Some(1000.into()), None).unwrap();
        strangers
    } else {
        "/etc".into()
    };
    let seen = output_of("writes_a_file", &[&text, &other.to_string_lossy()]);
    assert_eq!(seen, format!("{} 65534\n", geteuid()));
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    let file = fs::metadata(&path).unwrap();
    assert_eq!((file.uid(), file.gid()), (uid, gid));
    fs::remove_file(&path).unwrap();
}

pub fn writes_a_file(args: &[String]) {
    fs::write(&args[0], "hello").unwrap();
    let [own, other] = [&args[0], &args[1]].map(|path| fs::metadata(path).unwrap().uid());
    role::send(&format!("{own} {other}"));
}

/// Root could map its uid only with a capability that it has lost (Linux 5.12, and earlier in stable
/// releases).
#[test]
fn an_agent_has_its_own_agents_which_are_contained_unless_it_is_root() {
    let contained = "pids.max 5\nOk(()) Ok(())\nErr(EPERM) Err(ENOENT)\n";
    let not_contained = "pids.max 5\nOk(()) Ok(())\nEPERM Some(NotContained)\n";
    assert_eq!(output_of("has_agents", &[]), if lab::is_root() { not_contained } else { contained });
}

pub fn has_agents(_: &[String]) {
    let limits = Limits { pids_max: Some(5), ..Limits::default() };
    let agent = Agent::new(None, None, &limits).unwrap_or_else(|e| panic!("{e}"));
    role::send(&format!("pids.max {}", Cgroup::at(agent.path()).read("pids.max")));
    let play = |attempt, more: &[&str], contain| {
        let args = [&[attempt, "/sys/fs/cgroup", "/sys/fs/cgroup/supervisor", "1"], more].concat();
        let options = StartOptions {
            args: &args,
            spawn: SpawnOptions { contain, pidfd: false },
            ..StartOptions::default()
        };
        let child = program::start(&agent, "attempt", options)?;
        Ok::<_, agentcg::Error>(match program::wait(&child) {
            WaitStatus::Exited(_, 0) => Ok(()),
            WaitStatus::Exited(_, errno) => Err(Errno::from_raw(errno)),
            other => panic!("{other:?}"),
        })
    };
    for contain in [false, true] {
        let raised = play("writes to its own file", &["pids.max", "max"], contain);
        let moved = play("moves to the cgroup of the host", &[], contain);
        match (raised, moved) {
            (Ok(raised), Ok(moved)) => role::send(&format!("{raised:?} {moved:?}")),
            (Err(e), _) | (_, Err(e)) => role::send(&format!("{:?} {:?}", e.errno(), e.reason())),
        }
    }
    agent.destroy(false, deadline(), false).unwrap_or_else(|e| panic!("{e}"));
}

/// This holds in whichever namespaces and cgroups it is.
#[test]
fn an_agent_is_killed_and_removed_with_the_cgroups_that_it_has_made() {
    let fixture = Fixture::new();
    let options =
        StartOptions { spawn: SpawnOptions { contain: true, pidfd: false }, ..StartOptions::default() };
    let child = program::start(&fixture.agent, "sleeps_in_a_nested_cgroup", options).unwrap();
    let below = fixture.agent.cgroup.join("below/further");
    wait_until("it is in the nested cgroup", || below.exists() && below.lists(child.pid));
    fixture.agent.kill_all(deadline()).unwrap();
    assert!(matches!(program::wait(&child), WaitStatus::Signaled(_, Signal::SIGKILL, _)));
    fixture.agent.destroy();
}

pub fn sleeps_in_a_nested_cgroup(_: &[String]) {
    role::enter(&Cgroup("/sys/fs/cgroup".into()).make("below").make("further"));
    role::sleep();
}

/// The memory of a cgroup itself is charged to no group.
#[test]
fn the_number_of_cgroups_is_limited_unless_the_caller_sets_the_limits() {
    let chosen =
        Limits { max_descendants: Some(agentcg::UNLIMITED), max_depth: Some(3), ..Limits::default() };
    for (limits, contain, bounds) in [
        (Limits::default(), true, ["1000", "64"]),
        (Limits::default(), false, ["max", "max"]),
        (chosen, true, ["max", "3"]),
    ] {
        let scratch = Scratch::new();
        let group = Group::under(&scratch, &limits);
        let options =
            StartOptions { spawn: SpawnOptions { contain, pidfd: false }, ..StartOptions::default() };
        let child = program::start(group.agent(), "cannot_raise_its_cgroup_limits", options)
            .unwrap_or_else(|e| panic!("{e}"));
        assert!(matches!(program::wait(&child), WaitStatus::Exited(_, 0)));
        assert_eq!(
            ["cgroup.max.descendants", "cgroup.max.depth"].map(|file| group.cgroup.read(file)),
            bounds
        );
        group.destroy();
    }
}

/// A contained agent cannot raise the limits.
pub fn cannot_raise_its_cgroup_limits(_: &[String]) {
    let root = Cgroup("/sys/fs/cgroup".into());
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    if own.lines().any(|line| line == "0::/") {
        assert!(root.try_write("cgroup.max.descendants", "max").is_err());
    }
}

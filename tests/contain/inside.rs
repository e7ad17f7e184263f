// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a contained agent sees, and what works for it as for any.

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

/// Its end and all that it has said.
fn plays(role: &str, args: &[&str]) -> String {
    let stage = Fixture::new();
    let (ours, its): (OwnedFd, OwnedFd) = nix::unistd::pipe().unwrap();
    let how = StartOptions {
        args,
        spawn: SpawnOptions { contain: true, pidfd: false },
        stdio: [agentcg::DEVNULL, its.as_raw_fd(), 2],
        ..StartOptions::default()
    };
    let child = program::start(&stage.agent, role, how).unwrap_or_else(|e| panic!("{role}: {e}"));
    drop(its);
    let mut said = String::new();
    File::from(ours).read_to_string(&mut said).unwrap();
    assert!(matches!(program::wait(&child), WaitStatus::Exited(_, 0)), "{said}");
    stage.agent.destroy();
    said
}

#[test]
fn it_sees_its_own_group_as_the_whole_hierarchy() {
    assert_eq!(plays("looks_around", &[]), "0::/\n67108864\n20\n");
}

pub fn looks_around(_: &[String]) {
    let root = Cgroup("/sys/fs/cgroup".into());
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    role::send(own.lines().find(|line| line.starts_with("0::")).unwrap());
    role::send(&root.read("memory.max"));
    role::send(&root.read("pids.max"));
    assert!(root.lists(std::process::id().try_into().unwrap()));
}

#[test]
fn it_makes_cgroups_of_its_own_and_moves_into_them() {
    assert_eq!(plays("goes_deeper", &[]), "0::/a/b\n0::/\n");
}

pub fn goes_deeper(_: &[String]) {
    let root = Cgroup("/sys/fs/cgroup".into());
    for cgroup in [root.make("a").make("b"), root] {
        role::enter(&cgroup);
        role::send(fs::read_to_string("/proc/self/cgroup").unwrap().lines().last().unwrap());
    }
}

#[test]
fn it_has_no_capabilities_and_is_who_it_was() {
    let (uid, gid) = (geteuid(), getegid());
    let zero = "0000000000000000";
    assert_eq!(plays("tells_who_it_is", &[]), format!("{uid} {gid} {zero} {zero} {zero} {zero} {zero}\n"));
}

pub fn tells_who_it_is(_: &[String]) {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let value = |key| status.lines().find_map(|line| line.strip_prefix(key)).unwrap().trim().to_owned();
    let capabilities = ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"].map(value).join(" ");
    role::send(&format!("{} {} {capabilities}", geteuid(), getegid()));
}

/// And sees only its own uid and gid as what they are.
#[test]
fn it_writes_files_as_its_uid() {
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
    let seen = plays("writes_a_file", &[&text, &other.to_string_lossy()]);
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

/// Root could map itself only with a capability that it has lost (5.12, and earlier in
/// stable releases).
#[test]
fn it_has_agents_of_its_own_and_they_are_held_unless_it_is_root() {
    let held = "pids.max 5\nOk(()) Ok(())\nErr(EPERM) Err(ENOENT)\n";
    let not_held = "pids.max 5\nOk(()) Ok(())\nEPERM Some(NotContained)\n";
    assert_eq!(plays("has_agents", &[]), if lab::is_root() { not_held } else { held });
}

pub fn has_agents(_: &[String]) {
    let limits = Limits { pids_max: Some(5), ..Limits::default() };
    let agent = Agent::new(None, None, &limits).unwrap_or_else(|e| panic!("{e}"));
    role::send(&format!("pids.max {}", Cgroup::at(agent.path()).read("pids.max")));
    let play = |act, more: &[&str], contain| {
        let args = [&[act, "/sys/fs/cgroup", "/sys/fs/cgroup/supervisor", "1"], more].concat();
        let how = StartOptions {
            args: &args,
            spawn: SpawnOptions { contain, pidfd: false },
            ..StartOptions::default()
        };
        let child = program::start(&agent, "act", how)?;
        Ok::<_, agentcg::Error>(match program::wait(&child) {
            WaitStatus::Exited(_, 0) => Ok(()),
            WaitStatus::Exited(_, errno) => Err(Errno::from_raw(errno)),
            other => panic!("{other:?}"),
        })
    };
    for contain in [false, true] {
        let raised = play("writes to its own file", &["pids.max", "max"], contain);
        let moved = play("moves to the host's cgroup", &[], contain);
        match (raised, moved) {
            (Ok(raised), Ok(moved)) => role::send(&format!("{raised:?} {moved:?}")),
            (Err(e), _) | (_, Err(e)) => role::send(&format!("{:?} {:?}", e.errno(), e.reason())),
        }
    }
    agent.destroy(false, deadline(), false).unwrap_or_else(|e| panic!("{e}"));
}

/// Whatever namespaces and cgroups it is in.
#[test]
fn it_is_killed_and_removed_with_the_cgroups_that_it_has_made() {
    let stage = Fixture::new();
    let how = StartOptions { spawn: SpawnOptions { contain: true, pidfd: false }, ..StartOptions::default() };
    let child = program::start(&stage.agent, "hides_below", how).unwrap();
    let below = stage.agent.cgroup.join("below/further");
    wait_until("it has gone below", || below.exists() && below.lists(child.pid));
    stage.agent.kill_all(deadline()).unwrap();
    assert!(matches!(program::wait(&child), WaitStatus::Signaled(_, Signal::SIGKILL, _)));
    stage.agent.destroy();
}

pub fn hides_below(_: &[String]) {
    role::enter(&Cgroup("/sys/fs/cgroup".into()).make("below").make("further"));
    role::sleep();
}

/// The memory of a cgroup is charged to nobody.
#[test]
fn the_cgroups_that_it_can_make_are_bounded_unless_the_caller_has_chosen_bounds() {
    let chosen =
        Limits { max_descendants: Some(agentcg::UNLIMITED), max_depth: Some(3), ..Limits::default() };
    for (limits, contain, bounds) in [
        (Limits::default(), true, ["1000", "64"]),
        (Limits::default(), false, ["max", "max"]),
        (chosen, true, ["max", "3"]),
    ] {
        let scratch = Scratch::new();
        let group = Group::under(&scratch, &limits);
        let how = StartOptions { spawn: SpawnOptions { contain, pidfd: false }, ..StartOptions::default() };
        let child =
            program::start(group.agent(), "looks_at_its_bounds", how).unwrap_or_else(|e| panic!("{e}"));
        assert!(matches!(program::wait(&child), WaitStatus::Exited(_, 0)));
        assert_eq!(
            ["cgroup.max.descendants", "cgroup.max.depth"].map(|file| group.cgroup.read(file)),
            bounds
        );
        group.destroy();
    }
}

/// A contained one cannot raise them.
pub fn looks_at_its_bounds(_: &[String]) {
    let root = Cgroup("/sys/fs/cgroup".into());
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    if own.lines().any(|line| line == "0::/") {
        assert!(root.try_write("cgroup.max.descendants", "max").is_err());
    }
}

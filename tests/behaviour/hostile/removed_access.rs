// SPDX-License-Identifier: MIT OR Apache-2.0
//! Agents that remove their host's access to their files by the modes, as owners of these files.

use super::no_limits;
use crate::common::cgroup::{Cgroup, Scratch};
use crate::common::group::Group;
use crate::common::member::{Member, role};
use crate::common::{deadline, lab};
use agentcg::{Agent, list, reap};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// A role that removes all permissions from the files of its group and sleeps in a nested cgroup.
pub fn removes_all_access(args: &[String]) {
    role::receive();
    let group = Cgroup(args[0].clone().into());
    role::enter(&group.make("below").make("further"));
    let close = |path: &Path| fs::set_permissions(path, Permissions::from_mode(0o0)).unwrap();
    for one in group.all().iter().rev() {
        fs::read_dir(&one.0).unwrap().for_each(|entry| close(&entry.unwrap().path()));
    }
    close(&group.0);
    role::send("closed");
    role::sleep();
}

/// File modes only restrict a host that is not root.
fn start_without_access(cgroup: &Cgroup, moves: impl FnOnce(i32)) -> Member {
    lab::needs(&["user"]);
    let mut member = Member::start("removes_all_access", &[&cgroup.0.to_string_lossy()]);
    moves(member.pid());
    member.send("go");
    member.expect_line("closed");
    assert!(cgroup.try_read("cgroup.procs").is_err());
    member
}

#[test]
fn an_agent_that_has_removed_access_to_all_its_files_is_killed_and_removed() {
    let scratch = Scratch::new();
    for kills in [true, false] {
        let group = Group::under(&scratch, &no_limits());
        let mut member = start_without_access(&group.cgroup, |pid| group.move_pid(pid).unwrap());
        if kills {
            group.kill_all(deadline()).unwrap_or_else(|e| panic!("{e}"));
            assert!(member.is_dead());
        }
        group.destroy();
        assert!(member.is_dead());
    }
}

#[test]
fn an_agent_that_has_removed_access_to_all_its_files_is_terminated() {
    let scratch = Scratch::new();
    let group = Group::under(&scratch, &no_limits());
    let mut member = start_without_access(&group.cgroup, |pid| group.move_pid(pid).unwrap());
    let had_to_kill = group.terminate(deadline(), None).unwrap_or_else(|e| panic!("{e}"));
    assert!(member.is_dead() && !had_to_kill);
    group.destroy();
}

/// There is no process in it to kill.
#[test]
fn a_group_with_inaccessible_cgroups_is_removed() {
    let scratch = Scratch::new();
    for mode in [0o0, 0o555] {
        let group = Group::under(&scratch, &no_limits());
        let below = group.cgroup.make("below");
        below.make("further");
        fs::set_permissions(&below.0, Permissions::from_mode(mode)).unwrap();
        group.destroy();
    }
}

#[test]
fn an_orphan_that_has_removed_access_to_its_files_is_listed_and_reaped() {
    let scratch = Scratch::new();
    let agent = Agent::new(Some(&scratch.path()), None, &no_limits()).unwrap();
    let mut member = start_without_access(&Cgroup::at(agent.path()), |pid| agent.move_pid(pid).unwrap());
    drop(agent);
    let entries = list(Some(&scratch.path())).unwrap_or_else(|e| panic!("{e}"));
    assert!(matches!(entries.as_slice(), [one] if one.orphan && one.populated), "{entries:?}");
    assert_eq!(reap(Some(&scratch.path()), deadline()).unwrap_or_else(|e| panic!("{e}")), 1);
    assert!(member.is_dead());
}

#[test]
fn an_agent_that_has_removed_access_to_its_files_is_taken_over() {
    let scratch = Scratch::new();
    let agent = Agent::new(Some(&scratch.path()), None, &no_limits()).unwrap();
    let mut member = start_without_access(&Cgroup::at(agent.path()), |pid| agent.move_pid(pid).unwrap());
    let uuid = agent.uuid().to_owned();
    drop(agent);
    let agent = Agent::open(Some(&scratch.path()), &uuid, true).unwrap_or_else(|e| panic!("{e}"));
    agent.destroy(false, deadline(), true).unwrap_or_else(|e| panic!("{e}"));
    assert!(member.is_dead());
}

#[test]
fn an_agent_with_one_inaccessible_statistic_is_measured_and_removed() {
    lab::needs(&["user"]);
    let scratch = Scratch::new();
    let group = Group::under(&scratch, &no_limits());
    let file = group.cgroup.0.join("memory.current");
    fs::set_permissions(file, Permissions::from_mode(0o0)).unwrap();
    group.destroy();
}

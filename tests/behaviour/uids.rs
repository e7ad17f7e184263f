// SPDX-License-Identifier: MIT OR Apache-2.0
//! Processes and cgroups of several users. The tests run as root and change their uid.

use crate::common::cgroup::{Cgroup, Scratch};
use crate::common::fixture::Fixture;
use crate::common::group::Group;
use crate::common::member::{Member, role};
use crate::common::{self, lab};
use agentcg::{Agent, Limits};
use nix::unistd::{Gid, Uid, chown, setgid, setuid};
use std::ffi::CString;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};

roles![sleeps_as_a_user, users_agent, opens_the_directory, tries_to_limit_a_place];

const USER: u32 = 1000;

fn become_user() {
    setgid(Gid::from_raw(USER)).expect("setgid");
    setuid(Uid::from_raw(USER)).expect("setuid");
}

#[test]
fn root_moves_and_kills_processes_of_a_user() {
    lab::needs(&["unified"]);
    Fixture::new().each_round(&Limits::default(), |group| {
        let mut member = Member::start("sleeps_as_a_user", &[]);
        member.expect_line("ready");
        group.move_pid(member.pid()).unwrap();
        assert!(group.cgroup.lists(member.pid()));
        member.send("go");
        member.expect_line("ready");
        member.expect_line("ready");
        vec![member]
    });
}

fn sleeps_as_a_user(_: &[String]) {
    become_user();
    role::send("ready");
    role::receive();
    role::fork();
    role::send("ready");
    role::sleep();
}

/// The agent of a user in a role, under a parent that root has delegated as systemd does.
struct UsersAgent {
    member: Member,
    cgroup: Cgroup,
    scratch: Scratch,
}

fn start_users_agent() -> UsersAgent {
    lab::needs(&["unified"]);
    let scratch = Scratch::new();
    for file in ["", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"] {
        chown(&scratch.parent.0.join(file), Some(USER.into()), Some(USER.into())).unwrap();
    }
    let mut member = Member::start("users_agent", &[&scratch.parent.0.to_string_lossy()]);
    let cgroup = Cgroup(member.receive().into());
    UsersAgent { member, cgroup, scratch }
}

/// A role that executes the commands of a test and sends the results.
fn users_agent(args: &[String]) {
    become_user();
    let parent = CString::new(args[0].as_str()).expect("no NUL");
    let agent = Agent::new(Some(&parent), None, &Limits::default()).expect("new");
    role::send(&String::from_utf8_lossy(&agent.path()));
    loop {
        let wait = agentcg::Deadline::after(std::time::Duration::from_secs(1));
        let done = match role::receive().as_str() {
            "kill_all" => agent.kill_all(wait),
            "signal_all" => agent.signal_all(libc::SIGTERM).map(drop),
            "terminate" => agent.terminate(wait, Some(std::time::Duration::from_secs(1))).map(drop),
            "destroy" => agent.destroy(false, wait, false).map(drop),
            other => panic!("unknown command {other}"),
        };
        role::send(&match done {
            Ok(()) => "done".to_owned(),
            Err(e) => format!("{:?} {:?} {}", e.errno(), e.reason(), e.file()),
        });
    }
}

/// A role of another uid than that of the place. It sends what it may do with the limits of the place.
fn tries_to_limit_a_place(args: &[String]) {
    become_user();
    let parent = CString::new(args[0].as_str()).expect("no NUL");
    let limits = Limits { pids_max: Some(7), ..Limits::default() };
    let set = agentcg::set_place_limits(Some(&parent), &limits, false).map_err(|e| e.errno());
    let lock = fs::File::open(format!("{}/synwire/agents/limits", args[0])).map_err(|e| e.raw_os_error());
    let read = agentcg::get_place_limits(Some(&parent)).map(|limits| limits.pids_max);
    role::send(&format!("{set:?} {:?} {read:?}", lock.map(drop)));
}

#[test]
fn another_uid_can_read_the_limits_of_a_place_and_neither_set_nor_lock_them() {
    lab::needs(&["unified"]);
    let scratch = Scratch::new();
    let limits = Limits { pids_max: Some(70), ..Limits::default() };
    agentcg::set_place_limits(Some(&scratch.path()), &limits, false).unwrap();
    let mut user = Member::start("tries_to_limit_a_place", &[&scratch.parent.0.to_string_lossy()]);
    user.expect_line("Err(EACCES) Err(Some(13)) Ok(Some(70))");
}

/// cgroup.kill needs no permission for the processes. kill(2) needs it: without the file they cannot be
/// killed.
#[test]
fn a_process_of_root_in_a_users_group_dies_if_cgroup_kill_exists() {
    let mut user = start_users_agent();
    let mut roots = Member::start("sleeper", &[]);
    user.cgroup.move_in(roots.pid());
    roots.send("go");
    roots.expect_line("ready");
    for what in ["kill_all", "destroy"] {
        user.member.send(what);
        if lab::lacks("cgroup.kill") {
            wait_until_it_cannot_fork(&user.cgroup);
            user.member.expect_line("EACCES Some(NotDelegated) cgroup.kill");
            assert!(!roots.is_dead() && user.cgroup.lists(roots.pid()));
            let left = |file| user.cgroup.try_read(file).unwrap_or_default();
            assert!(left("cgroup.freeze") != "1" && left("pids.max") == "max", "a setting is not restored");
        } else {
            user.member.expect_line("done");
            assert!(roots.is_dead());
        }
    }
    assert_eq!(user.cgroup.exists(), lab::lacks("cgroup.kill"));
}

/// A process that cannot be signalled is reported after all others were signalled.
#[test]
fn a_process_of_root_in_a_users_group_takes_no_signal_and_can_only_be_killed() {
    let mut user = start_users_agent();
    let (mut roots, mut own) = (Member::start("sleeper", &[]), Member::start("sleeps_as_a_user", &[]));
    own.expect_line("ready");
    for one in [&roots, &own] {
        user.cgroup.move_in(one.pid());
    }
    roots.send("go");
    roots.expect_line("ready");
    user.member.send("signal_all");
    user.member.expect_line("EACCES Some(NotDelegated) cgroup.procs");
    own.wait_dead();
    assert!(!roots.is_dead());
    user.member.send("terminate");
    let can_kill = !lab::lacks("cgroup.kill");
    user.member.expect_line(if can_kill { "done" } else { "EACCES Some(NotDelegated) cgroup.kill" });
    assert_eq!(roots.is_dead(), can_kill);
}

/// The library freezes the members while it tries to kill them. If it cannot, it sets pids.max to 0.
fn wait_until_it_cannot_fork(cgroup: &Cgroup) {
    if lab::lacks("cgroup.freeze") {
        common::wait_until("pids.max is 0", || cgroup.read("pids.max") == "0");
    } else {
        cgroup.wait_for_value("cgroup.events", "frozen", 1);
    }
}

#[test]
fn an_empty_cgroup_of_root_that_the_user_cannot_open_is_removed_with_the_group() {
    let mut user = start_users_agent();
    let roots = user.cgroup.make("roots");
    fs::set_permissions(&roots.0, Permissions::from_mode(0o700)).unwrap();
    user.member.send("destroy");
    user.member.expect_line("done");
    assert!(!user.cgroup.exists());
}

#[test]
fn a_nested_cgroup_of_root_in_a_users_group_stays_and_the_user_can_try_again() {
    let mut user = start_users_agent();
    let roots = user.cgroup.make("roots").make("below");
    user.member.send("destroy");
    user.member.expect_line("EACCES Some(NotDelegated) ");
    assert!(roots.exists());
    roots.remove();
    user.member.send("destroy");
    user.member.expect_line("done");
    assert!(!user.cgroup.exists());
    assert!(user.scratch.parent.exists());
}

#[test]
fn cgroups_made_by_a_user_belong_to_the_user() {
    use std::os::unix::fs::MetadataExt;
    let user = start_users_agent();
    for cgroup in user.scratch.parent.all() {
        assert_eq!(fs::metadata(&cgroup.0).unwrap().uid(), USER, "{}", cgroup.0.display());
    }
}

#[test]
fn other_uids_can_read_the_limits_of_an_agent_but_not_lock_it() {
    lab::needs(&["unified"]);
    let group = Group::plain();
    assert_eq!(fs::metadata(&group.cgroup.0).unwrap().mode() & 0o777, 0o711);
    let mut member = Member::start("opens_the_directory", &[&group.cgroup.0.to_string_lossy()]);
    member.expect_line("pids.max: true, the directory: Some(13)");
    group.destroy();
}

fn opens_the_directory(args: &[String]) {
    become_user();
    let cgroup = Cgroup(args[0].clone().into());
    let limit = cgroup.try_read("pids.max").is_ok();
    let dir = fs::File::open(&cgroup.0).err().and_then(|e| e.raw_os_error());
    role::send(&format!("pids.max: {limit}, the directory: {dir:?}"));
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Members that are missing in the usual lists.

use super::no_limits;
use crate::common::cgroup::Cgroup;
use crate::common::fixture::{Fixture, is_kill_round, rounds, settings};
use crate::common::group::own_pid;
use crate::common::member::{Member, role};
use crate::common::{TIMEOUT, lab};
use agentcg::{Agent, Deadline};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::ffi::CString;
use std::time::Duration;

#[test]
fn a_process_whose_main_thread_has_exited_dies() {
    Fixture::new().each_round_with_role(&no_limits(), "escapes::without_main_thread", 1);
}

#[test]
fn a_process_that_was_moved_in_after_its_main_thread_had_exited_dies() {
    Fixture::new().each_round(&no_limits(), |group| {
        let mut member = Member::start("escapes::without_main_thread", &[]);
        member.send("go");
        member.expect_line("ready");
        group.move_pid(member.pid()).unwrap();
        assert!(
            !group.cgroup.lists(member.pid()),
            "the kernel moves zombies: this case is the same as another"
        );
        vec![member]
    });
}

#[test]
fn grandchildren_in_their_own_sessions_that_ignore_all_signals_die() {
    Fixture::new().each_round_with_role(&no_limits(), "in_new_sessions", 4);
}

#[test]
fn members_of_their_own_pid_namespace_die() {
    Fixture::new().each_round_with_role(&no_limits(), "in_a_pid_namespace", 2);
}

/// A member without a pid in the caller's namespace is listed as 0, and kill(0) would mean the caller's
/// process group. cgroup.kill needs no pids. Without it the caller cannot kill the member, and the error must
/// say this.
#[test]
fn members_listed_as_pid_0_die_by_cgroup_kill_and_no_other_process_does() {
    let mut fixture = Fixture::new();
    let parent = fixture.scratch.parent.0.to_string_lossy().into_owned();
    for round in rounds() {
        let mut killer = Member::start("kills_from_a_pid_namespace", &[&parent]);
        let cgroup = Cgroup(killer.receive().into());
        let mut member = Member::start("sleeper", &[]);
        cgroup.move_in(member.pid());
        member.send("go");
        member.expect_line("ready");
        let before = settings(&cgroup);
        killer.send(if is_kill_round(round) { "kill_all" } else { "destroy" });
        if lab::lacks("cgroup.kill") {
            killer.expect_line("ETIMEDOUT cgroup.kill");
            assert!(!member.is_dead() && cgroup.lists(member.pid()), "round {round}: the member was killed");
            assert_eq!(settings(&cgroup), before, "round {round}: a setting is not restored");
            cgroup.kill_and_remove();
        } else {
            killer.expect_line("done");
            assert!(member.is_dead(), "round {round}");
            assert_eq!(cgroup.exists(), is_kill_round(round), "round {round}");
            if is_kill_round(round) {
                cgroup.remove();
            }
        }
        drop((killer, member));
        fixture.check_untouched(round);
    }
}

/// Makes an agent, enters a new pid namespace and there kills or destroys the agent.
pub fn kills_from_a_pid_namespace(args: &[String]) {
    let parent = CString::new(args[0].as_str()).expect("no NUL");
    let agent = Agent::new(Some(&parent), None, &no_limits()).expect("new");
    let path = String::from_utf8_lossy(&agent.path()).into_owned();
    let flags = if lab::is_root() { CloneFlags::empty() } else { CloneFlags::CLONE_NEWUSER };
    unshare(flags | CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS).expect("unshare");
    if !role::fork() {
        role::sleep();
    }
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).expect("mount --make-rprivate");
    mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), None::<&str>).expect("mount /proc");
    assert_eq!(own_pid(), 1);
    role::send(&path);
    let wait = if lab::lacks("cgroup.kill") { Duration::from_millis(100) } else { TIMEOUT };
    let done = match role::receive().as_str() {
        "kill_all" => agent.kill_all(Deadline::after(wait)),
        _ => agent.destroy(false, Deadline::after(wait), false).map(drop),
    };
    role::send(&done.map_or_else(|e| format!("{:?} {}", e.errno(), e.file()), |()| "done".to_owned()));
}

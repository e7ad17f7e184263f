// SPDX-License-Identifier: MIT OR Apache-2.0
//! Other processes change the group while it is killed or destroyed.

use super::escapes::CHAINS_THAT_BEGIN;
use super::no_limits;
use crate::common::cgroup::Cgroup;
use crate::common::deadline;
use crate::common::fixture::{Fixture, is_kill_round, rounds, settings};
use crate::common::group::Group;
use crate::common::member::{Member, role};
use agentcg::{Errno, Reason};
use std::fs;

#[test]
fn a_group_that_another_process_removes_meanwhile_is_gone() {
    let mut fixture = Fixture::new();
    for round in rounds() {
        let group = Group::under(&fixture.scratch, &no_limits());
        let path = group.cgroup.0.to_string_lossy().into_owned();
        let mut member = group.start("five_cgroups_deep", &[&path]);
        (0..6).for_each(|_| member.expect_line("ready"));
        let mut remover = Member::start("remover", &[&path]);
        remover.expect_line("begun");
        if is_kill_round(round) {
            if let Err(e) = group.kill_all(deadline()) {
                assert_eq!(
                    (e.errno(), e.reason()),
                    (Errno::ENODEV, Some(Reason::Gone)),
                    "round {round}: {e}"
                );
            }
            assert!(member.is_dead(), "round {round}");
        }
        group.destroy();
        assert!(member.is_dead(), "round {round}");
        assert!(remover.wait().success());
        drop((group, member, remover));
        fixture.check_untouched(round);
    }
}

/// Removes a cgroup and its descendants as soon as the kernel allows it.
pub fn remover(args: &[String]) {
    let group = Cgroup(args[0].clone().into());
    role::send("begun");
    while group.exists() {
        group.all().iter().rev().for_each(|one| drop(fs::remove_dir(&one.0)));
    }
}

#[test]
fn a_group_in_which_another_process_makes_cgroups_meanwhile_is_removed() {
    let mut fixture = Fixture::new();
    for round in rounds() {
        let group = Group::under(&fixture.scratch, &no_limits());
        let mut maker = Member::start("maker", &[&group.cgroup.0.to_string_lossy()]);
        maker.expect_line("begun");
        group.destroy();
        assert!(maker.wait().success());
        drop((group, maker));
        fixture.check_untouched(round);
    }
}

/// Makes so many cgroups that their removal takes longer than a time slice of the CPU.
pub fn maker(args: &[String]) {
    let group = Cgroup(args[0].clone().into());
    for count in 0..400 {
        if count == 200 {
            role::send("begun");
        }
        if fs::create_dir(group.join(format!("{count}")).0).is_err() {
            assert!(!group.exists(), "the group exists and cannot have another cgroup");
            return;
        }
    }
}

/// The processes that were inside at the start are dead. A process that is moved in later may live on after
/// `kill_all`, as if it had been moved in right after it. `destroy` kills it, or the move fails.
#[test]
fn processes_that_are_moved_in_meanwhile_stay_outside_or_die() {
    let mut fixture = Fixture::new();
    for round in rounds() {
        let group = Group::under(&fixture.scratch, &no_limits());
        let mut before = group.start("rolling_forkers", &[]);
        (0..CHAINS_THAT_BEGIN).for_each(|_| before.expect_line("ready"));
        let mut later: Vec<_> = (0..4).map(|_| Member::start("sleeper", &[])).collect();
        for one in &mut later {
            one.send("go");
            one.expect_line("ready");
        }
        let (pids, set) = (later.iter().map(Member::pid).collect::<Vec<_>>(), settings(&group.cgroup));
        let moved: Vec<_> = std::thread::scope(|scope| {
            let into = group.cgroup.clone();
            let mover = scope.spawn(move || {
                let mut write = |pid: &i32| into.try_write("cgroup.procs", &pid.to_string()).is_ok();
                pids.iter().map(&mut write).collect()
            });
            if is_kill_round(round) {
                group.kill_all(deadline()).unwrap_or_else(|e| panic!("round {round}: {e}"));
                assert!(before.is_dead(), "round {round}: a process holds its pipe open");
            } else {
                group.destroy();
            }
            mover.join().unwrap()
        });
        if is_kill_round(round) {
            assert_eq!(settings(&group.cgroup), set, "round {round}: a setting is not restored");
            assert_eq!(moved, [true; 4], "round {round}: the group exists");
        }
        group.destroy();
        assert!(before.is_dead(), "round {round}: a process holds its pipe open");
        for (one, moved) in later.iter_mut().zip(moved) {
            assert_eq!(one.is_dead(), moved, "round {round}");
        }
        drop((group, before, later));
        fixture.check_untouched(round);
    }
}

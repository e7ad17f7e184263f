// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ten thousand programs whose first act is to fork, from a host with four threads and a gigabyte: each process
//! finds itself in the group.

use super::ways::Way;
use crate::common::group::Group;
use crate::common::member::{Member, role};
use crate::common::program::{self, How};
use nix::sys::wait::{WaitStatus, wait};
use nix::unistd::{ForkResult, fork};
use std::fs;

const THREADS: u32 = 4;

/// How many, unless AGENTCG_SPAWNS says otherwise.
const SPAWNS: u32 = 10_000;

/// Exits with 0 if it, and the child that it has before all else, are in the agent's group.
pub fn forks_first(args: &[String]) {
    // SAFETY: this process has one thread.
    #[allow(unsafe_code, reason = "fork")]
    let forked = unsafe { fork() }.unwrap();
    let cgroup = fs::read_to_string("/proc/self/cgroup").unwrap();
    let inside = cgroup.trim_end().ends_with(&args[0]);
    if let ForkResult::Parent { .. } = forked {
        let child = matches!(wait(), Ok(WaitStatus::Exited(_, 0)));
        role::exit(if inside && child { 0 } else { 1 });
    }
    role::exit(if inside { 0 } else { 1 });
}

/// Starts them, and says how many were where they should be.
pub fn host(args: &[String]) {
    let [way, bytes, spawns] = args else { panic!("which way, how many bytes, how many programs") };
    let mut resident = vec![0u8; bytes.parse().unwrap()];
    resident.iter_mut().step_by(4096).for_each(|page| *page = 1);
    let group = Group::plain();
    let tail = format!("/synwire/agents/{}", group.uuid());
    Way::named(way).close(&group);
    let each: u32 = spawns.parse::<u32>().unwrap() / THREADS;
    let inside: u32 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    let how = How { args: &[&tail], ..How::default() };
                    let one = || {
                        let child = program::start(&group, "forks_first", how).unwrap();
                        matches!(program::wait(&child), WaitStatus::Exited(_, 0))
                    };
                    (0..each).map(|_| u32::from(one())).sum::<u32>()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert!(resident.iter().step_by(4096).all(|page| *page == 1), "a child wrote into our memory");
    group.destroy();
    role::say(&format!("{inside}"));
}

fn all_of_them_are_inside(way: Way) {
    let spawns = std::env::var("AGENTCG_SPAWNS").map_or(SPAWNS, |count| count.parse().unwrap());
    let bytes = (1u64 << 30).to_string();
    let mut host = Member::start("host", &[&format!("{way:?}"), &bytes, &spawns.to_string()]);
    host.wait_dead();
    host.hears(&spawns.to_string());
}

#[test]
fn all_that_are_born_in_the_group_are_inside() {
    all_of_them_are_inside(Way::Born);
}

#[test]
fn all_that_enter_where_clone3_is_refused_are_inside() {
    all_of_them_are_inside(Way::Refused);
}

#[test]
fn all_that_are_started_after_kill_all_are_inside_and_none_is_killed() {
    all_of_them_are_inside(Way::KilledAtBirth);
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which processes belong to an agent.

use super::{group_of, moved_without_main_thread};
use crate::common::group::{Group, own_pid};
use crate::common::member::{Member, role};
use agentcg::Errno;

/// A role with a child that ends and is not reaped. It sends the pid of the child.
pub fn has_a_zombie(_: &[String]) {
    role::receive();
    // SAFETY: a role has one thread, so the child has a complete copy of the process.
    #[allow(unsafe_code, reason = "see SAFETY")]
    match unsafe { nix::unistd::fork() }.expect("fork") {
        nix::unistd::ForkResult::Child => role::exit(0),
        nix::unistd::ForkResult::Parent { child } => role::send(&child.to_string()),
    }
    role::sleep();
}

fn sorted(group: &Group) -> Vec<i32> {
    let pids = group.pids().unwrap();
    assert!(pids.is_sorted(), "{pids:?}");
    pids
}

#[test]
fn each_process_of_nested_cgroups_is_listed_once() {
    let (group, member) = group_of("five_cgroups_deep", 6);
    let listed: Vec<i32> = group.cgroup.members().iter().map(|id| id.parse().unwrap()).collect();
    let pids = sorted(&group);
    assert_eq!(pids.len(), 6);
    assert!(pids.contains(&member.pid()) && pids.iter().all(|pid| listed.contains(pid)));
    assert!(pids.iter().all(|&pid| group.contains(pid) == Ok(true)));
    group.destroy();
}

/// An agent can give its cgroups any name.
#[test]
fn an_agent_cannot_imitate_another_one_by_a_name() {
    let (group, neighbour) = (Group::plain(), Group::plain());
    let imitation = group.cgroup.make("synwire").make("agents").make(neighbour.uuid());
    let mut member = neighbour.start("stopping::counts", &[]);
    assert_eq!(neighbour.contains(member.pid()), Ok(true));
    imitation.move_in(member.pid());
    assert_eq!([neighbour.contains(member.pid()), group.contains(member.pid())], [Ok(false), Ok(true)]);
    neighbour.destroy();
    assert!(!member.is_dead());
    group.destroy();
}

#[test]
fn threads_are_not_listed_as_processes() {
    let (group, mut member) = group_of("stopping::counts", 2);
    let pids = sorted(&group);
    assert_eq!(pids.len(), 2, "{pids:?}");
    assert!(group.cgroup.members().len() > 2);
    assert!(!member.is_dead());
    group.destroy();
}

#[test]
fn a_process_in_a_threaded_cgroup_is_listed_once() {
    let (group, member) = group_of("in_a_threaded_cgroup", 2);
    let pids = sorted(&group);
    assert_eq!(pids.len(), 2, "{pids:?}");
    assert_eq!(group.contains(member.pid()), Ok(true));
    group.destroy();
}

#[test]
fn a_process_whose_main_thread_has_exited_is_listed() {
    for (group, member) in [group_of("escapes::without_main_thread", 1), moved_without_main_thread()] {
        assert_eq!(group.pids(), Ok(vec![member.pid()]));
        assert_eq!(group.contains(member.pid()), Ok(true));
        group.destroy();
    }
}

#[test]
fn a_zombie_is_not_a_member() {
    let group = Group::plain();
    let mut member = group.start("has_a_zombie", &[]);
    let zombie: i32 = member.receive().parse().unwrap();
    let stat = format!("/proc/{zombie}/stat");
    crate::common::wait_until("a zombie", || std::fs::read_to_string(&stat).unwrap().contains(") Z "));
    assert_eq!(group.pids(), Ok(vec![member.pid()]));
    assert_eq!(group.signal_all(0), Ok(1));
    assert_eq!(group.contains(zombie).unwrap_err().errno(), Errno::ESRCH);
    group.destroy();
}

#[test]
fn a_process_outside_is_not_a_member() {
    let (group, mut member) = group_of("sleeper", 1);
    let (neighbour, beside) = group_of("sleeper", 1);
    assert_eq!(group.contains(own_pid()), Ok(false));
    assert_eq!(group.contains(1), Ok(false));
    assert_eq!(group.contains(beside.pid()), Ok(false));
    assert_eq!(neighbour.contains(beside.pid()), Ok(true));
    // A process that has left the group is found outside.
    assert_eq!(group.contains(member.pid()), Ok(true));
    neighbour.move_pid(member.pid()).unwrap();
    assert_eq!(group.contains(member.pid()), Ok(false));
    assert_eq!(group.pids(), Ok(vec![]));
    assert!(!member.is_dead());
    neighbour.destroy();
    group.destroy();
}

#[test]
fn an_invalid_or_ended_pid_is_refused() {
    let group = Group::plain();
    for pid in [0, -1, i32::MIN] {
        assert_eq!(group.contains(pid).unwrap_err().errno(), Errno::EINVAL, "{pid}");
    }
    let mut member = Member::start("sleeper", &[]);
    let pid = member.pid();
    member.signal(nix::sys::signal::Signal::SIGKILL);
    member.wait();
    assert_eq!(group.contains(pid).unwrap_err().errno(), Errno::ESRCH);
    group.destroy();
}

#[test]
fn a_removed_group_is_reported_as_gone() {
    let group = Group::plain();
    group.cgroup.remove();
    let gone = [group.pids().err(), group.contains(own_pid()).err(), group.signal_all(0).err()];
    assert!(gone.iter().flatten().all(|e| e.errno() == Errno::ENODEV) && gone.iter().all(Option::is_some));
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! `move_pid` moves a whole process, or reports why it did not.

use crate::common::cgroup::{Cgroup, Scratch};
use crate::common::group::{Group, own_pid};
use crate::common::member::{Member, role};
use crate::common::pids::pidfd_of;
use crate::common::{self, deadline};
use agentcg::{Agent, Errno, Limits, Reason};
use nix::sys::signal::Signal;
use std::fs;
use std::os::fd::AsFd;

roles![with_threads, without_main_thread, moves_process_1, moves_itself];

/// Returns the errno and the reason. The file is always cgroup.procs.
#[track_caller]
fn refusal(group: &Group, pid: i32) -> (Errno, Option<Reason>) {
    let e = group.move_pid(pid).expect_err("it was moved");
    assert_eq!(e.file(), "cgroup.procs", "{e}");
    (e.errno(), e.reason())
}

fn start(role: &str) -> Member {
    let mut member = Member::start(role, &[]);
    member.send("go");
    member.expect_line("ready");
    member
}

fn threads_of(pid: i32) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks.map(|task| task.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_process_is_moved_with_all_its_threads() {
    let group = Group::plain();
    let member = start("with_threads");
    group.move_pid(member.pid()).unwrap();
    assert!(group.cgroup.lists(member.pid()));
    let threads = group.cgroup.words("cgroup.threads");
    assert_eq!(threads.len(), 4);
    assert!(threads_of(member.pid()).iter().all(|thread| threads.contains(thread)));
    group.destroy();
}

fn with_threads(_: &[String]) {
    role::receive();
    for _ in 0..3 {
        std::thread::spawn(|| role::sleep());
    }
    role::send("ready");
    role::sleep();
}

#[test]
fn a_process_can_be_moved_twice() {
    let (group, other) = (Group::plain(), Group::plain());
    let member = start("sleeper");
    group.move_pid(member.pid()).unwrap();
    group.move_pid(member.pid()).unwrap();
    other.move_pid(member.pid()).unwrap();
    assert!(!group.cgroup.lists(member.pid()));
    assert!(other.cgroup.lists(member.pid()));
    group.destroy();
    other.destroy();
}

#[test]
fn a_process_is_moved_by_its_pidfd() {
    let group = Group::plain();
    let member = start("with_threads");
    let pidfd = pidfd_of(member.pid());
    group.move_pidfd(pidfd.as_fd()).unwrap();
    assert!(group.cgroup.lists(member.pid()));
    group.destroy();
}

/// This includes the zombie: its pid is not used again yet, but the process has ended.
#[test]
fn a_pidfd_of_a_process_that_has_ended_is_refused() {
    let group = Group::plain();
    let mut member = start("sleeper");
    let pidfd = pidfd_of(member.pid());
    member.signal(Signal::SIGKILL);
    member.wait_dead();
    common::wait_until("the process has ended", || group.move_pidfd(pidfd.as_fd()).is_err());
    assert_eq!(group.move_pidfd(pidfd.as_fd()).unwrap_err().errno(), Errno::ESRCH);
    member.wait();
    let e = group.move_pidfd(pidfd.as_fd()).unwrap_err();
    assert_eq!((e.errno(), e.file()), (Errno::ESRCH, "cgroup.procs"), "{e}");
    assert!(group.cgroup.members().is_empty());
}

#[test]
fn a_descriptor_that_is_not_a_pidfd_is_refused() {
    let group = Group::plain();
    let e = group.move_pidfd(fs::File::open("/proc/self/stat").unwrap().as_fd()).unwrap_err();
    assert_eq!((e.errno(), e.file()), (Errno::EBADF, "cgroup.procs"), "{e}");
}

#[test]
fn pids_below_1_are_refused() {
    let group = Group::plain();
    for pid in [0, -1, i32::MIN] {
        assert_eq!(refusal(&group, pid), (Errno::EINVAL, None));
    }
    assert!(group.cgroup.members().is_empty(), "0 was taken for the caller");
}

#[test]
fn a_process_that_does_not_exist_is_refused() {
    let group = Group::plain();
    // /proc/sys/kernel/pid_max is always lower.
    assert_eq!(refusal(&group, i32::MAX), (Errno::ESRCH, None));
}

#[test]
fn a_reaped_process_is_refused() {
    let group = Group::plain();
    let mut member = start("sleeper");
    member.signal(Signal::SIGKILL);
    member.wait();
    assert_eq!(refusal(&group, member.pid()), (Errno::ESRCH, None));
}

#[test]
fn a_zombie_is_refused() {
    let group = Group::plain();
    let mut member = start("sleeper");
    member.signal(Signal::SIGKILL);
    // The pipe of a process is closed before it becomes a zombie.
    member.wait_dead();
    common::wait_until("it is a zombie", || common::state_of(member.pid()).expect("the state") == 'Z');
    assert_eq!(refusal(&group, member.pid()), (Errno::ESRCH, None));
}

#[test]
fn a_process_whose_main_thread_has_exited_is_moved_with_its_other_threads() {
    let group = Group::plain();
    let member = start("migrate::without_main_thread");
    let living: Vec<_> =
        threads_of(member.pid()).into_iter().filter(|id| *id != member.pid().to_string()).collect();
    assert_eq!(living.len(), 2);
    group.move_pid(member.pid()).unwrap();
    let inside = group.cgroup.words("cgroup.threads");
    assert!(living.iter().all(|thread| inside.contains(thread)), "{living:?} are not in {inside:?}");
    group.destroy();
}

fn without_main_thread(_: &[String]) {
    role::receive();
    std::thread::spawn(|| role::sleep());
    std::thread::spawn(move || {
        common::wait_until("zombie", || common::state_of(own_pid()).expect("the state") == 'Z');
        role::send("ready");
        role::sleep()
    });
    role::end_thread()
}

#[test]
fn a_stopped_process_is_moved() {
    let group = Group::plain();
    let member = start("sleeper");
    member.signal(Signal::SIGSTOP);
    group.move_pid(member.pid()).unwrap();
    assert!(group.cgroup.lists(member.pid()));
    group.destroy();
}

#[test]
fn a_kernel_thread_is_not_moved() {
    let group = Group::plain();
    assert_eq!(fs::read_to_string("/proc/2/comm").unwrap(), "kthreadd\n");
    assert_eq!(refusal(&group, 2), (Errno::EINVAL, None));
    // The kernel itself would refuse some of them and move the others.
    let of_the_kernel = |pid: &i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(") ").next().is_some_and(|rest| rest.split(' ').nth(1) == Some("2"))
    };
    let threads: Vec<_> = (3..200).filter(of_the_kernel).collect();
    assert!(threads.len() > 5, "{threads:?}");
    for thread in threads {
        assert_eq!(refusal(&group, thread), (Errno::EINVAL, None));
    }
    assert!(group.cgroup.members().is_empty());
}

#[test]
fn a_removed_group_accepts_no_process() {
    let group = Group::plain();
    let member = start("sleeper");
    let before = Cgroup::of(member.pid());
    group.cgroup.remove();
    assert_eq!(refusal(&group, member.pid()), (Errno::ENODEV, Some(Reason::Gone)));
    assert_eq!(Cgroup::of(member.pid()), before);
    assert_eq!(group.move_self(), Err(Errno::ENODEV));
}

#[test]
fn a_group_with_enabled_controllers_accepts_no_process() {
    let group = Group::plain();
    let member = start("sleeper");
    group.cgroup.make("inner");
    group.cgroup.write("cgroup.subtree_control", "+memory");
    assert_eq!(refusal(&group, member.pid()), (Errno::EBUSY, Some(Reason::Populated)));
    group.destroy();
}

#[test]
fn a_group_beside_a_threaded_one_accepts_no_process() {
    // The kernel only allows a threaded group if no controllers are enabled. The group makes its parent a
    // threaded domain, and each group beside it invalid.
    let scratch = Scratch::with_controllers(&[]);
    let group = Group::under(&scratch, &Limits::default());
    let threaded = Group::under(&scratch, &Limits::default());
    let member = start("sleeper");
    threaded.cgroup.write("cgroup.type", "threaded");
    assert_eq!(group.cgroup.read("cgroup.type"), "domain invalid");
    assert_eq!(refusal(&group, member.pid()), (Errno::EOPNOTSUPP, Some(Reason::Threaded)));
    threaded.move_pid(member.pid()).unwrap();
    assert_eq!(threaded.cgroup.read("cgroup.threads"), member.pid().to_string());
}

#[test]
fn without_permission_a_process_is_not_moved() {
    let before = Cgroup::of(1);
    let mut member = Member::start("moves_process_1", &[]);
    member.expect_line("EACCES Some(NotDelegated)");
    assert_eq!(Cgroup::of(1), before);
    assert!(member.wait().success());
}

/// A user has no permission for the common ancestor of process 1 and the group.
fn moves_process_1(_: &[String]) {
    let agent = Agent::new(None, None, &Limits::default()).expect("new");
    let uid = nix::unistd::geteuid();
    if uid.is_root() {
        nix::unistd::seteuid(1000.into()).expect("seteuid");
    }
    let e = agent.move_pid(1).expect_err("it was moved");
    role::send(&format!("{:?} {:?}", e.errno(), e.reason()));
    nix::unistd::seteuid(uid).expect("seteuid");
    agent.destroy(false, deadline(), false).expect("destroy");
}

#[test]
fn a_process_moves_itself() {
    let mut member = Member::start("moves_itself", &[]);
    let path = member.receive();
    assert!(Cgroup(path.clone().into()).lists(member.pid()));
    assert_eq!(Cgroup::of(member.pid()), Some(Cgroup(path.into())));
    member.send("out");
    assert!(member.wait().success());
}

fn moves_itself(_: &[String]) {
    let before = Cgroup::own();
    let agent = Agent::new(None, None, &Limits::default()).expect("new");
    agent.move_self().expect("move_self");
    role::send(&String::from_utf8_lossy(&agent.path()));
    role::receive();
    role::enter(&before);
    agent.destroy(false, deadline(), false).expect("destroy");
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Freezing, signalling and terminating an agent, and listing its processes.

mod freezing;
mod membership;

use crate::common::cgroup::Cgroup;
use crate::common::group::Group;
use crate::common::member::{Member, role};
use crate::common::{self, deadline};
use crate::hostile::escapes;
use agentcg::{Deadline, Errno};
use std::time::Duration;

roles![counts, dies_of_sigterm, stopped_in_its_own_process_group, ignores_signals, membership::has_a_zombie];

/// A role of two processes that ignore all signals.
fn ignores_signals(_: &[String]) {
    role::receive();
    role::fork();
    escapes::ignore_signals();
    role::send("ready");
    role::sleep();
}

/// The number of these signals is counted. The second signal, which the kernel delivers after the first, ends
/// the count. Both are real-time signals, which are queued and not merged.
fn counted() -> i32 {
    libc::SIGRTMIN() + 1
}

fn ends_counting() -> i32 {
    libc::SIGRTMIN() + 2
}

/// A role of two processes with four threads each, the child in a nested cgroup. Each sends the number of
/// signals that it has received.
#[allow(unsafe_code, reason = "nix knows no real-time signals")]
fn counts(args: &[String]) {
    role::receive();
    // SAFETY: sigemptyset initialises the set before it is used.
    let set = unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, counted());
        libc::sigaddset(&raw mut set, ends_counting());
        libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
        set
    };
    if role::fork() {
        role::enter(&Cgroup(args[0].clone().into()).make("below"));
    }
    for _ in 0..3 {
        std::thread::spawn(|| role::sleep());
    }
    role::send("ready");
    let mut count = 0;
    loop {
        // SAFETY: the set is valid, and a null pointer is allowed for the information.
        let taken = unsafe { libc::sigwaitinfo(&raw const set, std::ptr::null_mut()) };
        if taken == ends_counting() {
            role::send(&count.to_string());
            role::exit(0);
        }
        count += i32::from(taken == counted());
    }
}

/// A role that sends a line before it dies.
fn dies_of_sigterm(_: &[String]) {
    role::receive();
    nix::sys::signal::SigSet::from(nix::sys::signal::Signal::SIGTERM).thread_block().expect("block");
    role::send("ready");
    nix::sys::signal::SigSet::from(nix::sys::signal::Signal::SIGTERM).wait().expect("sigwait");
    role::send("goodbye");
}

/// The role has its own process group. If another test's process exits, the group of the tests may become
/// orphaned. With a stopped process in it, the kernel would then send SIGHUP to all of it.
fn stopped_in_its_own_process_group(args: &[String]) {
    use nix::unistd::{Pid, setpgid};
    setpgid(Pid::from_raw(0), Pid::from_raw(0)).expect("setpgid");
    escapes::stopped(args);
}

fn path_of(group: &Group) -> String {
    group.cgroup.0.to_string_lossy().into_owned()
}

/// Makes a group whose members have sent "ready".
fn group_of(role: &str, processes: usize) -> (Group, Member) {
    let group = Group::plain();
    let mut member = group.start(role, &[&path_of(&group)]);
    (0..processes).for_each(|_| member.expect_line("ready"));
    (group, member)
}

/// The main thread was dead before the move: `cgroup.procs` does not list the process.
fn moved_without_main_thread() -> (Group, Member) {
    let group = Group::plain();
    let mut member = Member::start("escapes::without_main_thread", &[]);
    member.send("go");
    member.expect_line("ready");
    group.move_pid(member.pid()).unwrap();
    assert!(!group.cgroup.lists(member.pid()), "the kernel moves zombies: this case is the same as another");
    (group, member)
}

#[test]
fn each_process_is_signalled_once_and_not_each_thread() {
    let (group, mut member) = group_of("stopping::counts", 2);
    assert_eq!(group.signal_all(counted()), Ok(2));
    assert_eq!(group.signal_all(ends_counting()), Ok(2));
    member.expect_line("1");
    member.expect_line("1");
    member.wait_dead();
    group.destroy();
}

#[test]
fn signal_0_counts_and_sends_nothing() {
    let (group, mut member) = group_of("five_cgroups_deep", 6);
    assert_eq!(group.signal_all(0), Ok(6));
    assert!(!member.is_dead());
    group.destroy();
}

#[test]
fn members_of_nested_and_threaded_cgroups_are_signalled() {
    for (role, processes) in
        [("five_cgroups_deep", 6), ("in_a_threaded_cgroup", 2), ("in_a_pid_namespace", 2)]
    {
        let (group, mut member) = group_of(role, processes);
        let all = group.signal_all(libc::SIGKILL).unwrap();
        assert!(all >= processes, "{role}: {all}");
        member.wait_dead();
        group.wait_empty(deadline()).unwrap();
        group.destroy();
    }
}

#[test]
fn a_process_whose_main_thread_has_exited_is_signalled() {
    for (group, mut member) in [group_of("escapes::without_main_thread", 1), moved_without_main_thread()] {
        assert_eq!(group.signal_all(0), Ok(1));
        assert_eq!(group.signal_all(libc::SIGTERM), Ok(1));
        member.wait_dead();
        group.wait_empty(deadline()).unwrap();
        group.destroy();
    }
}

#[test]
fn processes_outside_are_not_signalled() {
    let (group, mut member) = group_of("sleeper", 1);
    let (neighbour, mut beside) = group_of("sleeper", 1);
    assert_eq!(group.signal_all(libc::SIGTERM), Ok(1));
    member.wait_dead();
    assert!(!beside.is_dead(), "a neighbour was signalled");
    neighbour.destroy();
    group.destroy();
}

#[test]
fn processes_that_fork_without_end_do_not_block_the_caller() {
    let (group, mut member) = group_of("rolling_forkers", escapes::CHAINS_THAT_BEGIN);
    assert!(group.signal_all(0).unwrap() >= 1);
    assert!(!member.is_dead());
    group.destroy();
}

#[test]
fn an_empty_group_has_no_process_to_signal() {
    let group = Group::plain();
    assert_eq!(group.signal_all(libc::SIGTERM), Ok(0));
    group.destroy();
}

#[test]
fn an_invalid_signal_is_refused() {
    let (group, mut member) = group_of("sleeper", 1);
    for signal in [-1, libc::SIGRTMAX() + 1, i32::MAX, i32::MIN] {
        assert_eq!(group.signal_all(signal).unwrap_err().errno(), Errno::EINVAL, "{signal}");
    }
    assert!(!member.is_dead());
    group.destroy();
}

#[test]
fn processes_that_end_on_sigterm_are_not_killed() {
    let (group, mut member) = group_of("dies_of_sigterm", 1);
    assert_eq!(group.terminate(deadline(), Some(Duration::ZERO)), Ok(false));
    member.expect_line("goodbye");
    member.wait_dead();
    group.destroy();
}

#[test]
fn processes_that_ignore_sigterm_are_killed() {
    let (group, mut member) = group_of("ignores_signals", 2);
    assert_eq!(group.terminate(Deadline::after(Duration::from_millis(20)), None), Ok(true));
    assert!(member.is_dead());
    assert_eq!(group.terminate(Deadline::FOREVER, None), Ok(false));
    group.destroy();
}

#[test]
fn without_a_grace_period_processes_are_killed_at_once() {
    let (group, mut member) = group_of("ignores_signals", 2);
    assert_eq!(group.terminate(Deadline::after(Duration::ZERO), None), Ok(true));
    assert!(member.is_dead());
    group.destroy();
}

#[test]
fn the_time_to_kill_begins_after_the_grace_period() {
    let (group, mut member) = group_of("ignores_signals", 2);
    let grace = Deadline::after(Duration::from_secs(2));
    // Less than the grace period, and far more than two processes need to die.
    assert_eq!(group.terminate(grace, Some(Duration::from_millis(1900))), Ok(true));
    assert!(member.is_dead());
    group.destroy();
}

#[test]
fn stopped_processes_are_continued_so_that_they_can_end() {
    let group = Group::plain();
    let mut member = group.start("stopped_in_its_own_process_group", &[]);
    for _ in 0..2 {
        let stat = format!("/proc/{}/stat", member.receive());
        common::wait_until("stopped", || std::fs::read_to_string(&stat).unwrap().contains(") T "));
    }
    assert_eq!(group.terminate(deadline(), Some(Duration::ZERO)), Ok(false));
    member.wait_dead();
    group.destroy();
}

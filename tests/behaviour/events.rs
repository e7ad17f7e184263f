// SPDX-License-Identifier: MIT OR Apache-2.0
//! What happens in a group is reported in time, and no event is lost.

mod attributes;
mod between;
mod counters;
mod notifications;
mod removal;
mod reported;
mod selection;
mod thousand;

use crate::common::group::Group;
use crate::common::member::{Member, role};
use crate::common::{self, deadline, lab};
use agentcg::events::{EMPTY, FROZEN, GONE, MEMORY_HIGH, MEMORY_MAX, OOM_KILL, PIDS_MAX, POPULATED, THAWED};
use agentcg::{Agent, Deadline, Errno, Limits, Reason};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::BorrowedFd;
use std::time::Duration;

roles![
    hog,
    forks_until_refused,
    ends_at_once,
    attributes::fails_to_fork,
    attributes::fails_to_fork_repeatedly,
    between::selects_events_again,
    removal::destroys,
    reported::has_a_zombie_in_a_namespace,
    reported::takes_long_to_exit,
    thousand::forks_and_allocates_too_much,
    thousand::allocates_to_memory_high,
];

const STATES: u64 = EMPTY | POPULATED | FROZEN | THAWED | GONE;
const MIB: u64 = 1 << 20;

/// Returns the events that are available in this layout.
fn available() -> u64 {
    if lab::layout() == "hybrid" { STATES } else { (GONE << 1) - 1 }
}

fn now() -> Deadline {
    Deadline::after(Duration::ZERO)
}

/// Waits until all of `wanted` are reported, and returns all events that were.
#[track_caller]
fn wait_for_events(agent: &Agent, wanted: u64) -> u64 {
    let (deadline, mut seen) = (deadline(), 0);
    while seen & wanted != wanted {
        let events = agent.next_events(deadline).unwrap_or_else(|e| panic!("wanted {wanted:#x}: {e}"));
        assert_ne!(events, 0, "wanted {wanted:#x}, got only {seen:#x}");
        seen |= events;
    }
    seen
}

/// Returns true if the descriptor becomes readable within so many milliseconds.
fn readable(fd: i32, within_ms: u16) -> bool {
    // SAFETY: the handle keeps the descriptor open.
    #[allow(unsafe_code, reason = "see SAFETY")]
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::from(within_ms)).unwrap() == 1
}

/// Checks that only events of `may_come` follow, even after the notifications that the kernel has delayed.
#[track_caller]
fn expect_no_events_except(agent: &Agent, may_come: u64) {
    let events = agent.next_events(Deadline::after(Duration::from_millis(100))).unwrap();
    assert_eq!(events & !may_come, 0);
}

#[test]
fn there_is_one_descriptor_which_is_close_on_exec_and_not_readable_at_first() {
    let group = Group::plain();
    let fd = group.event_fd(available()).unwrap();
    assert!(fd > 2);
    // SAFETY: the handle keeps the descriptor open.
    #[allow(unsafe_code, reason = "see SAFETY")]
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    assert_eq!(fcntl(borrowed, FcntlArg::F_GETFD), Ok(FdFlag::FD_CLOEXEC.bits()));
    assert_eq!(group.next_events(now()).unwrap(), 0);
    assert!(!readable(fd, 0));
    assert_eq!(group.event_fd(EMPTY).unwrap(), fd);
    expect_no_events_except(&group, 0);
}

#[test]
fn the_first_process_and_the_end_of_the_last_one_are_reported_in_order() {
    let group = Group::plain();
    let fd = group.event_fd(STATES).unwrap();
    let mut member = group.start("sleeper", &[]);
    member.expect_line("ready");
    assert_eq!(wait_for_events(&group, POPULATED), POPULATED);
    expect_no_events_except(&group, 0);
    assert!(!readable(fd, 0));
    member.kill_it_alone();
    assert_eq!(wait_for_events(&group, EMPTY), EMPTY);
    expect_no_events_except(&group, 0);
    group.destroy();
}

#[test]
fn a_condition_that_already_holds_is_not_reported() {
    let group = Group::plain();
    let mut member = group.start("sleeper", &[]);
    member.expect_line("ready");
    group.event_fd(STATES).unwrap();
    expect_no_events_except(&group, 0);
    group.destroy();
}

#[test]
fn a_process_that_came_and_went_between_two_calls_is_reported() {
    let group = Group::plain();
    group.event_fd(STATES).unwrap();
    for _ in 0..20 {
        let mut member = group.start("ends_at_once", &[]);
        member.wait();
        assert_eq!(wait_for_events(&group, EMPTY | POPULATED) & !(EMPTY | POPULATED), 0);
    }
    group.destroy();
}

#[test]
fn an_empty_group_is_reported_only_while_it_is_empty() {
    let group = Group::plain();
    group.event_fd(STATES).unwrap();
    for _ in 0..20 {
        group.start("ends_at_once", &[]).wait();
        let mut member = group.start("sleeper", &[]);
        member.expect_line("ready");
        let events = wait_for_events(&group, POPULATED);
        assert_eq!(events & EMPTY, 0, "it is populated");
        member.kill_it_alone();
        wait_for_events(&group, EMPTY);
    }
    group.destroy();
}

#[test]
fn freezing_and_thawing_are_reported() {
    let group = Group::plain();
    let mut member = group.start("sleeper", &[]);
    member.expect_line("ready");
    group.event_fd(STATES).unwrap();
    // The kernel delays a notification that follows another one closely. Wait, so that the events are not
    // read before it.
    expect_no_events_except(&group, 0);
    group.freeze(deadline()).unwrap();
    assert_eq!(wait_for_events(&group, FROZEN), FROZEN);
    expect_no_events_except(&group, 0);
    group.thaw(deadline()).unwrap();
    assert_eq!(wait_for_events(&group, THAWED), THAWED);
    expect_no_events_except(&group, 0);
    group.freeze(deadline()).unwrap();
    group.thaw(deadline()).unwrap();
    assert_eq!(wait_for_events(&group, FROZEN | THAWED), FROZEN | THAWED);
    group.destroy();
}

#[test]
fn an_oom_kill_is_reported() {
    if lab::layout() == "hybrid" {
        return refused_without_its_controller();
    }
    let group = Group::new(&Limits { memory_max: Some(16 * MIB), swap_max: Some(0), ..Limits::default() });
    group.event_fd(OOM_KILL | MEMORY_MAX).unwrap();
    let mut member = group.start("events::hog", &["64"]);
    assert_eq!(wait_for_events(&group, OOM_KILL | MEMORY_MAX), OOM_KILL | MEMORY_MAX);
    member.wait_dead();
    group.destroy();
}

fn refused_without_its_controller() {
    let group = Group::plain();
    for (event, file) in [(OOM_KILL, "memory.events"), (PIDS_MAX, "pids.events")] {
        let refused = group.event_fd(event | EMPTY).unwrap_err();
        assert_eq!((refused.errno(), refused.reason()), (Errno::EOPNOTSUPP, Some(Reason::NoController)));
        assert_eq!(refused.file(), file);
        assert!(refused.message().contains("controller"), "{refused}");
    }
    assert_eq!(group.next_events(now()).unwrap_err().errno(), Errno::EINVAL, "no event was selected");
}

#[test]
fn memory_high_and_a_fork_refused_by_pids_max_are_reported() {
    if lab::layout() == "hybrid" {
        return refused_without_its_controller();
    }
    let limits = Limits { memory_high: Some(16 * MIB), pids_max: Some(4), ..Limits::default() };
    let group = Group::new(&limits);
    group.event_fd(MEMORY_HIGH | PIDS_MAX).unwrap();
    let _hog = group.start("events::hog", &["24"]);
    assert_eq!(wait_for_events(&group, MEMORY_HIGH), MEMORY_HIGH);
    let mut forker = group.start("events::forks_until_refused", &[]);
    forker.expect_line("refused");
    wait_for_events(&group, PIDS_MAX);
    group.destroy();
}

#[test]
fn a_forked_child_takes_no_events_from_its_parent() {
    let group = Group::plain();
    group.event_fd(STATES).unwrap();
    let mut member = group.start("sleeper", &[]);
    member.expect_line("ready");
    wait_for_events(&group, POPULATED);
    member.kill_it_alone();
    common::wait_until("it is empty", || group.cgroup.value("cgroup.events", "populated") == 0);
    // SAFETY: the child makes a few system calls and ends.
    #[allow(unsafe_code, reason = "see SAFETY")]
    match unsafe { nix::unistd::fork() }.unwrap() {
        nix::unistd::ForkResult::Child => {
            let none = group.next_events(now()).is_err_and(|e| e.errno() == Errno::EINVAL);
            let own = group.event_fd(STATES).is_ok();
            role::exit(i32::from(!(none && own)));
        }
        nix::unistd::ForkResult::Parent { child } => {
            let status = nix::sys::wait::waitpid(child, None).unwrap();
            assert_eq!(status, nix::sys::wait::WaitStatus::Exited(child, 0));
        }
    }
    assert_eq!(wait_for_events(&group, EMPTY), EMPTY);
    group.destroy();
}

#[test]
fn two_waiting_threads_share_the_events() {
    let group = Group::plain();
    group.event_fd(EMPTY).unwrap();
    let mut member: Member = group.start("sleeper", &[]);
    member.expect_line("ready");
    let events = std::thread::scope(|scope| {
        let wait = || group.next_events(Deadline::after(Duration::from_millis(1500))).unwrap();
        let waiting = [scope.spawn(wait), scope.spawn(wait)];
        member.kill_it_alone();
        waiting.map(|thread| thread.join().unwrap())
    });
    assert!(events.contains(&EMPTY), "{events:?}");
    group.destroy();
}

/// A role that touches so many MiB and keeps them.
fn hog(args: &[String]) {
    role::receive();
    let mib: usize = args[0].parse().expect("a number");
    let mut memory = vec![0u8; mib << 20];
    memory.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
    std::hint::black_box(&memory);
    role::sleep();
}

fn forks_until_refused(_: &[String]) {
    role::receive();
    loop {
        match role::try_fork() {
            Ok(true) => role::sleep(),
            Ok(false) => {}
            Err(_) => break role::send("refused"),
        }
    }
    role::sleep();
}

fn ends_at_once(_: &[String]) {
    role::receive();
}

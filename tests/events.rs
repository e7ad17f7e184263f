// SPDX-License-Identifier: MIT OR Apache-2.0
//! What happens in a group is told, in time, and nothing is lost.

#[macro_use]
mod common;

#[path = "events/asking.rs"]
mod asking;
#[path = "events/attributes.rs"]
mod attributes;
#[path = "events/between.rs"]
mod between;
#[path = "events/counters.rs"]
mod counters;
#[path = "events/notifications.rs"]
mod notifications;
#[path = "events/removal.rs"]
mod removal;
#[path = "events/reported.rs"]
mod reported;
#[path = "events/thousand.rs"]
mod thousand;

use agentcg::events::{EMPTY, FROZEN, GONE, MEMORY_HIGH, MEMORY_MAX, OOM_KILL, PIDS_MAX, POPULATED, THAWED};
use agentcg::{Agent, Deadline, Errno, Limits, Reason};
use common::group::Group;
use common::member::{Member, role, sleeper};
use common::{deadline, lab};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::BorrowedFd;
use std::time::Duration;

roles![
    sleeper,
    hog,
    forks_while_it_can,
    ends_at_once,
    attributes::forks_in_vain,
    attributes::forks_in_vain_again_and_again,
    between::looks_and_chooses_again,
    removal::destroys,
    reported::has_a_zombie_in_a_namespace,
    reported::takes_long_to_exit,
    thousand::asks_for_too_much,
    thousand::takes_what_is_high
];

const STATES: u64 = EMPTY | POPULATED | FROZEN | THAWED | GONE;
const MIB: u64 = 1 << 20;

/// What is to be had in this layout.
fn offered() -> u64 {
    if lab::layout() == "hybrid" { STATES } else { (GONE << 1) - 1 }
}

fn now() -> Deadline {
    Deadline::after(Duration::ZERO)
}

/// Wait until all of `wanted` were told, and tell what was.
#[track_caller]
fn hear(agent: &Agent, wanted: u64) -> u64 {
    let (deadline, mut heard) = (deadline(), 0);
    while heard & wanted != wanted {
        let events = agent.next_events(deadline).unwrap_or_else(|e| panic!("{wanted:#x} wanted: {e}"));
        assert_ne!(events, 0, "{wanted:#x} wanted, only {heard:#x} heard");
        heard |= events;
    }
    heard
}

/// Whether the descriptor is readable within so many milliseconds.
fn readable(fd: i32, within_ms: u16) -> bool {
    // SAFETY: the handle keeps it open.
    #[allow(unsafe_code, reason = "see SAFETY")]
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::from(within_ms)).unwrap() == 1
}

/// Nothing more comes once the kernel has said what it put off.
#[track_caller]
fn settle(agent: &Agent, may_come: u64) {
    let events = agent.next_events(Deadline::after(Duration::from_millis(100))).unwrap();
    assert_eq!(events & !may_come, 0);
}

#[test]
fn the_descriptor_is_one_close_on_exec_and_quiet_at_first() {
    let group = Group::plain();
    let fd = group.event_fd(offered()).unwrap();
    assert!(fd > 2);
    // SAFETY: the handle keeps it open.
    #[allow(unsafe_code, reason = "see SAFETY")]
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    assert_eq!(fcntl(borrowed, FcntlArg::F_GETFD), Ok(FdFlag::FD_CLOEXEC.bits()));
    assert_eq!(group.next_events(now()).unwrap(), 0);
    assert!(!readable(fd, 0));
    assert_eq!(group.event_fd(EMPTY).unwrap(), fd);
    settle(&group, 0);
}

#[test]
fn the_first_process_and_the_end_of_the_last_are_told_in_turn() {
    let group = Group::plain();
    let fd = group.event_fd(STATES).unwrap();
    let mut member = group.start("sleeper", &[]);
    member.expect_line("ready");
    assert_eq!(hear(&group, POPULATED), POPULATED);
    settle(&group, 0);
    assert!(!readable(fd, 0));
    member.kill_it_alone();
    assert_eq!(hear(&group, EMPTY), EMPTY);
    settle(&group, 0);
    group.destroy();
}

#[test]
fn what_is_so_already_is_no_event() {
    let group = Group::plain();
    let mut member = group.start("sleeper", &[]);
    member.expect_line("ready");
    group.event_fd(STATES).unwrap();
    settle(&group, 0);
    group.destroy();
}

#[test]
fn a_process_that_came_and_went_between_two_calls_is_told() {
    let group = Group::plain();
    group.event_fd(STATES).unwrap();
    for _ in 0..20 {
        let mut member = group.start("ends_at_once", &[]);
        member.wait();
        assert_eq!(hear(&group, EMPTY | POPULATED) & !(EMPTY | POPULATED), 0);
    }
    group.destroy();
}

#[test]
fn an_end_is_told_only_while_it_lasts() {
    let group = Group::plain();
    group.event_fd(STATES).unwrap();
    for _ in 0..20 {
        group.start("ends_at_once", &[]).wait();
        let mut member = group.start("sleeper", &[]);
        member.expect_line("ready");
        let told = hear(&group, POPULATED);
        assert_eq!(told & EMPTY, 0, "it is populated");
        member.kill_it_alone();
        hear(&group, EMPTY);
    }
    group.destroy();
}

#[test]
fn a_frozen_and_a_thawed_group_are_told() {
    let group = Group::plain();
    let mut member = group.start("sleeper", &[]);
    member.expect_line("ready");
    group.event_fd(STATES).unwrap();
    // Past the time in which the kernel would put the notification off, and it might be seen before.
    settle(&group, 0);
    group.freeze(deadline()).unwrap();
    assert_eq!(hear(&group, FROZEN), FROZEN);
    settle(&group, 0);
    group.thaw(deadline()).unwrap();
    assert_eq!(hear(&group, THAWED), THAWED);
    settle(&group, 0);
    group.freeze(deadline()).unwrap();
    group.thaw(deadline()).unwrap();
    assert_eq!(hear(&group, FROZEN | THAWED), FROZEN | THAWED);
    group.destroy();
}

#[test]
fn a_process_killed_for_want_of_memory_is_told() {
    if lab::layout() == "hybrid" {
        return refused_without_its_controller();
    }
    let group = Group::new(&Limits { memory_max: Some(16 * MIB), swap_max: Some(0), ..Limits::default() });
    group.event_fd(OOM_KILL | MEMORY_MAX).unwrap();
    let mut member = group.start("hog", &["64"]);
    assert_eq!(hear(&group, OOM_KILL | MEMORY_MAX), OOM_KILL | MEMORY_MAX);
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
    assert_eq!(group.next_events(now()).unwrap_err().errno(), Errno::EINVAL, "nothing was asked for");
}

#[test]
fn memory_high_is_told_and_so_is_a_fork_that_pids_max_refused() {
    if lab::layout() == "hybrid" {
        return refused_without_its_controller();
    }
    let limits = Limits { memory_high: Some(16 * MIB), pids_max: Some(4), ..Limits::default() };
    let group = Group::new(&limits);
    group.event_fd(MEMORY_HIGH | PIDS_MAX).unwrap();
    let _hog = group.start("hog", &["24"]);
    assert_eq!(hear(&group, MEMORY_HIGH), MEMORY_HIGH);
    let mut forker = group.start("forks_while_it_can", &[]);
    forker.expect_line("refused");
    hear(&group, PIDS_MAX);
    group.destroy();
}

#[test]
fn a_forked_child_takes_nothing_from_its_parent() {
    let group = Group::plain();
    group.event_fd(STATES).unwrap();
    let mut member = group.start("sleeper", &[]);
    member.expect_line("ready");
    hear(&group, POPULATED);
    member.kill_it_alone();
    common::wait_until("it is empty", || group.cgroup.value("cgroup.events", "populated") == 0);
    // SAFETY: the child does a few system calls and ends.
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
    assert_eq!(hear(&group, EMPTY), EMPTY);
    group.destroy();
}

#[test]
fn two_threads_that_wait_share_the_events() {
    let group = Group::plain();
    group.event_fd(EMPTY).unwrap();
    let mut member: Member = group.start("sleeper", &[]);
    member.expect_line("ready");
    let told = std::thread::scope(|scope| {
        let wait = || group.next_events(Deadline::after(Duration::from_millis(1500))).unwrap();
        let waiting = [scope.spawn(wait), scope.spawn(wait)];
        member.kill_it_alone();
        waiting.map(|thread| thread.join().unwrap())
    });
    assert!(told.contains(&EMPTY), "{told:?}");
    group.destroy();
}

/// Touches so many MiB, and keeps them.
fn hog(args: &[String]) {
    role::receive();
    let mib: usize = args[0].parse().expect("a number");
    let mut memory = vec![0u8; mib << 20];
    memory.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
    std::hint::black_box(&memory);
    role::sleep();
}

fn forks_while_it_can(_: &[String]) {
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

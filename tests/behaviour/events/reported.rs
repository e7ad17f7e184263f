// SPDX-License-Identifier: MIT OR Apache-2.0
//! If the kernel reports a removal, the watcher learns of it at once. On each kernel a group is empty when no
//! process in it lives, even if `populated` says otherwise.

use super::removal::watcher_of;
use super::{STATES, expect_no_events_except, now, readable, role, wait_for_events};
use crate::common::cgroup::Cgroup;
use crate::common::group::Group;
use crate::common::member::Member;
use crate::common::{deadline, lab, state_of};
use agentcg::events::{EMPTY, GONE};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::signal::Signal;
use std::time::{Duration, Instant};

/// Less than the interval after which a watcher reads by itself, and more than a busy machine needs.
const SHORT_DELAY: Duration = Duration::from_millis(700);

/// Returns true on Linux 7.1 and newer.
fn reports_removals() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    (numbers.next(), numbers.next()) >= (Some(7), Some(1))
}

/// Returns the number of inotify instances of this process.
pub fn instances() -> usize {
    let fds = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    fds.filter(|fd| std::fs::read_link(fd.path()).is_ok_and(|to| to.to_string_lossy().contains("inotify")))
        .count()
}

/// Returns right after a read by the watcher's own timer that followed a second without one. The next one is
/// later still.
fn wait_for_long_interval(fd: i32, watcher: &agentcg::Agent) {
    if !reports_removals() {
        return;
    }
    let mut last = Instant::now();
    loop {
        assert!(readable(fd, 10_000), "the watcher reads by itself");
        assert_eq!(watcher.next_events(now()).unwrap() & GONE, 0);
        if last.elapsed() > Duration::from_secs(1) {
            return;
        }
        last = Instant::now();
    }
}

/// From Linux 7.0 on, `cgroup.procs` leaves out a process from the start of its exit on.
#[test]
fn a_group_with_an_exiting_process_is_not_reported_as_empty() {
    let group = Group::plain();
    for _ in 0..3 {
        let mut member = group.start("takes_long_to_exit", &[]);
        member.expect_line("ready");
        // The watch reads the group in short intervals after the selection.
        group.event_fd(EMPTY).unwrap();
        member.signal(Signal::SIGKILL);
        assert_eq!(wait_for_events(&group, EMPTY), EMPTY);
        assert!(matches!(state_of(member.pid()), Some('Z') | None), "the process has not ended");
        member.reap();
    }
    group.destroy();
}

/// A role whose exit takes long: to close an inotify instance with a watch, the kernel waits for a grace
/// period of SRCU.
pub fn takes_long_to_exit(_: &[String]) {
    role::receive();
    let instances: Vec<Inotify> = (0..30)
        .map(|_| {
            let one = Inotify::init(InitFlags::empty()).expect("inotify_init1");
            one.add_watch("/", AddWatchFlags::IN_CREATE).expect("inotify_add_watch");
            one
        })
        .collect();
    role::send("ready");
    std::hint::black_box(&instances);
    role::sleep();
}

#[test]
fn a_removal_is_reported_at_once_if_the_kernel_reports_it() {
    let (group, beside) = (Group::plain(), Group::plain());
    let (watcher, other) = (watcher_of(&group), watcher_of(&beside));
    let fd = watcher.event_fd(STATES).unwrap();
    let _other_fd = other.event_fd(STATES).unwrap();
    assert!(instances() <= 1, "all watches share one instance");
    wait_for_long_interval(fd, &watcher);
    let removed = Instant::now();
    group.cgroup.remove();
    // The report is for all watches of the process. The first one that reads passes it on.
    expect_no_events_except(&other, 0);
    assert_eq!(wait_for_events(&watcher, GONE), EMPTY | GONE);
    if reports_removals() {
        assert!(removed.elapsed() < SHORT_DELAY, "{:?}", removed.elapsed());
    }
    assert_eq!(other.next_events(now()).unwrap() & GONE, 0);
    beside.destroy();
    wait_for_events(&other, GONE);
}

/// The host has made a pid namespace and has not reaped its zombie there: the init of the namespace has
/// ended, but stays in its cgroup until then.
#[test]
fn the_end_is_reported_even_if_a_dead_process_is_not_reaped() {
    if !lab::is_root() {
        return reported_without_a_namespace();
    }
    let group = Group::plain();
    let watchers = [watcher_of(&group), watcher_of(&group)];
    let path = group.cgroup.0.to_str().unwrap();
    let mut host = Member::start("has_a_zombie_in_a_namespace", &[path]);
    host.expect_line("ready");
    let fds = watchers.each_ref().map(|watcher| watcher.event_fd(STATES).unwrap());
    wait_for_long_interval(fds[0], &watchers[0]);
    let killed = Instant::now();
    group.kill_all(deadline()).unwrap();
    wait_for_events(&watchers[0], EMPTY);
    if reports_removals() {
        assert!(killed.elapsed() < SHORT_DELAY, "{:?}", killed.elapsed());
    }
    // A group that was reported as empty is reported as gone after its removal, whoever can remove it.
    let removed = std::fs::remove_dir(&group.cgroup.0);
    if removed.is_err() {
        host.kill_it_alone();
        group.destroy();
    }
    let seen = wait_for_events(&watchers[0], GONE) | wait_for_events(&watchers[1], GONE);
    assert_eq!(seen & (EMPTY | GONE), EMPTY | GONE);
}

fn reported_without_a_namespace() {
    let group = Group::plain();
    let watcher = watcher_of(&group);
    let mut member = group.start("sleeper", &[]);
    member.expect_line("ready");
    watcher.event_fd(STATES).unwrap();
    group.kill_all(deadline()).unwrap();
    wait_for_events(&watcher, EMPTY);
    group.destroy();
}

pub fn has_a_zombie_in_a_namespace(args: &[String]) {
    let group = Cgroup::at(args[0].as_bytes());
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWPID).unwrap();
    let (reader, writer) = nix::unistd::pipe().unwrap();
    for _init_and_another in 0..2 {
        if role::fork() {
            role::enter(&group);
            nix::unistd::write(&writer, b"x").unwrap();
            role::sleep();
        }
        nix::unistd::read(&reader, &mut [0]).unwrap();
    }
    role::send("ready");
    role::sleep();
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! One loop watches a thousand groups for stalls, on a kernel that measures them.

use crate::common::group::Group;
use crate::common::member::{Member, role};
use crate::common::{self, TIMEOUT};
use agentcg::events::{Resource, STALLED, StallKind, Threshold};
use agentcg::{CpuMax, Deadline, Limits};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::resource::{Resource as Limit, UsageWho, getrlimit, getrusage, setrlimit};
use nix::sys::time::TimeValLike;
use std::os::fd::BorrowedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

roles![sleepers];

const MANY: usize = 1000;
const STALLING: usize = 10;
const WINDOW: Duration = Duration::from_secs(4);

/// Lets one test run at a time. Watches of one process share an inotify instance, so the removal of a watched group makes the
/// descriptors of other groups readable.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A role that forks as many sleepers, and sends the pid of each.
fn sleepers(args: &[String]) {
    role::receive();
    for _ in 0..args[0].parse().expect("a number") {
        if role::fork() {
            role::send(&std::process::id().to_string());
            role::sleep();
        }
    }
    role::sleep();
}

/// Groups with a sleeping member each.
fn sleeping_groups(many: usize) -> (Vec<Group>, Member) {
    // Each has a dozen descriptors.
    let (_, most) = getrlimit(Limit::RLIMIT_NOFILE).unwrap();
    let wanted = most.max(20 * many as u64);
    setrlimit(Limit::RLIMIT_NOFILE, wanted, wanted).expect("root may raise it");
    let mut members = Member::start("sleepers", &[&many.to_string()]);
    members.send("go");
    let groups: Vec<Group> = (0..many).map(|_| Group::plain()).collect();
    for group in &groups {
        group.move_pid(members.receive().parse().unwrap()).unwrap();
    }
    (groups, members)
}

/// A loop over the descriptors of many groups.
struct Loop<'a> {
    epoll: Epoll,
    groups: Vec<&'a Group>,
    /// The reports of each group, and how often its descriptor was readable.
    reports: Vec<u32>,
    looks: Vec<u32>,
}

impl<'a> Loop<'a> {
    fn over(groups: impl Iterator<Item = &'a Group>) -> Self {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
        let groups: Vec<&Group> = groups.collect();
        for (at, group) in groups.iter().enumerate() {
            let fd = group.event_fd(STALLED).unwrap();
            // SAFETY: the handle keeps the descriptor open as long as the loop lasts.
            #[allow(unsafe_code, reason = "see SAFETY")]
            let fd = unsafe { BorrowedFd::borrow_raw(fd) };
            epoll.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, at as u64)).unwrap();
        }
        Self { epoll, reports: vec![0; groups.len()], looks: vec![0; groups.len()], groups }
    }

    /// Runs until each group was looked at so many more times. Returns the time that this took.
    fn run(&mut self, times: u32) -> Duration {
        self.looks.fill(0);
        let start = Instant::now();
        let mut ready = vec![EpollEvent::empty(); 64];
        while self.looks.iter().any(|&looks| looks < times) {
            // The emulated machine may need a second for all groups.
            assert!(start.elapsed() < 10 * TIMEOUT, "not all groups were looked at: {:?}", self.looks);
            let count = self.epoll.wait(&mut ready, EpollTimeout::from(1000u16)).unwrap();
            for event in &ready[..count] {
                let at = usize::try_from(event.data()).unwrap();
                self.reports[at] +=
                    u32::from(self.groups[at].next_events(Deadline::after(Duration::ZERO)).unwrap() != 0);
                self.looks[at] += 1;
            }
        }
        start.elapsed()
    }
}

/// The CPU time of this thread.
fn cpu_time() -> Duration {
    let used = getrusage(UsageWho::RUSAGE_THREAD).unwrap();
    let us = (used.user_time() + used.system_time()).num_microseconds();
    Duration::from_micros(us.try_into().unwrap())
}

#[test]
fn a_thousand_idle_groups_have_no_event() {
    let _alone = alone();
    let many = common::repetitions(MANY);
    let (groups, members) = sleeping_groups(many);
    let mut all = Loop::over(groups.iter());
    let least = Threshold { stall: Duration::from_micros(1), window: Duration::from_secs(2) };
    for group in &groups {
        for resource in [Resource::Memory, Resource::Io] {
            for kind in [StallKind::Some, StallKind::Full] {
                group.watch_stall(resource, kind, Some(least)).unwrap();
            }
        }
    }
    all.run(4);
    assert_eq!(all.reports, vec![0; many]);
    for group in &groups {
        group.destroy();
    }
    drop(members);
}

/// The share of a core is printed and not checked: this machine is emulated, ten times as slow or more.
#[test]
fn a_thousand_watched_groups_with_ten_stalling_are_looked_at_once_in_each_window() {
    let _alone = alone();
    let many = common::repetitions(MANY).max(10 * STALLING);
    let (idle, members) = sleeping_groups(many - STALLING);
    let little_cpu = Limits { cpu_max: Some(CpuMax { millicpu: 10, period_us: 0 }), ..Limits::default() };
    let stalling: Vec<Group> = (0..STALLING).map(|_| Group::new(&little_cpu)).collect();
    let burners: Vec<Member> = stalling.iter().map(|group| group.start("burner", &[])).collect();
    let groups = || stalling.iter().chain(&idle);
    let mut all = Loop::over(groups());
    for group in groups() {
        let half = Threshold { stall: WINDOW / 2, window: WINDOW };
        group.watch_stall(Resource::Cpu, StallKind::Some, Some(half)).unwrap();
    }
    all.run(1);
    all.reports.fill(0);
    let before = cpu_time();
    let time = all.run(3);
    let (used, looks) = (cpu_time() - before, all.looks.iter().sum::<u32>());
    println!(
        "{many} groups, {STALLING} of them stalled, windows of {WINDOW:?}: {:.2} % of a core, {:?} a look",
        100.0 * used.as_secs_f64() / time.as_secs_f64(),
        used / looks
    );
    let windows = u32::try_from(time.as_secs() / WINDOW.as_secs()).unwrap() + 2;
    let (of_stalling, of_idle) = all.reports.split_at(STALLING);
    assert!(of_stalling.iter().all(|reports| (2..=windows).contains(reports)), "{of_stalling:?}");
    assert!(of_idle.iter().all(|&reports| reports == 0), "an idle group was reported");
    let (_, of_idle) = all.looks.split_at(STALLING);
    assert!(of_idle.iter().all(|&looks| looks <= windows), "once in each of {windows} windows: {of_idle:?}");
    for group in groups() {
        group.destroy();
    }
    drop((members, burners));
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! A thousand groups that one loop watches: each end is told, whatever comes the moment after.

use super::reported::instances;
use super::{MIB, offered, role};
use crate::common::cgroup::Cgroup;
use crate::common::group::Group;
use crate::common::{TIMEOUT, lab, repetitions};
use agentcg::events::{EMPTY, GONE, MEMORY_HIGH, OOM_KILL, PIDS_MAX};
use agentcg::{Agent, Deadline, Limits};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::fs;
use std::io::Read;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

const MANY: usize = 1000;

/// One loop over the descriptors of many groups.
struct Loop {
    epoll: Epoll,
    watchers: Vec<Agent>,
    heard: Vec<(u64, Option<Instant>)>,
    told: usize,
}

impl Loop {
    fn over(groups: &[Group], which: u64) -> Self {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
        let watchers: Vec<Agent> =
            groups.iter().map(|group| Agent::open(None, group.uuid(), false).unwrap()).collect();
        for (at, watcher) in watchers.iter().enumerate() {
            let fd = watcher.event_fd(which).unwrap();
            // SAFETY: the handle keeps it open as long as the loop lasts.
            #[allow(unsafe_code, reason = "see SAFETY")]
            let fd = unsafe { BorrowedFd::borrow_raw(fd) };
            epoll.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, at as u64)).unwrap();
        }
        Self { epoll, heard: vec![(0, None); watchers.len()], watchers, told: 0 }
    }

    /// Until `enough` of those that told all of `wanted`.
    fn run(&mut self, wanted: u64, enough: usize) {
        let start = Instant::now();
        let mut ready = vec![EpollEvent::empty(); 64];
        while self.told < enough {
            assert!(start.elapsed() < TIMEOUT, "{} of {enough} have told {wanted:#x}", self.told);
            let count = self.epoll.wait(&mut ready, EpollTimeout::from(1000u16)).unwrap();
            for event in &ready[..count] {
                let at = usize::try_from(event.data()).unwrap();
                let (heard, when) = &mut self.heard[at];
                *heard |= self.watchers[at].next_events(Deadline::after(Duration::ZERO)).unwrap();
                if when.is_none() && *heard & wanted == wanted {
                    *when = Some(Instant::now());
                    self.told += 1;
                }
            }
        }
    }

    /// StartOptions long after that moment it had told all.
    fn latency(&self, at: usize, since: Instant) -> Duration {
        self.heard[at].1.expect("it has told all").saturating_duration_since(since)
    }
}

/// From each cause to when it was told.
fn show(what: &str, mut latencies: Vec<Duration>) {
    latencies.sort_unstable();
    let (count, half) = (latencies.len(), latencies[latencies.len() / 2]);
    println!("{what}: {count} told, half of them within {half:?}, all within {:?}", latencies[count - 1]);
}

/// StartOptions many groups with their watchers the limit on descriptors lets us have: root may raise it.
pub fn room_for_groups() -> usize {
    const A_GROUP: usize = 12;
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let wanted = most.max((MANY * A_GROUP) as u64);
    let most = if setrlimit(Resource::RLIMIT_NOFILE, wanted, wanted).is_ok() { wanted } else { most };
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
    MANY.min(usize::try_from(most).unwrap() / A_GROUP)
}

#[test]
fn a_thousand_groups_in_one_loop_are_told_as_they_are_destroyed_with_one_inotify_instance_at_most() {
    let many = repetitions(room_for_groups());
    let groups: Vec<Group> = (0..many).map(|_| Group::plain()).collect();
    let mut all = Loop::over(&groups, offered());
    assert!(instances() <= 1, "a user has 128");
    // One after the other, and then all that are left at once.
    let (first, rest) = groups.split_at(many / 2);
    let mut latencies = Vec::new();
    for (at, group) in first.iter().enumerate() {
        group.destroy();
        let destroyed = Instant::now();
        all.run(EMPTY | GONE, at + 1);
        latencies.push(all.latency(at, destroyed));
    }
    show("gone", latencies);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for group in rest {
                group.destroy();
            }
        });
        all.run(EMPTY | GONE, many);
    });
}

/// A member of a group with these limits goes to its end, and the group is destroyed the moment after.
fn is_told_in_time(what: &str, limits: &Limits, role: &str, wanted: u64) {
    if lab::layout() == "hybrid" {
        return; // what needs a controller is refused there: see the tests beside
    }
    let rounds = std::env::var("AGENTCG_ROUNDS").map_or(MANY, |rounds| rounds.parse().unwrap());
    let mut latencies = Vec::new();
    for round in 0..rounds {
        let groups = [Group::new(limits)];
        let mut all = Loop::over(&groups, wanted);
        let dead = std::thread::scope(|scope| {
            let [group] = &groups;
            let ending = scope.spawn(move || {
                let path = group.cgroup.0.to_str().unwrap();
                group.start(role, &[path]).wait();
                let dead = Instant::now();
                group.destroy();
                dead
            });
            all.run(wanted, 1);
            ending.join().unwrap()
        });
        assert_eq!(all.heard[0].0, wanted, "round {round}");
        latencies.push(all.latency(0, dead));
    }
    show(what, latencies);
}

#[test]
fn an_oom_kill_and_a_refused_fork_are_told_even_if_the_group_is_destroyed_the_moment_after() {
    let limits =
        Limits { memory_max: Some(2 * MIB), swap_max: Some(0), pids_max: Some(1), ..Limits::default() };
    let wanted = OOM_KILL | PIDS_MAX | EMPTY | GONE;
    is_told_in_time("oom_kill, pids_max, empty, gone", &limits, "asks_for_too_much", wanted);
}

#[test]
fn memory_high_is_told_even_if_the_group_is_destroyed_the_moment_after() {
    // Memory is charged by 256 KiB, and whoever is so much above a low limit is held up for seconds.
    let limits = Limits { memory_high: Some(8 * MIB), ..Limits::default() };
    let wanted = MEMORY_HIGH | EMPTY | GONE;
    is_told_in_time("memory_high, empty, gone", &limits, "takes_what_is_high", wanted);
}

/// Forks in vain, and is killed for the memory it takes.
pub fn asks_for_too_much(_: &[String]) {
    role::receive();
    assert!(role::try_fork().is_err());
    let mut memory = vec![0u8; 8 << 20];
    memory.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
    std::hint::black_box(&memory);
}

/// Takes memory until its cgroup, whose path is the argument, says that it is high: more would be held up for long.
pub fn takes_what_is_high(args: &[String]) {
    role::receive();
    let group = Cgroup::at(args[0].as_bytes());
    // User-Mode Linux is slow to touch a page that is not there, and fast to fill it.
    let mut zero = fs::File::open("/dev/zero").unwrap();
    let mut memory = vec![0u8; 16 << 20];
    for part in memory.chunks_mut(256 << 10) {
        zero.read_exact(part).unwrap();
        if group.value("memory.events", "high") > 0 {
            break;
        }
    }
    std::hint::black_box(&memory);
}

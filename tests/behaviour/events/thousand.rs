// SPDX-License-Identifier: MIT OR Apache-2.0
//! One loop watches a thousand groups: each end is reported, whatever happens right after it.

use super::reported::instances;
use super::{MIB, available, role};
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

/// A loop over the descriptors of many groups.
struct Loop {
    epoll: Epoll,
    watchers: Vec<Agent>,
    seen: Vec<(u64, Option<Instant>)>,
    complete: usize,
}

impl Loop {
    fn over(groups: &[Group], which: u64) -> Self {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
        let watchers: Vec<Agent> =
            groups.iter().map(|group| Agent::open(None, group.uuid(), false).unwrap()).collect();
        for (at, watcher) in watchers.iter().enumerate() {
            let fd = watcher.event_fd(which).unwrap();
            // SAFETY: the handle keeps the descriptor open as long as the loop lasts.
            #[allow(unsafe_code, reason = "see SAFETY")]
            let fd = unsafe { BorrowedFd::borrow_raw(fd) };
            epoll.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, at as u64)).unwrap();
        }
        Self { epoll, seen: vec![(0, None); watchers.len()], watchers, complete: 0 }
    }

    /// Runs until `enough` groups have reported all of `wanted`.
    fn run(&mut self, wanted: u64, enough: usize) {
        let start = Instant::now();
        let mut ready = vec![EpollEvent::empty(); 64];
        while self.complete < enough {
            assert!(
                start.elapsed() < TIMEOUT,
                "{} of {enough} groups have reported {wanted:#x}",
                self.complete
            );
            let count = self.epoll.wait(&mut ready, EpollTimeout::from(1000u16)).unwrap();
            for event in &ready[..count] {
                let at = usize::try_from(event.data()).unwrap();
                let (seen, when) = &mut self.seen[at];
                *seen |= self.watchers[at].next_events(Deadline::after(Duration::ZERO)).unwrap();
                if when.is_none() && *seen & wanted == wanted {
                    *when = Some(Instant::now());
                    self.complete += 1;
                }
            }
        }
    }

    /// Returns the time from `since` until the group had reported all.
    fn latency(&self, at: usize, since: Instant) -> Duration {
        self.seen[at].1.expect("all is reported").saturating_duration_since(since)
    }
}

/// Prints the times from each cause to its report.
fn print_latencies(what: &str, mut latencies: Vec<Duration>) {
    latencies.sort_unstable();
    let (count, half) = (latencies.len(), latencies[latencies.len() / 2]);
    println!("{what}: {count} reported, half of them within {half:?}, all within {:?}", latencies[count - 1]);
}

/// Returns the number of groups with watchers that the limit on descriptors allows. Root may raise it.
pub fn room_for_groups() -> usize {
    const A_GROUP: usize = 12;
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let wanted = most.max((MANY * A_GROUP) as u64);
    let most = if setrlimit(Resource::RLIMIT_NOFILE, wanted, wanted).is_ok() { wanted } else { most };
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
    MANY.min(usize::try_from(most).unwrap() / A_GROUP)
}

#[test]
fn a_thousand_destroyed_groups_are_reported_in_one_loop_with_at_most_one_inotify_instance() {
    let many = repetitions(room_for_groups());
    let groups: Vec<Group> = (0..many).map(|_| Group::plain()).collect();
    let mut all = Loop::over(&groups, available());
    assert!(instances() <= 1, "a user has 128 instances");
    // The first half is destroyed one after the other, the rest all at once.
    let (first, rest) = groups.split_at(many / 2);
    let mut latencies = Vec::new();
    for (at, group) in first.iter().enumerate() {
        group.destroy();
        let destroyed = Instant::now();
        all.run(EMPTY | GONE, at + 1);
        latencies.push(all.latency(at, destroyed));
    }
    print_latencies("gone", latencies);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for group in rest {
                group.destroy();
            }
        });
        all.run(EMPTY | GONE, many);
    });
}

/// Checks the reports of a group with these limits that is destroyed right after its member has ended.
fn is_reported_in_time(what: &str, limits: &Limits, role: &str, wanted: u64) {
    if lab::layout() == "hybrid" {
        return; // an event that needs a controller is refused there, as other tests check
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
        assert_eq!(all.seen[0].0, wanted, "round {round}");
        latencies.push(all.latency(0, dead));
    }
    print_latencies(what, latencies);
}

#[test]
fn an_oom_kill_and_a_refused_fork_are_reported_even_if_the_group_is_destroyed_right_after() {
    let limits =
        Limits { memory_max: Some(2 * MIB), swap_max: Some(0), pids_max: Some(1), ..Limits::default() };
    let wanted = OOM_KILL | PIDS_MAX | EMPTY | GONE;
    is_reported_in_time("oom_kill, pids_max, empty, gone", &limits, "forks_and_allocates_too_much", wanted);
}

#[test]
fn memory_high_is_reported_even_if_the_group_is_destroyed_right_after() {
    // The kernel charges memory in steps of 256 KiB and stalls a process that exceeds a low limit by that
    // much for seconds.
    let limits = Limits { memory_high: Some(8 * MIB), ..Limits::default() };
    let wanted = MEMORY_HIGH | EMPTY | GONE;
    is_reported_in_time("memory_high, empty, gone", &limits, "allocates_to_memory_high", wanted);
}

/// A role whose fork is refused and that the OOM killer then kills.
pub fn forks_and_allocates_too_much(_: &[String]) {
    role::receive();
    assert!(role::try_fork().is_err());
    let mut memory = vec![0u8; 8 << 20];
    memory.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
    std::hint::black_box(&memory);
}

/// A role that allocates memory until memory.events of the cgroup in its argument counts `high`. More memory
/// would stall it for long.
pub fn allocates_to_memory_high(args: &[String]) {
    role::receive();
    let group = Cgroup::at(args[0].as_bytes());
    // On User-Mode Linux it is slow to touch a missing page, and fast to fill it by a read.
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

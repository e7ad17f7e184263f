// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is reported, and when.

use super::{
    SECOND, TENTH, expect_none, expect_stall, little_cpu, little_memory, now, stalled_group, total_us,
    watch_cpu,
};
use crate::common::device::Loop;
use crate::common::group::Group;
use crate::common::member::{Member, role};
use crate::common::{self, TIMEOUT, deadline};
use agentcg::events::{EMPTY, GONE, POPULATED, Resource, STALLED, StallKind, Threshold};
use agentcg::{Agent, Deadline, Errno, Limits};
use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

/// A role that reads a device over and over through the page cache, which its group has too little memory for.
pub fn rereads(args: &[String]) {
    let device = File::open(&args[0]).expect("the device");
    role::receive();
    let mut buf = vec![0; 1 << 20];
    loop {
        let mut at = 0;
        while let Ok(read @ 1..) = device.read_at(&mut buf, at) {
            at += read as u64;
        }
    }
}

/// Waits for the first report of a group. Returns the time from the moment at which its total had grown by the stall within a
/// window.
fn lateness(group: &Group, file: &str, line: &str, threshold: Threshold) -> Duration {
    let stall = u64::try_from(threshold.stall.as_micros()).unwrap();
    let (start, first) = (Instant::now(), total_us(group, file, line));
    let mut totals = VecDeque::from([(start, first)]);
    let mut reached = None;
    loop {
        let events = group.next_events(now()).unwrap();
        let (at, total) = (Instant::now(), total_us(group, file, line));
        totals.push_back((at, total));
        totals.retain(|(earlier, _)| at - *earlier <= threshold.window);
        if totals.front().is_some_and(|(_, earlier)| total >= earlier + stall) {
            reached.get_or_insert(at);
        }
        if events & STALLED != 0 {
            assert!(total >= first + stall, "not before the total has grown by the stall");
            // The library may have read a moment before, and a bit more in one window.
            return reached.unwrap_or(at).elapsed();
        }
        assert!(start.elapsed() < TIMEOUT, "no report: {}", group.cgroup.read(file));
        common::pause_between_pressures();
    }
}

/// A window may pass until the total is compared. The second one is for the emulated machine. A group that has lost its page
/// cache when it reads it again waits unevenly there, and is reported sooner or later.
#[test]
fn a_thrashing_group_is_reported_within_a_window() {
    let device = Loop::of_memory(32);
    let rounds: usize = std::env::var("AGENTCG_ROUNDS").map_or(50, |rounds| rounds.parse().unwrap());
    let mut latest = Duration::ZERO;
    for round in 0..rounds {
        let group = Group::new(&little_memory());
        let threshold = TENTH.unwrap();
        let kind = if round % 2 == 0 { StallKind::Full } else { StallKind::Some };
        group.event_fd(STALLED).unwrap();
        group.watch_stall(Resource::Memory, kind, Some(threshold)).unwrap();
        let (role, line) = if round % 2 == 0 { ("stalls::hog", "full") } else { ("rereads", "some") };
        let member = group.start(role, &[&device.0]);
        let late = lateness(&group, "memory.pressure", line, threshold);
        if kind == StallKind::Full {
            assert!(late < 2 * threshold.window, "round {round}: {role} is reported {late:?} late");
            latest = latest.max(late);
        }
        group.destroy();
        drop(member);
    }
    println!("{rounds} of {rounds} thrashing groups were reported, over memory.high at most {latest:?} late");
}

#[test]
fn each_resource_is_reported_by_its_own_watch() {
    let device = Loop::of_memory(4);
    let (cpu, burner) = stalled_group();
    let memory = Group::new(&little_memory());
    let io = Group::plain();
    let members = [memory.start("stalls::hog", &[]), io.start("reads_on", &[&device.0])];
    let all = [(&cpu, Resource::Cpu), (&memory, Resource::Memory), (&io, Resource::Io)];
    for (group, own) in all {
        group.event_fd(STALLED).unwrap();
        for kind in [StallKind::Some, StallKind::Full] {
            group.watch_stall(own, kind, TENTH).unwrap();
            expect_stall(group);
            group.watch_stall(own, kind, None).unwrap();
        }
    }
    // A group that waits for memory or I/O only does not wait for the other.
    for (group, other) in [(&memory, Resource::Io), (&io, Resource::Memory), (&cpu, Resource::Memory)] {
        group.watch_stall(other, StallKind::Some, TENTH).unwrap();
        expect_none(group, 2 * SECOND);
    }
    for (group, _) in all {
        group.destroy();
    }
    drop((members, burner));
}

#[test]
fn a_stall_that_is_shorter_than_was_asked_is_not_reported() {
    // It runs for half of each 100 ms.
    let group = Group::new(&little_cpu(500));
    let member = group.start("burner", &[]);
    let asks = |percent| Some(Threshold { stall: SECOND * percent / 100, window: SECOND });
    // A process that runs at all does not wait for a whole window.
    let [less, more] = [20, 100].map(|percent| {
        let watcher = Agent::open(None, group.uuid(), false).unwrap();
        watcher.event_fd(STALLED).unwrap();
        watch_cpu(&watcher, asks(percent));
        watcher
    });
    for _ in 0..3 {
        expect_stall(&less);
    }
    expect_none(&more, Duration::ZERO);
    // A second call replaces the threshold.
    watch_cpu(&more, asks(20));
    expect_stall(&more);
    watch_cpu(&less, asks(100));
    expect_none(&less, 2 * SECOND);
    group.destroy();
    drop(member);
}

#[test]
fn what_has_grown_before_the_watch_or_the_selection_is_not_reported() {
    let (group, mut member) = stalled_group();
    let tiny = Some(Threshold { stall: Duration::from_millis(20), window: SECOND });
    let early = Agent::open(None, group.uuid(), false).unwrap();
    watch_cpu(&early, tiny);
    assert_eq!(early.next_events(now()).unwrap_err().errno(), Errno::EINVAL, "no event is selected");
    common::wait_until_stalled(|| total_us(&group, "cpu.pressure", "some") > 500_000);
    member.kill_it_alone();
    group.cgroup.wait_for("cgroup.events", |text| text.contains("populated 0"));
    early.event_fd(STALLED).unwrap();
    group.event_fd(STALLED).unwrap();
    watch_cpu(&group, tiny);
    expect_none(&group, 2 * SECOND);
    expect_none(&early, SECOND);
    group.destroy();
}

#[test]
fn there_is_at_most_one_event_for_each_window() {
    let (group, member) = stalled_group();
    group.event_fd(STALLED).unwrap();
    watch_cpu(&group, TENTH);
    expect_stall(&group);
    let start = Instant::now();
    let mut reports = 0;
    while start.elapsed() < 4 * SECOND {
        reports += u32::from(group.next_events(Deadline::after(Duration::from_millis(20))).unwrap() != 0);
    }
    let windows = u32::try_from(start.elapsed().as_secs()).unwrap() + 1;
    assert!((2..=windows).contains(&reports), "{reports} reports in {windows} windows");
    group.destroy();
    drop(member);
}

/// `AGENTCG_SLEEP=600` sleeps for ten minutes.
#[test]
fn a_reader_that_sleeps_finds_one_event() {
    let (group, member) = stalled_group();
    group.event_fd(STALLED).unwrap();
    watch_cpu(&group, TENTH);
    let sleep = std::env::var("AGENTCG_SLEEP").map_or(5, |seconds| seconds.parse().unwrap());
    std::thread::sleep(Duration::from_secs(sleep));
    assert_eq!(group.next_events(now()).unwrap(), STALLED);
    assert_eq!(group.next_events(now()).unwrap(), 0, "one event for all windows");
    group.destroy();
    drop(member);
}

#[test]
fn the_end_of_a_watch_or_of_its_selection_leaves_the_descriptor_quiet() {
    let (group, member) = stalled_group();
    group.event_fd(STALLED | GONE).unwrap();
    watch_cpu(&group, TENTH);
    expect_stall(&group);
    watch_cpu(&group, None);
    expect_none(&group, 2 * SECOND);
    watch_cpu(&group, TENTH);
    expect_stall(&group);
    group.event_fd(GONE).unwrap();
    expect_none(&group, 2 * SECOND);
    group.event_fd(STALLED).unwrap();
    expect_stall(&group);
    group.destroy();
    drop(member);
}

/// The timer of stalls is also that of the reads that find what the kernel does not notify of.
#[test]
fn a_watch_of_stalls_delays_no_other_event() {
    let group = Group::plain();
    let hour = Some(Threshold { stall: SECOND, window: 3600 * SECOND });
    group.event_fd(STALLED | POPULATED | EMPTY | GONE).unwrap();
    watch_cpu(&group, hour);
    for _ in 0..10 {
        let mut member = Member::start("sleeper", &[]);
        group.move_pid(member.pid()).unwrap();
        assert_eq!(group.next_events(deadline()).unwrap(), POPULATED);
        member.kill_it_alone();
        assert_eq!(group.next_events(deadline()).unwrap(), EMPTY);
    }
    group.cgroup.remove();
    assert_eq!(group.next_events(deadline()).unwrap(), GONE);
    let gone = group.watch_stall(Resource::Cpu, StallKind::Some, hour).unwrap_err();
    assert_eq!(gone.errno(), Errno::ENODEV);
}

#[test]
fn the_removal_ends_a_watch_that_asks_for_stalls_only() {
    let group = Group::new(&Limits::default());
    let watcher = Agent::open(None, group.uuid(), false).unwrap();
    watcher.event_fd(STALLED).unwrap();
    watch_cpu(&watcher, TENTH);
    group.destroy();
    assert_eq!(watcher.next_events(deadline()).unwrap_err().errno(), Errno::ENODEV);
}

#[test]
fn each_look_reads_one_file_that_stays_open() {
    let group = Group::plain();
    group.event_fd(STALLED).unwrap();
    let path = group.cgroup.0.join("cpu.pressure");
    let open = || {
        let descriptors = std::fs::read_dir("/proc/self/fd").unwrap();
        let links = descriptors.filter_map(|one| std::fs::read_link(one.ok()?.path()).ok());
        links.filter(|link| *link == path).count()
    };
    for _ in 0..2 {
        watch_cpu(&group, TENTH);
        expect_none(&group, 2 * SECOND);
        assert_eq!(open(), 1, "the descriptor of the statistics");
        group.read_stats(agentcg::stats::CPU_PRESSURE).unwrap();
    }
    assert_eq!(open(), 1);
    group.destroy();
}

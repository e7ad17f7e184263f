// SPDX-License-Identifier: MIT OR Apache-2.0
//! A fixture that kills and destroys groups round after round, so that some rounds meet the kernel at a bad
//! moment. Every other round kills the members, uses the group again and then destroys it; the other rounds
//! destroy it at once. After each round nothing of the group may be left, and nothing outside of it may be
//! touched.

use super::cgroup::{Cgroup, Scratch};
use super::group::Group;
use super::member::{Member, role};
use super::{deadline, lab};
use agentcg::Limits;
use nix::errno::Errno;
use nix::sys::signal::SigSet;
use nix::sys::wait::{WaitPidFlag, waitpid};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const ROUNDS: u32 = 100;
const TIME: Duration = Duration::from_secs(60);

/// Returns the numbers of the rounds: a hundred, or as many as fit into a minute, but at least one of each
/// kind. `AGENTCG_ROUNDS` sets a smaller number. At the end the iterator prints how many rounds there were;
/// the test harness shows that with --nocapture.
pub fn rounds() -> impl Iterator<Item = u32> {
    let most =
        std::env::var("AGENTCG_ROUNDS").map_or(ROUNDS, |text| text.parse().expect("a number of rounds"));
    let start = Instant::now();
    let mut round = 0;
    std::iter::from_fn(move || {
        let time = start.elapsed();
        if round == most || (round >= 2 && time >= TIME) {
            println!("{round} rounds in {:.1} s", time.as_secs_f64());
            return None;
        }
        round += 1;
        Some(round - 1)
    })
}

/// A parent directory for groups, with processes inside and outside of it that must not be touched. A process
/// may have only one at a time: it counts the process's children and descriptors.
pub struct Fixture {
    outsider: Bystander,
    neighbour_process: Bystander,
    neighbour: Group,
    parent: BTreeMap<PathBuf, (String, String)>,
    descriptors: usize,
    /// The directory in which the groups are made.
    pub scratch: Scratch,
}

impl Fixture {
    /// Creates one with the controllers that `LAB_CONTROLLERS` names, or with all available ones.
    pub fn new() -> Self {
        let named = std::env::var("LAB_CONTROLLERS").unwrap_or_else(|_| "cpu io memory pids".to_owned());
        let fixture = Self::with_controllers(&named.split(' ').collect::<Vec<_>>());
        fixture.neighbour.cgroup.move_in(fixture.neighbour_process.pid);
        fixture
    }

    /// Creates one in which the kernel allows a threaded group: without controllers, and with an empty
    /// neighbour.
    pub fn for_threads() -> Self {
        Self::with_controllers(&[])
    }

    fn with_controllers(controllers: &[&str]) -> Self {
        let scratch = Scratch::with_controllers(controllers);
        let neighbour = Group::under(&scratch, &Limits::default());
        let (outsider, neighbour_process) = (Bystander::start(), Bystander::start());
        let parent = scratch.parent.snapshot();
        Self { outsider, neighbour_process, neighbour, parent, descriptors: descriptors(), scratch }
    }

    /// In each round, `play` adds members to a new group and returns when they are ready.
    pub fn each_round(&mut self, limits: &Limits, mut play: impl FnMut(&Group) -> Vec<Member>) {
        for round in rounds() {
            let group = Group::under(&self.scratch, limits);
            let mut members = play(&group);
            if is_kill_round(round) {
                check_kill_all(&group, &mut members, round);
                check_usable(&group);
            }
            group.destroy();
            for member in &mut members {
                assert!(member.is_dead(), "round {round}: a process holds its pipe open");
            }
            drop((group, members));
            self.check_untouched(round);
        }
    }

    /// Does the same with one member that plays `role`, which gets the path of its group. Waits until so many
    /// processes have sent "ready".
    pub fn each_round_with_role(&mut self, limits: &Limits, role: &str, processes: usize) {
        self.each_round(limits, |group| {
            let mut member = group.start(role, &[&group.cgroup.0.to_string_lossy()]);
            (0..processes).for_each(|_| member.expect_line("ready"));
            vec![member]
        });
    }

    /// Checks that no directory, descriptor or child is left, and that no process outside of the group was
    /// touched.
    pub fn check_untouched(&mut self, round: u32) {
        assert_eq!(self.scratch.parent.snapshot(), self.parent, "round {round}");
        self.outsider.check_untouched(round);
        self.neighbour_process.check_untouched(round);
        // The test waits for its own children. Any other child, living or dead, comes from the library.
        let anybody = waitpid(None, Some(WaitPidFlag::WNOHANG | WaitPidFlag::__WALL));
        assert_eq!(anybody, Err(Errno::ECHILD), "round {round}: the library left a child");
        assert_eq!(descriptors(), self.descriptors, "round {round}: the library left a descriptor");
    }
}

/// Returns true in every other round, the first one included.
pub fn is_kill_round(round: u32) -> bool {
    round % 2 == 0
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").expect("/proc is mounted").count()
}

/// Checks that `kill_all` leaves no living process, restores the settings and leaves the group thawed, ready
/// for use.
pub fn check_kill_all(group: &Group, members: &mut [Member], round: u32) {
    let mut before = settings(&group.cgroup);
    if !lab::lacks("cgroup.freeze") {
        before[0] = "0".to_owned();
    }
    group.kill_all(deadline()).unwrap_or_else(|e| panic!("round {round}: {e}"));
    check_no_member_lives(group, members, round);
    assert_eq!(settings(&group.cgroup), before, "round {round}: a setting is not restored");
}

/// Returns the settings that killing changes temporarily.
pub fn settings(cgroup: &Cgroup) -> [String; 3] {
    ["cgroup.freeze", "pids.max", "cpu.max"].map(|file| cgroup.try_read(file).unwrap_or_default())
}

/// Checks that no member lives, by the kernel's files and by the members' pipes.
pub fn check_no_member_lives(group: &Group, members: &mut [Member], round: u32) {
    let events = group.cgroup.read("cgroup.events");
    assert!(events.contains("populated 0"), "round {round}: {events}");
    for member in members {
        assert!(member.is_dead(), "round {round}: a process holds its pipe open");
    }
    for id in listed(&File::open(&group.cgroup.0).expect("open the group")) {
        // A zombie that nobody has reaped yet is listed, but does not live.
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
        assert!(matches!(state, None | Some('Z' | 'X')), "round {round}: {id} still lives: {stat}");
    }
}

/// Returns the ids that a cgroup and its descendants list. It goes by descriptor: the path may be too long.
fn listed(dir: &File) -> BTreeSet<String> {
    let here = Cgroup(format!("/proc/self/fd/{}", dir.as_raw_fd()).into());
    let mut ids = here.words("cgroup.threads");
    // The processes of a threaded cgroup are listed in its threaded domain.
    ids.extend(here.try_read("cgroup.procs").unwrap_or_default().split_whitespace().map(str::to_owned));
    for entry in fs::read_dir(&here.0).expect("list a cgroup").flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            ids.extend(listed(&File::open(entry.path()).expect("open a cgroup")));
        }
    }
    ids
}

fn check_usable(group: &Group) {
    if group.cgroup.read("cgroup.events").contains("frozen 1") {
        group.cgroup.write_hidden("cgroup.freeze", "0");
    }
    let mut next = group.start("sleeper", &[]);
    next.expect_line("ready");
    group.destroy();
    assert!(next.is_dead());
}

/// A process in the test's process group that is not a child of the test and has all signals blocked. A
/// signal that it was sent stays pending.
struct Bystander {
    pid: i32,
    member: Member,
}

impl Bystander {
    fn start() -> Self {
        let mut member = Member::start("bystander", &[]);
        let pid = member.receive().parse().expect("a pid");
        member.reap();
        Self { pid, member }
    }

    fn check_untouched(&mut self, round: u32) {
        self.member.send("check");
        assert_eq!(self.member.receive(), "untouched", "round {round}");
    }
}

/// The role of a bystander.
pub fn bystander(_: &[String]) {
    if !role::fork() {
        role::exit(0);
    }
    SigSet::all().thread_block().expect("block");
    role::send(&super::group::own_pid().to_string());
    loop {
        role::receive();
        let status = fs::read_to_string("/proc/self/status").expect("/proc is mounted");
        let pending = |key: &str| {
            let set = status.lines().find_map(|line| line.strip_prefix(key)).expect("a set of signals");
            u64::from_str_radix(set.trim(), 16).expect("in hexadecimal")
        };
        match pending("SigPnd:") | pending("ShdPnd:") {
            0 => role::send("untouched"),
            signals => role::send(&format!("signalled: {signals:#x}")),
        }
    }
}

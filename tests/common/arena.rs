// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where groups are ended, round after round, to meet the kernel at a bad moment: by turns killed, used again and
//! destroyed, and destroyed at once. After each round nothing may be left of it, and nothing outside touched.

use super::cgroup::{Cgroup, Scratch};
use super::group::Group;
use super::member::{Member, role};
use super::{lab, patience};
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

/// The numbers of the rounds: a hundred, or as many as a minute holds, but one of each kind. `AGENTCG_ROUNDS` makes
/// it fewer, for a try. In the end it tells how many there were; the test harness shows that with --nocapture.
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

/// A parent for groups, with those beside them who must not notice anything. One at a time in a process: it
/// counts the process's children and descriptors.
pub struct Arena {
    ours: Bystander,
    neighbours: Bystander,
    neighbour: Group,
    parent: BTreeMap<PathBuf, (String, String)>,
    descriptors: usize,
    /// Where the groups are made.
    pub scratch: Scratch,
}

impl Arena {
    /// With the controllers that `LAB_CONTROLLERS` names, or all that are to be had.
    pub fn new() -> Self {
        let named = std::env::var("LAB_CONTROLLERS").unwrap_or_else(|_| "cpu io memory pids".to_owned());
        let arena = Self::having(&named.split(' ').collect::<Vec<_>>());
        arena.neighbour.cgroup.take(arena.neighbours.pid);
        arena
    }

    /// One in which the kernel lets a group be made threaded: without controllers, the neighbour empty.
    pub fn for_threads() -> Self {
        Self::having(&[])
    }

    fn having(controllers: &[&str]) -> Self {
        let scratch = Scratch::having(controllers);
        let neighbour = Group::under(&scratch, &Limits::default());
        let (ours, neighbours) = (Bystander::start(), Bystander::start());
        let parent = scratch.parent.picture();
        Self { ours, neighbours, neighbour, parent, descriptors: descriptors(), scratch }
    }

    /// Each round `play` puts members into a new group and returns when they are what they are to be.
    pub fn each_round(&mut self, limits: &Limits, mut play: impl FnMut(&Group) -> Vec<Member>) {
        for round in rounds() {
            let group = Group::under(&self.scratch, limits);
            let mut members = play(&group);
            if kills(round) {
                nothing_survives(&group, &mut members, round);
                used_again(&group);
            }
            group.destroy();
            for member in &mut members {
                assert!(member.is_dead(), "round {round}: something of it holds its pipe");
            }
            drop((group, members));
            self.is_as_before(round);
        }
    }

    /// The same with members that play one role, told where its group is, of which so many processes say "ready".
    pub fn each_round_of(&mut self, limits: &Limits, role: &str, processes: usize) {
        self.each_round(limits, |group| {
            let mut member = group.start(role, &[&group.cgroup.0.to_string_lossy()]);
            (0..processes).for_each(|_| member.hears("ready"));
            vec![member]
        });
    }

    /// No directory, descriptor or child is left, and nobody beside was touched.
    pub fn is_as_before(&mut self, round: u32) {
        assert_eq!(self.scratch.parent.picture(), self.parent, "round {round}");
        self.ours.is_untouched(round);
        self.neighbours.is_untouched(round);
        // Whoever would be a child of ours here, living or dead, is none of the test's own: those are waited for.
        let anybody = waitpid(None, Some(WaitPidFlag::WNOHANG | WaitPidFlag::__WALL));
        assert_eq!(anybody, Err(Errno::ECHILD), "round {round}: the library left a child");
        assert_eq!(descriptors(), self.descriptors, "round {round}: the library left a descriptor");
    }
}

/// Every other round, the first one too.
pub fn kills(round: u32) -> bool {
    round % 2 == 0
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").expect("/proc is mounted").count()
}

/// `kill_all` leaves nobody alive, everything as it was set, and the group thawed, so that it can be used again.
pub fn nothing_survives(group: &Group, members: &mut [Member], round: u32) {
    let mut before = settings(&group.cgroup);
    if !lab::lacks("cgroup.freeze") {
        before[0] = "0".to_owned();
    }
    group.kill_all(patience()).unwrap_or_else(|e| panic!("round {round}: {e}"));
    nobody_lives(group, members, round);
    assert_eq!(settings(&group.cgroup), before, "round {round}: not everything is put back");
}

/// What killing uses on the way.
pub fn settings(cgroup: &Cgroup) -> [String; 3] {
    ["cgroup.freeze", "pids.max", "cpu.max"].map(|file| cgroup.try_read(file).unwrap_or_default())
}

/// As the kernel tells it, and the members' pipes.
pub fn nobody_lives(group: &Group, members: &mut [Member], round: u32) {
    let events = group.cgroup.read("cgroup.events");
    assert!(events.contains("populated 0"), "round {round}: {events}");
    for member in members {
        assert!(member.is_dead(), "round {round}: something of it holds its pipe");
    }
    for id in listed(&File::open(&group.cgroup.0).expect("open the group")) {
        // A zombie that nobody has waited for yet is listed, and is none that lives.
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
        assert!(matches!(state, None | Some('Z' | 'X')), "round {round}: {id} lives on: {stat}");
    }
}

/// The ids that a cgroup and all below it list. By descriptor: there may be no path that long.
fn listed(dir: &File) -> BTreeSet<String> {
    let here = Cgroup(format!("/proc/self/fd/{}", dir.as_raw_fd()).into());
    let mut ids = here.words("cgroup.threads");
    // A threaded cgroup's processes stand in the domain above it.
    ids.extend(here.try_read("cgroup.procs").unwrap_or_default().split_whitespace().map(str::to_owned));
    for entry in fs::read_dir(&here.0).expect("list a cgroup").flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            ids.extend(listed(&File::open(entry.path()).expect("open a cgroup")));
        }
    }
    ids
}

fn used_again(group: &Group) {
    if group.cgroup.read("cgroup.events").contains("frozen 1") {
        group.cgroup.write_hidden("cgroup.freeze", "0");
    }
    let mut next = group.start("sleeper", &[]);
    next.hears("ready");
    group.destroy();
    assert!(next.is_dead());
}

/// A process of our process group that is no child of ours and has all signals blocked: what it was sent shows.
struct Bystander {
    pid: i32,
    member: Member,
}

impl Bystander {
    fn start() -> Self {
        let mut member = Member::start("bystander", &[]);
        let pid = member.hear().parse().expect("a pid");
        member.reap();
        Self { pid, member }
    }

    fn is_untouched(&mut self, round: u32) {
        self.member.say("how are you?");
        assert_eq!(self.member.hear(), "untouched", "round {round}");
    }
}

/// The role; to be named in the test program's `roles!`.
pub fn bystander(_: &[String]) {
    if !role::fork() {
        role::exit(0);
    }
    SigSet::all().thread_block().expect("block");
    role::say(&super::group::own_pid().to_string());
    loop {
        role::listen();
        let status = fs::read_to_string("/proc/self/status").expect("/proc is mounted");
        let pending = |key: &str| {
            let set = status.lines().find_map(|line| line.strip_prefix(key)).expect("a set of signals");
            u64::from_str_radix(set.trim(), 16).expect("in hexadecimal")
        };
        match pending("SigPnd:") | pending("ShdPnd:") {
            0 => role::say("untouched"),
            signals => role::say(&format!("signalled: {signals:#x}")),
        }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The library leaves descriptors to its host, and still measures when the host has used up all of them.

use crate::common::cgroup::Cgroup;
use crate::common::deadline;
use crate::common::measured::stats_from_files;
use crate::common::member::{Member, role};
use agentcg::events::{EMPTY, GONE};
use agentcg::stats::Stats;
use agentcg::{Agent, Errno, Limits};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::close;
use std::fs::{self, File};

roles![with_few_descriptors, with_none_left, with_closed_streams];

#[test]
fn half_of_the_descriptors_is_left_to_the_host() {
    let mut member = Member::start("with_few_descriptors", &[]);
    member.expect_line("done");
}

fn open_descriptors() -> usize {
    // The one that lists the others is not counted.
    fs::read_dir("/proc/self/fd").expect("/proc").count() - 1
}

/// All files that a reading may open.
const FILES: [&str; 16] = [
    "cpu.stat",
    "cpu.pressure",
    "memory.current",
    "memory.peak",
    "memory.swap.current",
    "memory.swap.peak",
    "memory.events",
    "memory.stat",
    "memory.pressure",
    "pids.current",
    "pids.peak",
    "pids.events",
    "io.stat",
    "io.pressure",
    "cgroup.events",
    "cgroup.stat",
];

/// The library keeps files open only while less than half of the limit is used.
fn with_few_descriptors(_: &[String]) {
    let agent = Agent::new(None, None, &Limits::default()).expect("new");
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("getrlimit");
    setrlimit(Resource::RLIMIT_NOFILE, 64, hard).expect("setrlimit");
    let before = open_descriptors();
    agent.read_stats(u64::MAX).expect("read_stats");
    let files = open_descriptors() - before;
    let cgroup = Cgroup::at(agent.path());
    // cgroup.events is the one that an owner keeps open to kill.
    let read = FILES.iter().filter(|file| **file != "cgroup.events" && cgroup.has(file));
    assert_eq!(files, read.count());
    agent.read_stats(u64::MAX).expect("read_stats");
    assert_eq!(open_descriptors(), before + files, "the second reading opens nothing");

    let mut filling = Vec::new();
    while open_descriptors() < 40 {
        filling.push(File::open("/dev/null").expect("open"));
    }
    let other = Agent::new(None, None, &Limits::default()).expect("new");
    let before = open_descriptors();
    let stats = other.read_stats(u64::MAX).expect("read_stats");
    assert_eq!(Stats { time_ns: 0, ..stats }, stats_from_files(&Cgroup::at(other.path())));
    assert_eq!(open_descriptors(), before, "the library keeps one of the few descriptors left");
    for agent in [agent, other] {
        agent.destroy(false, deadline(), true).expect("destroy");
    }
    role::send("done");
}

#[test]
fn cached_files_are_read_with_no_descriptor_left() {
    let mut member = Member::start("with_none_left", &[]);
    member.expect_line("done");
}

fn with_none_left(_: &[String]) {
    let make = || Agent::new(None, None, &Limits::default()).expect("new");
    let (kept, new) = (make(), make());
    // Missing files, such as memory.swap.peak before Linux 6.5, are looked up in each reading, without a
    // descriptor.
    let before = kept.read_stats(u64::MAX).expect("read_stats");
    let mut filling = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        filling.push(file);
    }
    let after = kept.read_stats(u64::MAX).expect("read_stats");
    assert_eq!(Stats { time_ns: 0, ..after }, Stats { time_ns: 0, ..before });
    assert_eq!(new.read_stats(u64::MAX).expect_err("no descriptor is left").errno(), Errno::EMFILE);
    drop(filling);
    assert!(new.read_stats(u64::MAX).is_ok());
    for agent in [kept, new] {
        agent.destroy(false, deadline(), true).expect("destroy");
    }
    role::send("done");
}

/// A host may have closed its standard streams and still read from or print to them. It must not meet a file
/// of the library there.
#[test]
fn no_descriptor_takes_the_number_of_a_closed_standard_stream() {
    let mut member = Member::start("with_closed_streams", &[]);
    member.expect_line("done");
}

fn with_closed_streams(_: &[String]) {
    let streams = [libc::STDIN_FILENO, libc::STDERR_FILENO];
    for fd in streams {
        close(fd).expect("close");
    }
    let agent = Agent::new(None, None, &Limits::default()).expect("new");
    agent.read_stats(u64::MAX).expect("read_stats");
    let fd = agent.event_fd(EMPTY | GONE).expect("event_fd");
    let taken = streams.map(|fd| fs::read_link(format!("/proc/self/fd/{fd}")).ok());
    agent.destroy(false, deadline(), true).expect("destroy");
    role::send(&if fd > 2 && taken == [None, None] { "done".into() } else { format!("{fd} {taken:?}") });
}

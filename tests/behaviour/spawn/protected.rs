// SPDX-License-Identifier: MIT OR Apache-2.0
//! Hosts with a scheduling policy or an oom_score_adj that a child would inherit.

use super::entries::SpawnPath;
use crate::common::group::Group;
use crate::common::lab;
use crate::common::member::{Member, role};
use crate::common::program::{self, StartOptions};
use agentcg::{DEVNULL, Errno, SpawnOptions};
use nix::sys::wait::WaitStatus;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::AsRawFd;

const OOM_SCORE: &str = "/proc/self/oom_score_adj";

/// A role that sends its oom_score_adj.
pub fn sends_its_oom_score(_: &[String]) {
    role::send(fs::read_to_string(OOM_SCORE).unwrap().trim_end());
}

fn oom_score_in(group: &Group, contain: bool) -> String {
    let (reader, writer) = nix::unistd::pipe().unwrap();
    let spawn = SpawnOptions { contain, pidfd: false };
    let options = StartOptions { stdio: [DEVNULL, writer.as_raw_fd(), 2], spawn, ..StartOptions::default() };
    let child = program::start(group, "sends_its_oom_score", options).unwrap_or_else(|e| panic!("{e}"));
    drop(writer);
    let mut output = String::new();
    File::from(reader).read_to_string(&mut output).unwrap();
    assert!(matches!(program::wait(&child), WaitStatus::Exited(_, 0)));
    output
}

/// A role that sets its own oom_score_adj to 0 and to another value by turns, and expects a given one for its agents with that.
pub fn host_with_an_oom_score(args: &[String]) {
    let [own, agents] = args else { panic!("two scores") };
    for path in SpawnPath::ALL {
        let (own, agents) = (own.clone(), agents.clone());
        let thread = std::thread::spawn(move || {
            let group = Group::plain();
            path.close(&group);
            for (contain, own, agents) in
                [(false, "0", "0"), (false, &own, &agents), (true, "0", "0"), (true, &own, &agents)]
            {
                fs::write(OOM_SCORE, own).unwrap();
                assert_eq!(oom_score_in(&group, contain), format!("{agents}\n"));
                assert_eq!(
                    fs::read_to_string(OOM_SCORE).unwrap(),
                    format!("{own}\n"),
                    "the host keeps its own"
                );
            }
            group.destroy();
        });
        thread.join().unwrap_or_else(|_| panic!("spawn path {path:?}"));
    }
    role::send("ok");
}

/// Otherwise an agent over its memory_max is not killed: it loops in the kernel for ever.
#[test]
fn an_oom_score_that_spares_the_host_is_not_inherited_on_each_spawn_path() {
    lab::needs(&["unified"]);
    let mut host = Member::start("host_with_an_oom_score", &["-1000", "0"]);
    host.expect_line("ok");
}

#[test]
fn another_oom_score_is_inherited() {
    lab::needs(&["unified"]);
    let mut host = Member::start("host_with_an_oom_score", &["-999", "-999"]);
    host.expect_line("ok");
}

/// The fork of a thread with SCHED_DEADLINE returns EAGAIN, as with too many processes.
#[test]
#[allow(unsafe_code, reason = "sched_setattr(2)")]
fn the_error_for_a_host_with_sched_deadline_names_the_policy() {
    lab::needs(&["unified"]);
    let group = Group::plain();
    // struct sched_attr: its size and policy; flags; nice and priority; runtime, deadline and period in ns.
    let attributes: [u64; 6] = [48 | (6 << 32), 0, 0, 10_000_000, 100_000_000, 100_000_000];
    // SAFETY: the struct has the length in its first field.
    let done = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, attributes.as_ptr(), 0) };
    assert_eq!(done, 0, "{}", Errno::last());
    let e = program::start(&group, "sleeps", StartOptions::default()).unwrap_err();
    assert_eq!(e.errno(), Errno::EAGAIN, "{e}");
    assert!(e.message().contains("SCHED_DEADLINE"), "{e}");
    group.destroy();
}

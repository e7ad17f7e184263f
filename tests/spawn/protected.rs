// SPDX-License-Identifier: MIT OR Apache-2.0
//! Hosts with a scheduling policy or an oom_score_adj of their own, which a child has from its parent.

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

/// Says what the OOM killer is told of it.
pub fn tells_its_oom_score(_: &[String]) {
    role::send(fs::read_to_string(OOM_SCORE).unwrap().trim_end());
}

fn oom_score_in(group: &Group, contain: bool) -> String {
    let (from_it, its) = nix::unistd::pipe().unwrap();
    let spawn = SpawnOptions { contain, pidfd: false };
    let how = StartOptions { stdio: [DEVNULL, its.as_raw_fd(), 2], spawn, ..StartOptions::default() };
    let child = program::start(group, "tells_its_oom_score", how).unwrap_or_else(|e| panic!("{e}"));
    drop(its);
    let mut said = String::new();
    File::from(from_it).read_to_string(&mut said).unwrap();
    assert!(matches!(program::wait(&child), WaitStatus::Exited(_, 0)));
    said
}

/// Its own is so; that of its agents is to be this.
pub fn host_with_an_oom_score(args: &[String]) {
    let [own, agents] = args else { panic!("two scores") };
    fs::write(OOM_SCORE, own).unwrap();
    for path in SpawnPath::ALL {
        let (own, agents) = (own.clone(), agents.clone());
        let alone = std::thread::spawn(move || {
            let group = Group::plain();
            path.close(&group);
            for contain in [false, true] {
                assert_eq!(oom_score_in(&group, contain), format!("{agents}\n"));
                assert_eq!(fs::read_to_string(OOM_SCORE).unwrap(), format!("{own}\n"), "the host's");
            }
            group.destroy();
        });
        alone.join().unwrap_or_else(|_| panic!("spawn path {path:?}"));
    }
    role::send("ok");
}

/// Otherwise an agent over its memory_max is not killed: it turns in the kernel for ever.
#[test]
fn a_host_that_the_oom_killer_spares_does_not_hand_that_down_on_each_way() {
    lab::needs(&["unified"]);
    let mut host = Member::start("host_with_an_oom_score", &["-1000", "0"]);
    host.expect_line("ok");
}

#[test]
fn another_oom_score_is_handed_down() {
    lab::needs(&["unified"]);
    let mut host = Member::start("host_with_an_oom_score", &["-999", "-999"]);
    host.expect_line("ok");
}

/// A child of a thread with SCHED_DEADLINE is EAGAIN, as where there are too many processes.
#[test]
#[allow(unsafe_code, reason = "sched_setattr(2)")]
fn a_deadline_host_is_told_its_policy() {
    lab::needs(&["unified"]);
    let group = Group::plain();
    // struct sched_attr: its size and policy; flags; nice and priority; runtime, deadline and period in ns.
    let attributes: [u64; 6] = [48 | (6 << 32), 0, 0, 10_000_000, 100_000_000, 100_000_000];
    // SAFETY: the struct is as long as it says.
    let done = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, attributes.as_ptr(), 0) };
    assert_eq!(done, 0, "{}", Errno::last());
    let e = program::start(&group, "sleeps", StartOptions::default()).unwrap_err();
    assert_eq!(e.errno(), Errno::EAGAIN, "{e}");
    assert!(e.message().contains("SCHED_DEADLINE"), "{e}");
    group.destroy();
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Many agents at once, in one process and in several: none fails, and none is left.

use crate::common::cgroup::{Cgroup, Scratch};
use crate::common::member::{Member, role};
use crate::common::{self, deadline};
use agentcg::{Agent, Errno, Limits, list};
use std::ffi::{CStr, CString};
use std::fs;
use std::path::PathBuf;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};

roles![makes_groups, keeps_handles];

const EACH: usize = 125;

fn limits() -> Limits {
    Limits { pids_max: Some(10), memory_max: Some(32 << 20), ..Limits::default() }
}

fn new_and_destroy(parent: &CStr, rounds: usize) {
    for round in 0..rounds {
        let agent = Agent::new(Some(parent), None, &limits()).unwrap_or_else(|e| panic!("new {round}: {e}"));
        agent.destroy(false, deadline(), false).unwrap_or_else(|e| panic!("destroy {round}: {e}"));
    }
}

fn expect_nothing_left(scratch: &Scratch) {
    assert_eq!(scratch.parent.all().len(), 1, "{:?}", scratch.parent.all());
}

/// Counts what could be left: descriptors, processes and cgroups.
fn inventory(scratch: &Scratch) -> [usize; 3] {
    let entries = |path: &str| fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    // Kernel threads start and end at any time. Process 2 is the parent of all of them.
    let of_users = |process: &PathBuf| {
        let stat = fs::read_to_string(process.join("stat")).unwrap_or_default();
        let parent = stat.rsplit(") ").next().and_then(|fields| fields.split(' ').nth(1));
        parent.is_some_and(|parent| parent != "2")
    };
    [entries("/proc/self/fd").count(), entries("/proc").filter(of_users).count(), scratch.parent.all().len()]
}

#[test]
fn eight_threads_make_and_destroy_ten_thousand_groups() {
    let _alone = common::lock_place();
    let scratch = Scratch::new();
    let (parent, start) = (scratch.path(), Barrier::new(8));
    let dying = || scratch.parent.value("cgroup.stat", "nr_dying_descendants");
    let before = inventory(&scratch);
    assert_eq!(dying(), 0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                start.wait();
                new_and_destroy(&parent, common::repetitions(10_000 / 8));
            });
        }
    });
    assert_eq!(inventory(&scratch), before);
    common::wait_until("the kernel has released all of them", || dying() == 0);
}

#[test]
fn eight_processes_make_and_destroy_a_thousand_groups() {
    let _alone = common::lock_place();
    let scratch = Scratch::new();
    let mut members: Vec<_> = (0..8).map(|_| maker(&scratch, EACH)).collect();
    members.iter_mut().for_each(|member| member.send("go"));
    for member in &mut members {
        member.expect_line("done");
        assert!(member.wait().success());
    }
    expect_nothing_left(&scratch);
}

fn maker(scratch: &Scratch, rounds: usize) -> Member {
    let mut member = Member::start(
        "many_agents::makes_groups",
        &[&scratch.parent.0.to_string_lossy(), &rounds.to_string()],
    );
    member.expect_line("ready");
    member
}

fn makes_groups(args: &[String]) {
    let parent = CString::new(args[0].as_str()).expect("no NUL");
    role::send("ready");
    role::receive();
    new_and_destroy(&parent, args[1].parse().expect("a number"));
    role::send("done");
}

/// With what the library keeps for each agent besides, and with the allocator's own words. The C interface adds one word.
#[test]
fn a_handle_takes_at_most_496_bytes_of_the_heap() {
    let scratch = Scratch::new();
    let mut member = Member::start("keeps_handles", &[&scratch.parent.0.to_string_lossy()]);
    let bytes = member.receive();
    assert!(member.wait().success());
    assert!(bytes.parse::<usize>().expect("a number") <= 496, "{bytes} bytes");
}

fn keeps_handles(args: &[String]) {
    const HANDLES: usize = 500;
    let parent = CString::new(args[0].as_str()).expect("no NUL");
    let make = || Box::new(Agent::new(Some(&parent), None, &Limits::default()).expect("new"));
    // SAFETY: the call has no preconditions.
    #[allow(unsafe_code, reason = "see SAFETY")]
    let allocated = || unsafe { libc::mallinfo2() }.uordblks;
    let mut agents = Vec::with_capacity(HANDLES + 1);
    // What the process keeps once.
    agents.push(make());
    let before = allocated();
    agents.extend((0..HANDLES).map(|_| make()));
    role::send(&((allocated() - before) / HANDLES).to_string());
    for agent in agents {
        agent.destroy(false, deadline(), false).expect("destroy");
    }
    role::exit(0);
}

#[test]
fn only_one_of_many_callers_gets_the_same_uuid() {
    let scratch = Scratch::new();
    let (parent, start) = (scratch.path(), Barrier::new(8));
    for _ in 0..20 {
        let uuid = "01234567-89ab-4def-8123-456789abcdef";
        let made: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        Agent::new(Some(&parent), Some(uuid), &limits())
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let (one, others): (Vec<_>, Vec<_>) = made.into_iter().partition(Result::is_ok);
        assert_eq!((one.len(), others.len()), (1, 7));
        assert!(others.iter().all(|other| other.as_ref().unwrap_err().errno() == Errno::EEXIST));
        let one = one[0].as_ref().unwrap();
        assert_eq!(Cgroup::at(one.path()).read("pids.max"), "10");
        one.destroy(false, deadline(), false).unwrap();
    }
}

/// Callers that fail remove what they made, while others use it.
#[test]
fn callers_that_fail_do_not_harm_those_that_succeed() {
    let scratch = Scratch::with_controllers(&["memory", "pids"]);
    let (parent, start) = (scratch.path(), Barrier::new(8));
    let refused = Limits { cpu_weight: Some(100), ..limits() };
    std::thread::scope(|scope| {
        for number in 0..8 {
            let (parent, start, refused) = (&parent, &start, &refused);
            scope.spawn(move || {
                start.wait();
                for _ in 0..60 {
                    if number % 2 == 0 {
                        let e = Agent::new(Some(parent), None, refused).unwrap_err();
                        assert_eq!(e.errno(), Errno::EOPNOTSUPP, "{e}");
                    } else {
                        new_and_destroy(parent, 1);
                    }
                }
            });
        }
    });
}

#[test]
fn one_handle_can_be_used_by_many_threads() {
    let scratch = Scratch::new();
    let agent = Agent::new(Some(&scratch.path()), None, &limits()).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..200 {
                    let stats = agent.read_stats(u64::MAX).unwrap();
                    assert_eq!(stats.mask, agent.read_stats(u64::MAX).unwrap().mask);
                    agent.kill_all(deadline()).unwrap();
                }
            });
        }
    });
    agent.destroy(false, deadline(), false).unwrap();
}

/// A caller that checks whether there is an owner also holds the lock for an instant.
#[test]
fn listing_does_not_prevent_a_change_of_ownership() {
    let scratch = Scratch::new();
    let parent = scratch.path();
    let uuid = Agent::new(Some(&parent), None, &limits()).unwrap().uuid().to_owned();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    assert_eq!(list(Some(&parent)).unwrap().len(), 1);
                }
            });
        }
        for round in 0..300 {
            if let Err(e) = Agent::open(Some(&parent), &uuid, true) {
                done.store(true, Ordering::Relaxed);
                panic!("round {round}: {e}");
            }
            std::thread::yield_now();
        }
        done.store(true, Ordering::Relaxed);
    });
}

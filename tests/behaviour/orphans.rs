// SPDX-License-Identifier: MIT OR Apache-2.0
//! The owner of an agent, and what happens to the agent when its owner ends without destroying it.

pub mod host;

use crate::common::cgroup::{Cgroup, Scratch};
use crate::common::group::{Group, own_pid};
use crate::common::member::{Member, role};
use crate::common::{self, deadline, lab};
use agentcg::stats::CPU;
use agentcg::{Agent, Deadline, Entry, Errno, Limits, list, reap};
use host::Host;
use nix::sys::signal::Signal;
use std::collections::BTreeSet;
use std::ffi::CString;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

roles![host::host, makes_groups];

fn listed(scratch: &Scratch) -> Vec<Entry> {
    list(Some(&scratch.path())).unwrap_or_else(|e| panic!("{e}"))
}

fn reap_all(scratch: &Scratch) -> usize {
    reap(Some(&scratch.path()), deadline()).unwrap_or_else(|e| panic!("{e}"))
}

fn uuid_of(cgroup: &Cgroup) -> String {
    cgroup.0.file_name().expect("a name").to_string_lossy().into_owned()
}

#[track_caller]
fn expect_nothing_left(scratch: &Scratch) {
    assert_eq!(scratch.parent.all().len(), 1, "{:?}", scratch.parent.all());
}

#[test]
fn what_a_killed_host_leaves_is_listed_as_orphans_and_reaped() {
    let scratch = Scratch::new();
    let before = now_unix_ns();
    let mut host = Host::start(&scratch, 3);
    let pid = host.member.pid().unsigned_abs();
    host.crash();
    let entries = listed(&scratch);
    let uuids: BTreeSet<_> = entries.iter().map(|entry| entry.uuid.clone()).collect();
    assert_eq!(uuids, host.agents.iter().map(uuid_of).collect());
    for entry in &entries {
        assert!(entry.orphan && entry.populated, "{entry:?}");
        assert_eq!(entry.owner.pid, pid);
        assert!((before..=now_unix_ns()).contains(&entry.owner.created_unix_ns), "{entry:?}");
    }
    assert_eq!(reap_all(&scratch), 3);
    expect_nothing_left(&scratch);
    assert_eq!((reap_all(&scratch), listed(&scratch)), (0, vec![]));
}

fn now_unix_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos().try_into().unwrap()
}

/// The library creates directories with names in lower case only.
#[test]
fn a_directory_with_a_uuid_in_upper_case_is_neither_listed_nor_reaped() {
    let scratch = Scratch::new();
    let other = scratch.parent.make("synwire").make("agents").make("01234567-89AB-4DEF-8123-456789ABCDEF");
    assert_eq!((listed(&scratch), reap_all(&scratch)), (vec![], 0));
    assert!(other.exists());
}

#[test]
fn an_agent_with_a_living_owner_is_never_reaped() {
    let scratch = Scratch::new();
    let own = Group::under(&scratch, &Limits::default());
    let (living, mut dead) = (Host::start(&scratch, 2), Host::start(&scratch, 2));
    dead.crash();
    assert_eq!(reap_all(&scratch), 2);
    let entries = listed(&scratch);
    assert_eq!(entries.len(), 3);
    for entry in entries {
        assert!(!entry.orphan, "{entry:?}");
        let is_own = entry.uuid == own.uuid();
        assert_eq!(entry.populated, !is_own);
        let owner = if is_own { own_pid() } else { living.member.pid() };
        assert_eq!(entry.owner.pid, owner.unsigned_abs());
    }
    assert!(living.agents.iter().all(|one| one.read("cgroup.events").contains("populated 1")));
}

#[test]
fn a_freed_agent_can_be_taken_over() {
    let scratch = Scratch::new();
    let agent = Agent::new(Some(&scratch.path()), None, &Limits::default()).unwrap();
    assert!(agent.info().unwrap().owned);
    let (uuid, path) = (agent.uuid().to_owned(), agent.path());
    let created = listed(&scratch)[0].owner.created_unix_ns;
    let mut member = Member::start("sleeper", &[]);
    agent.move_pid(member.pid()).unwrap();
    drop(agent);
    assert!(listed(&scratch)[0].orphan);
    let agent = Agent::open(Some(&scratch.path()), &uuid, true).unwrap();
    assert_eq!((agent.uuid(), agent.path()), (uuid.as_str(), path));
    assert!(agent.info().unwrap().owned);
    let entry = listed(&scratch).remove(0);
    assert_eq!((entry.orphan, entry.owner.created_unix_ns), (false, created));
    assert_eq!(reap_all(&scratch), 0);
    agent.destroy(false, deadline(), false).unwrap();
    assert!(member.is_dead());
    expect_nothing_left(&scratch);
}

#[test]
fn a_non_owner_can_do_everything_except_own() {
    let scratch = Scratch::new();
    let mut host = Host::start(&scratch, 1);
    let uuid = uuid_of(&host.agents[0]);
    let e = Agent::open(Some(&scratch.path()), &uuid, true).unwrap_err();
    assert_eq!(e.errno(), Errno::EBUSY);
    assert!(e.message().contains(&format!("process {}", host.member.pid())), "{e}");
    let non_owner = Agent::open(Some(&scratch.path()), &uuid, false).unwrap();
    assert!(!non_owner.info().unwrap().owned);
    assert_eq!(non_owner.read_stats(CPU).unwrap().mask, CPU);
    drop(non_owner);
    assert!(!listed(&scratch)[0].orphan, "the end of a non-owner does not change the owner");
    Agent::open(Some(&scratch.path()), &uuid, false).unwrap().destroy(false, deadline(), false).unwrap();
    host.member.send("end");
    assert!(host.member.wait().success());
    expect_nothing_left(&scratch);
}

#[test]
fn opening_listing_and_reaping_what_does_not_exist_is_refused() {
    let scratch = Scratch::new();
    let path = scratch.path();
    let uuid = "01234567-89ab-4def-8123-456789abcdef";
    for agents in [false, true] {
        let open = |uuid| Agent::open(Some(&path), uuid, false).unwrap_err().errno();
        assert_eq!(open(uuid), Errno::ENOENT);
        assert_eq!([open("agents"), open(".."), open(""), open(&uuid.replace('-', ""))], [Errno::EINVAL; 4]);
        if !agents {
            scratch.parent.make("synwire").make("agents");
        }
    }
    let e = Agent::open(Some(&path), uuid, true).unwrap_err();
    assert!(e.message().contains(uuid) && e.message().contains("/parent"), "{e}");
    let nowhere = CString::new(scratch.parent.join("nowhere").0.to_string_lossy().as_bytes()).unwrap();
    assert_eq!(list(Some(&nowhere)).unwrap_err().errno(), Errno::ENOENT);
    assert_eq!(reap(Some(&nowhere), deadline()).unwrap_err().errno(), Errno::ENOENT);
}

#[test]
fn a_forked_child_does_not_release_the_agents_of_its_parent() {
    let scratch = Scratch::new();
    let mut host = Host::start(&scratch, 2);
    host.member.send("fork");
    host.member.expect_line("copies freed");
    assert!(listed(&scratch).iter().all(|entry| !entry.orphan));
    assert_eq!(reap_all(&scratch), 0);
}

#[test]
fn a_freed_agent_is_not_owned_through_a_copied_descriptor() {
    let scratch = Scratch::new();
    let agent = Agent::new(Some(&scratch.path()), None, &Limits::default()).unwrap();
    // The copy refers to the same open file, as in a child that has not called exec yet.
    let copy = nix::unistd::dup(&agent).unwrap();
    drop(agent);
    assert!(listed(&scratch)[0].orphan);
    drop(copy);
    assert_eq!(reap_all(&scratch), 1);
}

#[test]
fn a_half_made_agent_of_a_crashed_program_is_reaped() {
    for (levels, agents) in
        [("synwire", 0), ("synwire/agents", 0), ("synwire/agents/01234567-89ab-4def-8123-456789abcdef", 1)]
    {
        let scratch = Scratch::new();
        levels.split('/').fold(scratch.parent.clone(), |level, name| level.make(name));
        assert_eq!(reap_all(&scratch), agents, "{levels}");
        expect_nothing_left(&scratch);
    }
}

#[test]
fn a_directory_without_a_uuid_is_neither_listed_nor_reaped() {
    let scratch = Scratch::new();
    let agents = scratch.parent.make("synwire").make("agents");
    let foreign = agents.make("foreign");
    let mut member = Member::start("sleeper", &[]);
    foreign.move_in(member.pid());
    assert_eq!((reap_all(&scratch), listed(&scratch)), (0, vec![]));
    assert!(foreign.exists() && !member.is_dead());
}

#[test]
fn nested_cgroups_and_frozen_processes_of_an_orphan_are_removed() {
    let scratch = Scratch::new();
    let mut host = Host::start(&scratch, 1);
    host.agents[0].make("one").make("two");
    if !lab::hides("cgroup.freeze") {
        host.agents[0].write("cgroup.freeze", 1);
    }
    host.crash();
    assert_eq!(reap_all(&scratch), 1);
    expect_nothing_left(&scratch);
}

#[test]
fn two_concurrent_reapers_reap_each_orphan_once() {
    for _ in 0..10 {
        let scratch = Scratch::new();
        let mut host = Host::start(&scratch, 8);
        host.crash();
        let reapers = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..2).map(|_| scope.spawn(|| reap_all(&scratch))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>()
        });
        assert_eq!(reapers, 8);
        expect_nothing_left(&scratch);
    }
}

/// A group that is being made has no owner for an instant. Its maker does not notice if it is reaped then.
#[test]
fn reaping_and_listing_do_not_disturb_the_making_of_agents() {
    let scratch = Scratch::new();
    let path = scratch.parent.0.to_string_lossy().into_owned();
    let mut makers: Vec<_> = (0..3).map(|_| Member::start("orphans::makes_groups", &[&path, "60"])).collect();
    makers.iter_mut().for_each(|maker| maker.send("go"));
    let mut looks = 0u32;
    while makers.iter_mut().any(|maker| !maker.is_dead()) {
        assert!(listed(&scratch).len() <= 3);
        reap_all(&scratch);
        looks += 1;
    }
    for mut maker in makers {
        maker.expect_line("done");
        assert!(maker.wait().success());
    }
    assert!(looks > 1, "the makers ended before the first look");
    reap_all(&scratch);
    expect_nothing_left(&scratch);
}

fn makes_groups(args: &[String]) {
    let parent = CString::new(args[0].as_str()).expect("no NUL");
    let limits = Limits { pids_max: Some(7), ..Limits::default() };
    role::receive();
    for round in 0..args[1].parse().expect("a number") {
        let agent = Agent::new(Some(&parent), None, &limits).unwrap_or_else(|e| panic!("round {round}: {e}"));
        assert_eq!(Cgroup::at(agent.path()).read("pids.max"), "7", "round {round}");
        agent.destroy(false, deadline(), false).unwrap_or_else(|e| panic!("round {round}: {e}"));
    }
    role::send("done");
}

#[test]
fn an_orphan_that_does_not_die_in_time_is_reported_and_the_others_are_removed() {
    let scratch = Scratch::new();
    let mut host = Host::start(&scratch, 2);
    host.crash();
    match reap(Some(&scratch.path()), Deadline::after(Duration::ZERO)) {
        Ok(removed) => assert_eq!(removed, 2),
        Err(e) => assert_eq!(e.errno(), Errno::ETIMEDOUT, "{e}"),
    }
    reap_all(&scratch);
    expect_nothing_left(&scratch);
}

#[test]
fn without_a_parent_all_places_are_searched() {
    let _alone = common::lock_place();
    let group = Group::plain();
    let mut member = group.start("sleeper", &[]);
    member.expect_line("ready");
    let uuids = || list(None).unwrap().into_iter().map(|entry| entry.uuid).collect::<Vec<_>>();
    assert!(uuids().iter().any(|uuid| uuid == group.uuid()));
    let non_owner = Agent::open(None, group.uuid(), false).unwrap();
    assert_eq!(non_owner.path(), group.path());
    assert_eq!(non_owner.info().unwrap().place, group.info().unwrap().place);
    reap(None, deadline()).unwrap();
    assert!(!member.is_dead());
    group.destroy();
}

#[test]
fn a_signal_to_the_owner_makes_no_orphan() {
    let scratch = Scratch::new();
    let mut host = Host::start(&scratch, 1);
    host.member.signal(Signal::SIGSTOP);
    assert_eq!(reap_all(&scratch), 0);
    host.member.signal(Signal::SIGCONT);
    host.crash();
    assert_eq!(reap_all(&scratch), 1);
}

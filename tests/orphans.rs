// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whose an agent is, and what becomes of it when its owner ends without a word.

#[macro_use]
mod common;
#[path = "orphans/host.rs"]
mod host;

use agentcg::stats::CPU;
use agentcg::{Agent, Deadline, Entry, Errno, Limits, list, reap};
use common::cgroup::{Cgroup, Scratch};
use common::group::{Group, own_pid};
use common::member::{Member, role, sleeper};
use common::{deadline, lab};
use host::Host;
use nix::sys::signal::Signal;
use std::collections::BTreeSet;
use std::ffi::CString;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

roles![sleeper, host::host, makes_groups];

fn found(scratch: &Scratch) -> Vec<Entry> {
    list(Some(&scratch.path())).unwrap_or_else(|e| panic!("{e}"))
}

fn reaped(scratch: &Scratch) -> usize {
    reap(Some(&scratch.path()), deadline()).unwrap_or_else(|e| panic!("{e}"))
}

fn uuid_of(cgroup: &Cgroup) -> String {
    cgroup.0.file_name().expect("a name").to_string_lossy().into_owned()
}

#[track_caller]
fn nothing_is_left(scratch: &Scratch) {
    assert_eq!(scratch.parent.all().len(), 1, "{:?}", scratch.parent.all());
}

#[test]
fn what_a_killed_host_leaves_is_listed_as_orphans_and_reaped() {
    let scratch = Scratch::new();
    let before = now_unix_ns();
    let mut host = Host::start(&scratch, 3);
    let pid = host.member.pid().unsigned_abs();
    host.crash();
    let entries = found(&scratch);
    let uuids: BTreeSet<_> = entries.iter().map(|entry| entry.uuid.clone()).collect();
    assert_eq!(uuids, host.agents.iter().map(uuid_of).collect());
    for entry in &entries {
        assert!(entry.orphan && entry.populated, "{entry:?}");
        assert_eq!(entry.owner.pid, pid);
        assert!((before..=now_unix_ns()).contains(&entry.owner.created_unix_ns), "{entry:?}");
    }
    assert_eq!(reaped(&scratch), 3);
    nothing_is_left(&scratch);
    assert_eq!((reaped(&scratch), found(&scratch)), (0, vec![]));
}

fn now_unix_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos().try_into().unwrap()
}

/// The library creates directories with names in lower case only.
#[test]
fn a_directory_with_a_uuid_in_upper_case_is_neither_listed_nor_reaped() {
    let scratch = Scratch::new();
    let other = scratch.parent.make("synwire").make("agents").make("01234567-89AB-4DEF-8123-456789ABCDEF");
    assert_eq!((found(&scratch), reaped(&scratch)), (vec![], 0));
    assert!(other.exists());
}

#[test]
fn whose_owner_lives_is_never_reaped() {
    let scratch = Scratch::new();
    let own = Group::under(&scratch, &Limits::default());
    let (living, mut dead) = (Host::start(&scratch, 2), Host::start(&scratch, 2));
    dead.crash();
    assert_eq!(reaped(&scratch), 2);
    let entries = found(&scratch);
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
    let (uuid, path) = (agent.uuid().to_owned(), agent.path().to_owned());
    let created = found(&scratch)[0].owner.created_unix_ns;
    let mut member = Member::start("sleeper", &[]);
    agent.move_pid(member.pid()).unwrap();
    drop(agent);
    assert!(found(&scratch)[0].orphan);
    let agent = Agent::open(Some(&scratch.path()), &uuid, true).unwrap();
    assert_eq!((agent.uuid(), agent.path()), (uuid.as_str(), path.as_slice()));
    assert!(agent.info().unwrap().owned);
    let entry = found(&scratch).remove(0);
    assert_eq!((entry.orphan, entry.owner.created_unix_ns), (false, created));
    assert_eq!(reaped(&scratch), 0);
    agent.destroy(false, deadline(), false).unwrap();
    assert!(member.is_dead());
    nothing_is_left(&scratch);
}

#[test]
fn a_guest_may_do_all_but_own() {
    let scratch = Scratch::new();
    let mut host = Host::start(&scratch, 1);
    let uuid = uuid_of(&host.agents[0]);
    let e = Agent::open(Some(&scratch.path()), &uuid, true).unwrap_err();
    assert_eq!(e.errno(), Errno::EBUSY);
    assert!(e.message().contains(&format!("process {}", host.member.pid())), "{e}");
    let guest = Agent::open(Some(&scratch.path()), &uuid, false).unwrap();
    assert!(!guest.info().unwrap().owned);
    assert_eq!(guest.read_stats(CPU).unwrap().mask, CPU);
    drop(guest);
    assert!(!found(&scratch)[0].orphan, "a guest's end is not the owner's");
    Agent::open(Some(&scratch.path()), &uuid, false).unwrap().destroy(false, deadline(), false).unwrap();
    host.member.send("end");
    assert!(host.member.wait().success());
    nothing_is_left(&scratch);
}

#[test]
fn who_asks_for_what_is_not_there_is_told() {
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
fn a_forked_child_gives_up_nothing_that_its_parent_holds() {
    let scratch = Scratch::new();
    let mut host = Host::start(&scratch, 2);
    host.member.send("fork");
    host.member.expect_line("its copies are freed");
    assert!(found(&scratch).iter().all(|entry| !entry.orphan));
    assert_eq!(reaped(&scratch), 0);
}

#[test]
fn who_frees_an_agent_does_not_own_it_by_a_child_that_has_a_copy() {
    let scratch = Scratch::new();
    let agent = Agent::new(Some(&scratch.path()), None, &Limits::default()).unwrap();
    // It stands for the same open file, as in a child that has not called exec yet.
    let copy = nix::unistd::dup(&agent).unwrap();
    drop(agent);
    assert!(found(&scratch)[0].orphan);
    drop(copy);
    assert_eq!(reaped(&scratch), 1);
}

#[test]
fn what_a_crash_has_left_half_made_is_reaped() {
    for (levels, agents) in
        [("synwire", 0), ("synwire/agents", 0), ("synwire/agents/01234567-89ab-4def-8123-456789abcdef", 1)]
    {
        let scratch = Scratch::new();
        levels.split('/').fold(scratch.parent.clone(), |level, name| level.make(name));
        assert_eq!(reaped(&scratch), agents, "{levels}");
        nothing_is_left(&scratch);
    }
}

#[test]
fn what_has_no_uuid_is_not_ours_and_stays() {
    let scratch = Scratch::new();
    let agents = scratch.parent.make("synwire").make("agents");
    let theirs = agents.make("theirs");
    let mut member = Member::start("sleeper", &[]);
    theirs.move_in(member.pid());
    assert_eq!((reaped(&scratch), found(&scratch)), (0, vec![]));
    assert!(theirs.exists() && !member.is_dead());
}

#[test]
fn cgroups_and_frozen_processes_of_an_orphan_go_too() {
    let scratch = Scratch::new();
    let mut host = Host::start(&scratch, 1);
    host.agents[0].make("one").make("two");
    if !lab::hides("cgroup.freeze") {
        host.agents[0].write("cgroup.freeze", 1);
    }
    host.crash();
    assert_eq!(reaped(&scratch), 1);
    nothing_is_left(&scratch);
}

#[test]
fn two_reapers_at_once_are_fine() {
    for _ in 0..10 {
        let scratch = Scratch::new();
        let mut host = Host::start(&scratch, 8);
        host.crash();
        let reapers = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..2).map(|_| scope.spawn(|| reaped(&scratch))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>()
        });
        assert_eq!(reapers, 8);
        nothing_is_left(&scratch);
    }
}

/// A group that is made at this moment has no owner for an instant. Its maker never knows that it was taken.
#[test]
fn makers_are_not_disturbed_by_reapers_and_listers() {
    let scratch = Scratch::new();
    let path = scratch.parent.0.to_string_lossy().into_owned();
    let mut makers: Vec<_> = (0..3).map(|_| Member::start("makes_groups", &[&path, "60"])).collect();
    makers.iter_mut().for_each(|maker| maker.send("go"));
    let mut looks = 0u32;
    while makers.iter_mut().any(|maker| !maker.is_dead()) {
        assert!(found(&scratch).len() <= 3);
        reaped(&scratch);
        looks += 1;
    }
    for mut maker in makers {
        maker.expect_line("done");
        assert!(maker.wait().success());
    }
    assert!(looks > 1, "they were done before anybody looked");
    reaped(&scratch);
    nothing_is_left(&scratch);
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
fn an_orphan_that_would_not_die_in_time_is_told_and_those_that_do_are_removed() {
    let scratch = Scratch::new();
    let mut host = Host::start(&scratch, 2);
    host.crash();
    match reap(Some(&scratch.path()), Deadline::after(Duration::ZERO)) {
        Ok(removed) => assert_eq!(removed, 2),
        Err(e) => assert_eq!(e.errno(), Errno::ETIMEDOUT, "{e}"),
    }
    reaped(&scratch);
    nothing_is_left(&scratch);
}

#[test]
fn without_a_parent_all_places_are_looked_at() {
    let _alone = common::lock_place();
    let group = Group::plain();
    let mut member = group.start("sleeper", &[]);
    member.expect_line("ready");
    let uuids = || list(None).unwrap().into_iter().map(|entry| entry.uuid).collect::<Vec<_>>();
    assert!(uuids().iter().any(|uuid| uuid == group.uuid()));
    let guest = Agent::open(None, group.uuid(), false).unwrap();
    assert_eq!(guest.path(), group.path());
    assert_eq!(guest.info().unwrap().place, group.info().unwrap().place);
    reap(None, deadline()).unwrap();
    assert!(!member.is_dead());
    group.destroy();
}

#[test]
fn signals_do_not_make_an_orphan() {
    let scratch = Scratch::new();
    let mut host = Host::start(&scratch, 1);
    host.member.signal(Signal::SIGSTOP);
    assert_eq!(reaped(&scratch), 0);
    host.member.signal(Signal::SIGCONT);
    host.crash();
    assert_eq!(reaped(&scratch), 1);
}

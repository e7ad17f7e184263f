// SPDX-License-Identifier: MIT OR Apache-2.0
//! A session is an agent that holds agents, its children. Its limits bound them together, and what is done to it is done to all
//! of them.
//!
//! `AGENTCG_ROUNDS` is the number of rounds of the tests that have several; without it, 50.

use crate::common::cgroup::{Cgroup, Scratch};
use crate::common::group::{Group, own_pid};
use crate::common::member::{Member, role};
use crate::common::program::{self, StartOptions};
use crate::common::{self, deadline, lab, wait_until};
use agentcg::events::{EMPTY, OOM_KILL};
use agentcg::stats::{CPU, MEMORY, PIDS};
use agentcg::verdict::cause;
use agentcg::{
    Agent, Deadline, Entry, Errno, Limits, Reason, SpawnOptions, find, find_pidfd, list, list_tagged, reap,
};
use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;
use std::ffi::CString;
use std::fs;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::slice::from_ref;
use std::time::Duration;

roles![
    spawned_sleeper,
    touches,
    enters_by_itself,
    loses_its_main_thread,
    has_a_session,
    hosts_an_agent,
    makes_a_child_of,
    is_guarded,
];

const MIB: u64 = 1 << 20;

fn rounds() -> u32 {
    std::env::var("AGENTCG_ROUNDS").map_or(50, |text| text.parse().expect("a number of rounds"))
}

fn no_limits() -> Limits {
    Limits::default()
}

/// Makes a child without limits.
#[track_caller]
fn child_of(session: &Agent) -> Agent {
    child_with(session, &no_limits())
}

#[track_caller]
fn child_with(session: &Agent, limits: &Limits) -> Agent {
    session.new_in(None, limits, None, None, false).unwrap_or_else(|e| panic!("new_in: {e}"))
}

fn cgroup_of(agent: &Agent) -> Cgroup {
    Cgroup::at(agent.path())
}

/// Starts a sleeper and moves it into the agent.
fn start(agent: &Agent) -> Member {
    let mut member = Member::start("sleeper", &[]);
    agent.move_pid(member.pid()).unwrap_or_else(|e| panic!("move_pid: {e}"));
    member.send("go");
    member.expect_line("ready");
    member
}

fn is_in(pid: i32, cgroup: &Cgroup) -> bool {
    Cgroup::of(pid).as_ref() == Some(cgroup)
}

fn path_of(agent: &Agent) -> CString {
    CString::new(agent.path()).expect("no NUL")
}

fn entry_of<'a>(entries: &'a [Entry], agent: &Agent) -> &'a Entry {
    let mut found = entries.iter().filter(|entry| entry.uuid == agent.uuid());
    let entry = found.next().unwrap_or_else(|| panic!("{} is not in {entries:?}", agent.uuid()));
    assert!(found.next().is_none(), "listed twice: {entries:?}");
    entry
}

#[test]
fn a_child_is_in_the_group_of_its_session_and_ends_with_it() {
    let session = Group::plain();
    assert_eq!(session.info().unwrap().session, None);
    let child = child_of(&session);
    let cgroup = cgroup_of(&child);
    assert_eq!(cgroup, session.cgroup.join(child.uuid()));
    let info = child.info().unwrap();
    assert_eq!(info.session.map(|name| name.to_string()).as_deref(), Some(session.uuid()));
    assert_eq!((info.place, info.owned), (session.info().unwrap().place, true));
    assert_eq!(info.controllers, session.info().unwrap().controllers);

    let (mut one, mut other) = (start(&child), start(&session));
    assert!(is_in(one.pid(), &cgroup) && session.contains(one.pid()).unwrap());
    assert!(session.contains(other.pid()).unwrap() && !child.contains(other.pid()).unwrap());
    session.destroy();
    assert!(one.is_dead() && other.is_dead());

    // As after a removal by another process.
    for e in [
        child.read_stats(CPU).unwrap_err(),
        child.kill_all(deadline()).unwrap_err(),
        child.move_pid(own_pid()).unwrap_err(),
        child.new_in(None, &no_limits(), None, None, false).unwrap_err(),
        session.new_in(None, &no_limits(), None, None, false).unwrap_err(),
    ] {
        assert_eq!((e.errno(), e.reason()), (Errno::ENODEV, Some(Reason::Gone)), "{e}");
    }
    assert_eq!(child.destroy(false, deadline(), false).map(drop), Ok(()));
}

#[test]
fn a_child_can_end_before_its_session() {
    let session = Group::plain();
    let (child, other) = (child_of(&session), child_of(&session));
    let (mut one, mut two) = (start(&child), start(&other));
    child.destroy(false, deadline(), true).unwrap();
    assert!(one.is_dead() && !cgroup_of(&child).exists());
    other.kill_all(deadline()).unwrap();
    assert!(two.is_dead());
    other.destroy(true, deadline(), false).unwrap();
    assert!(session.cgroup.exists());
    let uuid = child.uuid().to_owned();
    let again = session.new_in(Some(&uuid), &no_limits(), None, None, false).unwrap();
    assert_eq!((again.uuid(), again.path()), (uuid.as_str(), child.path()));
    let e = session.new_in(Some(&uuid), &no_limits(), None, None, false).unwrap_err();
    assert_eq!(e.errno(), Errno::EEXIST, "{e}");
    session.destroy();
}

#[test]
fn the_processes_of_an_agent_live_on_in_a_cgroup_of_their_own_when_it_gets_its_first_child() {
    let session = Group::plain();
    let members: Vec<Member> = (0..5).map(|_| start(&session)).collect();
    let mut headless = session.start("loses_its_main_thread", &[]);
    headless.expect_line("ready");
    let (before, all) = (session.pids().unwrap(), session.cgroup.join("own"));
    let child = child_with(&session, &with_controller_limits(&session));
    assert_eq!(session.cgroup.read("cgroup.threads"), "");
    assert_eq!(session.pids().unwrap(), before);
    assert!(members.iter().all(|member| is_in(member.pid(), &all)));
    assert!(all.words("cgroup.threads").len() > members.len());
    // Its controllers are those of the session.
    assert_eq!(cgroup_of(&child).words("cgroup.controllers"), session.cgroup.words("cgroup.controllers"));
    drop(child_of(&session));
    session.kill_all(deadline()).unwrap();
    assert!(headless.is_dead());
    session.destroy();
}

/// Returns limits of each controller that the agent has.
fn with_controller_limits(agent: &Agent) -> Limits {
    let has = |word| cgroup_of(agent).words("cgroup.controllers").contains(word);
    Limits {
        memory_max: has("memory").then_some(64 * MIB),
        pids_max: has("pids").then_some(20),
        cpu_weight: has("cpu").then_some(50),
        ..no_limits()
    }
}

#[test]
fn a_session_is_entered_on_every_way_and_by_every_handle() {
    let session = Group::plain();
    let child = child_of(&session);
    let own = session.cgroup.join("own");
    let parent = CString::new(session.cgroup.0.ancestors().nth(3).unwrap().to_str().unwrap()).unwrap();
    let other = Agent::open(Some(&parent), session.uuid(), false).unwrap();
    for handle in [session.agent(), &other] {
        let spawned = program::start(handle, "spawned_sleeper", StartOptions::default())
            .unwrap_or_else(|e| panic!("{e}"));
        assert!(is_in(spawned.pid, &own));
        let moved = start(handle);
        assert!(is_in(moved.pid(), &own));
        let mut by_itself = Member::start("enters_by_itself", &[&parent.to_string_lossy(), session.uuid()]);
        by_itself.send("go");
        by_itself.expect_line("ready");
        assert!(is_in(by_itself.pid(), &own));
        handle.kill_all(deadline()).unwrap();
        program::wait(&spawned);
    }
    let spawned = program::start(&child, "spawned_sleeper", StartOptions::default()).unwrap();
    assert!(is_in(spawned.pid, &cgroup_of(&child)));
    session.destroy();
    program::wait(&spawned);
}

#[test]
fn an_agent_that_forks_without_end_becomes_a_session() {
    for _ in 0..rounds().min(10) {
        let session = Group::plain();
        let mut member = session.start("rolling_forkers", &[]);
        for _ in 0..4 {
            member.expect_line("ready");
        }
        let made = session.new_in(None, &with_controller_limits(&session), None, None, false);
        // Without a freezer nothing ends the race with the forks.
        if lab::lacks("cgroup.freeze") && made.as_ref().is_err_and(|e| e.errno() == Errno::EBUSY) {
            session.destroy();
            assert!(member.is_dead());
            continue;
        }
        let child = made.unwrap_or_else(|e| panic!("new_in: {e}"));
        assert_eq!(session.cgroup.read("cgroup.threads"), "");
        assert!(session.cgroup.join("own").read("cgroup.events").contains("populated 1"));
        assert!(cgroup_of(&child).has("cpu.max") || !session.cgroup.has("cpu.max"));
        if !lab::lacks("cgroup.freeze") {
            assert_eq!(session.cgroup.read("cgroup.freeze"), "0");
        }
        session.destroy();
        assert!(member.is_dead());
    }
}

#[test]
fn a_kill_of_the_session_kills_all_and_leaves_the_limits_of_its_children() {
    let session = Group::plain();
    let limits = with_controller_limits(&session);
    let children: Vec<Agent> = (0..3).map(|_| child_with(&session, &limits)).collect();
    for _ in 0..2 {
        let mut members: Vec<Member> = children.iter().map(start).collect();
        members.push(start(&session));
        session.kill_all(deadline()).unwrap();
        assert!(members.iter_mut().all(Member::is_dead));
        for child in &children {
            assert_eq!(child.limits().unwrap().pids_max, limits.pids_max);
        }
    }
    let mut member = start(&children[0]);
    assert!(session.terminate(deadline(), None).is_ok_and(|killed| !killed));
    assert!(member.is_dead());
    session.destroy();
}

#[test]
fn a_kill_of_a_child_touches_nothing_else_in_the_session() {
    let session = Group::plain();
    let (child, other) = (child_of(&session), child_of(&session));
    let (mut one, mut two, mut three) = (start(&child), start(&other), start(&session));
    child.kill_all(deadline()).unwrap();
    assert!(one.is_dead() && !two.is_dead() && !three.is_dead());
    assert_eq!(session.signal_all(0).unwrap(), 2);
    session.destroy();
}

#[test]
fn a_freeze_of_the_session_freezes_its_children() {
    let session = Group::plain();
    let child = child_of(&session);
    let member = start(&child);
    session.freeze(deadline()).unwrap();
    cgroup_of(&child).wait_for_value("cgroup.events", "frozen", 1);
    let e = program::start(&child, "spawned_sleeper", StartOptions::default()).unwrap_err();
    assert_eq!(e.errno(), Errno::EBUSY, "{e}");
    session.thaw(deadline()).unwrap();
    assert!(cgroup_of(&child).read("cgroup.events").contains("frozen 0"));
    drop(member);
    session.destroy();
}

#[test]
fn the_statistics_and_the_emptiness_of_a_session_are_those_of_all() {
    let session = Group::plain();
    let children = [child_of(&session), child_of(&session)];
    session.event_fd(EMPTY).unwrap();
    let mut members: Vec<Member> = children.iter().map(start).collect();
    members.push(start(&session));
    let stats = session.read_stats(PIDS | MEMORY | CPU).unwrap();
    if stats.mask & PIDS != 0 {
        let count = |agent: &Agent| agent.read_stats(PIDS).unwrap().pids_current;
        assert_eq!(stats.pids_current, 3);
        assert_eq!(count(&children[0]) + count(&children[1]), 2);
    }
    if stats.mask & MEMORY != 0 {
        let own = children.iter().map(|child| child.read_stats(MEMORY).unwrap().memory_current_bytes).sum();
        assert!(stats.memory_current_bytes >= own);
    }
    children[0].kill_all(deadline()).unwrap();
    children[1].kill_all(deadline()).unwrap();
    assert_eq!(session.next_events(Deadline::after(Duration::ZERO)), Ok(0), "its own process lives");
    assert_eq!(session.wait_empty(Deadline::after(Duration::ZERO)).unwrap_err().errno(), Errno::ETIMEDOUT);
    members[2].signal(Signal::SIGKILL);
    assert_eq!(session.next_events(deadline()), Ok(EMPTY));
    session.wait_empty(deadline()).unwrap();
    session.destroy();
}

#[test]
fn children_are_listed_and_opened_with_their_session() {
    let scratch = Scratch::new();
    let (session, plain) = (Group::under(&scratch, &no_limits()), Group::under(&scratch, &no_limits()));
    let child = session.new_in(None, &no_limits(), Some("a child"), Some("tagged"), false);
    let has_attributes = child.is_ok();
    let child = child.unwrap_or_else(|_| child_of(&session));
    let member = start(&child);
    let entries = list(Some(&scratch.path())).unwrap();
    assert_eq!(entries.len(), 3, "{entries:?}");
    for agent in [session.agent(), plain.agent()] {
        let entry = entry_of(&entries, agent);
        assert_eq!((entry.session, entry.orphan), (None, false));
    }
    let entry = entry_of(&entries, &child);
    assert_eq!(entry.session.map(|name| name.to_string()).as_deref(), Some(session.uuid()));
    assert_eq!((entry.orphan, entry.populated), (false, true));
    if has_attributes {
        assert_eq!(entry.owner.label.map(|label| label.as_str().to_owned()).as_deref(), Some("a child"));
        assert_eq!(list_tagged(Some(&scratch.path()), "tagged").unwrap(), from_ref(entry));
        Agent::open_tagged(Some(&scratch.path()), child.uuid(), "tagged", false).unwrap();
        let e = Agent::open_tagged(Some(&scratch.path()), child.uuid(), "other", false).unwrap_err();
        assert_eq!(e.errno(), Errno::ENOENT, "{e}");
    }
    // The session is a parent, too.
    assert_eq!(list(Some(&path_of(&session))).unwrap(), from_ref(entry));
    for parent in [scratch.path(), path_of(&session)] {
        let opened = Agent::open(Some(&parent), child.uuid(), false).unwrap();
        assert_eq!((opened.path(), opened.info().unwrap().session), (child.path(), entry.session));
        assert!(opened.contains(member.pid()).unwrap());
        let e = Agent::open(Some(&parent), child.uuid(), true).unwrap_err();
        assert_eq!(e.errno(), Errno::EBUSY, "{e}");
    }
    session.destroy();
    plain.destroy();
}

#[test]
fn children_at_the_place_that_the_library_finds_are_listed_and_opened() {
    let session = Group::plain();
    let child = child_of(&session);
    let entries = list(None).unwrap();
    assert_eq!(
        entry_of(&entries, &child).session.map(|name| name.to_string()).as_deref(),
        Some(session.uuid())
    );
    assert_eq!(Agent::open(None, child.uuid(), false).unwrap().path(), child.path());
    session.destroy();
}

/// Returns the groups of the session and the child of the role `has_a_session`.
fn receive_session(host: &mut Member) -> [Cgroup; 2] {
    [(), ()].map(|()| {
        let cgroup = Cgroup(host.receive().into());
        host.send("next");
        cgroup
    })
}

#[test]
fn the_children_of_an_orphaned_session_are_reaped_with_it_and_those_of_a_living_one_are_not() {
    let scratch = Scratch::new();
    let session = Group::under(&scratch, &no_limits());
    let mut host = Member::start("has_a_session", &[&scratch.parent.0.to_string_lossy()]);
    let [theirs, its_child] = receive_session(&mut host);
    // A child whose owner has ended, in a session with a living owner.
    let mut maker = Member::start("makes_a_child_of", &[&scratch.parent.0.to_string_lossy(), session.uuid()]);
    let orphan = Cgroup(maker.receive().into());
    maker.kill_it_alone();
    host.kill_it_alone();
    assert!(theirs.exists() && its_child.exists());

    assert_eq!(reap(Some(&scratch.path()), deadline()).unwrap(), 1);
    assert!(!theirs.exists() && !its_child.exists());
    assert!(orphan.exists() && session.cgroup.exists());
    let entries = list(Some(&scratch.path())).unwrap();
    let is_orphan: Vec<_> = entries.iter().map(|entry| (entry.session.is_some(), entry.orphan)).collect();
    assert!(is_orphan.contains(&(true, true)) && is_orphan.contains(&(false, false)), "{entries:?}");

    assert_eq!(reap(Some(&path_of(&session)), deadline()).unwrap(), 1);
    assert!(!orphan.exists() && session.cgroup.exists());
    session.destroy();
}

#[test]
fn a_session_and_its_children_are_adopted_after_their_host_has_ended() {
    let scratch = Scratch::new();
    let mut host = Member::start("has_a_session", &[&scratch.parent.0.to_string_lossy()]);
    let [session, child] = receive_session(&mut host);
    host.kill_it_alone();
    let uuid = |cgroup: &Cgroup| cgroup.0.file_name().unwrap().to_string_lossy().into_owned();
    let session = Agent::open(Some(&scratch.path()), &uuid(&session), true).unwrap();
    let child = Agent::open(Some(&scratch.path()), &uuid(&child), true).unwrap();
    assert_eq!(child.info().unwrap().session.map(|name| name.to_string()).as_deref(), Some(session.uuid()));
    assert_eq!(reap(Some(&scratch.path()), deadline()).unwrap(), 0);
    assert_eq!(session.pids().unwrap().len(), 2);
    let another = child_of(&session);
    assert_eq!(list(Some(&path_of(&session))).unwrap().len(), 2);
    drop(another);
    session.destroy(false, deadline(), false).unwrap();
    assert!(host.is_dead());
}

#[test]
fn a_process_in_a_child_is_found_in_the_session_with_its_child() {
    let session = Group::plain();
    let child = child_of(&session);
    let (one, other) = (start(&child), start(&session));
    let inner = cgroup_of(&child).make("inner");
    let both = |member: &Member| {
        let pidfd = pidfd_of(member.pid());
        let found = find(member.pid()).unwrap();
        assert_eq!(find_pidfd(pidfd.as_fd()).unwrap(), found);
        assert_eq!(found.uuid, session.uuid());
        (found.child.map(|name| name.to_string()), found.below)
    };
    assert_eq!(both(&one), (Some(child.uuid().to_owned()), true));
    assert_eq!(both(&other), (None, false));
    inner.move_in(one.pid());
    assert_eq!(both(&one), (Some(child.uuid().to_owned()), true));
    session.destroy();
}

fn pidfd_of(pid: i32) -> OwnedFd {
    // SAFETY: the call takes two integers and returns a new descriptor or an error.
    #[allow(unsafe_code, reason = "nix has no pidfd_open; see SAFETY")]
    unsafe {
        let fd = i32::try_from(libc::syscall(libc::SYS_pidfd_open, pid, 0)).unwrap();
        assert!(fd >= 0, "{}", std::io::Error::last_os_error());
        OwnedFd::from_raw_fd(fd)
    }
}

#[test]
fn the_agents_of_a_program_in_a_session_are_inside_its_own_cgroup_or_its_child() {
    let session = Group::plain();
    let child = child_of(&session);
    for (agent, outer) in [(session.agent(), session.cgroup.join("own")), (&child, cgroup_of(&child))] {
        let mut host = Member::start("hosts_an_agent", &[]);
        agent.move_pid(host.pid()).unwrap();
        host.send("go");
        let inner = Cgroup::at(host.receive().as_bytes());
        assert_eq!(inner.parent(), outer.join("synwire/agents"));
    }
    // They are agents of an agent, and not children of the session.
    let entries = list(Some(&path_of(&session))).unwrap();
    assert_eq!(entries.iter().map(|entry| &*entry.uuid).collect::<Vec<_>>(), [child.uuid()]);
    session.destroy();
}

#[test]
fn a_group_with_a_threaded_cgroup_becomes_no_session() {
    let session = Group::plain();
    let inside = session.cgroup.make("inside");
    inside.write("cgroup.type", "threaded");
    let e = session.new_in(None, &no_limits(), None, None, false).unwrap_err();
    assert_eq!((e.errno(), e.reason()), (Errno::EOPNOTSUPP, Some(Reason::Threaded)), "{e}");
    assert!(!session.cgroup.join("own").exists());
    inside.remove();
    child_of(&session);
    session.destroy();
}

#[test]
fn the_bounds_on_cgroups_in_a_session_bound_its_children() {
    let limits = Limits { max_descendants: Some(3), ..no_limits() };
    let session = Group::new(&limits);
    let children = [child_of(&session), child_of(&session)];
    let e = session.new_in(None, &no_limits(), None, None, false).unwrap_err();
    assert_eq!((e.errno(), e.reason()), (Errno::EAGAIN, Some(Reason::NestingLimit)), "{e}");
    session.set_limits(&Limits { max_descendants: Some(4), ..no_limits() }, false).unwrap();
    child_of(&session);
    drop(children);
    session.destroy();
}

#[test]
fn a_contained_program_of_a_session_leaves_room_for_its_children() {
    let contained =
        StartOptions { spawn: SpawnOptions { contain: true, pidfd: false }, ..StartOptions::default() };
    let session = Group::plain();
    let before = program::start(&session, "spawned_sleeper", contained).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(session.cgroup.read("cgroup.max.descendants"), "1000");
    let child = child_of(&session);
    assert_eq!(session.cgroup.read("cgroup.max.descendants"), "2002");
    let own = session.cgroup.join("own");
    let after = program::start(&session, "spawned_sleeper", contained).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(own.read("cgroup.max.descendants"), "1000");
    let inside = program::start(&child, "spawned_sleeper", contained).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(cgroup_of(&child).read("cgroup.max.descendants"), "1000");
    assert!(is_in(before.pid, &own) && is_in(after.pid, &own) && is_in(inside.pid, &cgroup_of(&child)));
    session.destroy();
    for child in [before, after, inside] {
        program::wait(&child);
    }

    // A session before its first contained program.
    let session = Group::plain();
    let child = child_of(&session);
    let spawned = program::start(&session, "spawned_sleeper", contained).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(session.cgroup.read("cgroup.max.descendants"), "max");
    assert_eq!(session.cgroup.join("own").read("cgroup.max.descendants"), "1000");
    drop(child);
    session.destroy();
    program::wait(&spawned);
}

#[test]
fn a_guarded_child_ends_with_its_host_and_its_guard_is_outside_of_the_session() {
    let scratch = Scratch::new();
    let session = Group::under(&scratch, &no_limits());
    let mut host = Member::start("is_guarded", &[&scratch.parent.0.to_string_lossy(), session.uuid()]);
    let child = Cgroup(host.receive().into());
    assert!(child.exists());
    let guards = || -> Vec<Cgroup> {
        let all = scratch.parent.all();
        all.into_iter().filter(|one| one.0.to_string_lossy().contains("/guard-")).collect()
    };
    assert!(guards().iter().all(|guard| guard.parent() == scratch.parent.join("synwire")), "{:?}", guards());
    host.kill_it_alone();
    wait_until("the guard has removed the child", || !child.exists());
    wait_until("the guard has ended", || guards().is_empty());
    assert!(session.cgroup.exists());
    session.destroy();
}

/// With a hundred children of 64 MiB, the session has 1 GiB. `AGENTCG_CHILDREN` is the number of children; the session becomes
/// smaller with them.
#[test]
fn the_child_that_takes_too_much_dies_and_all_others_live() {
    let count: u64 = std::env::var("AGENTCG_CHILDREN").map_or(100, |text| text.parse().expect("a number"));
    let whole = 1024 * count / 100;
    let neighbour = Group::plain();
    let mut bystander = start(&neighbour);
    for round in 0..rounds() {
        let session = Group::new(&Limits { memory_max: Some(whole * MIB), ..no_limits() });
        let limits = Limits { memory_max: Some(64 * MIB), ..no_limits() };
        let children: Vec<Agent> = (1..count).map(|_| child_with(&session, &limits)).collect();
        let mut members: Vec<Member> = children
            .iter()
            .map(|child| {
                let mut member = Member::start("member::hog", &["2"]);
                child.move_pid(member.pid()).unwrap_or_else(|e| panic!("move_pid: {e}"));
                member.send("go");
                member
            })
            .collect();
        members.iter_mut().for_each(|member| member.expect_line("it fits"));
        session.event_fd(OOM_KILL).unwrap();
        // In every other round the last child has no limit of its own, and exceeds that of the session.
        let (greedy, mib, expected) = if round % 2 == 0 {
            (child_with(&session, &limits), 80, cause::MEMORY_LIMIT)
        } else {
            (child_of(&session), whole, cause::MEMORY_LIMIT_ABOVE)
        };
        let size = mib.to_string();
        let how = StartOptions { args: &[&size], ..StartOptions::default() };
        let hog = program::start(&greedy, "touches", how).unwrap_or_else(|e| panic!("spawn: {e}"));
        let ended = program::wait(&hog);
        assert_eq!(
            ended,
            WaitStatus::Signaled(Pid::from_raw(hog.pid), Signal::SIGKILL, false),
            "round {round}"
        );
        let verdict = greedy.explain(Some(libc::SIGKILL)).unwrap();
        // Linux 5.10 does not show that the OOM killer was the only cause.
        assert_eq!(
            verdict.candidates & cause::OOM,
            expected,
            "round {round}: {}",
            verdict.sentence(&greedy.path())
        );
        assert_eq!(session.next_events(deadline()), Ok(OOM_KILL), "round {round}");
        assert!(members.iter_mut().all(|member| !member.is_dead()) && !bystander.is_dead(), "round {round}");
        session.destroy();
        assert!(members.iter_mut().all(Member::is_dead), "round {round}");
    }
    neighbour.destroy();
}

/// Starts a program in the agent, and moves one into it. Both must be in this cgroup afterwards. Kills all.
#[track_caller]
fn check_entered(agent: &Agent, expected: &Cgroup) {
    let moved = start(agent);
    let spawned = program::start(agent, "spawned_sleeper", StartOptions::default())
        .unwrap_or_else(|e| panic!("spawn: {e}"));
    assert_eq!(Cgroup::of(moved.pid()).as_ref(), Some(expected));
    assert_eq!(Cgroup::of(spawned.pid).as_ref(), Some(expected));
    agent.kill_all(deadline()).unwrap();
    program::wait(&spawned);
}

/// The kernel allows processes in a cgroup whose children have controllers for threads only, and no process in its children then.
#[test]
fn a_session_without_memory_and_io_takes_no_process_that_would_keep_others_out_of_its_children() {
    let scratch = Scratch::with_controllers(&["cpu", "pids"]);
    let session = Group::under(&scratch, &no_limits());
    let child = child_of(&session);
    let other = Agent::open(Some(&scratch.path()), session.uuid(), false).unwrap();
    for handle in [session.agent(), &other] {
        check_entered(handle, &session.cgroup.join("own"));
        let mut by_itself =
            Member::start("enters_by_itself", &[&scratch.parent.0.to_string_lossy(), session.uuid()]);
        by_itself.send("go");
        by_itself.expect_line("ready");
        assert!(is_in(by_itself.pid(), &session.cgroup.join("own")));
        assert_eq!(session.cgroup.read("cgroup.type"), "domain");
        check_entered(&child, &cgroup_of(&child));
        session.kill_all(deadline()).unwrap();
    }
    session.destroy();
}

#[test]
fn a_session_whose_agent_has_removed_its_own_cgroup_gets_it_again() {
    let scratch = Scratch::new();
    let session = Group::under(&scratch, &no_limits());
    let limits = with_controller_limits(&session);
    let child = child_with(&session, &limits);
    let other = Agent::open(Some(&scratch.path()), session.uuid(), false).unwrap();
    let own = session.cgroup.join("own");
    for handle in [session.agent(), &other] {
        own.remove();
        check_entered(handle, &own);
        own.remove();
        drop(program::start(handle, "spawned_sleeper", StartOptions::default()).map(|spawned| {
            assert!(is_in(spawned.pid, &own));
            handle.kill_all(deadline()).unwrap();
            program::wait(&spawned)
        }));
        assert!(own.exists());
        own.remove();
        drop(child_with(handle, &limits));
        assert!(own.exists());
    }
    assert_eq!(child.limits().unwrap().pids_max, limits.pids_max);
    session.destroy();
}

#[test]
fn a_kill_leaves_the_limits_of_the_children_whatever_the_agent_did_to_its_own_cgroup() {
    let session = Group::plain();
    let limits = with_controller_limits(&session);
    let child = child_with(&session, &limits);
    let own = session.cgroup.join("own");

    let member = start(&session);
    cgroup_of(&child).move_in(member.pid());
    own.remove();
    session.kill_all(deadline()).unwrap();
    assert_eq!(child.limits().unwrap(), child_with(&session, &limits).limits().unwrap());
    check_entered(&session, &own);

    // Without memory and io the kernel allows threaded cgroups in the group, and no process in the others.
    for controller in session.cgroup.words("cgroup.subtree_control") {
        if ["io", "memory"].contains(&&*controller) {
            session.cgroup.write("cgroup.subtree_control", format!("-{controller}"));
        }
    }
    let threads = own.make("threads");
    session.cgroup.make("beside").write("cgroup.type", "threaded");
    own.write("cgroup.type", "threaded");
    threads.write("cgroup.type", "threaded");
    assert_eq!(cgroup_of(&child).read("cgroup.type"), "domain invalid");
    session.kill_all(deadline()).unwrap();
    assert_eq!(child.limits().unwrap().pids_max, limits.pids_max);
    check_entered(&session, &own);
    check_entered(&child, &cgroup_of(&child));
    let another = child_with(&session, &limits);
    check_entered(&another, &cgroup_of(&another));
    session.destroy();
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap_or_else(|e| panic!("{path:?}: {e}"));
}

/// An agent of the same uid owns the files of the session's group, too.
#[test]
fn modes_that_an_agent_sets_in_its_session_keep_no_call_from_its_work() {
    let files = [
        (".", 0o555),
        (".", 0),
        ("own", 0),
        ("own/cgroup.procs", 0),
        ("cgroup.subtree_control", 0),
        ("cgroup.threads", 0),
        ("cgroup.type", 0),
        ("cgroup.procs", 0),
    ];
    for (name, mode) in files {
        let session = Group::plain();
        let own = session.cgroup.join("own");
        let [one, other] = [child_of(&session), child_of(&session)];
        let opened = Agent::open(None, other.uuid(), false).unwrap();
        let path = session.cgroup.0.join(name);
        let close = || {
            set_mode(&session.cgroup.0, 0o755);
            if own.exists() {
                set_mode(&own.0, 0o755);
            }
            set_mode(&path, mode);
        };
        let is_in_own = |pid| {
            session.pids().unwrap_or_else(|e| panic!("{name}: {e}")); // opens the directories again
            is_in(pid, &own)
        };
        close();
        drop(child_of(&session));
        close();
        let member = start(&session);
        close();
        let spawned = program::start(&session, "spawned_sleeper", StartOptions::default())
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(is_in_own(member.pid()) && is_in_own(spawned.pid), "{name}");
        close();
        if role::fork() {
            role::exit(i32::from(session.move_self().is_err()));
        }
        let status = nix::sys::wait::waitpid(None, None);
        assert!(matches!(status, Ok(WaitStatus::Exited(_, 0))), "{name}: {status:?}");
        close();
        one.destroy(false, deadline(), true).unwrap_or_else(|e| panic!("{name}: {e}"));
        close();
        opened.destroy(false, deadline(), true).unwrap_or_else(|e| panic!("{name}: {e}"));
        close();
        session.agent().destroy(false, deadline(), true).unwrap_or_else(|e| panic!("{name}: {e}"));
        program::wait(&spawned);
        drop(member);

        let session = Group::plain();
        if session.cgroup.0.join(name).exists() {
            let member = start(&session);
            set_mode(&session.cgroup.0.join(name), mode);
            session
                .new_in(None, &no_limits(), None, None, false)
                .unwrap_or_else(|e| panic!("first child, {name}: {e}"));
            assert!(is_in(member.pid(), &session.cgroup.join("own")), "{name}");
        }
        session.destroy();
    }
}

#[test]
fn the_room_for_the_children_of_a_contained_program_does_not_grow_with_those_that_have_ended() {
    let contained =
        StartOptions { spawn: SpawnOptions { contain: true, pidfd: false }, ..StartOptions::default() };
    let session = Group::plain();
    let spawned = program::start(&session, "spawned_sleeper", contained).unwrap_or_else(|e| panic!("{e}"));
    let most = || session.cgroup.number("cgroup.max.descendants");
    for _ in 0..5 {
        let child = child_of(&session);
        let e = session.new_in(Some(child.uuid()), &no_limits(), None, None, false).unwrap_err();
        assert_eq!(e.errno(), Errno::EEXIST, "{e}");
        child.destroy(false, deadline(), false).unwrap();
    }
    // "own" is a cgroup, too, and a failed call has made room for a second child.
    assert!(most() <= 1000 + 3 * 1002, "{}", most());
    let children: Vec<Agent> = (0..10).map(|_| child_of(&session)).collect();
    assert!(most() > 1000 + 10 * 1001, "{}", most());
    drop(children);
    session.destroy();
    program::wait(&spawned);
}

#[test]
fn a_freeze_of_its_own_cgroup_by_the_agent_leaves_no_program_to_begin_there() {
    let session = Group::plain();
    let child = child_of(&session);
    session.cgroup.join("own").write("cgroup.freeze", 1);
    let command = program::command(&[c"/proc/self/exe"], [c"role", c"--play", c"spawned_sleeper"]);
    let how = SpawnOptions { contain: false, pidfd: true };
    for started in [session.spawn(&command, how), session.spawn_async(&command, how)] {
        let e = started.unwrap_err();
        assert_eq!(e.errno(), Errno::EBUSY, "{e}");
    }
    session.kill_all(deadline()).unwrap();
    check_entered(&session, &session.cgroup.join("own"));
    drop(child);
    session.destroy();
}

#[test]
fn the_error_of_an_agent_that_is_not_in_a_session_names_the_session() {
    let session = Group::plain();
    let child = child_of(&session);
    let parent = path_of(&session);
    let e = Agent::open(Some(&parent), session.uuid(), false).unwrap_err();
    assert_eq!(e.errno(), Errno::ENOENT, "{e}");
    assert!(e.message().ends_with(session.uuid()) && e.message().contains(" under "), "{e}");
    drop(child);
    session.destroy();
}

/// A role for `agentcg_spawn`, whose standard input is empty.
fn spawned_sleeper(_: &[String]) {
    role::sleep();
}

/// A role that touches so many MiB, little by little, and exits.
fn touches(args: &[String]) {
    for _ in 0..args[0].parse().expect("a number") {
        let mut memory = vec![0u8; 1 << 20];
        memory.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
        std::mem::forget(std::hint::black_box(memory));
    }
    role::exit(0);
}

/// A role whose main thread ends, while another one lives.
fn loses_its_main_thread(_: &[String]) {
    role::receive();
    std::thread::spawn(|| {
        let own = own_pid();
        wait_until("the main thread is a zombie", || common::state_of(own) == Some('Z'));
        role::send("ready");
        role::sleep()
    });
    role::end_thread();
}

fn open_role(args: &[String]) -> Agent {
    let parent = CString::new(args[0].as_str()).expect("no NUL");
    Agent::open(Some(&parent), &args[1], false).unwrap_or_else(|e| panic!("open: {e}"))
}

/// A role that moves itself into the agent.
fn enters_by_itself(args: &[String]) {
    role::receive();
    open_role(args).move_self().expect("move_self");
    role::send("ready");
    role::sleep();
}

fn send_path(agent: &Agent) {
    role::send(&String::from_utf8_lossy(&agent.path()));
}

/// A role that owns a session and its child, each with a process that outlives it.
fn has_a_session(args: &[String]) {
    let parent = CString::new(args[0].as_str()).expect("no NUL");
    let session = Agent::new(Some(&parent), None, &no_limits()).unwrap_or_else(|e| panic!("new: {e}"));
    let child = child_of(&session);
    let agents = [session, child];
    for number in [0, 1] {
        if role::fork() {
            let agent = &agents[number];
            agent.move_self().expect("move_self");
            let path = String::from_utf8_lossy(&agent.path()).into_owned();
            // The copies would keep the agents owned.
            drop(agents);
            role::send(&path);
            role::sleep();
        }
        // One path after the other.
        role::receive();
    }
    role::sleep();
}

/// A role that makes an agent where the library finds a place, and enters it.
fn hosts_an_agent(_: &[String]) {
    role::receive();
    let agent = Agent::new(None, None, &no_limits()).unwrap_or_else(|e| panic!("new: {e}"));
    send_path(&agent);
    role::sleep();
}

/// A role that owns a child of an agent of another program.
fn makes_a_child_of(args: &[String]) {
    let child = child_of(&open_role(args));
    send_path(&child);
    role::sleep();
}

/// The same with a guard.
fn is_guarded(args: &[String]) {
    let child = open_role(args)
        .new_in(None, &no_limits(), None, None, true)
        .unwrap_or_else(|e| panic!("new_in: {e}"));
    send_path(&child);
    role::sleep();
}

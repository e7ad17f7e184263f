// SPDX-License-Identifier: MIT OR Apache-2.0
//! Labels for people, and tags of the programs that own agents: a program that is bound to its tag ends no agent of another.

#![allow(unsafe_code, reason = "nix has no attributes; see SAFETY")]

use crate::common::cgroup::{Cgroup, Scratch};
use crate::common::member::{Member, role};
use crate::common::{self, deadline, ptrace, seccomp, wait_until};
use crate::orphans::host::Host;
use agentcg::{Agent, Entry, Errno, Limits, PlaceRequest, find, list, list_tagged, reap, reap_tagged};
use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;

roles![reaps_tagged, makes_a_tagged_agent, asks_for_labels];

const UUID: &str = "01234567-89ab-4def-8123-456789abcdef";

fn new(scratch: &Scratch, label: Option<&str>, tag: Option<&str>) -> Agent {
    try_new(scratch, label, tag).unwrap_or_else(|e| panic!("{e}"))
}

fn try_new(scratch: &Scratch, label: Option<&str>, tag: Option<&str>) -> agentcg::Result<Agent> {
    let path = scratch.path();
    let request = PlaceRequest { parent: Some(&path), ..PlaceRequest::default() };
    Agent::new_with(request, None, &Limits::default(), label, tag)
}

/// The label and the tag of a handle.
fn known(agent: &Agent) -> (String, String) {
    let (label, tag) = agent.label_and_tag().unwrap_or_else(|e| panic!("{e}"));
    (
        label.map(|label| label.as_str().to_owned()).unwrap_or_default(),
        tag.map(|tag| tag.as_str().to_owned()).unwrap_or_default(),
    )
}

fn listed(scratch: &Scratch) -> Vec<Entry> {
    list(Some(&scratch.path())).unwrap_or_else(|e| panic!("{e}"))
}

fn tagged(scratch: &Scratch, tag: &str) -> BTreeSet<String> {
    let entries = list_tagged(Some(&scratch.path()), tag).unwrap_or_else(|e| panic!("{e}"));
    entries.into_iter().map(|entry| entry.uuid).collect()
}

fn reap_of(scratch: &Scratch, tag: &str) -> usize {
    reap_tagged(Some(&scratch.path()), tag, deadline()).unwrap_or_else(|e| panic!("{e}"))
}

fn reap_all(scratch: &Scratch) -> usize {
    reap(Some(&scratch.path()), deadline()).unwrap_or_else(|e| panic!("{e}"))
}

fn uuid_of(cgroup: &Cgroup) -> String {
    cgroup.0.file_name().expect("a name").to_string_lossy().into_owned()
}

/// Writes the attribute of a group, as an agent of the same uid can.
fn forge(cgroup: &Cgroup, note: &[u8]) -> Result<(), Errno> {
    let path = CString::new(cgroup.0.as_os_str().as_bytes()).unwrap();
    let name = c"user.agentcg.owner";
    // SAFETY: both strings end with NUL, and the length is that of the value.
    let done = unsafe { libc::setxattr(path.as_ptr(), name.as_ptr(), note.as_ptr().cast(), note.len(), 0) };
    Errno::result(done).map(drop)
}

fn remove_note(cgroup: &Cgroup) {
    let path = CString::new(cgroup.0.as_os_str().as_bytes()).unwrap();
    // SAFETY: both strings end with NUL.
    let done = unsafe { libc::removexattr(path.as_ptr(), c"user.agentcg.owner".as_ptr()) };
    Errno::result(done).expect("removexattr");
}

#[test]
fn label_and_tag_are_known_to_the_owner_to_others_and_to_the_lists() {
    let scratch = Scratch::new();
    let agent = new(&scratch, Some("pull request 7: Überprüfung"), Some("ci/x:1"));
    let expected = ("pull request 7: Überprüfung".to_owned(), "ci/x:1".to_owned());
    assert_eq!(known(&agent), expected);
    let guest = Agent::open(Some(&scratch.path()), agent.uuid(), false).unwrap();
    assert_eq!(known(&guest), expected);
    let entry = listed(&scratch).remove(0);
    assert_eq!(entry.owner.pid, std::process::id());
    let (label, tag) = (entry.owner.label.unwrap(), entry.owner.tag.unwrap());
    assert_eq!((label.as_str(), tag.as_str()), (expected.0.as_str(), expected.1.as_str()));
    let member = Member::start("sleeper", &[]);
    agent.move_pid(member.pid()).unwrap();
    assert_eq!(find(member.pid()).unwrap().owner, entry.owner);
    assert_eq!(tagged(&scratch, "ci/x:1"), [agent.uuid().to_owned()].into());
    for other in ["ci/x", "ci/x:11", "CI/X:1"] {
        assert_eq!(tagged(&scratch, other), BTreeSet::new(), "{other}");
    }
    agent.destroy(false, deadline(), false).unwrap();

    let plain = new(&scratch, None, None);
    assert_eq!(known(&plain), (String::new(), String::new()));
    plain.destroy(false, deadline(), false).unwrap();
}

#[test]
fn a_refused_label_or_tag_leaves_nothing() {
    let scratch = Scratch::new();
    let long = "x".repeat(64);
    for (label, tag) in [
        (Some("a\nb"), None),
        (Some(&*long), None),
        (None, Some("")),
        (None, Some("a b")),
        (None, Some(&*long)),
    ] {
        let e = try_new(&scratch, label, tag).unwrap_err();
        assert_eq!(e.errno(), Errno::EINVAL, "{label:?} {tag:?}: {e}");
        assert!(e.message().contains(if label.is_some() { "label" } else { "tag" }), "{e}");
    }
    assert_eq!(scratch.parent.all().len(), 1);
}

#[test]
fn an_adopted_agent_keeps_its_label_and_its_tag() {
    let scratch = Scratch::new();
    let agent = new(&scratch, Some("before the restart"), Some("host"));
    let uuid = agent.uuid().to_owned();
    let created = listed(&scratch)[0].owner.created_unix_ns;
    drop(agent);
    for tag in [None, Some("host")] {
        let path = scratch.path();
        let adopted = match tag {
            None => Agent::open(Some(&path), &uuid, true),
            Some(tag) => Agent::open_tagged(Some(&path), &uuid, tag, true),
        };
        let agent = adopted.unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(known(&agent), ("before the restart".to_owned(), "host".to_owned()));
        let entry = listed(&scratch).remove(0);
        assert_eq!((entry.orphan, entry.owner.created_unix_ns), (false, created));
        assert_eq!(tagged(&scratch, "host"), [uuid.clone()].into());
    }
    assert_eq!(reap_of(&scratch, "host"), 1);
}

#[test]
fn the_owner_changes_the_label_and_nobody_else() {
    let scratch = Scratch::new();
    let agent = new(&scratch, None, Some("host"));
    let guest = Agent::open(Some(&scratch.path()), agent.uuid(), false).unwrap();
    for label in ["first", "second: tag=x pid=3", "", "third"] {
        agent.set_label(Some(label)).unwrap();
        assert_eq!(known(&agent), (label.to_owned(), "host".to_owned()));
        assert_eq!(known(&guest), (label.to_owned(), "host".to_owned()));
    }
    let e = guest.set_label(Some("fourth")).unwrap_err();
    assert_eq!(e.errno(), Errno::EPERM, "{e}");
    assert!(e.message().contains("owner") && e.message().contains(agent.uuid()), "{e}");
    assert_eq!(agent.set_label(Some("a\x1b[2J")).unwrap_err().errno(), Errno::EINVAL);
    assert_eq!(known(&guest).0, "third");
    agent.set_label(None).unwrap();
    assert_eq!(known(&guest).0, "");
    Cgroup::at(agent.path()).remove();
    let e = agent.set_label(Some("late")).unwrap_err();
    assert_eq!((e.errno(), e.reason()), (Errno::ENODEV, Some(agentcg::Reason::Gone)), "{e}");
}

/// Threads that change the label at the same time leave the handle and the group with the same one.
#[test]
fn of_concurrent_changes_one_is_the_label_everywhere() {
    let scratch = Scratch::new();
    let agent = new(&scratch, None, None);
    let guest = Agent::open(Some(&scratch.path()), agent.uuid(), false).unwrap();
    for _ in 0..20 {
        std::thread::scope(|scope| {
            for label in ["a", "b", "c", "d"] {
                let agent = &agent;
                scope.spawn(move || agent.set_label(Some(label)).unwrap_or_else(|e| panic!("{e}")));
            }
        });
        assert_eq!(known(&agent), known(&guest));
    }
    agent.destroy(false, deadline(), false).unwrap();
}

/// A forked child is not the owner. Its copy of the handle reads the label from the group.
#[test]
fn a_forked_child_reads_the_label_and_does_not_change_it() {
    let scratch = Scratch::new();
    let mut member = Member::start("asks_for_labels", &[&scratch.parent.0.to_string_lossy()]);
    member.expect_line("EPERM forked");
    member.expect_line("the parent's");
    assert!(member.wait().success());
    reap_all(&scratch);
}

fn asks_for_labels(args: &[String]) {
    let parent = CString::new(args[0].as_str()).expect("no NUL");
    let request = PlaceRequest { parent: Some(&parent), ..PlaceRequest::default() };
    let agent = Agent::new_with(request, None, &Limits::default(), Some("forked"), None).expect("new");
    if role::fork() {
        let e = agent.set_label(Some("the child's")).expect_err("it is not the owner");
        role::send(&format!("{} {}", e.errno(), known(&agent).0).replace(": Operation not permitted", ""));
        role::exit(0);
    }
    nix::sys::wait::wait().expect("wait for the child");
    agent.set_label(Some("the parent's")).expect("set_label");
    role::send(&known(&agent).0);
}

#[test]
fn a_reap_that_is_bound_to_a_tag_leaves_all_other_orphans() {
    let scratch = Scratch::new();
    let mut hosts = [Some("one"), Some("two"), None].map(|tag| Host::start_tagged(&scratch, 2, tag));
    let mut living = Host::start_tagged(&scratch, 1, Some("one"));
    hosts.iter_mut().for_each(Host::crash);
    let alive = |host: &Host| host.agents.iter().filter(|one| one.exists()).count();
    assert_eq!(reap_of(&scratch, "three"), 0);
    assert_eq!(reap_of(&scratch, "one"), 2);
    assert_eq!([alive(&hosts[0]), alive(&hosts[1]), alive(&hosts[2]), alive(&living)], [0, 2, 2, 1]);
    assert!(hosts[1].agents.iter().all(|one| one.read("cgroup.events").contains("populated 1")));
    living.crash();
    assert_eq!(reap_of(&scratch, "one"), 1);
    assert_eq!(reap_all(&scratch), 4);
    assert_eq!(scratch.parent.all().len(), 1);
}

/// The other program reaps all the time, while the first one crashes, starts again and adopts.
#[test]
fn an_agent_of_a_crashed_program_is_not_lost_to_the_reaper_of_another() {
    let scratch = Scratch::new();
    let parent = scratch.parent.0.to_string_lossy().into_owned();
    let reapers = ["one", "two"].map(|tag| {
        let mut reaper = Member::start("reaps_tagged", &[&parent, tag]);
        reaper.expect_line("ready");
        reaper
    });
    for round in 0..common::repetitions(100) {
        // The agents of "first" are adopted, those of "second" are reaped by their own program.
        let names = [["first", "one"], ["second", "two"]];
        let [mut adopted, mut reaped] =
            [names[0][0], names[1][1]].map(|tag| Host::start_tagged(&scratch, 3, Some(tag)));
        let uuids: BTreeSet<String> = adopted.agents.iter().map(uuid_of).collect();
        adopted.crash();
        reaped.crash();
        assert_eq!(tagged(&scratch, "first"), uuids, "round {round}");
        let agents: Vec<Agent> = uuids
            .iter()
            .map(|uuid| {
                Agent::open_tagged(Some(&scratch.path()), uuid, "first", true)
                    .unwrap_or_else(|e| panic!("round {round}: {e}"))
            })
            .collect();
        wait_until("its own program has reaped the other agents", || {
            !reaped.agents.iter().any(Cgroup::exists)
        });
        for (agent, group) in agents.iter().zip(&adopted.agents) {
            assert!(group.read("cgroup.events").contains("populated 1"), "round {round}");
            assert_eq!(known(agent), ("first".to_owned(), "first".to_owned()));
        }
        for agent in agents {
            agent.destroy(false, deadline(), false).unwrap();
        }
        adopted.member.wait_dead();
        reaped.member.wait_dead();
    }
    drop(reapers);
}

/// Reaps the orphans of its tag until it is killed.
fn reaps_tagged(args: &[String]) {
    let parent = CString::new(args[0].as_str()).expect("no NUL");
    role::send("ready");
    loop {
        match reap_tagged(Some(&parent), &args[1], deadline()) {
            Ok(_) => std::thread::yield_now(),
            Err(e) => panic!("{e}"),
        }
    }
}

#[test]
fn opening_by_a_tag_finds_no_agent_of_another() {
    let scratch = Scratch::new();
    let agent = new(&scratch, None, Some("mine"));
    let plain = new(&scratch, None, None);
    let open = |uuid: &str, tag, own| Agent::open_tagged(Some(&scratch.path()), uuid, tag, own).map(drop);
    let errno = |result: agentcg::Result<()>| result.unwrap_err().errno();
    for own in [false, true] {
        let e = open(agent.uuid(), "other", own).unwrap_err();
        assert_eq!(e.errno(), Errno::ENOENT, "{e}");
        assert!(e.message().contains("does not have the tag other"), "{e}");
        assert_eq!(errno(open(plain.uuid(), "mine", own)), Errno::ENOENT);
        assert_eq!(errno(open(UUID, "mine", own)), Errno::ENOENT);
        assert_eq!(errno(open(agent.uuid(), "", own)), Errno::EINVAL);
    }
    open(agent.uuid(), "mine", false).unwrap();
    assert_eq!(errno(open(agent.uuid(), "mine", true)), Errno::EBUSY);
    agent.destroy(false, deadline(), false).unwrap();
    plain.destroy(false, deadline(), false).unwrap();
}

/// Its program was killed between making the directory and writing the tag.
#[test]
fn a_half_made_agent_is_removed_by_a_reap_of_any_tag() {
    let scratch = Scratch::new();
    let half = scratch.parent.make("synwire").make("agents").make(UUID);
    assert_eq!(tagged(&scratch, "any"), BTreeSet::new());
    assert_eq!(reap_of(&scratch, "any"), 1);
    assert!(!half.exists());
    assert_eq!(scratch.parent.all().len(), 1);
}

/// Such a group is not half made: its agent has removed the note.
#[test]
fn a_group_without_a_note_that_is_in_use_is_left_by_a_reap_of_a_tag() {
    let scratch = Scratch::new();
    let mut host = Host::start_tagged(&scratch, 1, Some("host"));
    let nested = new(&scratch, None, Some("host"));
    let nested_group = Cgroup::at(nested.path());
    let below = nested_group.make("below");
    host.agents.iter().chain([&nested_group]).for_each(remove_note);
    host.crash();
    drop(nested);
    assert_eq!((reap_of(&scratch, "host"), reap_of(&scratch, "other")), (0, 0));
    assert!(host.agents[0].read("cgroup.events").contains("populated 1"));
    assert!(below.exists());
    // Its own program can still adopt it.
    let agent = Agent::open(Some(&scratch.path()), &uuid_of(&host.agents[0]), true).unwrap();
    assert_eq!(known(&agent), (String::new(), String::new()));
    drop(agent);
    assert_eq!(reap_all(&scratch), 2);
}

#[test]
fn hostile_attributes_are_no_label_and_no_tag() {
    let scratch = Scratch::new();
    let agent = new(&scratch, Some("a label"), Some("host"));
    let group = Cgroup::at(agent.path());
    let guest = Agent::open(Some(&scratch.path()), agent.uuid(), false).unwrap();
    let long = [b"pid=1 tag=".as_slice(), &[b'x'; 64], b" label=", &[b'y'; 64]].concat();
    let longer = [b"pid=1 tag=host label=".as_slice(), &[b'y'; 3000]].concat();
    let notes: [&[u8]; 7] = [
        b"",
        b"\xff\xfe\0\0",
        b"tag=a,b label=\x1b[2J",
        b"tag=\xff label=\xff\xff",
        "tag=\u{202e} label=\u{202e}txt".as_bytes(),
        &long,
        &longer,
    ];
    for note in notes {
        forge(&group, note).unwrap();
        let shown = note.escape_ascii().to_string();
        assert_eq!(known(&guest), (String::new(), String::new()), "{shown}");
        let entry = listed(&scratch).remove(0);
        assert_eq!((entry.owner.label, entry.owner.tag), (None, None), "{shown}");
        assert_eq!(tagged(&scratch, "host"), BTreeSet::new(), "{shown}");
        // The owner knows what it has given.
        assert_eq!(known(&agent), ("a label".to_owned(), "host".to_owned()));
    }
    // A change of the label writes the whole note again.
    agent.set_label(Some("another label")).unwrap();
    assert_eq!(known(&guest), ("another label".to_owned(), "host".to_owned()));
    forge(&group, &longer).unwrap();
    drop(agent);
    assert_eq!(reap_of(&scratch, "host"), 0, "its tag cannot be read");
    forge(&group, b"pid=1 tag=other").unwrap();
    assert_eq!(
        (reap_of(&scratch, "host"), reap_of(&scratch, "other")),
        (0, 1),
        "the agent has taken another tag"
    );
}

/// An agent can remove the right to read its attributes. The library restores it.
#[test]
fn an_agent_cannot_hide_its_tag_by_the_mode_of_its_directory() {
    let scratch = Scratch::new();
    let agent = new(&scratch, Some("a label"), Some("host"));
    let guest = Agent::open(Some(&scratch.path()), agent.uuid(), false).unwrap();
    let path = Cgroup::at(agent.path()).0;
    let hide = || fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    hide();
    assert_eq!(known(&guest), ("a label".to_owned(), "host".to_owned()));
    hide();
    agent.set_label(Some("another")).unwrap();
    assert_eq!(known(&guest).0, "another");
    hide();
    assert_eq!(tagged(&scratch, "host"), [agent.uuid().to_owned()].into());
    hide();
    drop(agent);
    assert_eq!(reap_of(&scratch, "host"), 1);
}

/// An agent can fill the attributes of its group. Its label then cannot be changed, and the former one stays.
#[test]
fn a_label_for_which_the_agent_has_left_no_room_is_refused() {
    let scratch = Scratch::new();
    let agent = new(&scratch, None, Some("host"));
    let group = Cgroup::at(agent.path());
    remove_note(&group);
    let path = CString::new(group.0.as_os_str().as_bytes()).unwrap();
    let set = |name: &CStr| {
        // SAFETY: both strings end with NUL, and the length is that of the value.
        Errno::result(unsafe { libc::setxattr(path.as_ptr(), name.as_ptr(), c"1".as_ptr().cast(), 1, 0) })
    };
    assert!((0..200).any(|n| set(&CString::new(format!("user.x{n}")).unwrap()).is_err()), "there is a limit");
    let e = agent.set_label(Some("a label")).unwrap_err();
    assert_eq!(e.errno(), Errno::ENOSPC, "{e}");
    assert_eq!(known(&agent), (String::new(), "host".to_owned()));
    agent.destroy(false, deadline(), false).unwrap();
}

/// As before Linux 5.7, where setxattr(2) is EOPNOTSUPP for a cgroup.
#[test]
fn without_attributes_a_label_or_tag_is_refused_and_nothing_else() {
    let none = [(libc::SYS_fsetxattr, Errno::EOPNOTSUPP), (libc::SYS_fgetxattr, Errno::EOPNOTSUPP)];
    // On a new thread, since a filter cannot be removed.
    let without_attributes = std::thread::spawn(move || {
        let scratch = Scratch::new();
        seccomp::refuse(&none);
        for (label, tag) in [(Some("a label"), None), (None, Some("host"))] {
            let e = try_new(&scratch, label, tag).unwrap_err();
            assert_eq!(e.errno(), Errno::EOPNOTSUPP, "{e}");
            assert!(e.message().contains("label or a tag") && e.message().contains("Linux 5.7"), "{e}");
            assert_eq!(scratch.parent.all().len(), 1);
        }
        let agent = new(&scratch, None, None);
        assert_eq!(agent.set_label(Some("a label")).unwrap_err().errno(), Errno::EOPNOTSUPP);
        agent.set_label(None).unwrap_or_else(|e| panic!("there is none to remove: {e}"));
        assert_eq!(known(&agent), (String::new(), String::new()));
        let uuid = agent.uuid().to_owned();
        drop(agent);
        assert_eq!((tagged(&scratch, "host"), reap_of(&scratch, "host")), (BTreeSet::new(), 0));
        let e = Agent::open_tagged(Some(&scratch.path()), &uuid, "host", true).unwrap_err();
        assert_eq!(e.errno(), Errno::ENOENT, "{e}");
        assert_eq!(reap_all(&scratch), 1);
    });
    without_attributes.join().expect("the thread");
}

/// Wherever the program is killed, it leaves its tag, or a half-made agent that every reap removes.
#[test]
fn wherever_a_tagged_new_is_interrupted_a_reap_of_its_tag_leaves_nothing() {
    let scratch = Scratch::new();
    let parent = scratch.parent.0.to_string_lossy().into_owned();
    let mut with_tag = 0;
    for stop in (1..).step_by(ptrace::stride() as usize) {
        let mut member = Member::start("makes_a_tagged_agent", &[&parent]);
        let stopped = ptrace::run_to_stop(member.pid(), stop);
        if stopped {
            member.kill_it_alone();
        } else {
            assert!(member.wait().success());
        }
        with_tag += tagged(&scratch, "crashes").len();
        reap_of(&scratch, "crashes");
        assert_eq!(scratch.parent.all().len(), 1, "stop {stop}: {:?}", scratch.parent.all());
        if !stopped {
            println!("{} stops, {with_tag} left an agent with its tag", stop - 1);
            assert!(stop > 40 && with_tag > 5, "new has fewer stops than expected");
            return;
        }
    }
}

fn makes_a_tagged_agent(args: &[String]) {
    let parent = CString::new(args[0].as_str()).expect("no NUL");
    let request = PlaceRequest { parent: Some(&parent), ..PlaceRequest::default() };
    let limits = Limits { pids_max: Some(20), ..Limits::default() };
    ptrace::wait_for_tracer();
    Agent::new_with(request, None, &limits, Some("a label"), Some("crashes"))
        .unwrap_or_else(|e| panic!("{e}"));
}

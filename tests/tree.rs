// SPDX-License-Identifier: MIT OR Apache-2.0
//! `synwire/agents` is built, completed and taken back as it has to be.

mod common;

use agentcg::{Agent, CpuMax, Errno, Limits, Reason};
use common::cgroup::Scratch;
use common::deadline;
use common::group::Group;

fn plain() -> Limits {
    Limits::default()
}

/// One of each controller that has a file on every kernel.
fn of_each() -> Limits {
    Limits {
        memory_max: Some(64 << 20),
        cpu_max: Some(CpuMax { millicpu: 500, period_us: 0 }),
        pids_max: Some(20),
        ..plain()
    }
}

#[track_caller]
fn has_limits(group: &Group) {
    for (file, value) in [("memory.max", "67108864"), ("cpu.max", "50000 100000"), ("pids.max", "20")] {
        assert_eq!(group.cgroup.read(file), value);
    }
}

#[test]
fn controllers_are_on_all_the_way_down() {
    let scratch = Scratch::new();
    let group = Group::under(&scratch, &plain());
    let had = scratch.parent.words("cgroup.controllers");
    assert!(["cpu", "memory", "pids"].iter().all(|one| had.contains(*one)), "{had:?}");
    for cgroup in [&scratch.parent, &scratch.parent.join("synwire"), &scratch.parent.join("synwire/agents")] {
        assert_eq!(cgroup.words("cgroup.subtree_control"), had);
        assert_eq!(cgroup.read("cgroup.type"), "domain");
    }
    assert_eq!(group.cgroup.read("cgroup.subtree_control"), "");
    group.destroy();
}

/// A process that died while it built the tree has left less than the whole.
#[test]
fn what_another_has_left_half_made_is_completed() {
    for levels in ["", "synwire", "synwire/agents"] {
        for on_at_the_parent in ["", "+memory", "+memory +pids", "+memory +pids +cpu"] {
            let scratch = Scratch::new();
            scratch.parent.write("cgroup.subtree_control", on_at_the_parent);
            let mut level = scratch.parent.clone();
            for name in levels.split('/').filter(|name| !name.is_empty()) {
                level = level.make(name);
            }
            let group = Group::under(&scratch, &of_each());
            has_limits(&group);
            // And for the next one it is whole.
            has_limits(&Group::under(&scratch, &of_each()));
        }
    }
}

#[test]
fn controllers_that_others_have_switched_off_are_switched_on_again() {
    let scratch = Scratch::new();
    // The tree goes with the last of its agents.
    let _stays = Group::under(&scratch, &plain());
    for controller in ["cpu", "memory", "pids"] {
        let minus = format!("-{controller}");
        for level in ["synwire/agents", "synwire", ""] {
            scratch.parent.join(level).write("cgroup.subtree_control", &minus);
        }
        let group = Group::under(&scratch, &of_each());
        has_limits(&group);
        group.destroy();
    }
}

#[test]
fn a_controller_that_came_later_is_used() {
    let scratch = Scratch::with_controllers(&["memory", "pids"]);
    let early = Group::under(&scratch, &plain());
    assert!(!early.cgroup.has("cpu.max"));
    scratch.parent.parent().write("cgroup.subtree_control", "+cpu");
    let late = Group::under(&scratch, &of_each());
    has_limits(&late);
    assert!(early.cgroup.has("cpu.max"));
}

#[test]
fn of_some_controllers_those_are_on_and_limits_of_the_others_are_refused() {
    let cpu_max = Some(CpuMax { millicpu: 500, period_us: 0 });
    for (controllers, good, bad, file) in [
        (
            ["cpu", "pids"],
            Limits { cpu_max, pids_max: Some(5), ..plain() },
            Limits { memory_max: Some(1 << 26), ..plain() },
            "memory.max",
        ),
        (
            ["memory", "pids"],
            Limits { memory_max: Some(1 << 26), pids_max: Some(5), ..plain() },
            Limits { cpu_max, ..plain() },
            "cpu.max",
        ),
        (
            ["cpu", "memory"],
            Limits { memory_max: Some(1 << 26), cpu_max, ..plain() },
            Limits { pids_max: Some(5), ..plain() },
            "pids.max",
        ),
    ] {
        let scratch = Scratch::with_controllers(&controllers);
        let untouched = scratch.parent.snapshot();
        refused_for_want_of_a_controller(&scratch, &bad, file);
        assert_eq!(scratch.parent.snapshot(), untouched, "{controllers:?}: not all is taken back");

        let group = Group::under(&scratch, &good);
        let on: Vec<_> = group.cgroup.words("cgroup.controllers").into_iter().collect();
        assert_eq!(on, controllers);
        let beside_one = scratch.parent.snapshot();
        refused_for_want_of_a_controller(&scratch, &bad, file);
        assert_eq!(scratch.parent.snapshot(), beside_one, "{controllers:?}: the one beside it is harmed");
        group.destroy();
    }
}

#[track_caller]
fn refused_for_want_of_a_controller(scratch: &Scratch, limits: &Limits, file: &str) {
    let e = Agent::new(Some(&scratch.path()), None, limits).unwrap_err();
    assert_eq!((e.errno(), e.reason()), (Errno::EOPNOTSUPP, Some(Reason::NoController)), "{e}");
    assert_eq!(e.file(), file);
    assert!(e.message().len() <= 183, "{e}");
    assert!(e.message().ends_with("must enable it in its cgroup.subtree_control"), "{e}");
}

#[test]
fn a_refused_attempt_takes_back_all_that_it_built() {
    for on_before in ["", "+pids", "+memory +pids"] {
        let scratch = without_io();
        scratch.parent.write("cgroup.subtree_control", on_before);
        let before = scratch.parent.snapshot();
        refused_for_want_of_io(&scratch);
        assert_eq!(scratch.parent.snapshot(), before, "{on_before:?} on");
    }
}

/// In a tree that was there before, other agents may have come to count on a controller as soon as it
/// was on: so it stays on, but no directory is left and none is missing.
#[test]
fn a_refused_attempt_leaves_the_tree_that_it_found() {
    for levels in [&["synwire"][..], &["synwire", "agents"]] {
        for on_before in ["", "+pids", "+cpu +memory +pids"] {
            let scratch = without_io();
            let mut level = scratch.parent.clone();
            level.write("cgroup.subtree_control", on_before);
            for name in levels {
                level = level.make(name);
                level.write("cgroup.subtree_control", on_before);
            }
            let before = scratch.parent.all();
            let on = before.iter().map(|one| one.words("cgroup.subtree_control")).collect::<Vec<_>>();
            refused_for_want_of_io(&scratch);
            assert_eq!(scratch.parent.all(), before, "{levels:?}, {on_before:?} on");
            for (one, on) in before.iter().zip(on) {
                assert!(one.words("cgroup.subtree_control").is_superset(&on), "{levels:?}, {on_before:?} on");
                assert_eq!(one.read("cgroup.type"), "domain");
            }
        }
    }
}

/// Then there is no io.weight on any kernel.
fn without_io() -> Scratch {
    Scratch::with_controllers(&["cpu", "memory", "pids"])
}

#[track_caller]
fn refused_for_want_of_io(scratch: &Scratch) {
    refused_for_want_of_a_controller(scratch, &Limits { io_weight: Some(1), ..of_each() }, "io.weight");
}

#[test]
fn the_tree_goes_with_the_last_agent_and_comes_with_the_next() {
    let scratch = Scratch::new();
    for _ in 0..3 {
        let (one, other) = (Group::under(&scratch, &of_each()), Group::under(&scratch, &of_each()));
        one.destroy();
        assert!(scratch.parent.join("synwire/agents").exists());
        has_limits(&other);
        other.destroy();
        assert_eq!(scratch.parent.all().len(), 1, "{:?}", scratch.parent.all());
    }
}

#[test]
fn the_tree_goes_though_somebody_else_has_removed_the_last_agent() {
    let scratch = Scratch::new();
    for measure in [true, false] {
        let group = Group::under(&scratch, &plain());
        group.cgroup.remove();
        group.agent().destroy(false, deadline(), measure).unwrap();
        assert_eq!(scratch.parent.all().len(), 1, "{:?}", scratch.parent.all());
    }
}

#[test]
fn what_others_have_put_in_the_tree_stays_in_it() {
    let scratch = Scratch::new();
    for level in ["synwire", "synwire/agents"] {
        let group = Group::under(&scratch, &plain());
        let theirs = scratch.parent.join(level).make("theirs");
        group.destroy();
        assert!(theirs.exists(), "{level}");
        theirs.remove();
    }
}

#[test]
fn a_synwire_that_holds_processes_is_refused_and_unharmed() {
    let scratch = Scratch::new();
    let synwire = scratch.parent.make("synwire");
    let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
    synwire.move_in(i32::try_from(child.id()).unwrap());
    let e = Agent::new(Some(&scratch.path()), None, &of_each()).unwrap_err();
    assert_eq!((e.errno(), e.reason()), (Errno::EBUSY, Some(Reason::Populated)), "{e}");
    assert_eq!(synwire.read("cgroup.type"), "domain");
    assert_eq!(synwire.read("cgroup.subtree_control"), "");
    assert!(!synwire.join("agents").exists());
    child.kill().unwrap();
    child.wait().unwrap();
}

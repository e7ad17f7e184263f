// SPDX-License-Identifier: MIT OR Apache-2.0
//! `synwire/agents` is made, completed and removed as needed.

use crate::common::cgroup::Scratch;
use crate::common::deadline;
use crate::common::group::Group;
use agentcg::{Agent, CpuMax, Errno, Limits, Reason};

fn no_limits() -> Limits {
    Limits::default()
}

/// One limit of each controller that has a file on every kernel.
fn of_each() -> Limits {
    Limits {
        memory_max: Some(64 << 20),
        cpu_max: Some(CpuMax { millicpu: 500, period_us: 0 }),
        pids_max: Some(20),
        ..no_limits()
    }
}

#[track_caller]
fn check_limits(group: &Group) {
    for (file, value) in [("memory.max", "67108864"), ("cpu.max", "50000 100000"), ("pids.max", "20")] {
        assert_eq!(group.cgroup.read(file), value);
    }
}

#[test]
fn controllers_are_enabled_at_every_level() {
    let scratch = Scratch::new();
    let group = Group::under(&scratch, &no_limits());
    let available = scratch.parent.words("cgroup.controllers");
    assert!(["cpu", "memory", "pids"].iter().all(|one| available.contains(*one)), "{available:?}");
    for cgroup in [&scratch.parent, &scratch.parent.join("synwire"), &scratch.parent.join("synwire/agents")] {
        assert_eq!(cgroup.words("cgroup.subtree_control"), available);
        assert_eq!(cgroup.read("cgroup.type"), "domain");
    }
    assert_eq!(group.cgroup.read("cgroup.subtree_control"), "");
    group.destroy();
}

/// A process that died while it made the tree has left a part of it.
#[test]
fn a_half_made_tree_is_completed() {
    for levels in ["", "synwire", "synwire/agents"] {
        for enabled_at_the_parent in ["", "+memory", "+memory +pids", "+memory +pids +cpu"] {
            let scratch = Scratch::new();
            scratch.parent.write("cgroup.subtree_control", enabled_at_the_parent);
            let mut level = scratch.parent.clone();
            for name in levels.split('/').filter(|name| !name.is_empty()) {
                level = level.make(name);
            }
            let group = Group::under(&scratch, &of_each());
            check_limits(&group);
            // The tree is also complete for the next agent.
            check_limits(&Group::under(&scratch, &of_each()));
        }
    }
}

#[test]
fn disabled_controllers_are_enabled_again() {
    let scratch = Scratch::new();
    // The tree is removed with its last agent.
    let _stays = Group::under(&scratch, &no_limits());
    for controller in ["cpu", "memory", "pids"] {
        let minus = format!("-{controller}");
        for level in ["synwire/agents", "synwire", ""] {
            scratch.parent.join(level).write("cgroup.subtree_control", &minus);
        }
        let group = Group::under(&scratch, &of_each());
        check_limits(&group);
        group.destroy();
    }
}

#[test]
fn a_controller_that_becomes_available_later_is_used() {
    let scratch = Scratch::with_controllers(&["memory", "pids"]);
    let early = Group::under(&scratch, &no_limits());
    assert!(!early.cgroup.has("cpu.max"));
    scratch.parent.parent().write("cgroup.subtree_control", "+cpu");
    let late = Group::under(&scratch, &of_each());
    check_limits(&late);
    assert!(early.cgroup.has("cpu.max"));
}

/// The library remembers that a parent has no cpu controller. Each agent has no limits, which would have them enabled.
#[test]
fn each_controller_that_becomes_available_is_enabled_for_the_next_agent() {
    let scratch = Scratch::with_controllers(&[]);
    let mut agents = Vec::new();
    let mut next = |files: &[&str]| {
        let group = Group::under(&scratch, &no_limits());
        for file in ["memory.max", "pids.max", "cpu.max"] {
            assert_eq!(group.cgroup.has(file), files.contains(&file), "{file}");
        }
        agents.push(group);
    };
    let enable = |value| scratch.parent.parent().write("cgroup.subtree_control", value);
    next(&[]);
    next(&[]);
    enable("+memory");
    next(&["memory.max"]);
    next(&["memory.max"]);
    enable("+pids");
    next(&["memory.max", "pids.max"]);
    // The level exists as long as the agents.
    scratch.parent.join("synwire/agents").write("cgroup.subtree_control", "-pids");
    next(&["memory.max", "pids.max"]);
    enable("+cpu");
    next(&["memory.max", "pids.max", "cpu.max"]);
    next(&["memory.max", "pids.max", "cpu.max"]);
}

#[test]
fn available_controllers_are_enabled_and_limits_of_the_others_are_refused() {
    let cpu_max = Some(CpuMax { millicpu: 500, period_us: 0 });
    for (controllers, good, bad, file) in [
        (
            ["cpu", "pids"],
            Limits { cpu_max, pids_max: Some(5), ..no_limits() },
            Limits { memory_max: Some(1 << 26), ..no_limits() },
            "memory.max",
        ),
        (
            ["memory", "pids"],
            Limits { memory_max: Some(1 << 26), pids_max: Some(5), ..no_limits() },
            Limits { cpu_max, ..no_limits() },
            "cpu.max",
        ),
        (
            ["cpu", "memory"],
            Limits { memory_max: Some(1 << 26), cpu_max, ..no_limits() },
            Limits { pids_max: Some(5), ..no_limits() },
            "pids.max",
        ),
    ] {
        let scratch = Scratch::with_controllers(&controllers);
        let untouched = scratch.parent.snapshot();
        check_refused_without_controller(&scratch, &bad, file);
        assert_eq!(scratch.parent.snapshot(), untouched, "{controllers:?}: a part is not removed");

        let group = Group::under(&scratch, &good);
        let on: Vec<_> = group.cgroup.words("cgroup.controllers").into_iter().collect();
        assert_eq!(on, controllers);
        let beside_one = scratch.parent.snapshot();
        check_refused_without_controller(&scratch, &bad, file);
        assert_eq!(scratch.parent.snapshot(), beside_one, "{controllers:?}: the agent beside it is affected");
        group.destroy();
    }
}

#[track_caller]
fn check_refused_without_controller(scratch: &Scratch, limits: &Limits, file: &str) {
    let e = Agent::new(Some(&scratch.path()), None, limits).unwrap_err();
    assert_eq!((e.errno(), e.reason()), (Errno::EOPNOTSUPP, Some(Reason::NoController)), "{e}");
    assert_eq!(e.file(), file);
    assert!(e.message().len() <= 183, "{e}");
    assert!(e.message().ends_with("must enable it in its cgroup.subtree_control"), "{e}");
}

#[test]
fn a_refused_attempt_removes_all_that_it_made() {
    for enabled_before in ["", "+pids", "+memory +pids"] {
        let scratch = without_io();
        scratch.parent.write("cgroup.subtree_control", enabled_before);
        let before = scratch.parent.snapshot();
        check_refused_without_io(&scratch);
        assert_eq!(scratch.parent.snapshot(), before, "{enabled_before:?} enabled");
    }
}

/// In an existing tree other agents may rely on a controller as soon as it is enabled. The controller
/// therefore stays enabled, but no directory is added or removed.
#[test]
fn a_refused_attempt_keeps_an_existing_tree() {
    for levels in [&["synwire"][..], &["synwire", "agents"]] {
        for enabled_before in ["", "+pids", "+cpu +memory +pids"] {
            let scratch = without_io();
            let mut level = scratch.parent.clone();
            level.write("cgroup.subtree_control", enabled_before);
            for name in levels {
                level = level.make(name);
                level.write("cgroup.subtree_control", enabled_before);
            }
            let before = scratch.parent.all();
            let on = before.iter().map(|one| one.words("cgroup.subtree_control")).collect::<Vec<_>>();
            check_refused_without_io(&scratch);
            assert_eq!(scratch.parent.all(), before, "{levels:?}, {enabled_before:?} enabled");
            for (one, on) in before.iter().zip(on) {
                assert!(
                    one.words("cgroup.subtree_control").is_superset(&on),
                    "{levels:?}, {enabled_before:?} enabled"
                );
                assert_eq!(one.read("cgroup.type"), "domain");
            }
        }
    }
}

/// Without the io controller there is no io.weight on any kernel.
fn without_io() -> Scratch {
    Scratch::with_controllers(&["cpu", "memory", "pids"])
}

#[track_caller]
fn check_refused_without_io(scratch: &Scratch) {
    check_refused_without_controller(scratch, &Limits { io_weight: Some(1), ..of_each() }, "io.weight");
}

#[test]
fn the_tree_is_removed_with_the_last_agent_and_made_again_with_the_next() {
    let scratch = Scratch::new();
    for _ in 0..3 {
        let (one, other) = (Group::under(&scratch, &of_each()), Group::under(&scratch, &of_each()));
        one.destroy();
        assert!(scratch.parent.join("synwire/agents").exists());
        check_limits(&other);
        other.destroy();
        assert_eq!(scratch.parent.all().len(), 1, "{:?}", scratch.parent.all());
    }
}

#[test]
fn the_tree_is_removed_even_if_another_process_has_removed_the_last_agent() {
    let scratch = Scratch::new();
    for measure in [true, false] {
        let group = Group::under(&scratch, &no_limits());
        group.cgroup.remove();
        group.agent().destroy(false, deadline(), measure).unwrap();
        assert_eq!(scratch.parent.all().len(), 1, "{:?}", scratch.parent.all());
    }
}

/// The library keeps the directory of the agents open as long as it has a handle of one.
#[test]
fn a_tree_that_others_have_removed_is_made_again_and_an_old_handle_spares_an_agent_of_the_same_name() {
    let scratch = Scratch::new();
    let (path, nothing) = (scratch.path(), no_limits());
    let old = Group::under(&scratch, &nothing);
    for measure in [true, false] {
        for cgroup in scratch.parent.all().iter().skip(1).rev() {
            cgroup.remove();
        }
        let new = Agent::new(Some(&path), Some(old.uuid()), &nothing).unwrap_or_else(|e| panic!("{e}"));
        assert!(old.cgroup.exists(), "the new one has the path of the old one");
        old.agent().destroy(false, deadline(), measure).unwrap();
        assert!(old.cgroup.exists(), "the old handle has removed the new agent");
        new.destroy(false, deadline(), measure).unwrap();
        assert_eq!(scratch.parent.all().len(), 1, "{:?}", scratch.parent.all());
    }
}

#[test]
fn foreign_cgroups_in_the_tree_stay() {
    let scratch = Scratch::new();
    for level in ["synwire", "synwire/agents"] {
        let group = Group::under(&scratch, &no_limits());
        let foreign = scratch.parent.join(level).make("theirs");
        group.destroy();
        assert!(foreign.exists(), "{level}");
        foreign.remove();
    }
}

#[test]
fn a_synwire_cgroup_with_processes_is_refused_and_unharmed() {
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

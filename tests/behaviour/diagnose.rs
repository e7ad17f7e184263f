// SPDX-License-Identifier: MIT OR Apache-2.0
//! The diagnosis agrees with the result of `new`, changes nothing, and names the remedy of each layout.

use crate::common::cgroup::Cgroup;
use crate::common::member::{Member, role};
use crate::common::{deadline, hierarchy_snapshot, lab, lock_place};
use agentcg::{
    Agent, Controllers, Diagnosis, Limits, PlaceRequest, diagnose, diagnose_for, discover_parent, feature,
};
use nix::sys::resource::{Resource, setrlimit};

roles![has_no_descriptor_left];

/// Returns the diagnosis and checks that it changes nothing.
#[track_caller]
fn diagnosed() -> Diagnosis {
    let before = hierarchy_snapshot();
    let found = diagnose();
    assert_eq!(hierarchy_snapshot(), before, "the diagnosis left something behind\n{}", found.report);
    found
}

#[test]
fn the_diagnosis_agrees_with_new_and_discover_parent() {
    let _alone = lock_place();
    let found = diagnosed();
    match Agent::new(None, None, &Limits::default()) {
        Ok(agent) => {
            let info = agent.info().unwrap();
            assert_eq!((found.obstacle, found.place), (None, Some(info.place)), "{}", found.report);
            assert_eq!(found.controllers, info.controllers, "{}", found.report);
            let path = discover_parent().unwrap();
            let path = String::from_utf8_lossy(&path);
            let flat = found.report.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(flat.contains(&format!("this one: {path}")), "no {path}: {}", found.report);
            agent.destroy(false, deadline(), false).unwrap();
        }
        Err(e) => {
            assert_eq!((found.obstacle, found.place), (e.reason(), None), "{e}\n{}", found.report);
            assert_eq!(found.controllers, Controllers::NONE);
            let flat = found.report.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(flat.contains(e.message()), "{e}\n{}", found.report);
        }
    }
    assert_eq!(found.missing_controllers, Controllers::NEEDED - found.controllers);
}

/// A limit of each controller, and several together.
fn limits() -> [Limits; 5] {
    let none = Limits::default();
    let cpu = Limits { cpu_weight: Some(50), ..none };
    let memory = Limits { memory_max: Some(64 << 20), ..none };
    let pids = Limits { pids_max: Some(20), ..none };
    let io = Limits { io_weight: Some(50), ..none };
    [cpu, memory, pids, io, Limits { memory_max: memory.memory_max, pids_max: pids.pids_max, ..cpu }]
}

#[test]
fn the_diagnosis_agrees_with_new_for_the_requested_limits() {
    let _alone = lock_place();
    for limits in limits() {
        let before = hierarchy_snapshot();
        let found = diagnose_for(PlaceRequest::default(), &limits);
        assert_eq!(hierarchy_snapshot(), before, "the diagnosis left something behind\n{}", found.report);
        match Agent::new(None, None, &limits) {
            Ok(agent) => {
                let info = agent.info().unwrap();
                assert_eq!((found.obstacle, found.place), (None, Some(info.place)), "{}", found.report);
                assert_eq!(found.controllers, info.controllers, "{limits:?}\n{}", found.report);
                agent.destroy(false, deadline(), false).unwrap();
            }
            Err(e) => {
                assert_eq!(
                    (found.obstacle, found.place),
                    (e.reason(), None),
                    "{limits:?}: {e}\n{}",
                    found.report
                );
            }
        }
    }
}

#[test]
fn the_diagnosis_is_the_same_beside_an_agent() {
    let _alone = lock_place();
    let Ok(agent) = Agent::new(None, None, &Limits::default()) else { return refused_everywhere() };
    let found = diagnosed();
    assert_eq!(found.place, Some(agent.info().unwrap().place), "{}", found.report);
    assert!(Cgroup::at(agent.path()).exists());
    agent.destroy(false, deadline(), false).unwrap();
}

fn refused_everywhere() {
    assert!(discover_parent().is_err() && diagnosed().place.is_none());
}

#[test]
fn features_are_those_of_the_kernel() {
    let _alone = lock_place();
    let found = diagnosed();
    let has = |bit| found.features & bit != 0;
    if lab::layout() == "legacy" {
        assert_eq!(found.features, 0);
        return;
    }
    // The root cgroup of the machine has no such files, and there is no other cgroup here.
    if lab::layout() == "unified" && !lab::is_root() {
        assert_eq!(found.features, feature::XATTR | feature::NSDELEGATE, "{}", found.report);
        return;
    }
    assert_eq!(has(feature::KILL), !lab::hides("cgroup.kill"), "{}", found.report);
    assert_eq!(has(feature::MEMORY_PEAK), !found.controllers.is_empty() || found.place.is_none());
    assert!(has(feature::FREEZE) && has(feature::XATTR), "{}", found.report);
    assert_eq!(has(feature::NSDELEGATE), lab::layout() != "nodelegate-root", "{}", found.report);
    assert_eq!(has(feature::CLONE_INTO), found.place.is_some() || lab::is_root(), "{}", found.report);
    assert!(!has(feature::SYSTEMD) && !has(feature::PRESSURE), "{}", found.report);
}

#[test]
fn the_remedy_fits_the_layout() {
    let _alone = lock_place();
    let found = diagnosed();
    let expected: &[&str] = match (lab::layout().as_str(), lab::is_root()) {
        ("unified", false) => &["chown -R 1000 /sys/fs/cgroup/agents.1000"],
        ("session", _) => {
            &["loginctl enable-linger 1000", "systemd-run --user --scope -p Delegate=yes PROGRAM"]
        }
        ("hybrid" | "legacy", _) => &["systemd.unified_cgroup_hierarchy=1"],
        ("delegated-shared", _) => &["systemctl edit agent.service", "DelegateSubgroup=supervisor"],
        ("container-ro", true) => &["mount -o remount,rw /sys/fs/cgroup"],
        _ => &["What to do\n  Nothing.\n"],
    };
    for words in expected {
        assert!(found.report.contains(words), "no {words:?} in\n{}", found.report);
    }
    let nothing = found.place.is_some() && found.missing_controllers.is_empty();
    assert_eq!(found.report.contains("  Nothing."), nothing, "{}", found.report);
}

#[test]
fn the_report_is_plain_text_of_moderate_width() {
    let _alone = lock_place();
    let report = diagnosed().report;
    for line in report.lines() {
        // Commands and paths are not broken.
        let one_word = line.trim_start().split(' ').count() == 1;
        assert!(
            line.len() <= 110 || line.starts_with("        ") || one_word,
            "{} columns: {line}",
            line.len()
        );
        assert!(!line.contains(char::is_control) && line.trim_end() == line, "{line:?}");
    }
    assert!(report.ends_with('\n') && report.contains("\nWhat to do\n"), "{report}");
}

#[test]
fn a_shortage_of_descriptors_is_reported_as_such() {
    let _alone = lock_place();
    let mut member = Member::start("diagnose::has_no_descriptor_left", &[]);
    member.expect_line("reported");
    assert!(member.wait().success());
}

fn has_no_descriptor_left(_: &[String]) {
    setrlimit(Resource::RLIMIT_NOFILE, 3, 3).expect("setrlimit");
    let found = diagnose();
    assert_eq!((found.obstacle, found.place, found.features), (None, None, 0), "{}", found.report);
    for words in ["own cgroup            not known", "run out of descriptors", "ulimit -n"] {
        assert!(found.report.contains(words), "no {words:?} in\n{}", found.report);
    }
    role::send("reported");
}

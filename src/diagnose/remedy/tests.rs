// SPDX-License-Identifier: MIT OR Apache-2.0

use super::*;
use crate::diagnose::surroundings::{RefusedRestart, unit as unit_of};

/// A program of a user on a usual system, for which no place is found.
fn machine(cgroup: &str) -> Surroundings {
    Surroundings {
        uid: 1000,
        proc: true,
        own_cgroup: Some(cgroup.into()),
        mount_point: Some("/sys/fs/cgroup".into()),
        nsdelegate: true,
        read_only: false,
        namespace_root: false,
        unit: unit_of(cgroup.as_bytes()),
        refused_restart: None,
        systemd: true,
        manager_reached: false,
        library_missing: false,
        runtime_dir: false,
        runtime: None,
        wsl: false,
        v1: false,
        memory_disabled: false,
        place: false,
        obstacle: Some(Reason::NotDelegated),
        populated: false,
        missing: Controllers::NEEDED,
    }
}

const SERVICE: &str = "/system.slice/agent.service";
const SESSION: &str = "/user.slice/user-1000.slice/session-3.scope";
const DESKTOP: &str = "/user.slice/user-1000.slice/user@1000.service/app.slice/x.scope";

/// Each remedy is recognized by one of its lines.
#[track_caller]
fn gives(here: &Surroundings, expected: &[&str]) {
    let all = remedies(here);
    let texts: Vec<String> =
        all.iter().map(|one| format!("{}\n{}", one.what, one.lines.join("\n"))).collect();
    assert_eq!(texts.len(), expected.len(), "{texts:#?}");
    for (text, words) in texts.iter().zip(expected) {
        assert!(text.contains(words), "no {words:?} in {text}");
    }
}

#[test]
fn where_all_works_there_is_nothing_to_do() {
    let here = Surroundings { place: true, obstacle: None, missing: Controllers::NONE, ..machine(DESKTOP) };
    gives(&here, &[]);
}

#[test]
fn a_system_service_is_delegated_by_name_or_served_by_a_lingering_manager() {
    let here = machine(SERVICE);
    gives(&here, &["systemctl edit agent.service", "loginctl enable-linger 1000"]);
    gives(&Surroundings { uid: 0, ..here }, &["DelegateSubgroup=supervisor"]);
}

#[test]
fn a_service_with_a_read_only_cgroupfs_is_hardened_less() {
    let here = Surroundings { read_only: true, obstacle: Some(Reason::ReadOnly), ..machine(SERVICE) };
    gives(&here, &["DelegateSubgroup=supervisor\nProtectControlGroups=no"]);
}

#[test]
fn a_service_with_others_in_it_is_started_in_a_leaf() {
    let here = Surroundings { place: true, obstacle: None, populated: true, ..machine(SERVICE) };
    gives(&here, &["DelegateSubgroup=supervisor"]);
}

#[test]
fn a_service_that_cannot_start_beside_its_agents_is_changed_as_its_systemd_allows() {
    let refused = |has_subgroups| Some(RefusedRestart { kill_mode: "process".into(), has_subgroups });
    let works = Surroundings { place: true, obstacle: None, missing: Controllers::NONE, ..machine(SERVICE) };
    let new = Surroundings { refused_restart: refused(true), ..works.clone() };
    gives(&new, &["systemctl edit agent.service`:\n[Service]\nDelegateSubgroup=supervisor"]);
    let old = Surroundings { refused_restart: refused(false), ..works };
    gives(&old, &["Delegate=no\n\nsystemctl daemon-reload\nloginctl enable-linger 1000"]);
    gives(&Surroundings { uid: 0, ..old }, &["Delegate=no\n\nsystemctl daemon-reload"]);
}

#[test]
fn a_users_service_is_mended_by_the_user() {
    let here = machine("/user.slice/user-1000.slice/user@1000.service/app.slice/x.service");
    gives(&here, &["systemctl --user edit x.service"]);
}

#[test]
fn a_session_goes_below_the_user_manager_which_has_to_run() {
    let silent = Surroundings { library_missing: true, runtime_dir: true, ..machine(SESSION) };
    gives(&silent, &["libsystemd0", "systemd-run --user --scope"]);
    gives(&machine(SESSION), &["does not run", "systemd-run --user --scope -p Delegate=yes"]);
    let runs = Surroundings { runtime_dir: true, ..machine(SESSION) };
    gives(&runs, &["does not answer", "systemd-run --user --scope -p Delegate=yes"]);
}

#[test]
fn a_user_manager_that_lacks_a_controller_is_given_it() {
    let here = Surroundings { place: true, obstacle: None, missing: Controllers::CPU, ..machine(DESKTOP) };
    gives(&here, &["Delegate=cpu cpuset io memory pids"]);
    let of_session = Surroundings { own_cgroup: machine(SESSION).own_cgroup, manager_reached: true, ..here };
    gives(&of_session, &["these controllers: cpu."]);
}

#[test]
fn v1_hierarchies_are_left_by_a_boot() {
    let here = Surroundings { v1: true, obstacle: Some(Reason::NoCgroup2), ..machine(DESKTOP) };
    gives(&here, &["systemd.unified_cgroup_hierarchy=1"]);
    let hybrid = Surroundings { place: true, obstacle: None, systemd: false, ..here };
    gives(&hybrid, &["cgroup_no_v1=all"]);
    gives(&Surroundings { wsl: true, systemd: true, ..hybrid }, &["kernelCommandLine = cgroup_no_v1=all"]);
}

#[test]
fn wsl_is_advised_to_start_systemd_only_if_it_does_not() {
    let here = Surroundings { wsl: true, systemd: false, ..machine("/") };
    gives(&here, &["[boot]\nsystemd=true"]);
}

#[test]
fn a_container_is_advised_for_its_own_runtime() {
    let here = Surroundings {
        read_only: true,
        namespace_root: true,
        obstacle: Some(Reason::ReadOnly),
        systemd: false,
        uid: 0,
        ..machine("/")
    };
    for (runtime, words, other) in [
        (Runtime::Docker, "writable-cgroups=true", "podman"),
        (Runtime::Podman, "unmask=/sys/fs/cgroup", "docker"),
        (Runtime::Kubernetes, "cgroup_writable = true", "docker"),
    ] {
        let here = Surroundings { runtime: Some(runtime), ..here.clone() };
        gives(&here, &[words]);
        let lines = remedies(&here)[0].lines.join("\n");
        assert!(!lines.contains(other) && lines.contains("mount -o remount,rw /sys/fs/cgroup"), "{lines}");
    }
    gives(&here, &["docker run"]);
    let lines = remedies(&Surroundings { uid: 1000, ..here })[0].lines.join("\n");
    assert!(lines.contains("podman") && !lines.contains("remount"), "{lines}");
}

#[test]
fn a_mark_of_a_container_says_nothing_of_a_session() {
    let here = Surroundings { runtime: Some(Runtime::Docker), ..machine(SESSION) };
    gives(&here, &["enable-linger", "systemd-run"]);
}

#[test]
fn a_container_whose_cgroup_belongs_to_root_gives_it_to_the_uid() {
    let here = Surroundings { namespace_root: true, runtime: Some(Runtime::Docker), ..machine("/") };
    gives(&here, &["chown 1000 /sys/fs/cgroup /sys/fs/cgroup/cgroup.procs"]);
}

#[test]
fn a_container_that_is_not_alone_moves_its_processes() {
    let here =
        Surroundings { namespace_root: true, populated: true, place: true, obstacle: None, ..machine("/") };
    gives(&here, &["xargs -rn1 </sys/fs/cgroup/cgroup.procs >/sys/fs/cgroup/init/cgroup.procs"]);
}

#[test]
fn each_other_obstacle_has_its_remedy() {
    gives(
        &Surroundings { proc: false, obstacle: Some(Reason::NoCgroup2), ..machine("/") },
        &["mount -t proc"],
    );
    gives(&Surroundings { obstacle: Some(Reason::NoCgroup2), ..machine("/") }, &["mount -t cgroup2"]);
    gives(&Surroundings { obstacle: None, ..machine("/") }, &["ulimit -n"]);
    gives(&machine("/"), &["chown -R 1000 /sys/fs/cgroup/agents.1000"]);
    let off = Surroundings { memory_disabled: true, place: true, obstacle: None, ..machine("/") };
    gives(&off, &["cgroup_enable=memory"]);
}

#[test]
fn the_unit_is_the_innermost_one_and_never_the_manager_itself() {
    let name = |path: &str| unit_of(path.as_bytes()).map(|unit| (unit.name, unit.of_user));
    assert_eq!(name("/system.slice/agent.service/main"), Some(("agent.service".into(), false)));
    assert_eq!(name(DESKTOP), Some(("x.scope".into(), true)));
    assert_eq!(
        name("/user.slice/user-1000.slice/user@1000.service/init.scope"),
        Some(("init.scope".into(), true))
    );
    assert_eq!(name("/user.slice/user-1000.slice/user@1000.service"), None);
    assert_eq!(name("/"), None);
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mounts of cgroup2 that cover each other, show a part of the tree, or do not contain the process.

use crate::common::cgroup::{Cgroup, Scratch};
use crate::common::member::{Member, role};
use crate::common::mounts::{NONE, TOP, check_role, enter_mount_namespace, expect_agents_in, expect_refusal};
use crate::common::{deadline, lab};
use agentcg::{Agent, Limits, Reason, is_available};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use std::fs;
use std::path::{Path, PathBuf};

roles![
    covered_by_a_file_system,
    covered_after_the_first_agent,
    in_two_cgroups_by_turns,
    covered_with_another_mount,
    covered_with_a_part,
    in_a_part_that_is_mounted,
    outside_of_the_part_that_is_mounted,
    read_only_and_writable,
    outside_of_its_cgroup_namespace,
    without_proc,
];

#[test]
fn a_mount_covered_by_another_file_system_is_not_used() {
    let scratch = Scratch::new();
    let own = scratch.parent.make("leaf");
    check_role("covered_by_a_file_system", &[&own.0.to_string_lossy()]);
}

fn covered_by_a_file_system(args: &[String]) {
    role::enter(&Cgroup(args[0].clone().into()));
    enter_mount_namespace();
    mount(Some("cover"), TOP, Some("tmpfs"), MsFlags::empty(), NONE).expect("mount");
    assert!(!is_available());
    expect_refusal("ENODEV NoCgroup2");
}

#[test]
fn a_place_is_not_used_again_after_its_mount_was_covered() {
    let scratch = Scratch::new();
    let own = scratch.parent.make("leaf");
    check_role("covered_after_the_first_agent", &[&own.0.to_string_lossy()]);
}

fn covered_after_the_first_agent(args: &[String]) {
    role::enter(&Cgroup(args[0].clone().into()));
    enter_mount_namespace();
    let first = made_in_the_best_place();
    mount(Some("cover"), TOP, Some("tmpfs"), MsFlags::empty(), NONE).expect("mount");
    let e = Agent::new(None, None, &Limits::default()).expect_err("new");
    assert_eq!(e.reason(), Some(Reason::NoCgroup2), "{e}");
    umount2(TOP, MntFlags::MNT_DETACH).expect("umount");
    let second = made_in_the_best_place();
    assert_eq!(Cgroup::at(first.path()).parent(), Cgroup::at(second.path()).parent());
    end_all([first, second]);
}

#[test]
fn a_place_is_not_used_again_after_the_process_was_moved() {
    let scratches = [Scratch::new(), Scratch::new()];
    let leaves = scratches.each_ref().map(|scratch| scratch.parent.make("leaf").0);
    check_role("in_two_cgroups_by_turns", &leaves.each_ref().map(|leaf| leaf.to_str().expect("UTF-8")));
}

fn in_two_cgroups_by_turns(args: &[String]) {
    let mut agents = Vec::new();
    for leaf in [&args[0], &args[1], &args[1], &args[0], &args[0]] {
        let leaf = Cgroup(leaf.into());
        role::enter(&leaf);
        let agent = made_in_the_best_place();
        assert_eq!(Cgroup::at(agent.path()).parent(), leaf.parent().join("synwire/agents"));
        agents.push(agent);
    }
    end_all(agents);
}

fn made_in_the_best_place() -> Agent {
    Agent::new(None, None, &Limits::default()).unwrap_or_else(|e| panic!("{e}"))
}

fn end_all(agents: impl IntoIterator<Item = Agent>) {
    for agent in agents {
        agent.destroy(false, deadline(), false).unwrap_or_else(|e| panic!("{e}"));
    }
    role::send("ok");
}

#[test]
fn an_uncovered_mount_is_found_beside_a_covered_one() {
    let scratch = Scratch::new();
    let own = scratch.parent.make("leaf");
    check_role("covered_with_another_mount", &[&own.0.to_string_lossy()]);
}

fn covered_with_another_mount(args: &[String]) {
    let own = Cgroup(args[0].clone().into());
    role::enter(&own);
    enter_mount_namespace();
    let point = PathBuf::from(format!("/tmp/other-{}", std::process::id()));
    fs::create_dir(&point).expect("mkdir");
    mount(Some(TOP), &point, NONE, MsFlags::MS_BIND, NONE).expect("bind");
    // The covering file system has directories of the same names, which are not cgroups.
    mount(Some("cover"), TOP, Some("tmpfs"), MsFlags::empty(), NONE).expect("mount");
    fs::create_dir_all(&own.0).expect("mkdir");
    fs::write(own.0.join("cgroup.procs"), format!("{}\n", std::process::id())).expect("write");
    expect_agents_in(&point.join(own.parent().0.strip_prefix(TOP).unwrap()));
}

/// The kernel lists the covered mount too, but a path through it leads into the covering mount.
#[test]
fn a_mount_covered_by_a_part_of_the_tree_is_not_used() {
    let scratch = Scratch::new();
    let own = scratch.parent.make("leaf");
    check_role("covered_with_a_part", &[&own.0.to_string_lossy()]);
}

fn covered_with_a_part(args: &[String]) {
    let own = Cgroup(args[0].clone().into());
    let part = own.parent();
    role::enter(&own);
    enter_mount_namespace();
    mount(Some(&part.0), TOP, NONE, MsFlags::MS_BIND, NONE).expect("bind");
    // There is a cgroup with the path of the process's own, but the process is not in it.
    fs::create_dir_all(&own.0).expect("mkdir");
    assert_eq!(Cgroup(own.0.clone()).read("cgroup.procs"), "");
    expect_agents_in(Path::new(TOP));
}

#[test]
fn a_mounted_part_of_the_tree_is_used_if_it_contains_the_process() {
    let scratch = Scratch::new();
    let own = scratch.parent.make("leaf");
    check_role("in_a_part_that_is_mounted", &[&own.0.to_string_lossy()]);
}

/// Mounts a part of the tree in the place of the whole. Container engines show a container its own cgroup in
/// this way if it has no cgroup namespace.
fn mount_alone(part: &Path) {
    enter_mount_namespace();
    let point = format!("/tmp/part-{}", std::process::id());
    fs::create_dir(&point).expect("mkdir");
    mount(Some(part), point.as_str(), NONE, MsFlags::MS_BIND, NONE).expect("bind");
    umount2(TOP, MntFlags::MNT_DETACH).expect("umount");
    mount(Some(point.as_str()), TOP, NONE, MsFlags::MS_BIND, NONE).expect("bind");
    umount2(point.as_str(), MntFlags::MNT_DETACH).expect("umount");
}

fn in_a_part_that_is_mounted(args: &[String]) {
    let own = Cgroup(args[0].clone().into());
    role::enter(&own);
    mount_alone(&own.parent().0);
    expect_agents_in(Path::new(TOP));
}

#[test]
fn there_is_no_place_if_only_another_part_of_the_tree_is_mounted() {
    let scratch = Scratch::new();
    scratch.parent.make("leaf");
    // The name of this sibling is a prefix of the other one.
    scratch.parent.make("le");
    check_role("outside_of_the_part_that_is_mounted", &[&scratch.parent.0.to_string_lossy()]);
}

fn outside_of_the_part_that_is_mounted(args: &[String]) {
    let parent = Cgroup(args[0].clone().into());
    role::enter(&parent.join("leaf"));
    mount_alone(&parent.join("le").0);
    assert!(!is_available());
    expect_refusal("ENODEV NoCgroup2");
}

#[test]
fn a_writable_mount_is_preferred_to_a_read_only_one() {
    let scratch = Scratch::new();
    let own = scratch.parent.make("leaf");
    check_role("read_only_and_writable", &[&own.0.to_string_lossy()]);
}

fn read_only_and_writable(args: &[String]) {
    let own = Cgroup(args[0].clone().into());
    role::enter(&own);
    enter_mount_namespace();
    let point = PathBuf::from(format!("/tmp/writable-{}", std::process::id()));
    fs::create_dir(&point).expect("mkdir");
    mount(Some(TOP), &point, NONE, MsFlags::MS_BIND, NONE).expect("bind");
    let read_only = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
    mount(NONE, TOP, NONE, read_only, NONE).expect("remount");
    expect_agents_in(&point.join(own.parent().0.strip_prefix(TOP).unwrap()));
}

#[test]
fn there_is_no_place_outside_of_the_cgroup_namespace() {
    lab::needs(&["unified"]);
    let scratch = Scratch::new();
    let namespace = scratch.parent.make("namespace");
    let mut member = Member::start("outside_of_its_cgroup_namespace", &[&namespace.0.to_string_lossy()]);
    member.expect_line("move me out");
    // The process itself can no longer leave the namespace's root.
    scratch.parent.make("outside").move_in(member.pid());
    member.send("done");
    member.expect_line("ok");
    assert!(member.wait().success());
}

fn outside_of_its_cgroup_namespace(args: &[String]) {
    role::enter(&Cgroup(args[0].clone().into()));
    unshare(CloneFlags::CLONE_NEWCGROUP).expect("unshare");
    role::send("move me out");
    role::receive();
    assert!(!is_available());
    expect_refusal("ENODEV OutsideNamespace");
}

#[test]
fn there_is_no_place_without_proc() {
    check_role("without_proc", &[]);
}

fn without_proc(_: &[String]) {
    enter_mount_namespace();
    umount2("/proc", MntFlags::MNT_DETACH).expect("umount");
    assert!(!is_available());
    let e = Agent::new(None, None, &Limits::default()).expect_err("new");
    assert_eq!(format!("{:?} {:?}", e.errno(), e.reason().expect("a reason")), "ENODEV NoCgroup2", "{e}");
    role::send("ok");
}

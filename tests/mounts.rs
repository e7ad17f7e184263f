// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mounts that cover each other, show a part of the tree, or nothing of ours.

#[macro_use]
mod common;

use agentcg::{Agent, Limits, is_available};
use common::cgroup::{Cgroup, Scratch};
use common::lab;
use common::member::{Member, role, sleeper};
use common::mounts::{NONE, TOP, check_role, enter_mount_namespace, expect_agents_in, expect_refusal};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use std::fs;
use std::path::{Path, PathBuf};

roles![
    sleeper,
    covered,
    covered_with_another_mount,
    covered_with_a_part,
    in_a_part_that_is_mounted,
    outside_of_the_part_that_is_mounted,
    read_only_and_writable,
    outside_of_its_cgroup_namespace,
    without_proc,
];

#[test]
fn a_mount_that_another_file_system_covers_is_none() {
    let scratch = Scratch::new();
    let own = scratch.parent.make("leaf");
    check_role("covered", &[&own.0.to_string_lossy()]);
}

fn covered(args: &[String]) {
    role::enter(&Cgroup(args[0].clone().into()));
    enter_mount_namespace();
    mount(Some("cover"), TOP, Some("tmpfs"), MsFlags::empty(), NONE).expect("mount");
    assert!(!is_available());
    expect_refusal("ENODEV NoCgroup2");
}

#[test]
fn a_mount_that_is_not_covered_is_found_beside_one_that_is() {
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
    // With directories of the same names, which are no cgroups.
    mount(Some("cover"), TOP, Some("tmpfs"), MsFlags::empty(), NONE).expect("mount");
    fs::create_dir_all(&own.0).expect("mkdir");
    fs::write(own.0.join("cgroup.procs"), format!("{}\n", std::process::id())).expect("write");
    expect_agents_in(&point.join(own.parent().0.strip_prefix(TOP).unwrap()));
}

/// The kernel lists the covered mount too, and a path through it leads into the one on top.
#[test]
fn a_mount_that_a_part_of_the_tree_covers_is_none() {
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
    // There is a cgroup where ours would be, but we are not in it.
    fs::create_dir_all(&own.0).expect("mkdir");
    assert_eq!(Cgroup(own.0.clone()).read("cgroup.procs"), "");
    expect_agents_in(Path::new(TOP));
}

#[test]
fn where_a_part_of_the_tree_is_mounted_it_is_enough_that_we_are_below() {
    let scratch = Scratch::new();
    let own = scratch.parent.make("leaf");
    check_role("in_a_part_that_is_mounted", &[&own.0.to_string_lossy()]);
}

/// As a container's engine shows a container its own cgroup, without a namespace for it.
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
fn where_only_another_part_of_the_tree_is_mounted_there_is_no_place() {
    let scratch = Scratch::new();
    scratch.parent.make("leaf");
    // Of the same name, up to a point.
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
fn a_writable_mount_is_better_than_a_read_only_one() {
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
fn outside_of_our_cgroup_namespace_there_is_no_place() {
    lab::needs(&["unified"]);
    let scratch = Scratch::new();
    let namespace = scratch.parent.make("namespace");
    let mut member = Member::start("outside_of_its_cgroup_namespace", &[&namespace.0.to_string_lossy()]);
    member.expect_line("move me out");
    // It cannot do so itself any more.
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
fn without_proc_there_is_no_place() {
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

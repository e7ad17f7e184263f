// SPDX-License-Identifier: MIT OR Apache-2.0
//! What only root can set up, or do.

use super::fixture::Fixture;
use crate::common::lab;
use crate::common::member::role;
use crate::common::mounts::{self, NONE, TOP};
use crate::common::program::StartOptions;
use nix::mount::{MsFlags, mount};
use nix::unistd::{pipe, read, write};
use std::fs;
use std::os::fd::AsRawFd;

#[test]
fn root_that_is_contained_still_writes_roots_files() {
    lab::needs(&["unified"]);
    let stage = Fixture::new();
    assert_eq!(stage.play("writes a setting of the kernel's", &[], true, StartOptions::default()), Ok(()));
}

/// Directories and single files of it.
#[test]
fn it_does_not_find_the_hierarchy_where_else_it_is_mounted() {
    mounts::check_role("mounts_elsewhere", &[]);
}

pub fn mounts_elsewhere(_: &[String]) {
    mounts::enter_mount_namespace();
    let stage = Fixture::new();
    let [dir, file] = ["dir", "file"].map(|name| format!("/tmp/elsewhere-{name}"));
    fs::create_dir(&dir).unwrap();
    fs::write(&file, "").unwrap();
    mount(Some(TOP), dir.as_str(), NONE, MsFlags::MS_BIND, NONE).unwrap();
    let limit = stage.sibling.cgroup.0.join("memory.max");
    mount(Some(&limit), file.as_str(), NONE, MsFlags::MS_BIND, NONE).unwrap();
    // What cannot be reached needs not be hidden.
    fs::create_dir_all("/tmp/elsewhere-covered/below").unwrap();
    mount(Some(TOP), "/tmp/elsewhere-covered/below", NONE, MsFlags::MS_BIND, NONE).unwrap();
    mount(Some("tmpfs"), "/tmp/elsewhere-covered", Some("tmpfs"), MsFlags::empty(), NONE).unwrap();
    let play = |act, point: &str, contain| stage.play(act, &[point], contain, StartOptions::default());
    for (act, point) in [("goes by another mount", &dir), ("writes by another mount", &file)] {
        stage.sibling.cgroup.write("memory.max", 64 << 20);
        // /dev/null, which hides the file, takes all that is written.
        let _done = play(act, point, true);
        assert_eq!(stage.sibling.cgroup.number("memory.max"), 64 << 20, "{act}");
        assert_eq!(play(act, point, false), Ok(()));
        assert_eq!(stage.sibling.cgroup.read("memory.max"), "max");
    }
    role::send("ok");
}

#[test]
fn it_still_finds_the_hierarchy_where_it_is_mounted_later() {
    mounts::check_role("mounts_later", &[]);
}

pub fn mounts_later(_: &[String]) {
    mounts::enter_mount_namespace();
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_SHARED, NONE).unwrap();
    let (stage, point) = (Fixture::new(), "/tmp/elsewhere-later");
    fs::create_dir(point).unwrap();
    let (its_input, to_it) = pipe().unwrap();
    let (from_it, its_output) = pipe().unwrap();
    std::thread::scope(|scope| {
        let stdio = [its_input.as_raw_fd(), its_output.as_raw_fd(), 2];
        let how = StartOptions { stdio, ..StartOptions::default() };
        let played = scope.spawn(move || stage.play("goes by a mount of later", &[point], true, how));
        assert_eq!(read(&from_it, &mut [0; 6]), Ok(6), "begun");
        mount(Some(TOP), point, NONE, MsFlags::MS_BIND, NONE).unwrap();
        assert_eq!(write(&to_it, b"go\n"), Ok(3));
        assert_eq!(played.join().unwrap(), Ok(()));
    });
    role::send("ok");
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! What only root can set up or do.

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
fn a_contained_root_can_write_the_files_of_root() {
    lab::needs(&["unified"]);
    let fixture = Fixture::new();
    assert_eq!(fixture.attempt("writes a setting of the kernel", &[], true, StartOptions::default()), Ok(()));
}

/// Mounts of directories and of single files of it.
#[test]
fn an_agent_cannot_find_other_mounts_of_the_hierarchy() {
    mounts::check_role("mounts_elsewhere", &[]);
}

pub fn mounts_elsewhere(_: &[String]) {
    mounts::enter_mount_namespace();
    let fixture = Fixture::new();
    let [dir, file] = ["dir", "file"].map(|name| format!("/tmp/elsewhere-{name}"));
    fs::create_dir(&dir).unwrap();
    fs::write(&file, "").unwrap();
    mount(Some(TOP), dir.as_str(), NONE, MsFlags::MS_BIND, NONE).unwrap();
    let limit = fixture.sibling.cgroup.0.join("memory.max");
    mount(Some(&limit), file.as_str(), NONE, MsFlags::MS_BIND, NONE).unwrap();
    // A mount that cannot be reached need not be hidden.
    fs::create_dir_all("/tmp/elsewhere-covered/below").unwrap();
    mount(Some(TOP), "/tmp/elsewhere-covered/below", NONE, MsFlags::MS_BIND, NONE).unwrap();
    mount(Some("tmpfs"), "/tmp/elsewhere-covered", Some("tmpfs"), MsFlags::empty(), NONE).unwrap();
    let play =
        |attempt, point: &str, contain| fixture.attempt(attempt, &[point], contain, StartOptions::default());
    for (attempt, point) in [("uses another mount", &dir), ("writes through another mount", &file)] {
        fixture.sibling.cgroup.write("memory.max", 64 << 20);
        // /dev/null, which hides the file, accepts all data.
        let _done = play(attempt, point, true);
        assert_eq!(fixture.sibling.cgroup.number("memory.max"), 64 << 20, "{attempt}");
        assert_eq!(play(attempt, point, false), Ok(()));
        assert_eq!(fixture.sibling.cgroup.read("memory.max"), "max");
    }
    role::send("ok");
}

#[test]
fn an_agent_can_find_a_later_mount_of_the_hierarchy() {
    mounts::check_role("mounts_later", &[]);
}

pub fn mounts_later(_: &[String]) {
    mounts::enter_mount_namespace();
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_SHARED, NONE).unwrap();
    let (fixture, point) = (Fixture::new(), "/tmp/elsewhere-later");
    fs::create_dir(point).unwrap();
    let (input_reader, input_writer) = pipe().unwrap();
    let (output_reader, output_writer) = pipe().unwrap();
    std::thread::scope(|scope| {
        let stdio = [input_reader.as_raw_fd(), output_writer.as_raw_fd(), 2];
        let options = StartOptions { stdio, ..StartOptions::default() };
        let attempt = scope.spawn(move || fixture.attempt("uses a later mount", &[point], true, options));
        assert_eq!(read(&output_reader, &mut [0; 6]), Ok(6), "begun");
        mount(Some(TOP), point, NONE, MsFlags::MS_BIND, NONE).unwrap();
        assert_eq!(write(&input_writer, b"go\n"), Ok(3));
        assert_eq!(attempt.join().unwrap(), Ok(()));
    });
    role::send("ok");
}

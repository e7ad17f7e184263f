// SPDX-License-Identifier: MIT OR Apache-2.0
//! Cgroups and mount points can have unusual names.

use crate::common::cgroup::{Cgroup, Scratch};
use crate::common::lab;
use crate::common::member::role;
use crate::common::mounts::{NONE, TOP, check_role, enter_mount_namespace, expect_agents_in};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

roles![in_the_named_cgroup, under_a_strange_mount_point];

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    digits.map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}

#[test]
fn a_cgroup_can_have_any_name() {
    lab::needs(&["unified"]);
    let names: [&[u8]; 9] = [
        b"..x",
        b"...",
        b" leading and trailing ",
        b"tab\tand\\backslash",
        b"0::/",
        b"a:b",
        b"\xff\xfe\x80",
        b"x (deleted)",
        &[b'n'; 255],
    ];
    for name in names {
        for nested in [false, true] {
            let scratch = Scratch::new();
            let own = scratch.parent.make(OsStr::from_bytes(name));
            // Either the cgroup of the process has the name, or the parent of the process's cgroup and of the
            // agents.
            let own = if nested {
                for parent in [&scratch.parent, &own] {
                    parent.write("cgroup.subtree_control", "+pids");
                }
                own.make("leaf")
            } else {
                own
            };
            check_role("in_the_named_cgroup", &[&hex(own.0.as_os_str().as_bytes())]);
        }
    }
}

#[test]
fn a_cgroup_at_the_top_whose_name_begins_with_two_dots_is_used() {
    lab::needs(&["unified"]);
    for name in ["..x", "...", ".. "] {
        let own = Cgroup(TOP.into()).make(name);
        check_role("in_the_named_cgroup", &[&hex(own.0.as_os_str().as_bytes())]);
        own.remove();
    }
}

fn in_the_named_cgroup(args: &[String]) {
    let own = Cgroup::at(unhex(&args[0]));
    role::enter(&own);
    expect_agents_in(&own.parent().0);
}

#[test]
fn a_mount_point_can_have_any_name() {
    let names: [&[u8]; 4] = [b"a mount", b"back\\slash", b"\xff#\t", b"\\040"];
    for name in names {
        let scratch = Scratch::new();
        let own = scratch.parent.make("leaf");
        check_role("under_a_strange_mount_point", &[&hex(own.0.as_os_str().as_bytes()), &hex(name)]);
    }
}

fn under_a_strange_mount_point(args: &[String]) {
    let own = Cgroup::at(unhex(&args[0]));
    role::enter(&own);
    enter_mount_namespace();
    let base = PathBuf::from(format!("/tmp/mounts-{}", std::process::id()));
    let point = base.join(OsStr::from_bytes(&unhex(&args[1])));
    fs::create_dir_all(&point).expect("mkdir");
    mount(Some(TOP), &point, NONE, MsFlags::MS_BIND, NONE).expect("bind");
    umount2(TOP, MntFlags::MNT_DETACH).expect("umount");
    let below = own.parent().0.strip_prefix(TOP).unwrap().to_owned();
    expect_agents_in(&point.join(below));
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Roles with their own mount namespace. They need root.

use super::cgroup::Cgroup;
use super::member::{Member, role};
use super::{deadline, lab};
use agentcg::{Agent, Limits, diagnose, discover_parent, is_available};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// The mount point of cgroup2 in the layout.
pub const TOP: &str = "/sys/fs/cgroup";
/// An argument that mount(2) does not need.
pub const NONE: Option<&str> = None;

/// Checks that the role succeeds and that no process of it is left.
pub fn check_role(name: &str, args: &[&str]) {
    lab::needs(&["unified"]);
    let mut member = Member::start(name, args);
    member.expect_line("ok");
    assert!(member.wait().success());
}

/// Gives the process its own mount namespace.
pub fn enter_mount_namespace() {
    unshare(CloneFlags::CLONE_NEWNS).expect("unshare");
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE).expect("make private");
}

/// Checks that an agent can be made under this parent and used.
pub fn expect_agents_in(parent: &Path) {
    assert!(is_available());
    assert_eq!(PathBuf::from(OsString::from_vec(discover_parent().expect("discover"))), parent);
    let found = diagnose();
    assert!(found.obstacle.is_none() && found.place.is_some(), "{}", found.report);
    let agent = Agent::new(None, None, &Limits { pids_max: Some(9), ..Limits::default() }).expect("new");
    let cgroup = Cgroup::at(agent.path());
    assert_eq!(cgroup, Cgroup(parent.join("synwire/agents").join(agent.uuid())));
    assert_eq!(cgroup.read("pids.max"), "9");
    let mut member = Member::start("sleeper", &[]);
    agent.move_pid(member.pid()).expect("move_pid");
    member.send("go");
    member.expect_line("ready");
    agent.destroy(false, deadline(), true).expect("destroy");
    assert!(member.is_dead() && !cgroup.exists());
    role::send("ok");
}

/// Checks that there is no place for an agent, for this reason.
pub fn expect_refusal(expected: &str) {
    let e = Agent::new(None, None, &Limits::default()).expect_err("new");
    assert_eq!(format!("{:?} {:?}", e.errno(), e.reason().expect("a reason")), expected, "{e}");
    assert!(e.message().len() <= 183, "{e}");
    assert_eq!(discover_parent().expect_err("discover"), e);
    let found = diagnose();
    assert_eq!((found.obstacle, found.place), (e.reason(), None), "{}", found.report);
    assert!(!found.report.contains("  Nothing."), "{}", found.report);
    role::send("ok");
}

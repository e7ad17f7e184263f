// SPDX-License-Identifier: MIT OR Apache-2.0
//! Roles that see other mounts than everybody else. Only root can make such.

use super::cgroup::Cgroup;
use super::member::{Member, role};
use super::{lab, patience};
use agentcg::{Agent, Limits, diagnose, discover_parent, is_available};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// Where the layout has its cgroup2.
pub const TOP: &str = "/sys/fs/cgroup";
/// Not given to mount(2).
pub const NONE: Option<&str> = None;

/// The role says nothing wrong, and nothing of it is left in the tree.
pub fn plays(name: &str, args: &[&str]) {
    lab::needs(&["unified"]);
    let mut member = Member::start(name, args);
    member.hears("as it should be");
    assert!(member.wait().success());
}

/// From now on mounts are ours alone.
pub fn own_mounts() {
    unshare(CloneFlags::CLONE_NEWNS).expect("unshare");
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE).expect("make private");
}

/// An agent can be had, under this parent, and be used.
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
    member.say("go");
    member.hears("ready");
    agent.destroy(false, patience(), true).expect("destroy");
    assert!(member.is_dead() && !cgroup.exists());
    role::say("as it should be");
}

/// There is no place for an agent, for this reason.
pub fn expect_refusal(expected: &str) {
    let e = Agent::new(None, None, &Limits::default()).expect_err("new");
    assert_eq!(format!("{:?} {:?}", e.errno(), e.reason().expect("a reason")), expected, "{e}");
    assert!(e.message().len() <= 183, "{e}");
    assert_eq!(discover_parent().expect_err("discover"), e);
    let found = diagnose();
    assert_eq!((found.obstacle, found.place), (e.reason(), None), "{}", found.report);
    assert!(!found.report.contains("  Nothing."), "{}", found.report);
    role::say("as it should be");
}

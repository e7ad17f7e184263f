// SPDX-License-Identifier: MIT OR Apache-2.0
//! In a container whose processes have left its root cgroup, agents are made beside them.

use crate::common::cgroup::Cgroup;
use crate::common::member::{Member, role};
use crate::common::{deadline, lab};
use agentcg::{Agent, Limits, PlaceKind, discover_parent};

roles![moves_processes_out_of_the_root];

#[test]
fn a_container_with_an_empty_root_can_have_agents() {
    lab::needs(&["container"]);
    let mut member = Member::start("moves_processes_out_of_the_root", &[]);
    member.expect_line("outside: EACCES Some(OutsideNamespace)");
    member.expect_line("done");
    assert!(member.wait().success());
}

fn moves_processes_out_of_the_root(_: &[String]) {
    let root = Cgroup("/sys/fs/cgroup".into());
    let host = root.make("host");
    for pid in root.words("cgroup.procs") {
        host.write("cgroup.procs", pid);
    }
    assert_eq!(discover_parent().expect("discover"), b"/sys/fs/cgroup");
    let limits = Limits { pids_max: Some(5), memory_max: Some(64 << 20), ..Limits::default() };
    let agent = Agent::new(None, None, &limits).expect("new");
    assert_eq!(agent.info().expect("info").place, PlaceKind::Sibling);
    let cgroup = Cgroup::at(agent.path());
    assert_eq!(cgroup.read("pids.max"), "5");
    assert_eq!(cgroup.read("memory.max"), "67108864");
    let mut member = Member::start("sleeper", &[]);
    agent.move_pid(member.pid()).expect("move_pid");
    member.send("go");
    member.expect_line("ready");
    // Process 1 belongs to the lab and is outside of the cgroup namespace.
    let e = agent.move_pid(1).expect_err("moved");
    role::send(&format!("outside: {:?} {:?}", e.errno(), e.reason()));
    agent.destroy(false, deadline(), true).expect("destroy");
    assert!(member.is_dead() && !cgroup.exists());
    role::send("done");
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! If the process is in the cgroup that becomes the parent of agents, and no other process is, the library
//! moves it to a child of that cgroup. This is one test, since it moves the whole program.

use crate::common::cgroup::Cgroup;
use crate::common::{deadline, lab};
use agentcg::{Agent, Errno, Limits, PlaceKind, PlaceRequest, Reason, discover_parent, list};
use std::os::unix::ffi::OsStrExt;

#[test]
fn the_caller_is_moved_to_a_child_of_its_cgroup_only_if_it_is_alone_there() {
    lab::needs(&["delegated", "container", "nodelegate-root"]);
    let kind = if lab::layout() == "delegated" { PlaceKind::Delegated } else { PlaceKind::Root };
    let unit = Cgroup::own();
    let before = unit.snapshot();
    assert_eq!(discover_parent().expect("discover"), unit.0.as_os_str().as_bytes());

    let limits = Limits { memory_max: Some(64 << 20), pids_max: Some(9), ..Limits::default() };
    let keep_caller = PlaceRequest { keep_caller: true, ..PlaceRequest::default() };
    let e = Agent::new_where(keep_caller, None, &limits).expect_err("keep_caller was ignored");
    assert_eq!((e.errno(), e.reason()), (Errno::EOPNOTSUPP, Some(Reason::NoController)), "{e}");
    assert_eq!((unit.snapshot(), Cgroup::own().0), (before.clone(), unit.0.clone()));

    // Without limits, agents can be made beside the process.
    let agent = Agent::new_where(keep_caller, None, &Limits::default()).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!((agent.info().expect("info").controllers.bits(), Cgroup::own().0), (0, unit.0.clone()));
    agent.destroy(false, deadline(), false).expect("destroy");
    assert_eq!(unit.snapshot(), before);

    // The lab's kernel has no io.weight, which is the last limit to be set.
    let e = Agent::new(None, None, &Limits { io_weight: Some(100), ..Limits::default() }).expect_err("io");
    assert_eq!((e.errno(), e.reason()), (Errno::EOPNOTSUPP, Some(Reason::NoController)), "{e}");
    assert_eq!((unit.snapshot(), Cgroup::own().0), (before, unit.0.clone()), "the process is back");

    let agents: Vec<Agent> =
        (0..2).map(|_| Agent::new(None, None, &limits).unwrap_or_else(|e| panic!("{e}"))).collect();
    assert_eq!(Cgroup::own().0, unit.0.join("supervisor"));
    assert!(unit.words("cgroup.procs").is_empty());
    // The search for places reaches this cgroup twice.
    assert_eq!(list(None).map(|entries| entries.len()), Ok(2));
    for agent in agents {
        let cgroup = Cgroup::at(agent.path());
        assert_eq!(cgroup.0, unit.0.join("synwire/agents").join(agent.uuid()));
        assert_eq!(agent.info().expect("info").place, kind);
        assert_eq!((cgroup.read("memory.max"), cgroup.read("pids.max")), ("67108864".into(), "9".into()));
        agent.destroy(false, deadline(), false).expect("destroy");
    }
    assert_eq!(discover_parent().expect("discover"), unit.0.as_os_str().as_bytes());
}

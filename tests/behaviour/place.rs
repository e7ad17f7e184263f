// SPDX-License-Identifier: MIT OR Apache-2.0
//! The place of agents in each layout, or the error and its advice if there is no place. These tests run in
//! every layout, before any other program has made agents there.

use crate::common::cgroup::Cgroup;
use crate::common::{deadline, hierarchy_snapshot, lab, lock_place};
use agentcg::{Agent, CpuMax, Errno, Limits, PlaceKind, Reason, discover_parent, is_available};

/// The expected result in a layout.
enum Expected {
    /// The kind and the path of the place, and whether limits are available there.
    Place(PlaceKind, &'static str, bool),
    /// The errno, the reason, and the end of the message.
    Refusal(Errno, Reason, &'static str),
}

const DELEGATE: &str = "run under a user manager (systemd-run --user --scope) or in a unit with Delegate=yes";

fn expected() -> Expected {
    use Expected::{Place, Refusal};
    match (lab::layout().as_str(), lab::is_root()) {
        ("unified", true) => Place(PlaceKind::Root, "/sys/fs/cgroup", true),
        ("unified", false) => Refusal(Errno::EACCES, Reason::NotDelegated, DELEGATE),
        ("user", _) => Place(
            PlaceKind::Sibling,
            "/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/app.slice",
            true,
        ),
        ("session", _) => Refusal(Errno::EACCES, Reason::NotDelegated, DELEGATE),
        ("hybrid", true) => Place(PlaceKind::Sibling, "/sys/fs/cgroup/unified/system.slice", false),
        ("hybrid", false) => Place(
            PlaceKind::Sibling,
            "/sys/fs/cgroup/unified/user.slice/user-1000.slice/user@1000.service/app.slice",
            false,
        ),
        ("legacy", _) => {
            Refusal(Errno::ENODEV, Reason::NoCgroup2, "boot with systemd.unified_cgroup_hierarchy=1")
        }
        ("delegated" | "delegated-unmarked" | "delegated-subgroup", _) => {
            Place(PlaceKind::Delegated, "/sys/fs/cgroup/system.slice/agent.service", true)
        }
        ("delegated-shared", _) => {
            Place(PlaceKind::Delegated, "/sys/fs/cgroup/system.slice/agent.service", false)
        }
        ("container" | "nodelegate-root", true) => Place(PlaceKind::Root, "/sys/fs/cgroup", true),
        ("container-ro", _) => Refusal(Errno::EROFS, Reason::ReadOnly, "a container a writable mount"),
        (other, root) => panic!("nothing is written down for layout {other}, root: {root}"),
    }
}

#[test]
fn a_place_is_available_if_the_cgroup_of_the_process_is_mounted() {
    assert_eq!(is_available(), lab::layout() != "legacy");
}

#[test]
fn looking_for_a_place_changes_nothing() {
    let _alone = lock_place();
    let before = hierarchy_snapshot();
    let found = discover_parent();
    assert_eq!(hierarchy_snapshot(), before);
    match (expected(), found) {
        (Expected::Place(_, path, _), Ok(found)) => assert_eq!(String::from_utf8_lossy(&found), path),
        (Expected::Refusal(errno, reason, _), Err(e)) => {
            assert_eq!((e.errno(), e.reason()), (errno, Some(reason)))
        }
        (_, found) => panic!("{found:?}"),
    }
}

#[test]
fn new_makes_an_agent_where_discover_parent_says_or_fails_with_the_same_error() {
    let _alone = lock_place();
    let before = hierarchy_snapshot();
    let made = Agent::new(None, None, &Limits::default());
    match (expected(), made) {
        (Expected::Place(kind, path, limits), Ok(agent)) => {
            let info = agent.info().unwrap();
            assert_eq!(info.place, kind);
            let expected = format!("{path}/synwire/agents/{}", agent.uuid());
            assert_eq!(String::from_utf8_lossy(&agent.path()), expected);
            assert_eq!(discover_parent().unwrap(), path.as_bytes(), "the same while the agent exists");
            let cgroup = Cgroup::at(agent.path());
            assert_eq!(info.controllers.to_string(), in_order(&cgroup));
            assert_eq!(!info.controllers.is_empty(), limits);
            assert_eq!(cgroup.read("cgroup.type"), "domain");
            agent.destroy(false, deadline(), false).unwrap();
            assert!(!cgroup.exists());
        }
        (Expected::Refusal(_, _, advice), Err(e)) => {
            assert!(e.message().ends_with(advice), "{e}");
            assert_eq!(discover_parent().unwrap_err(), e, "discover_parent and new agree");
            check_message(&e);
            assert_eq!(hierarchy_snapshot(), before, "the refused attempt left something behind");
        }
        (_, made) => panic!("{made:?}"),
    }
}

/// Returns the controllers in the order in which the library enables and names them.
fn in_order(cgroup: &Cgroup) -> String {
    let available = cgroup.words("cgroup.controllers");
    let order = ["memory", "io", "hugetlb", "pids", "cpuset", "cpu"];
    order.into_iter().filter(|one| available.contains(*one)).collect::<Vec<_>>().join(" ")
}

#[test]
fn limits_are_set_if_they_are_available_and_refused_otherwise() {
    let _alone = lock_place();
    let before = hierarchy_snapshot();
    let limits = Limits {
        memory_max: Some(64 << 20),
        pids_max: Some(20),
        cpu_max: Some(CpuMax { millicpu: 500, period_us: 0 }),
        ..Limits::default()
    };
    match (expected(), Agent::new(None, None, &limits)) {
        (Expected::Place(_, _, true), Ok(agent)) => {
            let cgroup = Cgroup::at(agent.path());
            assert_eq!(cgroup.read("memory.max"), "67108864");
            assert_eq!(cgroup.read("pids.max"), "20");
            assert_eq!(cgroup.read("cpu.max"), "50000 100000");
            agent.destroy(false, deadline(), false).unwrap();
        }
        (Expected::Place(_, _, false), Err(e)) => {
            assert_eq!((e.errno(), e.reason()), (Errno::EOPNOTSUPP, Some(Reason::NoController)), "{e}");
            assert_eq!(e.file(), "cpu.max");
            check_message(&e);
            assert_eq!(hierarchy_snapshot(), before, "the refused attempt left something behind");
        }
        (Expected::Refusal(errno, reason, advice), Err(e)) => {
            assert_eq!((e.errno(), e.reason()), (errno, Some(reason)), "{e}");
            assert!(e.message().ends_with(advice), "{e}");
            assert_eq!(hierarchy_snapshot(), before, "the refused attempt left something behind");
        }
        (_, made) => panic!("{made:?}"),
    }
}

/// The lab's kernel has no io.weight, which is the last limit to be set.
#[test]
fn a_refused_limit_leaves_the_place_unchanged() {
    let _alone = lock_place();
    let before = hierarchy_snapshot();
    let limits = Limits { io_weight: Some(100), max_depth: Some(1), ..Limits::default() };
    let e = Agent::new(None, None, &limits).unwrap_err();
    let expected = match expected() {
        Expected::Place(..) => (Errno::EOPNOTSUPP, Some(Reason::NoController), "io.weight"),
        Expected::Refusal(errno, reason, _) => (errno, Some(reason), e.file()),
    };
    assert_eq!((e.errno(), e.reason(), e.file()), expected, "{e}");
    check_message(&e);
    assert_eq!(hierarchy_snapshot(), before, "the refused attempt left something behind");
}

fn check_message(e: &agentcg::Error) {
    assert!(e.message().len() <= 183, "{} bytes: {e}", e.message().len());
    assert!(!e.message().contains(char::is_control), "{e:?}");
}

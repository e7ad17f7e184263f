// SPDX-License-Identifier: MIT OR Apache-2.0
//! Freezing, and its effect on the end of an agent.

use super::{deadline, group_of};
use crate::common::cgroup::Scratch;
use crate::common::group::Group;
use crate::common::lab;
use agentcg::{Deadline, Errno, Limits};
use std::time::Duration;

/// Without a freezer the tests only check the refusal.
fn no_freezer() -> bool {
    lab::hides("cgroup.freeze")
}

fn now() -> Deadline {
    Deadline::after(Duration::ZERO)
}

fn freeze_setting(group: &Group) -> String {
    group.cgroup.read("cgroup.freeze")
}

#[test]
fn without_a_freezer_freezing_is_refused() {
    let (group, mut member) = group_of("sleeper", 1);
    for outcome in [group.freeze(deadline()), group.thaw(deadline())] {
        match outcome {
            Ok(()) => assert!(!no_freezer()),
            Err(e) => {
                assert!(no_freezer(), "{e}");
                assert_eq!((e.errno(), e.file()), (Errno::EOPNOTSUPP, "cgroup.freeze"));
            }
        }
    }
    assert!(!member.is_dead());
    group.destroy();
}

#[test]
fn all_processes_are_frozen_when_freeze_returns_and_none_when_thaw_returns() {
    if no_freezer() {
        return;
    }
    let (group, mut member) = group_of("five_cgroups_deep", 6);
    let mut busy = group.start("burner", &[]);
    busy.expect_line("ready");
    for _ in 0..10 {
        group.freeze(deadline()).unwrap();
        assert_eq!(group.cgroup.value("cgroup.events", "frozen"), 1);
        group.thaw(deadline()).unwrap();
        assert_eq!(group.cgroup.value("cgroup.events", "frozen"), 0);
    }
    group.freeze(deadline()).unwrap();
    // A second freeze changes nothing.
    group.freeze(now()).unwrap();
    group.kill_all(deadline()).unwrap();
    assert!(member.is_dead() && busy.is_dead());
    group.destroy();
}

#[test]
fn an_empty_group_freezes_at_once() {
    if no_freezer() {
        return;
    }
    let group = Group::plain();
    group.freeze(now()).unwrap();
    assert_eq!(group.cgroup.value("cgroup.events", "frozen"), 1);
    group.thaw(now()).unwrap();
    group.destroy();
}

/// Freezes the group without time to wait until the deadline is exceeded: a burner must be interrupted first.
fn freeze_until_timeout(group: &Group, before: &str) {
    for _ in 0..1000 {
        group.cgroup.write("cgroup.freeze", before);
        let Err(e) = group.freeze(now()) else {
            group.thaw(deadline()).unwrap();
            continue;
        };
        assert_eq!((e.errno(), e.reason(), e.file()), (Errno::ETIMEDOUT, None, "cgroup.freeze"));
        return;
    }
    panic!("no freeze exceeded its deadline");
}

#[test]
fn a_freeze_that_exceeds_its_deadline_is_undone() {
    if no_freezer() {
        return;
    }
    let group = Group::plain();
    let mut busy: Vec<_> = (0..5).map(|_| group.start("burner", &[])).collect();
    busy.iter_mut().for_each(|one| one.expect_line("ready"));
    freeze_until_timeout(&group, "0");
    assert_eq!(freeze_setting(&group), "0");
    group.cgroup.wait_for("cgroup.events", |text| text.contains("frozen 0"));
    // A freeze that another process has begun is kept.
    freeze_until_timeout(&group, "1");
    assert_eq!(freeze_setting(&group), "1");
    group.destroy();
}

#[test]
fn a_group_below_a_frozen_cgroup_does_not_thaw() {
    if no_freezer() {
        return;
    }
    let scratch = Scratch::new();
    let group = Group::under(&scratch, &Limits::default());
    let mut member = group.start("sleeper", &[]);
    member.expect_line("ready");
    group.freeze(deadline()).unwrap();
    scratch.parent.write("cgroup.freeze", 1);
    scratch.parent.wait_for_value("cgroup.events", "frozen", 1);
    let e = group.thaw(Deadline::after(Duration::from_millis(20))).unwrap_err();
    assert_eq!((e.errno(), e.file()), (Errno::ETIMEDOUT, "cgroup.freeze"));
    assert!(e.message().contains("above"), "{e}");
    assert_eq!(freeze_setting(&group), "0");
    scratch.parent.write("cgroup.freeze", 0);
    group.thaw(deadline()).unwrap();
    group.destroy();
}

#[test]
fn frozen_processes_are_thawed_to_end_even_if_they_froze_themselves() {
    if no_freezer() {
        return;
    }
    let (group, mut member) = group_of("five_cgroups_deep", 6);
    let below = group.cgroup.join("one/two");
    below.write("cgroup.freeze", 1);
    below.wait_for_value("cgroup.events", "frozen", 1);
    group.freeze(deadline()).unwrap();
    assert_eq!(group.terminate(deadline(), Some(Duration::ZERO)), Ok(false));
    member.wait_dead();
    assert_eq!(freeze_setting(&group), "0");
    group.destroy();
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Without accounting of pressure the watch is refused, and no event is invented.

use super::{SECOND, TENTH, expect_none, expect_stall, stalled_group, watch_cpu};
use crate::common::group::Group;
use agentcg::events::{FROZEN, Resource, STALLED, StallKind, Threshold};
use agentcg::{Agent, Errno};
use std::time::Duration;

const ALL: [(Resource, &str); 3] =
    [(Resource::Cpu, "cpu.pressure"), (Resource::Memory, "memory.pressure"), (Resource::Io, "io.pressure")];

#[track_caller]
fn expect_refusal(agent: &Agent) {
    for (resource, file) in ALL {
        for kind in [StallKind::Some, StallKind::Full] {
            let refused = agent.watch_stall(resource, kind, TENTH).unwrap_err();
            assert_eq!((refused.errno(), refused.file()), (Errno::EOPNOTSUPP, file));
            assert!(refused.message().contains("psi=1"), "{refused}");
        }
    }
}

#[test]
fn without_psi_the_watch_is_refused_and_nothing_stalls() {
    let group = Group::plain();
    expect_refusal(&group);
    group.event_fd(STALLED | FROZEN).unwrap();
    expect_refusal(&group);
    expect_none(&group, Duration::from_millis(300));
    // A watch that does not exist can be ended.
    group.watch_stall(Resource::Memory, StallKind::Full, None).unwrap();
    group.destroy();
}

#[test]
fn a_threshold_that_no_window_can_reach_is_refused() {
    let group = Group::plain();
    let ms = Duration::from_millis;
    for (stall, window) in [(1, 99), (1, 3_600_001), (101, 100), (0, 0)] {
        let threshold = Threshold { stall: ms(stall), window: ms(window) };
        let refused = group.watch_stall(Resource::Cpu, StallKind::Some, Some(threshold)).unwrap_err();
        assert_eq!(refused.errno(), Errno::EINVAL, "{threshold:?}");
    }
    group.destroy();
}

/// What the group has waited for meanwhile does not count: the kernel has not measured it.
#[test]
fn while_accounting_is_off_in_the_group_nothing_is_reported_with_psi() {
    let (group, member) = stalled_group();
    group.event_fd(STALLED).unwrap();
    watch_cpu(&group, TENTH);
    expect_stall(&group);
    group.cgroup.write("cgroup.pressure", 0);
    expect_refusal(&group);
    // The window in which it was switched off may have had a stall.
    let _ = group.next_events(agentcg::Deadline::after(SECOND)).unwrap();
    expect_none(&group, 3 * SECOND);
    group.cgroup.write("cgroup.pressure", 1);
    expect_stall(&group);
    group.destroy();
    drop(member);
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The stats that `destroy` returns are measured after the last process has died.

use super::memory::THREE_KILLED;
use super::{MIB, memory_max};
use crate::common::group::Group;
use crate::common::measured::available;
use agentcg::Limits;
use agentcg::stats::{MEMORY_PEAK, PIDS_PEAK};

#[test]
fn the_last_stats_of_a_group_out_of_memory_include_the_kill_and_the_usage() {
    for round in 0..10 {
        let group = Group::new(&Limits { oom_group: Some(true), ..memory_max(16 * MIB) });
        let mut member = group.start("memory::hog_and_two_sleepers", &[]);
        // Destroying it earlier would change the count: the kernel no longer counts a process that destroy
        // kills on another CPU.
        group.cgroup.wait_for_value("memory.events", "oom_kill", 3);
        let last = group.destroy();
        member.wait_dead();
        assert_eq!(last.mask, available(), "round {round}");
        assert!(THREE_KILLED.contains(&last.memory_events_oom_kill), "round {round}: {last:?}");
        assert!(last.cpu_usage_ns > 0 && last.memory_events_max > 0, "round {round}: {last:?}");
        assert_eq!(last.populated, 0, "round {round}");
        if available() & MEMORY_PEAK != 0 {
            assert!((15 * MIB..=16 * MIB).contains(&last.memory_peak_bytes), "round {round}: {last:?}");
        }
        if available() & PIDS_PEAK != 0 {
            assert_eq!(last.pids_peak, 3, "round {round}");
        }
    }
}

#[test]
fn the_last_stats_include_the_usage_up_to_the_kill() {
    let group = Group::new(&Limits { pids_max: Some(5), ..Limits::default() });
    let mut member = group.start("pids::fails_to_fork", &[]);
    member.expect_line("7 refused");
    let before = group.read_stats(available()).unwrap();
    assert_eq!(before.pids_current, 5);
    let last = group.destroy();
    assert_eq!((last.pids_events_max, last.populated), (7, 0), "{last:?}");
    assert!(last.time_ns > before.time_ns && last.cpu_usage_ns >= before.cpu_usage_ns);
}

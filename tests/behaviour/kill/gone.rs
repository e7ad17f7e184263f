// SPDX-License-Identifier: MIT OR Apache-2.0
//! Controllers are disabled and enabled above a group, as systemd does at a daemon-reload. Their files are
//! removed and created again; the group stays.

use crate::common::group::Group;
use crate::common::member::Member;
use crate::common::{deadline, repetitions, wait_until};
use agentcg::{CpuMax, Limits, Reason};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

fn a_tenth_of_a_cpu() -> Limits {
    let cpu_max = CpuMax { millicpu: 100, period_us: 0 };
    Limits { cpu_max: Some(cpu_max), ..Limits::default() }
}

/// Runs `work` while another thread disables and enables the cpu controller for all agents of the place.
fn while_cpu_is_toggled<T>(beside: &Group, work: impl FnOnce() -> T) -> T {
    struct Ends<'a>(&'a AtomicBool);
    impl Drop for Ends<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let (agents, over) = (beside.cgroup.parent(), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                for change in ["-cpu", "+cpu"] {
                    agents.write("cgroup.subtree_control", change);
                    thread::yield_now();
                }
            }
        });
        let _ends = Ends(&over);
        work()
    })
}

/// Makes a group with three processes that use all the CPU time that they get.
fn busy_group() -> (Group, Vec<Member>) {
    let group = Group::new(&a_tenth_of_a_cpu());
    let mut members: Vec<_> = (0..3).map(|_| group.start("burner", &[])).collect();
    members.iter_mut().for_each(|member| member.expect_line("ready"));
    (group, members)
}

#[test]
fn a_group_whose_cpu_controller_is_toggled_is_killed_and_removed() {
    let beside = Group::plain();
    for round in 0..repetitions(30) {
        let (group, mut members) = busy_group();
        while_cpu_is_toggled(&beside, || {
            if round % 2 == 0 {
                group.kill_all(deadline()).unwrap_or_else(|e| panic!("round {round}: {e}"));
                assert!(members.iter_mut().all(Member::is_dead), "round {round}");
            }
            group.agent().destroy(false, deadline(), true).unwrap_or_else(|e| panic!("round {round}: {e}"));
            assert!(!group.cgroup.exists(), "round {round}");
        });
        assert!(members.iter_mut().all(Member::is_dead), "round {round}");
    }
    beside.destroy();
}

#[test]
fn a_group_whose_cpu_controller_is_toggled_is_not_reported_as_gone() {
    let group = Group::new(&a_tenth_of_a_cpu());
    let never_gone =
        |what: &str, e: agentcg::Error| assert_ne!(e.reason(), Some(Reason::Gone), "{what}: {e}");
    while_cpu_is_toggled(&group, || {
        for _ in 0..400 {
            group.set_limits(&a_tenth_of_a_cpu(), false).unwrap_or_else(|e| never_gone("set_limits", e));
            group.limits().map(drop).unwrap_or_else(|e| never_gone("limits", e));
            group.read_stats(u64::MAX).map(drop).unwrap_or_else(|e| never_gone("read_stats", e));
        }
    });
    wait_until("its files are back", || group.cgroup.has("cpu.max"));
    group.set_limits(&a_tenth_of_a_cpu(), false).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(group.cgroup.read("cpu.max"), "10000 100000");
    group.destroy();
}

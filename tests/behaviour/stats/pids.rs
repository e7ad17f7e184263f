// SPDX-License-Identifier: MIT OR Apache-2.0
//! The number of processes, its peak, and the number of refused forks.

use crate::common::group::Group;
use crate::common::measured::{available, check_stats};
use crate::common::member::role;
use crate::common::wait_until;
use agentcg::Limits;
use agentcg::stats::PIDS_PEAK;

#[test]
fn each_refused_fork_is_counted_and_the_peak_is_the_limit() {
    let group = Group::new(&Limits { pids_max: Some(5), ..Limits::default() });
    let mut member = group.start("pids::fails_to_fork", &[]);
    member.expect_line("7 refused");
    let stats = check_stats(&group);
    assert_eq!((stats.pids_current, stats.pids_events_max), (5, 7), "{stats:?}");
    group.kill_all(crate::common::deadline()).unwrap();
    member.reap();
    wait_until("all are reaped", || group.read_stats(available()).unwrap().pids_current == 0);
    let stats = check_stats(&group);
    assert_eq!((stats.pids_current, stats.pids_events_max), (0, 7), "{stats:?}");
    assert_eq!(stats.pids_peak, if available() & PIDS_PEAK == 0 { 0 } else { 5 }, "{stats:?}");
    group.destroy();
}

/// A role that forks four children, and fails to fork seven times.
pub fn fails_to_fork(_: &[String]) {
    role::receive();
    let mut refused = 0;
    while refused < 7 {
        match role::try_fork() {
            Ok(true) => role::sleep(),
            Ok(false) => {}
            Err(_) => refused += 1,
        }
    }
    role::send(&format!("{refused} refused"));
    role::sleep();
}

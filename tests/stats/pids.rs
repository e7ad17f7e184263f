// SPDX-License-Identifier: MIT OR Apache-2.0
//! How many processes, at most, and how many were refused.

use crate::common::group::Group;
use crate::common::measured::{agrees, offered};
use crate::common::member::role;
use crate::common::wait_until;
use agentcg::Limits;
use agentcg::stats::PIDS_PEAK;

#[test]
fn each_fork_that_is_refused_is_counted_and_the_peak_is_the_limit() {
    let group = Group::new(&Limits { pids_max: Some(5), ..Limits::default() });
    let mut member = group.start("forks_in_vain", &[]);
    member.hears("7 refused");
    let stats = agrees(&group);
    assert_eq!((stats.pids_current, stats.pids_events_max), (5, 7), "{stats:?}");
    group.kill_all(crate::common::patience()).unwrap();
    member.reap();
    wait_until("all are waited for", || group.read_stats(offered()).unwrap().pids_current == 0);
    let stats = agrees(&group);
    assert_eq!((stats.pids_current, stats.pids_events_max), (0, 7), "{stats:?}");
    assert_eq!(stats.pids_peak, if offered() & PIDS_PEAK == 0 { 0 } else { 5 }, "{stats:?}");
    group.destroy();
}

/// Four children, and seven more that there is no room for.
pub fn forks_in_vain(_: &[String]) {
    role::listen();
    let mut refused = 0;
    while refused < 7 {
        match role::try_fork() {
            Ok(true) => role::sleep(),
            Ok(false) => {}
            Err(_) => refused += 1,
        }
    }
    role::say(&format!("{refused} refused"));
    role::sleep();
}

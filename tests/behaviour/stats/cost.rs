// SPDX-License-Identifier: MIT OR Apache-2.0
//! A reading is one system call per file, whether the file is present or not.

use crate::common::measured::ALL;
use crate::common::member::{Member, role};
use crate::common::{deadline, ptrace};
use agentcg::stats::{CPU, CPU_THROTTLE, MEMORY};
use agentcg::{Agent, Limits};

#[test]
fn a_reading_is_one_system_call_per_file_present_or_not() {
    let stops = |which: u64, times: u32| {
        let member = Member::start("reads", &[&which.to_string(), &times.to_string()]);
        ptrace::count_stops(member.pid())
    };
    // A reading of no stats still reads the clock, which takes a system call on some kernels.
    let calls = |which| (stops(which, 3) - stops(which, 1)) / 2 / 2;
    let clock = calls(0);
    assert_eq!(calls(CPU | CPU_THROTTLE | MEMORY) - clock, 2);
    assert_eq!(calls(ALL) - clock, 16);
}

/// A role that reads twice to fill the descriptor cache, and then a given number of times under trace.
pub fn reads(args: &[String]) {
    let [which, times] = [0, 1].map(|at: usize| args[at].parse::<u64>().expect("a number"));
    let agent = Agent::new(None, None, &Limits::default()).expect("new");
    for _ in 0..2 {
        agent.read_stats(which).expect("read_stats");
    }
    ptrace::wait_for_tracer();
    for _ in 0..times {
        agent.read_stats(which).expect("read_stats");
    }
    agent.destroy(false, deadline(), false).expect("destroy");
    role::exit(0);
}

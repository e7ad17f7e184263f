// SPDX-License-Identifier: MIT OR Apache-2.0
//! The limits of agents that compete for CPU time, devices and memory.

mod inside;
mod io;
mod memory;
mod protection;
mod time;

use crate::common::group::Group;
use agentcg::Limits;

roles![inside::makes_cgroups, time::counts, time::works_at_intervals];

const MIB: u64 = 1 << 20;

fn none() -> Limits {
    Limits::default()
}

#[track_caller]
fn set(group: &Group, limits: &Limits) {
    group.set_limits(limits, false).unwrap_or_else(|e| panic!("{limits:?}: {e}"));
}

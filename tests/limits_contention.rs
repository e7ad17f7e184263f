// SPDX-License-Identifier: MIT OR Apache-2.0
//! The limits of agents that compete for CPU time, devices and memory.

#[macro_use]
mod common;

#[path = "limits_contention/inside.rs"]
mod inside;
#[path = "limits_contention/io.rs"]
mod io;
#[path = "limits_contention/memory.rs"]
mod memory;
#[path = "limits_contention/protection.rs"]
mod protection;
#[path = "limits_contention/time.rs"]
mod time;

use agentcg::Limits;
use common::device::reads_on;
use common::group::Group;
use common::member::hog;

roles![hog, reads_on, inside::makes_cgroups, time::counts, time::works_at_intervals];

const MIB: u64 = 1 << 20;

fn none() -> Limits {
    Limits::default()
}

#[track_caller]
fn set(group: &Group, limits: &Limits) {
    group.set_limits(limits, false).unwrap_or_else(|e| panic!("{limits:?}: {e}"));
}

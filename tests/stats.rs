// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `read_stats` tells is what the kernel's own files say, and what they do not say is marked so. Each number is
//! moved by a known amount, and is seen to be that one and no other.

#[macro_use]
mod common;
#[path = "stats/telling.rs"]
mod telling;

use agentcg::{CpuMax, Limits};
use common::lab;
use common::member::{burner, sleeper};

roles![sleeper, burner, telling::three_of_them];

fn throttled(millicpu: u64) -> Limits {
    match lab::layout().as_str() {
        "hybrid" => Limits::default(),
        _ => Limits { cpu_max: Some(CpuMax { millicpu, period_us: 0 }), ..Limits::default() },
    }
}

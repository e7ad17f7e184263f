// SPDX-License-Identifier: MIT OR Apache-2.0
//! `read_stats` returns what the kernel's files say, and its mask shows what they do not say. The tests
//! change each number by a known amount and check that it is the only one that changes.

mod availability;
mod cost;
mod io;
mod last;
mod memory;
mod pids;
mod pressure;

use crate::common::lab;
use agentcg::{CpuMax, Limits};

roles![
    cost::reads,
    io::reads_and_writes,
    io::caches,
    memory::frees_memory,
    memory::holds_each_kind,
    memory::hog,
    memory::hog_and_two_sleepers,
    pids::fails_to_fork,
    availability::three_processes,
];

const MIB: u64 = 1 << 20;

fn memory_max(bytes: u64) -> Limits {
    Limits { memory_max: Some(bytes), swap_max: Some(0), ..Limits::default() }
}

fn throttled(millicpu: u64) -> Limits {
    match lab::layout().as_str() {
        "hybrid" => Limits::default(),
        _ => Limits { cpu_max: Some(CpuMax { millicpu, period_us: 0 }), ..Limits::default() },
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whatever an agent does to get away, after `kill_all` and after `destroy` nothing of it is there, and nothing else was
//! touched. Each case is run as often as it takes to meet the kernel at a bad moment. The table of tests/lab/behaviour
//! has it on every path: with cgroup.kill, without, without the freezer, and with the pids controller alone.

#[macro_use]
mod common;
#[path = "hostile/cgroups.rs"]
mod cgroups;
#[path = "hostile/closed.rs"]
mod closed;
#[path = "hostile/escapes.rs"]
mod escapes;
#[path = "hostile/forking.rs"]
mod forking;
#[path = "hostile/hiding.rs"]
mod hiding;
#[path = "hostile/meddling.rs"]
mod meddling;
#[path = "hostile/unresponsive.rs"]
mod unresponsive;

use agentcg::Limits;
use common::fixture::bystander;
use common::member::sleeper;

roles![
    sleeper,
    bystander,
    closed::closes_all,
    escapes::fork_bomb,
    escapes::rolling_forkers,
    escapes::threads_that_fork,
    escapes::five_thousand,
    escapes::without_main_thread,
    escapes::in_new_sessions,
    escapes::five_cgroups_deep,
    escapes::fifty_cgroups_deep,
    escapes::in_a_threaded_cgroup,
    escapes::that_makes_and_removes_cgroups,
    escapes::stopped,
    escapes::in_a_pid_namespace,
    escapes::traced,
    escapes::debugger,
    escapes::in_vfork,
    escapes::with_500_megabytes,
    hiding::kills_from_a_pid_namespace,
    meddling::maker,
    meddling::remover,
];

fn no_limits() -> Limits {
    Limits::default()
}

fn so_many(pids_max: u64) -> Limits {
    Limits { pids_max: Some(pids_max), ..Limits::default() }
}

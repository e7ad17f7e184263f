// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whatever an agent does to escape, `kill_all` and `destroy` leave nothing of it and touch nothing else.
//! Each case runs for many rounds, so that some of them meet the kernel at a bad moment. tests/lab/rows runs
//! it on every path: with cgroup.kill, without it, without the freezer, and with the pids controller only.

mod cgroups;
pub mod escapes;
mod forking;
mod hiding;
mod interference;
mod removed_access;
mod unresponsive;

use agentcg::Limits;

roles![
    removed_access::removes_all_access,
    escapes::fork_bomb,
    escapes::rolling_forkers,
    escapes::threads_that_fork,
    escapes::five_thousand_processes,
    escapes::without_main_thread,
    escapes::in_new_sessions,
    escapes::five_cgroups_deep,
    escapes::fifty_cgroups_deep,
    escapes::in_a_threaded_cgroup,
    escapes::makes_and_removes_cgroups,
    escapes::stopped,
    escapes::in_a_pid_namespace,
    escapes::traced,
    escapes::debugger,
    escapes::in_vfork,
    escapes::with_500_megabytes,
    hiding::kills_from_a_pid_namespace,
    interference::maker,
    interference::remover,
];

fn no_limits() -> Limits {
    Limits::default()
}

fn with_pids_max(pids_max: u64) -> Limits {
    Limits { pids_max: Some(pids_max), ..Limits::default() }
}

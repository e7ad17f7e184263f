// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `AGENTCG_SPAWN_CONTAIN` prevents. Each attempt is made by a contained program and also by one that is
//! not contained, to check that it would succeed.

mod attempts;
mod entries;
mod fixture;
mod inside;
mod isolation;
mod refused;
mod remaining_access;
mod root;
mod systemd;

roles![
    attempts::attempt,
    remaining_access::host_on_a_terminal,
    remaining_access::host_that_is_not_dumpable,
    remaining_access::host_that_waits,
    root::mounts_elsewhere,
    root::mounts_later,
    inside::reads_its_root,
    inside::cannot_raise_its_cgroup_limits,
    inside::moves_into_its_cgroups,
    inside::sends_its_credentials,
    inside::writes_a_file,
    inside::has_agents,
    inside::sleeps_in_a_nested_cgroup,
];

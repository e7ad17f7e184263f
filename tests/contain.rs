// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `AGENTCG_SPAWN_CONTAIN` stops. Each act is tried by a contained program and, to see that it would have
//! worked, by one that is not.

#[macro_use]
mod common;
#[path = "contain/attempts.rs"]
mod attempts;
#[path = "contain/entries.rs"]
mod entries;
#[path = "contain/fixture.rs"]
mod fixture;
#[path = "contain/inside.rs"]
mod inside;
#[path = "contain/isolation.rs"]
mod isolation;
#[path = "contain/refused.rs"]
mod refused;
#[path = "contain/remaining_access.rs"]
mod remaining_access;
#[path = "contain/root.rs"]
mod root;
#[path = "contain/systemd.rs"]
mod systemd;

roles![
    common::member::sleeper,
    attempts::act,
    remaining_access::host_on_a_terminal,
    remaining_access::host_that_is_not_dumpable,
    remaining_access::host_that_waits,
    root::mounts_elsewhere,
    root::mounts_later,
    inside::looks_around,
    inside::looks_at_its_bounds,
    inside::goes_deeper,
    inside::tells_who_it_is,
    inside::writes_a_file,
    inside::has_agents,
    inside::hides_below,
];

// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `AGENTCG_SPAWN_CONTAIN` stops. Each act is tried by a contained program and, to see that it would have
//! worked, by one that is not.

#[macro_use]
mod common;
#[path = "contain/acts.rs"]
mod acts;
#[path = "contain/doors.rs"]
mod doors;
#[path = "contain/held.rs"]
mod held;
#[path = "contain/inside.rs"]
mod inside;
#[path = "contain/refused.rs"]
mod refused;
#[path = "contain/root.rs"]
mod root;
#[path = "contain/stage.rs"]
mod stage;
#[path = "contain/systemd.rs"]
mod systemd;
#[path = "contain/ways.rs"]
mod ways;

roles![
    common::member::sleeper,
    acts::act,
    doors::host_on_a_terminal,
    doors::host_that_is_not_dumpable,
    doors::host_that_waits,
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

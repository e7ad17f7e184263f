// SPDX-License-Identifier: MIT OR Apache-2.0
//! `spawn` starts programs that are in the group from the first instruction on, whichever way they get there, or
//! says why it did not, and then leaves nothing behind.

#[macro_use]
mod common;
#[path = "spawn/many.rs"]
mod many;
#[path = "spawn/oom.rs"]
mod oom;
#[path = "spawn/refusals.rs"]
mod refusals;
#[path = "spawn/ways.rs"]
mod ways;

roles![many::host, oom::fills, oom::host_of_full, ways::ends, refusals::sleeps];

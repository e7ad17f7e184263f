// SPDX-License-Identifier: MIT OR Apache-2.0
//! `spawn` starts programs that are in the group from their first instruction on, on each spawn path. If it
//! fails, it reports the cause and leaves nothing behind.

mod asynchronous;
mod begun;
mod entries;
mod frozen;
mod many;
mod oom;
mod options;
mod protected;
mod refusals;
mod timeout;

roles![
    begun::begins,
    begun::host_of_tiny_group_with_a_reaper,
    begun::host_that_ignores_its_children,
    begun::host_with_a_reaper,
    many::host,
    oom::fills,
    oom::host_of_full_group,
    options::host_with_a_terminal,
    options::reports,
    protected::host_with_an_oom_score,
    protected::sends_its_oom_score,
    refusals::sleeps,
    entries::ends,
];

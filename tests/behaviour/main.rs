// SPDX-License-Identifier: MIT OR Apache-2.0
//! The behaviour of the library on a real kernel, through the Rust API. Each module is a program of tests/lab/rows, whose
//! tests run in a process of their own. They are one crate: as forty they took a minute more of CPU time to check and build.

#[macro_use]
mod common;

mod contain;
mod container;
mod crash;
mod descriptors;
mod destroy;
mod diagnose;
mod events;
mod find;
mod fork;
mod guard;
mod hostile;
mod inside;
mod kill;
mod labels;
mod limits_change;
mod limits_contention;
mod limits_enforced;
mod limits_set;
mod many_agents;
mod many_stalls;
mod migrate;
mod mounts;
mod move_out;
mod names;
mod nested;
mod orphans;
mod parent;
mod place;
mod place_limits;
mod scope;
mod session;
mod sessions;
mod spawn;
mod stalls;
mod stats;
mod stopping;
mod syscalls;
mod tree;
mod uids;
mod vacate;
mod verdict;

/// The roles of every module.
const ROLES: &[&[common::member::NamedRole]] = &[
    common::ROLES,
    contain::ROLES,
    container::ROLES,
    crash::ROLES,
    descriptors::ROLES,
    destroy::ROLES,
    diagnose::ROLES,
    events::ROLES,
    find::ROLES,
    fork::ROLES,
    guard::ROLES,
    hostile::ROLES,
    inside::ROLES,
    kill::ROLES,
    labels::ROLES,
    limits_change::ROLES,
    limits_contention::ROLES,
    limits_enforced::ROLES,
    many_agents::ROLES,
    many_stalls::ROLES,
    migrate::ROLES,
    mounts::ROLES,
    move_out::ROLES,
    names::ROLES,
    nested::ROLES,
    orphans::ROLES,
    parent::ROLES,
    place_limits::ROLES,
    scope::ROLES,
    sessions::ROLES,
    spawn::ROLES,
    stalls::ROLES,
    stats::ROLES,
    stopping::ROLES,
    syscalls::ROLES,
    uids::ROLES,
    verdict::ROLES,
];

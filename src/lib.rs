// SPDX-License-Identifier: MIT OR Apache-2.0
//! One Linux cgroup v2 per agent: limit it, measure it, kill all of it.
//!
//! The product is a C library, `libagentcg.so.0` with `agentcg.h`; [`ffi`] is that interface. The public items in
//! Rust beside it are for the tests and the guard. They follow the crate's version, not the library's: only the C
//! interface is kept stable.
//!
//! ```text
//! ffi                            pointers, sizes, panics; no logic
//! agent diagnose                 the handle; why an agent can or cannot be made here
//! place                          where agents are made: delegated, made by systemd, given
//! guard                          the process beside the host, src/bin/agentcg-guard.rs, and its client
//! events spawn                   what happens in a group; programs started in it
//! kill                           kill, terminate, signal, freeze, remove; who is in a group
//! owner limits stats verdict     the owner's lock and note; the files of limits and of statistics; why an agent ended
//! cgroupfs procfs systemd        the only modules that open files of the hierarchy and of /proc; systemd over sd-bus
//! sys                            system calls that nix lacks, descriptors, locks, memory
//! parse error                    the kernel's text to numbers, pure; the error of every call
//! ```
//!
//! A module uses only modules of the lines below its own (tests/structure.rs).

// A library that others' runtimes load does not get to panic.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

pub mod ffi;

mod agent;
mod cgroupfs;
mod diagnose;
mod error;
pub mod events;
mod guard;
mod kill;
mod limits;
mod owner;
mod parse;
mod place;
mod procfs;
mod spawn;
pub mod stats;
mod sys;
mod systemd;
pub mod verdict;

pub use agent::{
    Agent, Entry, Found, Info, SpawnOptions, find, find_pidfd, kill_all_of, list, list_tagged, reap,
    reap_tagged,
};
pub use cgroupfs::AgentName;
pub use cgroupfs::controllers::Controllers;
pub use diagnose::{Diagnosis, diagnose, diagnose_for, feature};
pub use error::{Error, Reason, Result};
#[doc(hidden)]
pub use guard::run as run_guard;
pub use limits::{CpuMax, Limits};
pub use nix::errno::Errno;
pub use parse::{Label, OwnerNote, Tag, UNLIMITED};
pub use place::{
    Kind as PlaceKind, PlaceRequest, Systemd, discover as discover_parent, get_limits as get_place_limits,
    is_available, set_limits as set_place_limits,
};
pub use spawn::command::{BeginTimeout, Command, DEVNULL, INHERIT, Redirection, ResourceLimit, Strings};
pub use spawn::parent::Child;
pub use sys::deadline::Deadline;

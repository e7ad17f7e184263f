// SPDX-License-Identifier: MIT OR Apache-2.0
//! One Linux cgroup v2 per agent: limit it, measure it, kill all of it.
//!
//! The product is a C library, `libagentcg.so.0` with `agentcg.h`; [`ffi`] is its edge. What is public
//! in Rust beside it is what the edge is made of. It follows the crate's version, not the library's:
//! only the C interface is kept stable.
//!
//! ```text
//! ffi                    pointers, sizes, panics; no logic
//!  |
//! agent                  the handle
//!  |
//! diagnose
//!  |
//! terminate
//!  |
//! place owner limits stats watch events kill signal freeze remove migrate spawn contain   one verb or noun each
//!  |
//! members farewell
//! guard                  the process beside the host and its program, src/bin/agentcg-guard.rs: on kill and remove;
//!  |                     place has it keep a scope of systemd's
//!  |
//! cgroupfs procfs        all file access       parse path controllers  pure
//! systemd                its managers, by sd-bus, where one is needed
//! ```

// A library that others' runtimes load does not get to panic.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

pub mod ffi;

mod agent;
mod cgroupfs;
mod contain;
mod controllers;
mod deadline;
mod diagnose;
mod error;
mod events;
mod farewell;
mod freeze;
mod guard;
mod kernel;
mod kernfile;
mod kill;
mod limits;
mod members;
mod migrate;
mod overrides;
mod owner;
mod parse;
mod path;
mod place;
mod procfs;
mod remove;
mod reuse;
mod signal;
mod spawn;
pub mod stats;
mod sys;
mod systemd;
mod terminate;
pub mod watch;

pub use agent::{Agent, Entry, Info, Spawn, list, reap};
pub use controllers::Controllers;
pub use deadline::Deadline;
pub use diagnose::{Diagnosis, diagnose, diagnose_for, feature};
pub use error::{Error, Reason, Result};
#[doc(hidden)]
pub use guard::run as run_guard;
pub use limits::{CpuMax, Limits};
pub use nix::errno::Errno;
pub use parse::{OwnerNote, UNLIMITED};
pub use place::{Kind as PlaceKind, Systemd, Wish, discover as discover_parent, is_available};
pub use sys::birth::{Child, Program, Strings};
pub use sys::newborn::{DEVNULL, INHERIT};

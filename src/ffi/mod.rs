// SPDX-License-Identifier: MIT OR Apache-2.0
//! The edge to C: pointers, sizes and panics, no logic. cbindgen makes `include/agentcg.h` from the
//! files of this module, one section of the header a file: what stands here is what C users read, so
//! the comments speak C.
//!
//! The rules of this layer:
//!
//! * Every exported function that does anything is one call of [`boundary::guard`]: a panic becomes
//!   `-ENOTRECOVERABLE`, an errno that neither the function nor the conventions list becomes `-EIO`.
//! * Every pointer is checked for NULL before it is followed; no reference is made of a C pointer but
//!   in [`memory`] and [`handle`].
//! * No `&mut` of a handle, ever: several threads may hold it.
//! * Outputs are written on success only, the error on failure only.

#![allow(unsafe_code)]
#![allow(non_camel_case_types, reason = "the names are C's")]
#![allow(missing_docs, clippy::missing_safety_doc, reason = "the comments are the header's")]

mod boundary;
pub mod destroy;
pub mod diagnose;
pub mod error;
pub mod events;
pub mod files;
pub mod handle;
pub mod info;
pub mod kill;
pub mod limits;
mod memory;
pub mod new;
pub mod orphans;
pub mod place;
pub mod processes;
pub mod set;
pub mod spawn;
pub mod stats;

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The C interface: pointers, sizes and panics, without logic. cbindgen makes `include/agentcg.h` from the files of this
//! module. C programmers read the comments of the exported items, so these are written in terms of C.
//!
//! The rules of this module:
//!
//! * The body of an exported function runs inside [`boundary::call`] or one of its variants. They convert a panic to
//!   `-ENOTRECOVERABLE`, and an errno that the function may not return to `-EIO`.
//! * Every pointer is checked for NULL before it is dereferenced. Only [`memory`] and [`handle`] make a reference of a C
//!   pointer.
//! * There is never a `&mut` to a handle, because several threads may use it.
//! * Outputs are written on success only, the error on failure only.

#![allow(unsafe_code)]
#![allow(non_camel_case_types, reason = "these are the names in C")]
#![allow(missing_docs, clippy::missing_safety_doc, reason = "the comments are for the header")]

mod boundary;
pub mod destroy;
pub mod diagnose;
pub mod error;
pub mod events;
pub mod files;
pub mod find;
pub mod handle;
pub mod info;
pub mod kill;
pub mod limits;
mod memory;
pub mod new;
pub mod orphans;
pub mod place;
pub mod processes;
pub mod spawn;
pub mod stats;
pub mod verdict;

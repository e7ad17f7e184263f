// SPDX-License-Identifier: MIT OR Apache-2.0
//! Requests to systemd: a scope for the calling process, and moves that the kernel refuses to it. A manager is reached
//! on its sockets with sd-bus of libsystemd, which is loaded only after a socket has accepted the connection. Nothing
//! outlives the connection: the module keeps no thread and no cache, and reads no environment variable.
//!
//! ```text
//! connect                     the sockets of a manager
//! manager                     the calls to a manager
//! scope                       the arguments and the result of StartTransientUnit
//! sdbus                       a connection and its messages
//! library failure socket      the functions of libsystemd; why a request failed; connect(2) with a deadline
//! ```
//!
//! A file uses only files of the lines below its own.

mod connect;
mod failure;
mod library;
mod manager;
mod scope;
mod sdbus;
mod socket;
#[cfg(test)]
mod tests;

pub use connect::NEEDS_LIBRARY;
pub use failure::Failure;
pub use manager::Manager;

// SPDX-License-Identifier: MIT OR Apache-2.0
//! System calls that nix lacks, descriptors, locks and memory.
//!
//! ```text
//! close_from library_path seqpacket      closing descriptors; the path of this library; sockets for messages
//! descriptors kernfile                   creating descriptors; reading files of procfs
//! fork_mutex random                      a mutex that survives a fork; uuids
//! fork_id getdents syscall               which process this is; directories; system calls by number
//! file_lock inotify process pidfd_info   locks on files; inotify(7); processes; what a pidfd says
//! statx try_alloc                        the identity of a directory; allocations that may fail
//! retry reserve_allocator                calls that are made again; the C library's allocator
//! deadline kernel once_fd                time; the kernel's version; a descriptor that threads share
//! shared_memory thread xattr             memory shared with children; the thread's state; extended attributes
//! ```
//!
//! A file uses only files of the lines below its own.

#![allow(unsafe_code)]

pub mod close_from;
pub mod deadline;
pub mod descriptors;
pub mod file_lock;
pub mod fork_id;
pub mod fork_mutex;
pub mod getdents;
pub mod inotify;
pub mod kernel;
pub mod kernfile;
pub mod library_path;
pub mod once_fd;
pub mod pidfd_info;
pub mod process;
pub mod random;
#[cfg(feature = "c-library")]
pub mod reserve_allocator;
pub mod retry;
pub mod seqpacket;
pub mod shared_memory;
pub mod statx;
pub mod syscall;
pub mod thread;
pub mod try_alloc;
pub mod xattr;

pub use descriptors::pidfd_open;
pub use file_lock::{Lock, flock, is_share_locked, share_lock};
pub use once_fd::OnceFd;
pub use process::{has_ended, kill, pidfd_send_signal};
pub use retry::{retry_on_eintr, retry_transient};
pub use thread::realtime_policy;
pub use xattr::{get_xattr, get_xattr_at, set_xattr, set_xattr_at, xattr_exists};

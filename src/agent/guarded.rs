// SPDX-License-Identifier: MIT OR Apache-2.0
//! Agents that end with the program that made them.

use crate::error::{Error, Result, shown, words};
use crate::guard::{self, Guarded};
use crate::place::{self, Leaf};
use nix::errno::Errno;
use std::ffi::CString;

/// Have it guarded, or take it back.
pub fn take(leaf: &Leaf, uuid: &str) -> Result<Guarded> {
    let name = CString::new(uuid).unwrap_or_default();
    guard::over(&leaf.dir, &name, place::ways_home).map_err(|e| {
        leaf.undo();
        let code = match e {
            Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM => e,
            _ => Errno::EAGAIN,
        };
        let group = shown(&leaf.path);
        Error::new(
            code,
            format!("no process beside us could be had to guard {group}: {}: try again", words(e)),
        )
    })
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Agents that end with the program that made them.

use crate::error::{Result, shown};
use crate::guard::{self, Guarded};
use crate::place::{self, Leaf};
use std::ffi::CString;

/// Have it guarded, or take it back.
pub fn take(leaf: &Leaf, uuid: &str) -> Result<Guarded> {
    let name = CString::new(uuid).unwrap_or_default();
    guard::over(&leaf.dir, &name, place::ways_home).map_err(|failure| {
        leaf.undo();
        failure.told(&format!("guards {}", shown(&leaf.path)))
    })
}

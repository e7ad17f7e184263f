// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the guard's program is: in `agentcg` beside the library, else where it was to be installed when this was
//! compiled. No environment variable is read.

use crate::parse;
use crate::sys::library_path;
use std::ffi::CString;

/// Its name, in a directory that is the project's alone.
const BESIDE: &[u8] = b"agentcg/agentcg-guard";

/// Set by build.rs.
const INSTALLED: &str = env!("AGENTCG_GUARD_PROGRAM");

/// Its paths, in the order in which they are tried.
pub fn candidates() -> Vec<CString> {
    let beside = library_path::find().map(|object| [parse::split_last(&object).0, BESIDE].join(&b'/'));
    let mut paths: Vec<CString> = beside.into_iter().filter_map(|path| CString::new(path).ok()).collect();
    if let Ok(installed) = CString::new(INSTALLED) {
        if !paths.contains(&installed) {
            paths.push(installed);
        }
    }
    paths
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The path of the guard's program: in the directory `agentcg` beside the library, else the path of installation that
//! was set when the library was compiled. No environment variable is read.

use crate::parse;
use crate::sys::library_path;
use std::ffi::CString;

/// The path of the program relative to the directory of the library.
const RELATIVE_PATH: &[u8] = b"agentcg/agentcg-guard";

/// The path of installation, set by build.rs.
const INSTALLED: &str = env!("AGENTCG_GUARD_PROGRAM");

/// Returns the paths of the program in the order in which they are tried.
pub fn candidates() -> Vec<CString> {
    let beside = library_path::find().map(|object| [parse::split_last(&object).0, RELATIVE_PATH].join(&b'/'));
    let mut paths: Vec<CString> = beside.into_iter().filter_map(|path| CString::new(path).ok()).collect();
    if let Ok(installed) = CString::new(INSTALLED) {
        if !paths.contains(&installed) {
            paths.push(installed);
        }
    }
    paths
}

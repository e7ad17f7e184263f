// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where a program may be, by the rules of execvp(3). Pure.

use crate::sys::try_alloc;
use nix::errno::Errno;
use std::ffi::{CStr, CString};

/// Where there is no PATH.
const USUAL: &[u8] = b"/bin:/usr/bin";

/// The paths to try for a file, in turn: itself, or, if a PATH is to be searched for it (and is or is not set), a
/// name in each of its directories. An empty one stands for the working directory.
pub fn candidates(file: &CStr, searched: Option<Option<&CStr>>) -> nix::Result<Vec<CString>> {
    let name = file.to_bytes();
    let mut paths = Vec::new();
    match searched {
        Some(path) if !name.is_empty() && !name.contains(&b'/') => {
            for directory in path.map_or(USUAL, CStr::to_bytes).split(|&b| b == b':') {
                try_alloc::push(&mut paths, within(directory, name)?)?;
            }
        }
        _ => try_alloc::push(&mut paths, try_alloc::copy_cstr(file)?)?,
    }
    Ok(paths)
}

fn within(directory: &[u8], name: &[u8]) -> nix::Result<CString> {
    let parts = [directory, if directory.is_empty() { b"" } else { b"/" }, name, b"\0"];
    // As long as its capacity, so that nothing is allocated to cut it.
    let mut path = try_alloc::with_capacity(parts.iter().map(|part| part.len()).sum())?;
    parts.iter().for_each(|part| path.extend_from_slice(part));
    CString::from_vec_with_nul(path).map_err(|_| Errno::EINVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_looked_for_in_each_directory_of_path() {
        let found = candidates(c"sh", Some(Some(c"/a:/b:")));
        assert_eq!(found, Ok(vec![c"/a/sh".to_owned(), c"/b/sh".to_owned(), c"sh".to_owned()]));
        assert_eq!(candidates(c"sh", Some(Some(c""))), Ok(vec![c"sh".to_owned()]));
    }

    #[test]
    fn without_a_path_the_usual_directories_are_searched() {
        let usual = vec![c"/bin/sh".to_owned(), c"/usr/bin/sh".to_owned()];
        assert_eq!(candidates(c"sh", Some(None)), Ok(usual));
    }

    #[test]
    fn what_has_a_slash_or_is_not_to_be_searched_for_is_taken_as_it_is() {
        for (file, searched) in [(c"./sh", Some(Some(c"/a"))), (c"", Some(Some(c"/a"))), (c"sh", None)] {
            assert_eq!(candidates(file, searched), Ok(vec![file.to_owned()]));
        }
    }
}

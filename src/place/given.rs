// SPDX-License-Identifier: MIT OR Apache-2.0
//! The parent that the caller named. No directory above it is tried.

use super::known;
use super::refusal::refused;
use super::types::{Kind, Occupancy, Place};
use crate::cgroupfs::Dir;
use crate::error::{Error, Reason, Result, out_of_memory, shown, words};
use crate::sys::kernfile::errno;
use nix::errno::Errno;
use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;

/// Open the parent. The path of the place is the real one, without symbolic links and `..`.
pub fn open(parent: &CStr) -> Result<Place> {
    if let Some(place) = known::named(parent) {
        return place.map_err(out_of_memory);
    }
    open_anew(parent).map(|place| known::remember(place, parent, None))
}

fn open_anew(parent: &CStr) -> Result<Place> {
    let here = shown(parent.to_bytes());
    let dir = Dir::open(parent).map_err(|e| match e {
        Errno::ENOTTY | Errno::ENOTDIR => Error::new(
            Errno::ENODEV,
            format_args!("{here} is not a cgroup2 directory: name one under the cgroup2 mount"),
        )
        .because(Reason::NoCgroup2),
        Errno::ENOENT => {
            Error::new(e, format_args!("the parent {here} does not exist: create it, or name another"))
        }
        Errno::ELOOP | Errno::ENAMETOOLONG => {
            let why = words(e);
            Error::new(Errno::ENODEV, format_args!("cannot open the parent {here}: {why}"))
                .because(Reason::NoCgroup2)
        }
        e => refused(e, &here),
    })?;
    let link = format!("/proc/self/fd/{}", dir.as_fd().as_raw_fd());
    let path = std::fs::read_link(link).map_err(|e| match errno(&e) {
        Errno::ENOENT | Errno::ENOTDIR => Error::new(
            Errno::ENODEV,
            format_args!("cannot read the path of {here} from /proc/self/fd: mount proc at /proc"),
        ),
        e => Error::new(e, format_args!("cannot read the path of {here} from /proc/self/fd: {}", words(e))),
    })?;
    let path = path.into_os_string().into_vec();
    Ok(Place::new(Kind::Given, Arc::new(dir), path, Occupancy::Empty))
}

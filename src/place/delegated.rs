// SPDX-License-Identifier: MIT OR Apache-2.0
//! A cgroup that is delegated to the caller. systemd marks each cgroup that it delegates (`Delegate=yes`, also for
//! containers) with an extended attribute that every process can read. No manager takes controllers away there, and
//! agents end with the unit. The group of an agent counts as delegated to the processes in it.

use super::refusal::{is_shortage, refused};
use super::self_cgroup::SelfCgroup;
use super::types::{self, Candidate, Kind, Occupancy, Place, PlaceRequest, Probe};
use super::vacate;
use crate::cgroupfs::Dir;
use crate::error::shown;
use crate::parse;
use crate::sys::get_xattr_at;
use nix::sys::stat::fstat;
use nix::unistd::geteuid;
use std::ffi::CString;

/// Find the nearest delegated cgroup among the self cgroup and those above it. A slice ends the search: it was
/// delegated to the systemd that made it, as user@UID.service was, and not to the units below.
pub fn probe(own: &SelfCgroup, _: PlaceRequest<'_>) -> Probe {
    // The top of the mount is the place of `root`, marked or not.
    if own.name.is_none() {
        return Probe::NotApplicable("the cgroup of this process is at the top of the mount".to_owned());
    }
    let found = marked(own).and_then(|found| if found.is_some() { Ok(found) } else { given_by_chown(own) });
    let (number, path) = match found {
        Ok(Some(found)) => found,
        Ok(None) => {
            return Probe::NotApplicable(
                "no cgroup of this process is marked as delegated (user.delegate)".to_owned(),
            );
        }
        Err(e) => return Probe::Refused(refused(e, &shown(&own.path))),
    };
    if parse::split_last(&path).1.starts_with(b"user@") && is_named(&path, b".service") {
        return Probe::NotApplicable("the delegated cgroup is that of the user manager".to_owned());
    }
    let dir = match own.open(number).and_then(|dir| Ok(belongs_to_caller(&dir)?.then_some(dir))) {
        Ok(Some(dir)) => dir,
        Ok(None) => return Probe::NotApplicable("the delegated cgroup belongs to another uid".to_owned()),
        Err(e) => return Probe::Refused(refused(e, &shown(&path))),
    };
    let occupancy = if number == 0 { Occupancy::Caller } else { Occupancy::Empty };
    Probe::Found(Candidate::Existing(Place::new(Kind::Delegated, dir, path, occupancy)))
}

/// Returns true if the directory belongs to the effective uid, or if that is root.
fn belongs_to_caller(dir: &Dir) -> nix::Result<bool> {
    let uid = geteuid();
    Ok(uid.is_root() || fstat(dir)?.st_uid == uid.as_raw())
}

/// The nearest cgroup that systemd has marked, with its number in [`SelfCgroup::upwards`].
fn marked(own: &SelfCgroup) -> nix::Result<Option<(usize, Vec<u8>)>> {
    for (number, path) in own.upwards().take_while(|path| !is_named(path, b".slice")).enumerate() {
        // Agents of an agent are made inside its own group, where its limits apply to them and they end with it. Beside the
        // group they would escape both.
        if is_marked(&path)? || types::is_agent(&path) {
            return Ok(Some((number, path)));
        }
    }
    Ok(None)
}

/// The self cgroup, if it belongs to the caller and its parent does not. systemd before 251 leaves no mark that an
/// unprivileged process can read, and a delegation by chown(2) leaves none. For root this finds nothing, since every
/// cgroup belongs to it. If the caller has moved to a child of the place before, it is the parent of the self cgroup.
fn given_by_chown(own: &SelfCgroup) -> nix::Result<Option<(usize, Vec<u8>)>> {
    let number = usize::from(own.name.as_deref() == Some(vacate::SUPERVISOR));
    let belongs = |number| match own.open(number).and_then(|dir| belongs_to_caller(&dir)) {
        Err(e) if !is_shortage(e) => Ok(false),
        belongs => belongs,
    };
    let given = number <= own.depth && !belongs(number + 1)? && belongs(number)?;
    Ok(given.then(|| own.upwards().nth(number).map(|path| (number, path))).flatten())
}

fn is_named(path: &[u8], ending: &[u8]) -> bool {
    parse::split_last(path).1.ends_with(ending)
}

/// Returns true if systemd 251 or later has delegated the cgroup. Earlier versions set an attribute that only
/// privileged processes can read.
fn is_marked(path: &[u8]) -> nix::Result<bool> {
    let Ok(path) = CString::new(path) else { return Ok(false) };
    match get_xattr_at(&path, c"user.delegate", &mut [0; 16]) {
        Ok(value) => Ok(value == b"1"),
        Err(e) if is_shortage(e) => Err(e),
        Err(_) => Ok(false),
    }
}

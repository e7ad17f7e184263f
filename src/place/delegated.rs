// SPDX-License-Identifier: MIT OR Apache-2.0
//! A cgroup that is delegated to the caller. systemd marks each cgroup that it delegates (`Delegate=yes`, also for
//! containers) with an extended attribute that every process can read. No manager takes controllers away there, and
//! agents end with the unit. The group of an agent counts as delegated to the processes in it.

use super::refusal::refused;
use super::self_cgroup::SelfCgroup;
use super::types::{self, Candidate, Kind, Occupancy, Place, PlaceRequest, Probe};
use super::vacate;
use crate::cgroupfs::Dir;
use crate::error::shown;
use crate::parse;
use crate::sys::has_xattr;
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
    let below_managers = own.upwards().take_while(|path| !is_named(path, b".slice"));
    let marked = below_managers.enumerate().find(|(_, path)| is_marked(path) || is_agent(path));
    let Some((number, path)) = marked.or_else(|| given_by_chown(own)) else {
        return Probe::NotApplicable(
            "no cgroup of this process is marked as delegated (user.delegate)".to_owned(),
        );
    };
    if parse::split_last(&path).1.starts_with(b"user@") && is_named(&path, b".service") {
        return Probe::NotApplicable("the delegated cgroup is that of the user manager".to_owned());
    }
    let dir = match own.open(number) {
        Ok(dir) if belongs_to_caller(&dir) => dir,
        Ok(_) => return Probe::NotApplicable("the delegated cgroup belongs to another uid".to_owned()),
        Err(e) => return Probe::Refused(refused(e, &shown(&path))),
    };
    let occupancy = if number == 0 { Occupancy::Caller } else { Occupancy::Empty };
    Probe::Found(Candidate::Existing(Place::new(Kind::Delegated, dir, path, occupancy)))
}

/// Returns true if the directory belongs to the effective uid, or if that is root.
fn belongs_to_caller(dir: &Dir) -> bool {
    let uid = geteuid();
    uid.is_root() || fstat(dir).is_ok_and(|stat| stat.st_uid == uid.as_raw())
}

/// The self cgroup, if it belongs to the caller and its parent does not. systemd before 251 leaves no mark that an
/// unprivileged process can read, and a delegation by chown(2) leaves none. For root this finds nothing, since every
/// cgroup belongs to it. If the caller has moved to a child of the place before, it is the parent of the self cgroup.
fn given_by_chown(own: &SelfCgroup) -> Option<(usize, Vec<u8>)> {
    let number = usize::from(own.name.as_deref() == Some(vacate::SUPERVISOR));
    let belongs = |number| own.open(number).is_ok_and(|dir| belongs_to_caller(&dir));
    let given = number <= own.depth && !belongs(number + 1) && belongs(number);
    given.then(|| own.upwards().nth(number).map(|path| (number, path))).flatten()
}

fn is_named(path: &[u8], ending: &[u8]) -> bool {
    parse::split_last(path).1.ends_with(ending)
}

/// Returns true for the group of an agent. Agents of an agent are made inside its own group, where its limits apply to
/// them and they end with it. Beside the group they would escape both.
fn is_agent(path: &[u8]) -> bool {
    types::is_agents(parse::split_last(path).0)
}

/// Returns true if systemd 251 or later has delegated the cgroup. Earlier versions set an attribute that only
/// privileged processes can read.
fn is_marked(path: &[u8]) -> bool {
    CString::new(path).is_ok_and(|path| has_xattr(&path, c"user.delegate", b"1"))
}

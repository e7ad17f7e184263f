// SPDX-License-Identifier: MIT OR Apache-2.0
//! A cgroup that was handed to us: systemd marks what it delegates (`Delegate=yes`, also for containers)
//! with an attribute that everybody can read. There nobody takes controllers back, and agents end with
//! the unit. The group of an agent is its own to the same effect.

use super::self_cgroup::SelfCgroup;
use super::site::{Candidate, Kind, Occupancy, Place, Probe};
use super::{PlaceRequest, tree, vacate};
use crate::cgroupfs::Dir;
use crate::error::shown;
use crate::parse;
use crate::sys::has_xattr;
use nix::sys::stat::fstat;
use nix::unistd::geteuid;
use std::ffi::CString;

/// The nearest of our own cgroup and those above it that is marked, unless another manager stands
/// between: what holds slices was delegated to the systemd that made them, and so was user@UID.service,
/// not to those that run under it.
pub fn probe(own: &SelfCgroup, _: PlaceRequest<'_>) -> Probe {
    // At the top of the mount it makes no difference, and is the root link's.
    if own.name.is_none() {
        return Probe::NotApplicable("our own cgroup is at the top of the mount".to_owned());
    }
    let below_managers = own.upwards().take_while(|path| !is_named(path, b".slice"));
    let marked = below_managers.enumerate().find(|(_, path)| is_marked(path) || is_an_agents(path));
    let Some((number, path)) = marked.or_else(|| handed_over(own)) else {
        return Probe::NotApplicable("no cgroup of ours is marked as delegated (user.delegate)".to_owned());
    };
    if parse::split_last(&path).1.starts_with(b"user@") && is_named(&path, b".service") {
        return Probe::NotApplicable("what is delegated here is the user manager's".to_owned());
    }
    let dir = match own.open(number) {
        Ok(dir) if is_ours(&dir) => dir,
        Ok(_) => {
            return Probe::NotApplicable("what is delegated here is not ours, but another uid's".to_owned());
        }
        Err(e) => return Probe::Refused(super::refused(e, &shown(&path))),
    };
    let occupancy = if number == 0 { Occupancy::Caller } else { Occupancy::Empty };
    Probe::Found(Candidate::Existing(Place::new(Kind::Delegated, dir, path, occupancy)))
}

fn is_ours(dir: &Dir) -> bool {
    let we = geteuid();
    we.is_root() || fstat(dir).is_ok_and(|stat| stat.st_uid == we.as_raw())
}

/// Our own cgroup, if it is ours and what is above it is not: systemd before 251 leaves no mark that we
/// could see, and others who give a cgroup away by chown(2) leave none at all. Root owns everything. Where
/// we have made room in it before, it is the one above.
fn handed_over(own: &SelfCgroup) -> Option<(usize, Vec<u8>)> {
    let number = usize::from(own.name.as_deref() == Some(vacate::SUPERVISOR));
    let ours = |number| own.open(number).is_ok_and(|dir| is_ours(&dir));
    let given = number <= own.depth && !ours(number + 1) && ours(number);
    given.then(|| own.upwards().nth(number).map(|path| (number, path))).flatten()
}

fn is_named(path: &[u8], ending: &[u8]) -> bool {
    parse::split_last(path).1.ends_with(ending)
}

/// An agent that has agents itself: theirs are inside of its own group, where its limits hold for them and
/// its end is theirs. Beside it they would be free of it.
fn is_an_agents(path: &[u8]) -> bool {
    tree::is_agents(parse::split_last(path).0)
}

/// systemd 251 and later; before, only the manager could see the mark.
fn is_marked(path: &[u8]) -> bool {
    CString::new(path).is_ok_and(|path| has_xattr(&path, c"user.delegate", b"1"))
}

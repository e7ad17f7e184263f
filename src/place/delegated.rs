// SPDX-License-Identifier: MIT OR Apache-2.0
//! A cgroup that was handed to us: systemd marks what it delegates (`Delegate=yes`, also for containers)
//! with an attribute that everybody can read. There nobody takes controllers back, and agents end with
//! the unit. The group of an agent is its own to the same effect.

use super::own::Own;
use super::{Kind, Place};
use crate::parse;
use crate::sys::has_xattr;
use nix::sys::stat::fstat;
use nix::unistd::geteuid;
use std::ffi::CString;

/// The nearest of our own cgroup and those above it that is marked, unless another manager stands
/// between: what holds slices was delegated to the systemd that made them, and so was user@UID.service,
/// not to those that run under it.
pub fn look(own: &Own) -> Option<Place> {
    // At the top of the mount it makes no difference, and is the root link's.
    own.name.as_ref()?;
    let below_managers = own.upwards().take_while(|path| !is_named(path, b".slice"));
    let (number, path) =
        below_managers.enumerate().find(|(_, path)| is_marked(path) || is_an_agents(path))?;
    if parse::split_last(&path).1.starts_with(b"user@") && is_named(&path, b".service") {
        return None;
    }
    let dir = own.open(number).ok()?;
    let we = geteuid();
    let ours = we.is_root() || fstat(&*dir).is_ok_and(|stat| stat.st_uid == we.as_raw());
    ours.then_some(Place { kind: Kind::Delegated, dir, path, holds_us: number == 0 })
}

fn is_named(path: &[u8], ending: &[u8]) -> bool {
    parse::split_last(path).1.ends_with(ending)
}

/// An agent that has agents itself: theirs are inside of its own group, where its limits hold for them and
/// its end is theirs. Beside it they would be free of it.
fn is_an_agents(path: &[u8]) -> bool {
    parse::split_last(path).0.ends_with(b"/synwire/agents")
}

/// systemd 251 and later; before, only the manager could see the mark.
fn is_marked(path: &[u8]) -> bool {
    CString::new(path).is_ok_and(|path| has_xattr(&path, c"user.delegate", b"1"))
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Kills of systemd-oomd, which it counts in an attribute of the cgroup that it kills: one without cgroups below it, or one with
//! `memory.oom.group`, with all cgroups below it.

use crate::cgroupfs::{Dir, Next, WalkStep};
use crate::parse;
use crate::sys;
use crate::sys::deadline::Deadline;
use std::ffi::CStr;
use std::os::fd::AsFd;
use std::time::Duration;

/// The attributes: since systemd 248, and in 247.
const ATTRIBUTES: [&CStr; 3] = [c"user.oomd_kill", c"user.oomd_ooms", c"user.systemd_oomd_kill"];

/// The longest search below a group.
const LONGEST: Duration = Duration::from_secs(1);

/// The kills in a group and below it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kills {
    /// Of all processes of the group itself: if it is a session, those in the cgroup of its own processes.
    pub whole: u64,
    /// Of other cgroups below it.
    pub below: u64,
    /// Some cgroup below it does not show them.
    pub is_unknown: bool,
}

impl Kills {
    /// Counts them. Fails with the errors of the search for cgroups.
    pub fn of(dir: &Dir) -> nix::Result<Self> {
        let mut all = Self { whole: count(dir), ..Self::default() };
        if !dir.has_children()? {
            return Ok(all);
        }
        all.is_unknown = !dir.walk(Deadline::after(LONGEST), &mut |step| {
            if let WalkStep::Enter(below) = step {
                all.below = all.below.saturating_add(count(below));
            }
            Ok(Next::Enter)
        })?;
        // After the search: a kill in between counts once.
        let own = dir.own()?.as_ref().map_or(0, count);
        all.below = all.below.saturating_sub(own);
        all.whole = all.whole.saturating_add(own);
        Ok(all)
    }
}

/// Returns the number in the attributes of this cgroup, 0 if there is none.
pub fn count(dir: &Dir) -> u64 {
    ATTRIBUTES.iter().map(|name| attribute(dir, name)).max().unwrap_or_default()
}

fn attribute(dir: &Dir, name: &CStr) -> u64 {
    let mut buf = [0; 32];
    sys::get_xattr(dir.as_fd(), name, &mut buf).ok().and_then(parse::number).unwrap_or_default()
}

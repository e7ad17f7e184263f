// SPDX-License-Identifier: MIT OR Apache-2.0
//! Visits every cgroup below one. Agents can nest cgroups deeper than PATH_MAX and deeper than there are descriptors.
//! Therefore the walk goes down by name and up by `..`, with one open directory at a time.

use super::Dir;
use crate::sys::deadline::Deadline;
use crate::sys::try_alloc;
use nix::errno::Errno;
use std::ffi::{CStr, CString};

/// One step of a walk.
#[derive(Debug)]
pub enum WalkStep<'a> {
    /// The walk has found a cgroup (parent, name) and not opened it yet.
    Found(&'a Dir, &'a CStr),
    /// The walk has opened a cgroup. Its children follow.
    Enter(&'a Dir),
    /// The walk has visited all cgroups below this one (parent, name).
    Leave(&'a Dir, &'a CStr),
}

/// The answer of a visit to [`WalkStep::Found`]. The walk ignores the answers to other steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Open the cgroup and visit all below it.
    Enter,
    /// Skip the cgroup and all below it.
    Skip,
}

impl Dir {
    /// Visits all cgroups below this one. Returns false if the walk has skipped some, because the deadline passed or the
    /// calling process has no access. Cgroups that are removed during the walk do not count. The walk may miss cgroups that
    /// are created during it. If `visit` returns `EACCES`, the walk skips that cgroup; `ENODEV` means that the cgroup was
    /// removed; any other error ends the walk.
    pub fn walk(
        &self,
        deadline: Deadline,
        visit: &mut dyn FnMut(WalkStep<'_>) -> nix::Result<Next>,
    ) -> nix::Result<bool> {
        let mut complete = true;
        let mut to_do: Vec<Vec<CString>> = Vec::new();
        try_alloc::push(&mut to_do, self.children_until(deadline, &mut complete)?)?;
        let mut names: Vec<CString> = Vec::new();
        let mut below: Option<Self> = None;
        while let Some(level) = to_do.last_mut() {
            if deadline.passed() {
                return Ok(complete && to_do.iter().all(Vec::is_empty));
            }
            let here = below.as_ref().unwrap_or(self);
            if let Some(name) = level.pop() {
                match visited(visit(WalkStep::Found(here, &name)), &mut complete)? {
                    Some(Next::Enter) => {}
                    Some(Next::Skip) | None => continue,
                }
                match here.agents_child(&name) {
                    Ok(dir) => {
                        visited(visit(WalkStep::Enter(&dir)), &mut complete)?;
                        try_alloc::push(&mut to_do, dir.children_until(deadline, &mut complete)?)?;
                        try_alloc::push(&mut names, name)?;
                        below = Some(dir);
                    }
                    Err(Errno::ENOENT | Errno::ENODEV) => {}
                    Err(Errno::EACCES) => complete = false,
                    Err(e) => return Err(e),
                }
            } else {
                to_do.pop();
                let Some(name) = names.pop() else { break };
                let up = if names.is_empty() { None } else { Some(here.up()?) };
                visited(visit(WalkStep::Leave(up.as_ref().unwrap_or(self), &name)), &mut complete)?;
                below = up;
            }
        }
        Ok(complete)
    }

    /// Returns the names of the direct child cgroups. Sets `complete` to false if some are missing.
    fn children_until(&self, deadline: Deadline, complete: &mut bool) -> nix::Result<Vec<CString>> {
        let mut names = Vec::new();
        match self.each_child(|name| {
            try_alloc::push(&mut names, try_alloc::copy_cstr(name)?)?;
            if deadline.passed() { Err(Errno::ETIMEDOUT) } else { Ok(()) }
        }) {
            Ok(()) => {}
            Err(Errno::ETIMEDOUT | Errno::EACCES) => *complete = false,
            Err(e) => return Err(e),
        }
        Ok(names)
    }
}

fn visited(outcome: nix::Result<Next>, complete: &mut bool) -> nix::Result<Option<Next>> {
    match outcome {
        Ok(next) => Ok(Some(next)),
        Err(Errno::EACCES) => {
            *complete = false;
            Ok(None)
        }
        Err(Errno::ENOENT | Errno::ENODEV) => Ok(None),
        Err(e) => Err(e),
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Visiting every cgroup below one. Agents nest deeper than PATH_MAX and deeper than there are descriptors, so the walk
//! goes down by name and up by `..`, with one directory open at a time.

use super::Dir;
use crate::sys::deadline::Deadline;
use crate::sys::fallible;
use nix::errno::Errno;
use std::ffi::{CStr, CString};

/// One visit of a walk.
#[derive(Debug)]
pub enum Step<'a> {
    /// A cgroup by its parent and its name, before it is opened.
    Found(&'a Dir, &'a CStr),
    /// A cgroup, before those below it.
    Enter(&'a Dir),
    /// A cgroup by its parent and its name, after those below it.
    Leave(&'a Dir, &'a CStr),
}

/// Where the walk goes from a [`Step::Found`]. The other steps do not ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Open the cgroup and go through it.
    Enter,
    /// Leave it and those below it out.
    Skip,
}

impl Dir {
    /// Visit all cgroups below this one. Returns false if some were left out: the deadline came first, or they are closed
    /// to the calling process. Those that vanish meanwhile do not count; those that appear meanwhile can be missed.
    /// A visit's `EACCES` leaves out that cgroup, its `ENODEV` means that it vanished, other errors end the walk.
    pub fn walk(
        &self,
        deadline: Deadline,
        mut visit: impl FnMut(Step<'_>) -> nix::Result<Next>,
    ) -> nix::Result<bool> {
        let mut complete = true;
        let mut to_do: Vec<Vec<CString>> = Vec::new();
        fallible::push(&mut to_do, self.children_until(deadline, &mut complete)?)?;
        let mut names: Vec<CString> = Vec::new();
        let mut below: Option<Self> = None;
        while let Some(level) = to_do.last_mut() {
            if deadline.passed() {
                return Ok(complete && to_do.iter().all(Vec::is_empty));
            }
            let here = below.as_ref().unwrap_or(self);
            if let Some(name) = level.pop() {
                match visited(visit(Step::Found(here, &name)), &mut complete)? {
                    Some(Next::Enter) => {}
                    Some(Next::Skip) | None => continue,
                }
                match here.agents_child(&name) {
                    Ok(dir) => {
                        visited(visit(Step::Enter(&dir)), &mut complete)?;
                        fallible::push(&mut to_do, dir.children_until(deadline, &mut complete)?)?;
                        fallible::push(&mut names, name)?;
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
                visited(visit(Step::Leave(up.as_ref().unwrap_or(self), &name)), &mut complete)?;
                below = up;
            }
        }
        Ok(complete)
    }

    /// The names of the cgroups right below. `complete` becomes false if some are missing.
    fn children_until(&self, deadline: Deadline, complete: &mut bool) -> nix::Result<Vec<CString>> {
        let mut names = Vec::new();
        match self.each_child(|name| {
            fallible::push(&mut names, fallible::copy_cstr(name)?)?;
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

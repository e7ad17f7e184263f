// SPDX-License-Identifier: MIT OR Apache-2.0
//! Going through everything below a cgroup. Agents nest deeper than PATH_MAX and deeper than there
//! are descriptors, so the walk goes down by name and up by `..`, with one directory open at a time.

use super::Dir;
use crate::sys::fallible;
use nix::errno::Errno;
use std::ffi::{CStr, CString};

/// What the walk comes to.
pub enum Step<'a> {
    /// A cgroup, before those below it.
    Enter(&'a Dir),
    /// A cgroup by its parent and its name, after those below it.
    Leave(&'a Dir, &'a CStr),
}

impl Dir {
    /// Go through all cgroups below this one. Those that vanish on the way are passed over; those
    /// that appear may be missed: who needs certainty walks again.
    pub fn walk(&self, mut visit: impl FnMut(Step<'_>)) -> nix::Result<()> {
        let mut to_do: Vec<Vec<CString>> = Vec::new();
        fallible::push(&mut to_do, self.children()?)?;
        let mut names: Vec<CString> = Vec::new();
        let mut below: Option<Dir> = None;
        while let Some(level) = to_do.last_mut() {
            let here = below.as_ref().unwrap_or(self);
            if let Some(name) = level.pop() {
                match here.agents_child(&name) {
                    Ok(dir) => {
                        visit(Step::Enter(&dir));
                        fallible::push(&mut to_do, dir.children()?)?;
                        fallible::push(&mut names, name)?;
                        below = Some(dir);
                    }
                    Err(Errno::ENOENT | Errno::ENODEV) => {}
                    Err(e) => return Err(e),
                }
            } else {
                to_do.pop();
                let Some(name) = names.pop() else { break };
                let up = if names.is_empty() { None } else { Some(here.child(c"..")?) };
                visit(Step::Leave(up.as_ref().unwrap_or(self), &name));
                below = up;
            }
        }
        Ok(())
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Making a group usable again after all its processes were killed. They can leave two states that keep new processes
//! out: a freeze, and controllers that are enabled for cgroups inside the group. With those the kernel allows no
//! process in the group.

use crate::cgroupfs::events_file::Events;
use crate::cgroupfs::{AgentName, Dir, FILE_MAX, FileError, Next, WalkStep};
use crate::kill::remove;
use crate::owner;
use crate::parse;
use crate::sys::deadline::Deadline;
use nix::errno::Errno;
use std::ffi::{CStr, CString};

const FREEZE: &CStr = c"cgroup.freeze";
const SUBTREE_CONTROL: &CStr = c"cgroup.subtree_control";
/// The directory of agents that an agent has made.
const NESTED: &CStr = c"synwire/agents";

/// Thaws the group and disables the controllers. No process may live in the group. `killed` means that some lived in it until
/// they were killed.
pub fn make_usable(
    dir: &Dir,
    events: &Events<'_>,
    killed: bool,
    deadline: Deadline,
) -> Result<(), FileError> {
    if events.state().map_err(|e| (e, c"cgroup.events"))?.frozen {
        match dir.write(FREEZE, b"0") {
            Err(Errno::ENOENT) => {}
            thawed => thawed.map_err(|e| (e, FREEZE))?,
        }
    }
    let on_subtree_control = |e| (e, SUBTREE_CONTROL);
    // Without cgroups inside, the killed processes were in the group itself. Then no controller that keeps processes out was
    // enabled.
    if killed && !dir.has_children().map_err(on_subtree_control)? {
        return Ok(());
    }
    if !enables_any(dir).map_err(on_subtree_control)? {
        return Ok(());
    }
    // The processes of a session enter a cgroup inside. Its group keeps the controllers, which are those of its children.
    if let Some(own) = own_of_session(dir, deadline).map_err(on_subtree_control)? {
        let events = Events::open(&own).map_err(|e| (e, c"cgroup.events"))?;
        return make_usable(&own, &events, killed, deadline);
    }
    if contains_owned_agents(dir).map_err(on_subtree_control)? {
        return Ok(());
    }
    match disable(dir) {
        Err(Errno::EBUSY) => {}
        disabled => return disabled.map_err(on_subtree_control),
    }
    // EBUSY: a cgroup inside enables the controllers, too.
    disable_below(dir, deadline).and_then(|()| disable(dir)).map_err(on_subtree_control)
}

/// Opens the cgroup of a session's own processes. Returns none if the group is not that of a session. An agent may have removed
/// this cgroup, or made it or one beside it threaded. A session with children gets it again, because without it they would have
/// to lose their controllers, and thus their limits.
fn own_of_session(dir: &Dir, deadline: Deadline) -> nix::Result<Option<Dir>> {
    let usable = |own: Dir| Ok((own.read(c"cgroup.type", &mut [0; 32])? == b"domain\n").then_some(own));
    if let Some(own) = dir.own()?.map_or(Ok(None), usable)? {
        return Ok(Some(own));
    }
    if !dir.holds_children()? {
        return Ok(None);
    }
    for name in dir.children()?.iter().filter(|name| !AgentName::is_of_directory(name.to_bytes())) {
        match remove_threaded(dir, name, deadline) {
            Err(Errno::ENOENT | Errno::ENODEV) => {}
            removed => removed?,
        }
    }
    dir.own_again(true)?.map_or(Ok(None), usable)
}

/// Removes a cgroup, with those inside, if it is threaded. Threads were its only use.
fn remove_threaded(parent: &Dir, name: &CStr, deadline: Deadline) -> nix::Result<()> {
    let dir = parent.agents_child(name)?;
    if dir.read(c"cgroup.type", &mut [0; 32])? != b"threaded\n" {
        return Ok(());
    }
    remove::below(&dir, deadline)?;
    parent.remove(name)
}

fn enables_any(dir: &Dir) -> nix::Result<bool> {
    Ok(!dir.read(SUBTREE_CONTROL, &mut [0; FILE_MAX])?.trim_ascii().is_empty())
}

fn disable_below(dir: &Dir, deadline: Deadline) -> nix::Result<()> {
    let mut outcome = Ok(());
    let complete = dir.walk(deadline, &mut |step| {
        if let WalkStep::Leave(parent, name) = step {
            outcome = outcome.and(match parent.agents_child(name).and_then(|child| disable(&child)) {
                Err(Errno::ENOENT | Errno::ENODEV) => Ok(()),
                disabled => disabled,
            });
        }
        Ok(Next::Enter)
    })?;
    outcome?;
    // The cgroups that the caller may not open are empty, and can be removed.
    if complete { Ok(()) } else { remove::below(dir, deadline) }
}

/// Disables all controllers that a cgroup enables for its children.
fn disable(dir: &Dir) -> nix::Result<()> {
    let mut buf = [0; FILE_MAX];
    let enabled = dir.read(SUBTREE_CONTROL, &mut buf)?;
    let change: Vec<Vec<u8>> = parse::words(enabled).map(|name| [b"-", name].concat()).collect();
    if change.is_empty() { Ok(()) } else { dir.write(SUBTREE_CONTROL, &change.join(&b' ')) }
}

/// Returns true if the group contains agents that a living process owns. Without controllers they would lose their
/// limits. Their owner is not one of the killed processes, because a lock ends with its process.
fn contains_owned_agents(dir: &Dir) -> nix::Result<bool> {
    let nested = match dir.agents_child(NESTED) {
        Err(Errno::ENOENT | Errno::ENODEV | Errno::EACCES) => return Ok(false),
        opened => opened?,
    };
    for name in nested.children()? {
        if is_owned(&nested, &name)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_owned(nested: &Dir, name: &CString) -> nix::Result<bool> {
    match nested.agents_child(name).and_then(|agent| owner::is_orphan(&agent)) {
        Ok(orphan) => Ok(!orphan),
        Err(Errno::ENOENT | Errno::ENODEV | Errno::EACCES) => Ok(false),
        Err(e) => Err(e),
    }
}

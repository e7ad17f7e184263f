// SPDX-License-Identifier: MIT OR Apache-2.0
//! The header's section "make, find and end agents": existing agents.

use super::boundary::{self, fill, invalid};
use super::error::agentcg_error;
use super::handle::{HandleMemory, agentcg};
use super::memory::{
    Plain, check_array, check_flags, check_size, copy_out_struct, deadline, number, string, text, waited,
};
use crate::agent::{self, Agent, Entry};
use crate::cgroupfs::AgentName;
use crate::error::Result;
use crate::parse::{Label, Tag};
use nix::errno::Errno;
use std::ffi::{c_char, c_int};

/// cbindgen.toml defines these for the header, because all sections use them.
const AGENTCG_UUID_SIZE: usize = 37;
const AGENTCG_LABEL_SIZE: usize = 64;

/// agentcg_open(): become the owner of an orphan. Without this flag the handle
/// is a non-owner's: it can measure, move and kill, but does not keep the group
/// from being reaped.
pub const AGENTCG_OPEN_OWN: u64 = 1u64 << 0;

/// An agent, as agentcg_list() finds it.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct agentcg_entry {
    /// The uuid as text.
    pub uuid: [c_char; AGENTCG_UUID_SIZE],
    /// 1 if the agent has no living owner.
    pub orphan: u8,
    /// 1 if the group holds living processes.
    pub populated: u8,
    /// Always 0.
    pub reserved: u8,
    /// The pid of the owner in its own pid namespace, 0 if unknown. Do not rely on
    /// it or on created_unix_ns: an agent can change both. They are for people.
    pub owner_pid: u32,
    /// Always 0.
    pub reserved2: u32,
    /// When the agent was made, 0 if unknown.
    pub created_unix_ns: u64,
    /// The label as text, "" if there is none or it is unknown.
    pub label: [c_char; AGENTCG_LABEL_SIZE],
    /// The tag of the program that made the agent, in the same way.
    pub tag: [c_char; AGENTCG_LABEL_SIZE],
    /// The uuid of the session of which the agent is a child, "" if it is none.
    pub session: [c_char; AGENTCG_UUID_SIZE],
    /// Always 0.
    pub reserved3: [u8; 3],
}

// SAFETY: repr(C); 37 and three bytes, two u32 and a u64 leave no padding before the two arrays, nor do 37 and three bytes
// behind them.
unsafe impl Plain for agentcg_entry {
    const SIZE_V0: usize = 56;
}

const _: () = assert!(size_of::<agentcg_entry>() == agentcg_entry::SIZE_V0 + 2 * AGENTCG_LABEL_SIZE + 40);

impl Default for agentcg_entry {
    fn default() -> Self {
        Self {
            uuid: [0; AGENTCG_UUID_SIZE],
            orphan: 0,
            populated: 0,
            reserved: 0,
            owner_pid: 0,
            reserved2: 0,
            created_unix_ns: 0,
            label: [0; AGENTCG_LABEL_SIZE],
            tag: [0; AGENTCG_LABEL_SIZE],
            session: [0; AGENTCG_UUID_SIZE],
            reserved3: [0; 3],
        }
    }
}

impl From<&Entry> for agentcg_entry {
    fn from(entry: &Entry) -> Self {
        let mut c = Self {
            orphan: entry.orphan.into(),
            populated: entry.populated.into(),
            owner_pid: entry.owner.pid,
            created_unix_ns: entry.owner.created_unix_ns,
            ..Self::default()
        };
        fill(&mut c.uuid, &entry.uuid);
        fill(&mut c.label, entry.owner.label.as_ref().map_or("", Label::as_str));
        fill(&mut c.tag, entry.owner.tag.as_ref().map_or("", Tag::as_str));
        fill(&mut c.session, entry.session.as_ref().map_or("", AgentName::as_str));
        c
    }
}

/// Open the group of an existing agent, for example after a restart. parent is
/// the place, a cgroup directory. If it is NULL, all places are searched in
/// which agentcg_new(NULL, ...) can have made the agent. The children of the
/// sessions of a place are found, too, and parent can be the path of a session.
/// uuid is the agent's uuid. flags is 0 or AGENTCG_OPEN_OWN. The handle is the caller's;
/// agentcg_destroy() or agentcg_free() ends it.
///
/// systemd removes a scope when its last process has ended, and with it the groups
/// in it. AGENTCG_OPEN_OWN therefore starts a small process, agentcg-guard, if the
/// agent is in a scope that an earlier program has got: it keeps the scope until
/// the handle ends, so that the agent's last statistics can be read.
///
/// Returns 0. Errors, besides the common ones:
///   -EACCES      Also: systemd refuses to move that process to the scope.
///   -EAGAIN      That process could not be started.
///   -EBUSY       AGENTCG_OPEN_OWN is set and the agent's owner is alive.
///   -ENODEV      Here: there is no usable cgroup2 hierarchy.
///   -ENOENT      There is no such agent, or no such parent; agentcg-guard is
///                missing.
///   -ENOEXEC     agentcg-guard is not the one of this library.
///   -ENOTCONN    systemd, which must move that process, cannot be reached.
///   -EOPNOTSUPP  The caller is in a threaded cgroup.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn agentcg_open(
    parent: *const c_char,
    uuid: *const c_char,
    flags: u64,
    ret_cg: *mut *mut agentcg,
    reterr: *mut agentcg_error,
) -> c_int {
    use Errno::*;
    let codes = [
        EACCES, EAGAIN, EBUSY, EINVAL, EMFILE, ENFILE, ENODEV, ENOENT, ENOEXEC, ENOMEM, ENOTCONN, EOPNOTSUPP,
    ];
    // SAFETY: the C caller passes valid pointers, as the header's conventions say.
    unsafe {
        boundary::call(reterr, &codes, || {
            open(uuid, flags, ret_cg, |uuid, own| Agent::open(string(parent), uuid, own))
        })
    }
}

/// Open an agent, like agentcg_open(), if it has this tag. An agent of another
/// tag, or without one, counts as none. An agent that is adopted keeps its label
/// and its tag.
///
/// Returns 0. Errors, as agentcg_open(), and:
///   -EACCES  Also: the tag cannot be read.
///   -EINVAL  Also: the tag is NULL or not valid.
///   -ENOENT  Also: the agent does not have the tag.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn agentcg_open_tagged(
    parent: *const c_char,
    uuid: *const c_char,
    tag: *const c_char,
    flags: u64,
    ret_cg: *mut *mut agentcg,
    reterr: *mut agentcg_error,
) -> c_int {
    use Errno::*;
    let codes = [
        EACCES, EAGAIN, EBUSY, EINVAL, EMFILE, ENFILE, ENODEV, ENOENT, ENOEXEC, ENOMEM, ENOTCONN, EOPNOTSUPP,
    ];
    // SAFETY: the C caller passes valid pointers, as the header's conventions say.
    unsafe {
        boundary::call(reterr, &codes, || {
            let tag = tag_of(tag)?;
            open(uuid, flags, ret_cg, |uuid, own| Agent::open_tagged(string(parent), uuid, tag, own))
        })
    }
}

/// Open an agent by `opener`, and make a handle of it.
///
/// # Safety
/// The pointers are as the header's conventions say.
unsafe fn open(
    uuid: *const c_char,
    flags: u64,
    ret_cg: *mut *mut agentcg,
    opener: impl FnOnce(&str, bool) -> Result<Agent>,
) -> Result<c_int> {
    if ret_cg.is_null() {
        return invalid("ret_cg is NULL");
    }
    check_flags(flags, AGENTCG_OPEN_OWN)?;
    // SAFETY: the caller's promise.
    let Some(uuid) = (unsafe { text(uuid, "the uuid") })? else {
        return invalid("the uuid is NULL: it names the agent to open");
    };
    let memory = HandleMemory::new()?;
    let opened = opener(uuid, flags & AGENTCG_OPEN_OWN != 0)?;
    // SAFETY: the caller's promise.
    unsafe { ret_cg.write(memory.into_handle(opened)) };
    Ok(0)
}

/// The tag to which a call is bound.
///
/// # Safety
/// As for [`string`].
unsafe fn tag_of<'a>(tag: *const c_char) -> Result<&'a str> {
    // SAFETY: the caller's promise.
    match unsafe { text(tag, "the tag") }? {
        Some(tag) => Ok(tag),
        None => invalid("the tag is NULL: it names the program whose agents are meant"),
    }
}

/// List the agents under parent, or, if it is NULL, in all places in which
/// agentcg_new(NULL, ...) can have made them, and the children of those that are
/// sessions. parent can be the path of a session. At most count entries of
/// entry_size bytes are filled, in no particular order. entry_size is
/// sizeof(*entries); entries may be NULL if count is 0. For an agent of another
/// uid, only the uuid is known.
///
/// Returns the number of agents, which may be more than count. Errors, besides
/// the common ones:
///   -ENODEV      Here: there is no usable cgroup2 hierarchy.
///   -ENOENT      The parent does not exist.
///   -EOPNOTSUPP  The caller is in a threaded cgroup.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn agentcg_list(
    parent: *const c_char,
    entries: *mut agentcg_entry,
    entry_size: usize,
    count: usize,
    reterr: *mut agentcg_error,
) -> c_int {
    use Errno::*;
    // SAFETY: the C caller passes valid pointers, as the header's conventions say.
    unsafe {
        boundary::call(reterr, &[EACCES, EINVAL, EMFILE, ENFILE, ENODEV, ENOENT, ENOMEM, EOPNOTSUPP], || {
            list(entries, entry_size, count, || agent::list(string(parent)))
        })
    }
}

/// List the agents that have this tag, like agentcg_list(). Those of other uids
/// are left out, because their tags are unknown.
///
/// Returns the number of agents, which may be more than count. Errors, as
/// agentcg_list(), and:
///   -EINVAL  Also: the tag is NULL or not valid.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn agentcg_list_tagged(
    parent: *const c_char,
    tag: *const c_char,
    entries: *mut agentcg_entry,
    entry_size: usize,
    count: usize,
    reterr: *mut agentcg_error,
) -> c_int {
    use Errno::*;
    // SAFETY: the C caller passes valid pointers, as the header's conventions say.
    unsafe {
        boundary::call(reterr, &[EACCES, EINVAL, EMFILE, ENFILE, ENODEV, ENOENT, ENOMEM, EOPNOTSUPP], || {
            let tag = tag_of(tag)?;
            list(entries, entry_size, count, || agent::list_tagged(string(parent), tag))
        })
    }
}

/// Copy the entries that `lister` finds to the caller, and return their number.
///
/// # Safety
/// `entries` is NULL or points to `count` elements of `entry_size` writable bytes.
unsafe fn list(
    entries: *mut agentcg_entry,
    entry_size: usize,
    count: usize,
    lister: impl FnOnce() -> Result<Vec<Entry>>,
) -> Result<c_int> {
    check_array(entries, count)?;
    if count > 0 {
        check_size::<agentcg_entry>(entry_size)?;
    }
    let found = lister()?;
    for (at, entry) in found.iter().take(count).enumerate() {
        // SAFETY: the caller's promise; `at` is less than `count`.
        unsafe {
            let place = entries.cast::<u8>().add(at * entry_size).cast();
            copy_out_struct(&agentcg_entry::from(entry), place, entry_size);
        }
    }
    number(found.len())
}

/// Kill and remove the orphans under parent, or, if it is NULL, in all places in
/// which agentcg_new(NULL, ...) can have made them. Orphans are what a crashed
/// program has left; agents that were only half made are included. An agent
/// whose owner is alive is never touched, with one exception: the children of an
/// orphaned session end with it, whoever owns them. The children of a session that
/// is no orphan are left alone, unless parent is its path.
///
/// Without a tag, the orphans of all programs of the caller's uid are meant: those
/// that another program would have adopted are lost. agentcg_reap_tagged() leaves
/// them alone.
///
/// Returns the number of agents that were removed. On failure, all orphans that
/// could be removed are removed. Errors, besides the common ones:
///   -EDEADLK     The caller is in one of them.
///   -ENODEV      Here: there is no usable cgroup2 hierarchy.
///   -ENOENT      The parent does not exist.
///   -EOPNOTSUPP  The caller is in a threaded cgroup.
///   -ETIMEDOUT   Some did not die within timeout_ms.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn agentcg_reap(
    parent: *const c_char,
    timeout_ms: c_int,
    reterr: *mut agentcg_error,
) -> c_int {
    use Errno::*;
    let codes = [EACCES, EDEADLK, EINVAL, EMFILE, ENFILE, ENODEV, ENOENT, ENOMEM, EOPNOTSUPP, ETIMEDOUT];
    // SAFETY: the C caller passes valid pointers, as the header's conventions say.
    unsafe {
        boundary::call(reterr, &codes, || {
            number(waited(timeout_ms, agent::reap(string(parent), deadline(timeout_ms)?))?)
        })
    }
}

/// Kill and remove the orphans that have this tag, like agentcg_reap(). An agent
/// with another tag, without one, or whose tag cannot be read, is never touched:
/// its program can adopt it at any time during the call. A child of a session with
/// the tag ends with the session, whatever its own tag is.
///
/// The exception is an agent that was only half made: its program was killed in
/// agentcg_new() before it wrote the tag. Such a group has no process. It is
/// removed and counted, and nothing is killed. Before Linux 5.7 no agent has a
/// tag, and the call finds none.
///
/// Returns the number of agents that were removed. On failure, all of these
/// orphans that could be removed are removed. Errors, as agentcg_reap(), and:
///   -EINVAL  Also: the tag is NULL or not valid.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn agentcg_reap_tagged(
    parent: *const c_char,
    tag: *const c_char,
    timeout_ms: c_int,
    reterr: *mut agentcg_error,
) -> c_int {
    use Errno::*;
    let codes = [EACCES, EDEADLK, EINVAL, EMFILE, ENFILE, ENODEV, ENOENT, ENOMEM, EOPNOTSUPP, ETIMEDOUT];
    // SAFETY: the C caller passes valid pointers, as the header's conventions say.
    unsafe {
        boundary::call(reterr, &codes, || {
            let tag = tag_of(tag)?;
            number(waited(timeout_ms, agent::reap_tagged(string(parent), tag, deadline(timeout_ms)?))?)
        })
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The header's section "life": agents that are there already.

use super::boundary::{fill, guard, invalid};
use super::error::agentcg_error;
use super::handle::{Room, agentcg};
use super::memory::{
    Plain, check_array, check_flags, check_size, deadline, give_struct, number, string, text, waited,
};
use crate::agent::{self, Agent, Entry};
use nix::errno::Errno;
use std::ffi::{c_char, c_int};

/// In the header it stands above, with what is common to all sections.
const AGENTCG_UUID_SIZE: usize = 37;

/// agentcg_open(): take over a group whose owner has ended; without it, open as
/// a guest, who may measure, move and kill but whose end nobody waits for.
pub const AGENTCG_OPEN_OWN: u64 = 1u64 << 0;

/// One agent, as agentcg_list() finds it.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct agentcg_entry {
    pub uuid: [c_char; AGENTCG_UUID_SIZE],
    /// 1: no living owner
    pub orphan: u8,
    /// 1: holds living processes
    pub populated: u8,
    pub reserved: u8,
    /// as its owner saw itself; 0 if not known. Like created_unix_ns for people
    /// alone: an agent can change both
    pub owner_pid: u32,
    pub reserved2: u32,
    /// 0 if not known
    pub created_unix_ns: u64,
}

// SAFETY: repr(C); 37 and three bytes, two u32 and a u64 leave no padding.
unsafe impl Plain for agentcg_entry {
    const SIZE_V0: usize = 56;
}

const _: () = assert!(size_of::<agentcg_entry>() == agentcg_entry::SIZE_V0);

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
        c
    }
}

/// Open an agent's cgroup that is already there, say after a restart. parent is
/// a cgroup directory, or NULL: all the places are looked at in which
/// agentcg_new(NULL, ...) could have put it.
///
/// -EACCES, -EBUSY (AGENTCG_OPEN_OWN, and its owner lives), -EINVAL, -EMFILE,
/// -ENFILE, -ENODEV (no cgroup2), -ENOENT (no such agent, or parent), -ENOMEM, -EOPNOTSUPP (we ourselves are
/// in a threaded cgroup).
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
    let codes = [EACCES, EBUSY, EINVAL, EMFILE, ENFILE, ENODEV, ENOENT, ENOMEM, EOPNOTSUPP];
    // SAFETY: the C caller's promises, as the comment above and the conventions say.
    unsafe {
        guard(reterr, &codes, || {
            if ret_cg.is_null() {
                return invalid("ret_cg is NULL");
            }
            check_flags(flags, AGENTCG_OPEN_OWN)?;
            let Some(uuid) = text(uuid, "the uuid")? else {
                return invalid("the uuid is NULL: which agent?");
            };
            let room = Room::new()?;
            let opened = Agent::open(string(parent), uuid, flags & AGENTCG_OPEN_OWN != 0)?;
            ret_cg.write(room.hold(opened));
            Ok(0)
        })
    }
}

/// List the agents under parent (or NULL, as above), in no order. Fills at most
/// count entries of entry_size bytes; returns how many there are. Of another
/// uid's agents the uuid alone is known.
///
/// -EACCES, -EINVAL, -EMFILE, -ENFILE, -ENODEV, -ENOENT (the parent does not
/// exist), -ENOMEM, -EOPNOTSUPP.
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
    // SAFETY: the C caller's promises, as the comment above and the conventions say.
    unsafe {
        guard(reterr, &[EACCES, EINVAL, EMFILE, ENFILE, ENODEV, ENOENT, ENOMEM, EOPNOTSUPP], || {
            check_array(entries, count)?;
            if count > 0 {
                check_size::<agentcg_entry>(entry_size)?;
            }
            let found = agent::list(string(parent))?;
            for (at, entry) in found.iter().take(count).enumerate() {
                let place = entries.cast::<u8>().add(at * entry_size).cast();
                give_struct(&agentcg_entry::from(entry), place, entry_size);
            }
            number(found.len())
        })
    }
}

/// Kill and remove every agent under parent (or NULL, as above) whose owner has
/// ended: what a crash left, half-made ones too. Never touches one whose owner
/// lives. Returns how many were removed; on failure all that could be are.
///
/// -EACCES, -EDEADLK (we ourselves are in one), -EINVAL, -EMFILE, -ENFILE,
/// -ENODEV, -ENOENT (the parent does not exist), -ENOMEM, -EOPNOTSUPP, -ETIMEDOUT
/// (some would not die in time).
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn agentcg_reap(
    parent: *const c_char,
    timeout_ms: c_int,
    reterr: *mut agentcg_error,
) -> c_int {
    use Errno::*;
    let codes = [EACCES, EDEADLK, EINVAL, EMFILE, ENFILE, ENODEV, ENOENT, ENOMEM, EOPNOTSUPP, ETIMEDOUT];
    // SAFETY: the C caller's promises, as the comment above and the conventions say.
    unsafe {
        guard(reterr, &codes, || {
            number(waited(timeout_ms, agent::reap(string(parent), deadline(timeout_ms)?))?)
        })
    }
}

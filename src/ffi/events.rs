// SPDX-License-Identifier: MIT OR Apache-2.0
//! The header's section "events".

use super::boundary::{guard, invalid};
use super::error::agentcg_error;
use super::handle::{agent, agentcg};
use super::memory::{check_flags, deadline};
use crate::events;
use nix::errno::Errno;
use std::ffi::c_int;

/// the last process is gone
pub const AGENTCG_EVENT_EMPTY: u64 = 1u64 << 0;
pub const AGENTCG_EVENT_POPULATED: u64 = 1u64 << 1;
pub const AGENTCG_EVENT_FROZEN: u64 = 1u64 << 2;
pub const AGENTCG_EVENT_THAWED: u64 = 1u64 << 3;
/// a process was killed for want of memory
pub const AGENTCG_EVENT_OOM_KILL: u64 = 1u64 << 4;
/// memory_high was reached, memory_max was, a fork was refused: in the group or below
pub const AGENTCG_EVENT_MEMORY_HIGH: u64 = 1u64 << 5;
pub const AGENTCG_EVENT_MEMORY_MAX: u64 = 1u64 << 6;
pub const AGENTCG_EVENT_PIDS_MAX: u64 = 1u64 << 7;
/// the group was removed
pub const AGENTCG_EVENT_GONE: u64 = 1u64 << 8;

const KNOWN: u64 = (AGENTCG_EVENT_GONE << 1) - 1;

const _: () = {
    assert!(events::EMPTY == AGENTCG_EVENT_EMPTY);
    assert!(events::POPULATED == AGENTCG_EVENT_POPULATED);
    assert!(events::FROZEN == AGENTCG_EVENT_FROZEN);
    assert!(events::THAWED == AGENTCG_EVENT_THAWED);
    assert!(events::OOM_KILL == AGENTCG_EVENT_OOM_KILL);
    assert!(events::MEMORY_HIGH == AGENTCG_EVENT_MEMORY_HIGH);
    assert!(events::MEMORY_MAX == AGENTCG_EVENT_MEMORY_MAX);
    assert!(events::PIDS_MAX == AGENTCG_EVENT_PIDS_MAX);
    assert!(events::GONE == AGENTCG_EVENT_GONE);
};

/// One descriptor for poll(2), epoll or an event loop, readable (POLLIN) when any
/// event of which may have happened: ask agentcg_next_events(), with timeout 0,
/// which also makes it unreadable again. What is so already when this is called is
/// no event. The process uses one inotify instance at most: it reports the removal
/// of up to 64 watched groups at once (Linux 7.1). Belongs to the handle: do not
/// read or close it, and take it out of your epoll set before the handle ends.
/// Asked again, the new set replaces the old, the descriptor stays; 0 gives the
/// descriptors behind it back.
/// A forked child asks for one of its own. Returns the descriptor.
///
/// -EACCES, -EBADF (the caller has closed the descriptor), -EINVAL, -EMFILE, -ENFILE,
/// -ENODEV, -ENOMEM, -ENOSPC (the user's limit,
/// /proc/sys/fs/epoll/max_user_watches), -EOPNOTSUPP (OOM_KILL and MEMORY_... need
/// the memory controller, PIDS_MAX the pids controller).
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn agentcg_event_fd(cg: *mut agentcg, which: u64, reterr: *mut agentcg_error) -> c_int {
    use Errno::*;
    let codes = [EACCES, EBADF, EINVAL, EMFILE, ENFILE, ENODEV, ENOMEM, ENOSPC, EOPNOTSUPP];
    // SAFETY: the C caller's promises, as the comment above and the conventions say.
    unsafe {
        guard(reterr, &codes, || {
            let agent = agent(cg)?;
            check_flags(which, KNOWN)?;
            agent.event_fd(which)
        })
    }
}

/// The events since the last call, waiting up to timeout_ms for one; each at most
/// once a call, none lost. Returns 1, or 0 when none came, and then *ret_events is 0:
/// the descriptor may be readable for nothing.
///
/// Where the kernel notifies and nothing has changed, what may have come and gone is
/// told: POPULATED and EMPTY of an empty group, which may so have EMPTY told again,
/// FROZEN and THAWED of a populated one. EMPTY is only told of a group that is empty
/// at that moment. GONE comes once, with EMPTY if that was not told before, and after
/// it -ENODEV; the descriptor is quiet then. Of the last moments of a group that
/// agentcg_destroy(), agentcg_reap() or the guard removes all is told, at once (Linux
/// 5.7). Removed by others, GONE comes at once from Linux 7.1 on; before within four
/// seconds, or within half of the time since the group became empty.
///
/// Empty is a group in which nothing lives. From Linux 6.19 on a process that has
/// ended may have to wait for another to be reaped, and cgroup.events calls its group
/// populated until then. EMPTY is told at once after agentcg_kill_all() all the same
/// (Linux 7.1), else within four seconds.
///
/// What cannot be read now (-EMFILE, -ENFILE, -ENOMEM) is told by a later call: the
/// descriptor is readable again in a moment.
///
/// -EACCES, -EBADF (the caller has closed the descriptor), -EINVAL (agentcg_event_fd()
/// was not called in this process, too), -EMFILE, -ENFILE, -ENODEV, -ENOMEM.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn agentcg_next_events(
    cg: *mut agentcg,
    timeout_ms: c_int,
    ret_events: *mut u64,
    reterr: *mut agentcg_error,
) -> c_int {
    use Errno::*;
    // SAFETY: the C caller's promises, as the comment above and the conventions say.
    unsafe {
        guard(reterr, &[EACCES, EBADF, EINVAL, EMFILE, ENFILE, ENODEV, ENOMEM], || {
            let (agent, deadline) = (agent(cg)?, deadline(timeout_ms)?);
            if ret_events.is_null() {
                return invalid("ret_events is NULL");
            }
            let events = agent.next_events(deadline)?;
            ret_events.write(events);
            Ok(c_int::from(events != 0))
        })
    }
}

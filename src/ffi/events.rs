// SPDX-License-Identifier: MIT OR Apache-2.0
//! The header's section "events".

use super::boundary::{self, invalid};
use super::error::agentcg_error;
use super::handle::{agent, agentcg};
use super::memory::{check_flags, deadline};
use crate::error::Result;
use crate::events::{self, Resource, StallKind, Threshold};
use nix::errno::Errno;
use std::ffi::c_int;
use std::time::Duration;

const KNOWN: u64 = (events::STALLED << 1) - 1;

/// cpu.pressure: for a CPU, which others have or cpu_max withholds.
pub const AGENTCG_STALL_CPU: u32 = 1u32;
/// memory.pressure: for memory that is reclaimed, read again or swapped in.
pub const AGENTCG_STALL_MEMORY: u32 = 2u32;
/// io.pressure: for the end of I/O.
pub const AGENTCG_STALL_IO: u32 = 3u32;
/// At least one process that is not idle waits.
pub const AGENTCG_STALL_SOME: u32 = 4u32;
/// All processes that are not idle wait.
pub const AGENTCG_STALL_FULL: u32 = 5u32;

fn resource_of(value: u32) -> Result<Resource> {
    match value {
        AGENTCG_STALL_CPU => Ok(Resource::Cpu),
        AGENTCG_STALL_MEMORY => Ok(Resource::Memory),
        AGENTCG_STALL_IO => Ok(Resource::Io),
        _ => invalid("resource is not AGENTCG_STALL_CPU, AGENTCG_STALL_MEMORY or AGENTCG_STALL_IO"),
    }
}

fn kind_of(value: u32) -> Result<StallKind> {
    match value {
        AGENTCG_STALL_SOME => Ok(StallKind::Some),
        AGENTCG_STALL_FULL => Ok(StallKind::Full),
        _ => invalid("kind is not AGENTCG_STALL_SOME or AGENTCG_STALL_FULL"),
    }
}

/// Return a descriptor for poll(2), epoll or an event loop. which is the set of
/// events to report, of AGENTCG_EVENT_... bits. The descriptor becomes readable
/// (POLLIN) when one of these events may have happened. Then call
/// agentcg_next_events() with timeout 0, which also makes the descriptor
/// unreadable again. Conditions that already hold produce no event.
///
/// The descriptor belongs to the handle: do not read or close it, and remove it
/// from your epoll set before the handle is freed. A second call replaces the
/// set of events and returns the same descriptor. If which is 0, the library
/// closes the descriptors of the sources of events. A forked child has to call
/// this function itself.
///
/// The process uses at most one inotify instance, for up to 64 groups. From
/// Linux 7.1 on, the kernel reports the removal of these groups by it without
/// delay.
///
/// Errors, besides the common ones:
///   -EBADF       The caller has closed the descriptor.
///   -ENOSPC      /proc/sys/fs/epoll/max_user_watches, the user's limit, is
///                reached.
///   -EOPNOTSUPP  AGENTCG_EVENT_OOM_KILL and AGENTCG_EVENT_MEMORY_... need the
///                memory controller, AGENTCG_EVENT_PIDS_MAX needs the pids
///                controller. AGENTCG_EVENT_STALLED needs none; see
///                agentcg_watch_stall().
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn agentcg_event_fd(cg: *mut agentcg, which: u64, reterr: *mut agentcg_error) -> c_int {
    use Errno::*;
    let codes = [EACCES, EBADF, EINVAL, EMFILE, ENFILE, ENODEV, ENOMEM, ENOSPC, EOPNOTSUPP];
    // SAFETY: the C caller passes valid pointers, as the header's conventions say.
    unsafe {
        boundary::call(reterr, &codes, || {
            let agent = agent(cg)?;
            check_flags(which, KNOWN)?;
            agent.event_fd(which)
        })
    }
}

/// Fetch the events since the last call. If there are none, wait up to
/// timeout_ms for one. Each kind of event is reported at most once by a call,
/// and none is lost. Returns 1, or 0 if there was no event; then *ret_events is
/// 0. The descriptor may be readable although there is no event.
///
/// If the kernel reports a change but the file reads as before, the state may
/// have changed and changed back. Both events are reported: POPULATED and EMPTY
/// for an empty group (EMPTY may repeat), FROZEN and THAWED for a populated one.
/// EMPTY is reported only if the group is empty at that moment.
///
/// GONE is reported once, together with EMPTY if that was not reported before.
/// The calls after it return -ENODEV, and the descriptor does not become
/// readable again. If agentcg_destroy(), agentcg_reap() or the guard removes the
/// group, its last events are all reported, at once (Linux 5.7). If others
/// remove it, GONE is reported at once from Linux 7.1 on. Before, it is reported
/// within four seconds, or within half of the time since the group became empty.
///
/// A group is empty if no process lives in it. From Linux 6.19 on, an ended
/// process may have to wait until another is reaped, and until then
/// cgroup.events says that the group is populated. EMPTY is reported at once
/// after agentcg_kill_all() even then (Linux 7.1), else within four seconds.
///
/// A state that cannot be read (-EMFILE, -ENFILE, -ENOMEM) is reported by a
/// later call: the descriptor becomes readable again within a moment.
///
/// Errors, besides the common ones:
///   -EBADF   The caller has closed the descriptor.
///   -EINVAL  Also: agentcg_event_fd() was not called in this process.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn agentcg_next_events(
    cg: *mut agentcg,
    timeout_ms: c_int,
    ret_events: *mut u64,
    reterr: *mut agentcg_error,
) -> c_int {
    use Errno::*;
    // SAFETY: the C caller passes valid pointers, as the header's conventions say.
    unsafe {
        boundary::call(reterr, &[EACCES, EBADF, EINVAL, EMFILE, ENFILE, ENODEV, ENOMEM], || {
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

/// Report AGENTCG_EVENT_STALLED when processes of the group, or below it, have
/// waited for a resource for stall_us microseconds within window_us microseconds.
/// resource is AGENTCG_STALL_CPU, AGENTCG_STALL_MEMORY or AGENTCG_STALL_IO. With
/// AGENTCG_STALL_SOME as kind the time counts in which at least one process
/// waited, with AGENTCG_STALL_FULL that in which all that were not idle did. The
/// kernel adds up these times as total in the group's pressure files (PSI).
///
/// A handle has at most one watch for each resource and kind, and a second call
/// replaces it. If stall_us is 0, the watch ends and window_us is ignored. The
/// event has to be selected by agentcg_event_fd(), before or after this call, and
/// does not say which of several watches it is for: compare the totals
/// (AGENTCG_STAT_..._PRESSURE). A forked child has to call this function itself.
///
/// There is at most one event for each window, and it comes at most one window
/// after the total has grown by stall_us within a window. What had grown before
/// the watch began does not count. The descriptor of agentcg_event_fd() becomes
/// readable at the time of each look at the total, whether or not there is an
/// event: once for each window, and four times while the group waits. Groups
/// with windows of the same length are looked at at the same moments. A wait that
/// is divided by the only look in a window may not be reported.
///
/// If the host calls agentcg_next_events() late, the kernel shows only the growth
/// since the last look. There is one event if it follows from it that some window
/// had stall_us, as it does if the total has grown by stall_us for each window
/// since then, and none if it does not. A host that does not look costs no CPU
/// time.
///
/// The library uses no trigger of PSI: it needs no privilege, no thread of the
/// kernel, and no descriptor for the group besides the descriptor cache.
///
/// While an agent or its owner has switched accounting off (0 in cgroup.pressure,
/// from Linux 6.1 on), there is no event.
///
/// The kernel drops the stall time between two reads of a group's pressure files
/// that follow each other within a clock tick (1 to 10 ms). While some process,
/// for example the agent, reads one of them all the time, there is no event.
///
/// Returns 0. Errors, besides the common ones:
///   -EINVAL      Also: resource or kind is no such constant, stall_us is greater
///                than window_us, or window_us is not from 100000 (100 ms) to
///                3600000000 (an hour).
///   -ENOSPC      /proc/sys/fs/epoll/max_user_watches, the user's limit, is
///                reached.
///   -EOPNOTSUPP  The group has no such pressure file: the kernel lacks PSI or has
///                it off, or accounting is switched off for the group. Or
///                cpu.pressure has no full line, as before Linux 5.13.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn agentcg_watch_stall(
    cg: *mut agentcg,
    resource: u32,
    kind: u32,
    stall_us: u64,
    window_us: u64,
    reterr: *mut agentcg_error,
) -> c_int {
    use Errno::*;
    let codes = [EACCES, EINVAL, EMFILE, ENFILE, ENODEV, ENOMEM, ENOSPC, EOPNOTSUPP];
    // SAFETY: the C caller passes valid pointers, as the header's conventions say.
    unsafe {
        boundary::call(reterr, &codes, || {
            let (agent, resource, kind) = (agent(cg)?, resource_of(resource)?, kind_of(kind)?);
            let threshold = (stall_us != 0).then(|| Threshold {
                stall: Duration::from_micros(stall_us),
                window: Duration::from_micros(window_us),
            });
            agent.watch_stall(resource, kind, threshold)?;
            Ok(0)
        })
    }
}

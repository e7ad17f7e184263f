// SPDX-License-Identifier: MIT OR Apache-2.0
//! The header's section "events".

use super::boundary::{self, invalid};
use super::error::agentcg_error;
use super::handle::{agent, agentcg};
use super::memory::{check_flags, deadline};
use crate::events;
use nix::errno::Errno;
use std::ffi::c_int;

const KNOWN: u64 = (events::GONE << 1) - 1;

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
///                controller.
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

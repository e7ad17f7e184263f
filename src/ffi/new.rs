// SPDX-License-Identifier: MIT OR Apache-2.0
//! The header's section "life": how an agent begins.

use super::boundary::{guard, invalid};
use super::error::agentcg_error;
use super::handle::{Room, agentcg};
use super::limits::{self, agentcg_limits};
use super::memory::{check_flags, string, text};
use crate::agent::Agent;
use crate::error::Result;
use crate::place::{Systemd, Wish};
use nix::errno::Errno;
use std::ffi::{c_char, c_int};

/// agentcg_new(): kill the group and remove it when the calling process ends
/// without having destroyed or freed it, however it ends, SIGKILL included. The
/// guard does that: a small process, one for the whole program, that executes
/// LIBDIR/agentcg/agentcg-guard. It stays until the caller ends, or until it has
/// had nothing to guard for ten seconds. Somebody with the right to do so may
/// kill or stop it: agentcg_get_info() says that, and the next agentcg_new() of
/// this kind starts another. It is not a child of the caller, unless that is a
/// subreaper (prctl(2)) or the init of its pid namespace: there a wait(2) for
/// any child finds it, and after its end the next call of the library waits for
/// it. A program that replaces itself by execve(2) has ended, too.
pub const AGENTCG_NEW_GUARD: u64 = 1u64 << 0;
/// agentcg_new(): take no other place than a systemd scope.
pub const AGENTCG_NEW_SYSTEMD: u64 = 1u64 << 1;
/// Never ask systemd.
pub const AGENTCG_NEW_NO_SYSTEMD: u64 = 1u64 << 2;
/// Never move the calling process to make room in a delegated cgroup.
pub const AGENTCG_NEW_KEEP_CALLER: u64 = 1u64 << 3;

/// Make <parent>/synwire/agents/<uuid>, enable the cpu, memory, pids and io
/// controllers that are to be had on the way down, set the limits, open it.
///
/// parent is a cgroup directory, or NULL: the first of these that works is
/// taken - a cgroup delegated to us, the parent of the caller's own cgroup, the
/// root, a transient systemd scope. uuid is its text, or NULL for a fresh
/// random one. limits may be NULL with limits_size 0. In a delegated cgroup, and
/// in a container's root, the caller is moved to a child of it, "supervisor", if
/// nobody else is in there. A systemd scope lives by a small process, of which
/// there is one a program, and ends after the program and its last agent; there
/// agentcg_move_pid() may need systemd, and agentcg_move_self() give -EACCES.
/// Where no place with controllers is found an agent without limits is still
/// made beside the processes of a cgroup that is ours: it can be killed and
/// waited for, and tells its CPU time.
///
/// All or nothing: on failure no directory of this agent is left. Any two
/// callers, in one process or several, can do this at once.
///
/// -E2BIG, -EACCES (nowhere allowed; the guard's program may not be executed),
/// -EAGAIN (nesting limit; no guard could be started), -EBUSY (the parent holds
/// processes; it is frozen, so that no guard can be started in it), -EEXIST
/// (that uuid is in use, or left over: see agentcg_open() and agentcg_reap()),
/// -EINVAL, -EMFILE, -ENFILE, -ENODEV (no cgroup2), -ENOENT (the parent does not
/// exist; the guard's program is missing), -ENOEXEC (that is not the one of this
/// library), -ENOMEM, -ENOSPC, -ENOTCONN (AGENTCG_NEW_SYSTEMD, and none is
/// reached), -EOPNOTSUPP (a limit's controller is not to be had; a threaded
/// parent), -ERANGE (a limit out of range), -EROFS.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn agentcg_new(
    parent: *const c_char,
    uuid: *const c_char,
    limits: *const agentcg_limits,
    limits_size: usize,
    flags: u64,
    ret_cg: *mut *mut agentcg,
    reterr: *mut agentcg_error,
) -> c_int {
    use Errno::*;
    let codes = [
        E2BIG, EACCES, EAGAIN, EBUSY, EEXIST, EINVAL, EMFILE, ENFILE, ENODEV, ENOENT, ENOEXEC, ENOMEM,
        ENOSPC, ENOTCONN, EOPNOTSUPP, ERANGE, EROFS,
    ];
    // SAFETY: the C caller's promises, as the comment above and the conventions say.
    unsafe {
        guard(reterr, &codes, || {
            if ret_cg.is_null() {
                return invalid("ret_cg is NULL");
            }
            let uuid = text(uuid, "the uuid")?;
            let limits = limits::take_new(limits, limits_size)?;
            let wish = Wish { parent: string(parent), ..wish(flags)? };
            let room = Room::new()?;
            ret_cg.write(room.hold(Agent::new_where(wish, uuid, &limits)?));
            Ok(0)
        })
    }
}

/// What AGENTCG_NEW_... flags say about the place.
pub fn wish(flags: u64) -> Result<Wish<'static>> {
    check_flags(
        flags,
        AGENTCG_NEW_GUARD | AGENTCG_NEW_SYSTEMD | AGENTCG_NEW_NO_SYSTEMD | AGENTCG_NEW_KEEP_CALLER,
    )?;
    let systemd = match (flags & AGENTCG_NEW_SYSTEMD != 0, flags & AGENTCG_NEW_NO_SYSTEMD != 0) {
        (true, true) => return invalid("AGENTCG_NEW_SYSTEMD and _NO_SYSTEMD exclude each other"),
        (true, false) => Systemd::Only,
        (false, true) => Systemd::Never,
        (false, false) => Systemd::Last,
    };
    let keep_caller = flags & AGENTCG_NEW_KEEP_CALLER != 0;
    let guard = flags & AGENTCG_NEW_GUARD != 0;
    Ok(Wish { keep_caller, systemd, guard, ..Wish::default() })
}

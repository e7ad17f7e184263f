// SPDX-License-Identifier: MIT OR Apache-2.0
//! The header's section "make, find and end agents": `agentcg_new`.

use super::boundary::{self, invalid};
use super::error::agentcg_error;
use super::handle::{HandleMemory, agentcg};
use super::limits::{self, agentcg_limits};
use super::memory::{Plain, check_flags, copy_in_struct, string, text};
use crate::agent::Agent;
use crate::error::Result;
use crate::place::{PlaceRequest, Systemd};
use nix::errno::Errno;
use std::ffi::{c_char, c_int};
use std::ptr::null;

/// agentcg_new(): kill the group and remove it when the calling process ends
/// without having destroyed or freed the handle, however it ends (SIGKILL
/// included). execve(2) in the calling process counts as its end.
///
/// The guard does this. It is a small process, one for the whole program, that
/// executes LIBDIR/agentcg/agentcg-guard. It runs until the caller ends, or
/// until it has had nothing to guard for ten seconds. A process with permission
/// to signal the guard can kill or stop it: agentcg_get_info() reports that, and
/// the next agentcg_new() with this flag starts another guard.
///
/// The guard is not a child of the caller, unless the caller is a subreaper
/// (prctl(2)) or the init of its pid namespace. Then a wait(2) for any child
/// finds the guard, a wait for all children does not end while the guard lives,
/// and after its end the next call of the library waits for it. The guard dies
/// with its pid namespace. If the init of that namespace ends, which may be the
/// caller itself, the empty group is left to agentcg_reap().
pub const AGENTCG_NEW_GUARD: u64 = 1u64 << 0;
/// agentcg_new(): use no place but a systemd scope.
pub const AGENTCG_NEW_SYSTEMD: u64 = 1u64 << 1;
/// agentcg_new(): never ask systemd.
pub const AGENTCG_NEW_NO_SYSTEMD: u64 = 1u64 << 2;
/// agentcg_new(): never move the caller to make room.
pub const AGENTCG_NEW_KEEP_CALLER: u64 = 1u64 << 3;

/// What agentcg_new_with() makes. A cleared struct asks for what
/// agentcg_new(NULL, NULL, NULL, 0, 0, ...) makes.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct agentcg_new_options {
    /// The place, as for agentcg_new(), or NULL.
    pub parent: *const c_char,
    /// The uuid as text. NULL stands for a new random one.
    pub uuid: *const c_char,
    /// The limits, or NULL if limits_size is 0.
    pub limits: *const agentcg_limits,
    /// sizeof(*limits).
    pub limits_size: usize,
    /// AGENTCG_NEW_...
    pub flags: u64,
    /// A text for people: at most 63 bytes of UTF-8. It has no control characters,
    /// and none that break a line or change the direction of text (U+2028 to U+202E,
    /// U+2066 to U+2069). NULL and "" stand for none. agentcg_set_label() changes it.
    pub label: *const c_char,
    /// The name of the program that owns the agent: 1 to 63 characters, which are
    /// ASCII letters, digits and any of ._-:/. NULL stands for none. It cannot be
    /// changed.
    pub tag: *const c_char,
}

// SAFETY: repr(C); pointers, a size and a u64, at an offset that its alignment divides. They leave no padding.
unsafe impl Plain for agentcg_new_options {
    const SIZE_V0: usize = 6 * size_of::<usize>() + size_of::<u64>();
}

const _: () = assert!(size_of::<agentcg_new_options>() == agentcg_new_options::SIZE_V0);

impl Default for agentcg_new_options {
    fn default() -> Self {
        Self {
            parent: null(),
            uuid: null(),
            limits: null(),
            limits_size: 0,
            flags: 0,
            label: null(),
            tag: null(),
        }
    }
}

/// Make an agent: make the group <parent>/synwire/agents/<uuid>, enable the cpu,
/// memory, pids and io controllers that are available on the way down, set the
/// limits, and open a handle.
///
/// parent is the place, a cgroup directory. If it is NULL, the first of these
/// that works is used:
///   1. a cgroup that was delegated to the caller,
///   2. the root, or the root of the caller's cgroup namespace,
///   3. the parent of the caller's own cgroup,
///   4. a transient systemd scope,
///   5. the caller's own cgroup, if it belongs to the caller and only processes
///      in it prevent the use of controllers. Such an agent has no limits, but
///      it can be killed and waited for, and it reports its CPU time.
///
/// In a delegated cgroup and in a container's root, the caller is moved to a
/// child cgroup, "supervisor", if no other process is in that cgroup.
///
/// uuid is a uuid as text; NULL stands for a new random one. limits_size is
/// sizeof(*limits); limits may be NULL if limits_size is 0. flags are
/// AGENTCG_NEW_...
///
/// The guard keeps a systemd scope alive. The scope ends after the program and
/// its last agent. In a scope, agentcg_move_pid() may need systemd, and
/// agentcg_move_self() may return -EACCES.
///
/// On failure no directory of this agent is left. Any number of callers, in one
/// process or several, may call this at the same time. The handle is the
/// caller's; agentcg_destroy() or agentcg_free() ends it.
///
/// Returns 0. Errors, besides the common ones:
///   -E2BIG       limits has a bit or a field set that this library does not
///                know.
///   -EACCES      Also: no place allows it; agentcg-guard may not be executed.
///   -EAGAIN      A nesting limit is reached; no guard could be started.
///   -EBUSY       The parent holds processes; it is frozen, so that no guard can
///                be started in it.
///   -EEXIST      The uuid is in use, or left over: see agentcg_open() and
///                agentcg_reap().
///   -ENODEV      Here: there is no usable cgroup2 hierarchy.
///   -ENOENT      The parent does not exist; agentcg-guard is missing.
///   -ENOEXEC     agentcg-guard is not the one of this library.
///   -ENOSPC      The kernel has no room for another cgroup.
///   -ENOTCONN    AGENTCG_NEW_SYSTEMD is set and systemd cannot be reached.
///   -EOPNOTSUPP  The controller of a limit is not available; the parent is
///                threaded.
///   -ERANGE      A limit is out of range.
///   -EROFS       The hierarchy is mounted read-only.
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
    let options = agentcg_new_options { parent, uuid, limits, limits_size, flags, ..Default::default() };
    // SAFETY: the C caller passes valid pointers, as the header's conventions say.
    unsafe { boundary::call(reterr, &codes, || make(&options, ret_cg)) }
}

/// Make an agent, like agentcg_new(), with a label and a tag. options_size is
/// sizeof(*options). options may be NULL if options_size is 0. The strings and the
/// limits are used only during the call.
///
/// The tag binds agentcg_list_tagged(), agentcg_open_tagged() and
/// agentcg_reap_tagged() to the agents of one program. Label and tag are kept in
/// an extended attribute of the group's directory, user.agentcg.owner, which needs
/// Linux 5.7. An agent with the caller's uid can change the attribute, also if it
/// is contained: it can hide from a reap that is bound to its tag, and it can take
/// another program's tag. The guard and agentcg_reap() do not depend on it.
///
/// Returns 0. Errors, as agentcg_new(), and:
///   -E2BIG       Also: options has a field set that this library does not know.
///   -EINVAL      Also: the label or the tag is not valid.
///   -EOPNOTSUPP  Also: a label or a tag is given, and the kernel does not keep
///                attributes of cgroups.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn agentcg_new_with(
    options: *const agentcg_new_options,
    options_size: usize,
    ret_cg: *mut *mut agentcg,
    reterr: *mut agentcg_error,
) -> c_int {
    use Errno::*;
    let codes = [
        E2BIG, EACCES, EAGAIN, EBUSY, EEXIST, EINVAL, EMFILE, ENFILE, ENODEV, ENOENT, ENOEXEC, ENOMEM,
        ENOSPC, ENOTCONN, EOPNOTSUPP, ERANGE, EROFS,
    ];
    // SAFETY: the C caller passes valid pointers, as the header's conventions say.
    unsafe {
        boundary::call(reterr, &codes, || {
            make(&copy_in_struct(options, options_size)?.unwrap_or_default(), ret_cg)
        })
    }
}

/// Make an agent and its handle.
///
/// # Safety
/// The pointers are as the header's conventions say.
unsafe fn make(options: &agentcg_new_options, ret_cg: *mut *mut agentcg) -> Result<c_int> {
    if ret_cg.is_null() {
        return invalid("ret_cg is NULL");
    }
    // SAFETY: the caller's promise.
    unsafe {
        let uuid = text(options.uuid, "the uuid")?;
        let (label, tag) = (text(options.label, "the label")?, text(options.tag, "the tag")?);
        let limits = limits::copy_in_new(options.limits, options.limits_size)?;
        let request = PlaceRequest { parent: string(options.parent), ..place_request(options.flags)? };
        let memory = HandleMemory::new()?;
        ret_cg.write(memory.into_handle(Agent::new_with(request, uuid, &limits, label, tag)?));
    }
    Ok(0)
}

/// Convert AGENTCG_NEW_... flags.
pub fn place_request(flags: u64) -> Result<PlaceRequest<'static>> {
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
    Ok(PlaceRequest { keep_caller, systemd, guard, ..PlaceRequest::default() })
}

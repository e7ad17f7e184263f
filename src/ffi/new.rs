// SPDX-License-Identifier: MIT OR Apache-2.0
//! The header's section "make, find and end agents": `agentcg_new`.

use super::boundary::{self, invalid};
use super::error::agentcg_error;
use super::handle::{HandleMemory, agent, agentcg};
use super::limits::{self as limits_section, agentcg_limits};
use super::memory::{Plain, check_flags, copy_in_struct, string, text};
use crate::agent::Agent;
use crate::error::Result;
use crate::limits::Limits;
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
    unsafe { boundary::call(reterr, &codes, || make(&options, ret_cg, make_anywhere)) }
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
            make(&copy_in_struct(options, options_size)?.unwrap_or_default(), ret_cg, make_anywhere)
        })
    }
}

/// Make an agent whose group is inside the group of another one, which becomes a
/// session; the new agent is a child of it. options and options_size are as for
/// agentcg_new_with(), but parent must be NULL, and AGENTCG_NEW_GUARD is the only
/// flag. A child is an agent like any other. agentcg_get_info() and agentcg_list()
/// report its session.
///
/// The limits of the session apply to all its processes together, and calls on
/// the session are about all of them: agentcg_kill_all(), agentcg_terminate(),
/// agentcg_freeze(), agentcg_read_stats(), the events and agentcg_destroy(). After
/// a session was destroyed, calls on the handles of its children return -ENODEV,
/// and agentcg_destroy() ends these handles with 0.
///
/// The group of a session takes no process. With the first child, the session's
/// own processes are moved to a cgroup inside it, "own". agentcg_spawn(),
/// agentcg_move_pid() and agentcg_move_self() put processes there from then on;
/// clone3(2) into agentcg_fd() fails with EBUSY. Their memory from before stays
/// charged to the session's group. If they fork faster than they are moved, the
/// group is frozen for the time of the move. If the call fails, the agent may be a
/// session all the same. A program that was contained in the session before sees
/// the children's cgroups, one that is contained later does not.
///
/// Any handle of the session will do, also a non-owner's. The child has an owner of
/// its own, the caller. agentcg_reap() ends the children of an orphaned session
/// together with it, whoever owns them. It leaves the children of a session with a
/// living owner alone, unless the path of the session is given as parent.
/// agentcg_open() and agentcg_list() find children in all groups of a place, and
/// take the path of a session as parent, too.
///
/// max_descendants and max_depth of the session bound its children, too: besides
/// those and the cgroups in them it needs one cgroup for its own processes.
/// memory_low_bytes and memory_min_bytes of a child protect it from the limits of
/// the session. Those of the session protect its children only as far as they have
/// such limits of their own, or cgroup2 is mounted with memory_recursiveprot,
/// as systemd mounts it.
///
/// Returns 0. Errors, as agentcg_new_with(), and:
///   -EAGAIN      Also: max_descendants or max_depth of the session is reached.
///   -EBUSY       The session holds processes that cannot be moved: they are
///                outside the caller's pid namespace, or fork faster, which needs
///                a kernel without a freezer.
///   -EINVAL      Also: parent is not NULL, or another flag is set.
///   -ENODEV      Also: the session was removed.
///   -EOPNOTSUPP  Also: the session's group is threaded.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn agentcg_new_in(
    session: *mut agentcg,
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
            let session = agent(session)?;
            let options = copy_in_struct(options, options_size)?.unwrap_or_default();
            if !options.parent.is_null() {
                return invalid("the parent is not NULL, but the session is the parent");
            }
            check_flags(options.flags, AGENTCG_NEW_GUARD)?;
            make(&options, ret_cg, |new, request| {
                session.new_in(new.uuid, new.limits, new.label, new.tag, request.guard)
            })
        })
    }
}

/// The arguments of a call that makes an agent, converted.
struct Arguments<'a> {
    uuid: Option<&'a str>,
    limits: &'a Limits,
    label: Option<&'a str>,
    tag: Option<&'a str>,
}

/// Make an agent at the best place, or at the named one.
fn make_anywhere(new: &Arguments<'_>, request: PlaceRequest<'_>) -> Result<Agent> {
    Agent::new_with(request, new.uuid, new.limits, new.label, new.tag)
}

/// Make an agent by `maker`, and its handle.
///
/// # Safety
/// The pointers are as the header's conventions say.
unsafe fn make(
    options: &agentcg_new_options,
    ret_cg: *mut *mut agentcg,
    maker: impl FnOnce(&Arguments<'_>, PlaceRequest<'_>) -> Result<Agent>,
) -> Result<c_int> {
    if ret_cg.is_null() {
        return invalid("ret_cg is NULL");
    }
    // SAFETY: the caller's promise.
    unsafe {
        let uuid = text(options.uuid, "the uuid")?;
        let (label, tag) = (text(options.label, "the label")?, text(options.tag, "the tag")?);
        let limits = limits_section::copy_in_new(options.limits, options.limits_size)?;
        let request = PlaceRequest { parent: string(options.parent), ..place_request(options.flags)? };
        let memory = HandleMemory::new()?;
        let new = Arguments { uuid, limits: &limits, label, tag };
        ret_cg.write(memory.into_handle(maker(&new, request)?));
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

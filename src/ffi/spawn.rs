// SPDX-License-Identifier: MIT OR Apache-2.0
//! The header's section "processes": `agentcg_spawn`.

use super::boundary::{self, invalid};
use super::error::agentcg_error;
use super::handle::{agent, agentcg};
use super::memory::{Plain, borrow, check_flags, copy_in_array, copy_in_struct, is_timeout, string, timeout};
use crate::agent::SpawnOptions;
use crate::error::{Error, Result, out_of_memory, words};
use crate::spawn::command::{
    BeginTimeout, Command, DEVNULL, INHERIT, PIPE, Redirection, ResourceLimit, Strings, candidates,
};
use crate::spawn::pipes::Pipes;
use crate::sys::try_alloc;
use libc::pid_t;
use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit};
use std::ffi::{c_char, c_int};
use std::fmt::Display;
use std::os::fd::{BorrowedFd, IntoRawFd};
use std::ptr::{null, with_exposed_provenance_mut};

/// Search file in the caller's PATH, as execvp(3) does.
pub const AGENTCG_SPAWN_SEARCH_PATH: u64 = 1u64 << 0;
/// Call setsid(2): the program has no terminal and a process group of its own.
pub const AGENTCG_SPAWN_NEW_SESSION: u64 = 1u64 << 1;
/// Start the program in namespaces of its own, rooted at the group: it cannot
/// leave the group, raise its limits, or see the rest of the hierarchy. This
/// implies AGENTCG_SPAWN_NEW_SESSION and a new session keyring. If Landlock can
/// scope signals (Linux 6.12), the program can signal only processes of its own.
///
/// The program can make 1,000 cgroups at most, 64 levels deep, unless the caller
/// has set max_descendants or max_depth (AGENTCG_UNLIMITED included), because
/// the memory of cgroups is charged to nobody. The working directory must not be
/// in the hierarchy (-EINVAL). docs/containment.md lists what is contained and
/// what is not.
///
/// AGENTCG_SPAWN_UID, AGENTCG_SPAWN_GID and AGENTCG_SPAWN_GROUPS are -EINVAL
/// with this flag. The program's user namespace has only the caller's user and
/// group id, because other ids need root, and a program cannot take an id that its
/// namespace does not have. To contain a program of another user, start an
/// uncontained program of that user, which makes an agent and starts the
/// contained program in it.
pub const AGENTCG_SPAWN_CONTAIN: u64 = 1u64 << 2;

/// Give the program the user id uid, as the real, effective and saved one. The
/// supplementary groups stay the caller's without AGENTCG_SPAWN_GROUPS.
pub const AGENTCG_SPAWN_UID: u64 = 1u64 << 3;
/// Give the program the group id gid, as the real, effective and saved one.
pub const AGENTCG_SPAWN_GID: u64 = 1u64 << 4;
/// Give the program the supplementary groups in groups, and no other. There may be
/// none.
pub const AGENTCG_SPAWN_GROUPS: u64 = 1u64 << 5;
/// Give the program the file mode creation mask umask.
pub const AGENTCG_SPAWN_UMASK: u64 = 1u64 << 6;
/// Give the program the niceness nice.
pub const AGENTCG_SPAWN_NICE: u64 = 1u64 << 7;
/// Give the program the oom_score_adj in oom_score_adj, also if it is -1000.
pub const AGENTCG_SPAWN_OOM_SCORE_ADJ: u64 = 1u64 << 8;
/// Set no_new_privs: execve(2) gives the program and its descendants no privileges.
pub const AGENTCG_SPAWN_NO_NEW_PRIVS: u64 = 1u64 << 9;
/// Move the program to the process group pgroup.
pub const AGENTCG_SPAWN_PGROUP: u64 = 1u64 << 10;
/// Make terminal_fd the controlling terminal of the program, with
/// AGENTCG_SPAWN_NEW_SESSION or AGENTCG_SPAWN_CONTAIN.
pub const AGENTCG_SPAWN_CONTROLLING_TERMINAL: u64 = 1u64 << 11;
/// Make the program's process group the foreground group of terminal_fd, with
/// AGENTCG_SPAWN_PGROUP or AGENTCG_SPAWN_CONTROLLING_TERMINAL.
pub const AGENTCG_SPAWN_FOREGROUND: u64 = 1u64 << 12;
/// Execute file_fd. The argument file must be NULL. A script (#!) is -ENOENT,
/// because its interpreter cannot open the descriptor.
pub const AGENTCG_SPAWN_FILE_FD: u64 = 1u64 << 13;
/// Return as soon as there is a child in the group. agentcg_spawn_result()
/// returns the result of the start. ret_pidfd must not be NULL. This needs Linux
/// 5.4 (-EOPNOTSUPP). Until the program begins, the child holds copies of the
/// caller's descriptors. A file that the caller closes in the meantime stays
/// open in the child: remove it from epoll by EPOLL_CTL_DEL, and do not expect
/// the end of a pipe before the program begins.
pub const AGENTCG_SPAWN_ASYNC: u64 = 1u64 << 14;

/// How a program starts. Begin with AGENTCG_SPAWN_OPTIONS_INIT: a cleared struct
/// is not the default, because 0 is a descriptor. The descriptors stay the
/// caller's. An address is in a field of 64 bits, as in the structs of the kernel,
/// so that the layout is the same for every compiler: (uintptr_t)array. The memory
/// is used only during the call.
///
/// In the group, the child applies the options in this order: containment,
/// session, process group, controlling terminal, foreground, working directory,
/// descriptors, umask, nice, oom_score_adj, resource limits, groups, gid, uid,
/// parent-death signal, no_new_privs, signals, execve(2). The message names the
/// step that fails. An option that is not used costs no system call.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct agentcg_spawn_options {
    /// AGENTCG_SPAWN_...
    pub flags: u64,
    /// AGENTCG_INHERIT, AGENTCG_DEVNULL or a descriptor.
    pub stdin_fd: i32,
    /// AGENTCG_INHERIT, AGENTCG_DEVNULL or a descriptor.
    pub stdout_fd: i32,
    /// AGENTCG_INHERIT, AGENTCG_DEVNULL or a descriptor.
    pub stderr_fd: i32,
    /// The working directory: AGENTCG_INHERIT or a descriptor.
    pub cwd_fd: i32,
    /// The address of an array of agentcg_spawn_fd, in any order: more descriptors of
    /// the program. A target from 0 to 2 needs AGENTCG_INHERIT in the field above.
    pub fds: u64,
    /// The number of elements of fds.
    pub fds_count: u64,
    /// The address of an int[3], if a field above is AGENTCG_PIPE: agentcg_spawn()
    /// stores the caller's ends of the pipes there, or -1. The caller closes them.
    pub ret_pipes: u64,
    /// The address of an array of gid_t, with AGENTCG_SPAWN_GROUPS.
    pub groups: u64,
    /// The number of elements of groups.
    pub groups_count: u64,
    /// The address of an array of agentcg_spawn_rlimit: the resource limits that
    /// differ from the caller's.
    pub rlimits: u64,
    /// The number of elements of rlimits.
    pub rlimits_count: u64,
    /// With AGENTCG_SPAWN_UID.
    pub uid: u32,
    /// With AGENTCG_SPAWN_GID.
    pub gid: u32,
    /// From 0 to 0777, with AGENTCG_SPAWN_UMASK.
    pub umask: u32,
    /// From -20 to 19, with AGENTCG_SPAWN_NICE.
    pub nice: i32,
    /// From -1000 to 1000, with AGENTCG_SPAWN_OOM_SCORE_ADJ.
    pub oom_score_adj: i32,
    /// The signal that the program gets when the calling thread ends, or 0. Linux
    /// clears it when a program with more privileges is executed.
    pub parent_death_signal: i32,
    /// The signals that are ignored in the program: bit n - 1 is signal n.
    pub ignored_signals: u64,
    /// The signals that are blocked in the program.
    pub blocked_signals: u64,
    /// A process group of the caller's session or 0, a new one, with
    /// AGENTCG_SPAWN_PGROUP.
    pub pgroup: i32,
    /// With AGENTCG_SPAWN_CONTROLLING_TERMINAL or AGENTCG_SPAWN_FOREGROUND.
    pub terminal_fd: i32,
    /// The program's file, with AGENTCG_SPAWN_FILE_FD. It may be open with O_PATH.
    pub file_fd: i32,
    /// How long agentcg_spawn() waits for the program to begin, in milliseconds.
    /// 0 means 10 s, in the groups that the comment of agentcg_spawn() names.
    /// AGENTCG_FOREVER sets no limit.
    pub begin_timeout_ms: i32,
}

/// A resource limit of a program: an element of agentcg_spawn_options.rlimits.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct agentcg_spawn_rlimit {
    /// RLIMIT_...
    pub resource: u64,
    /// The soft limit, or AGENTCG_UNLIMITED.
    pub soft: u64,
    /// The hard limit, or AGENTCG_UNLIMITED.
    pub hard: u64,
}

/// A descriptor of a program: an element of agentcg_spawn_options.fds.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct agentcg_spawn_fd {
    /// The caller's descriptor, or AGENTCG_DEVNULL. It may also be a target.
    pub source_fd: i32,
    /// Its number in the program, which must be below RLIMIT_NOFILE.
    pub target_fd: i32,
}

impl Default for agentcg_spawn_options {
    /// build.rs makes AGENTCG_SPAWN_OPTIONS_INIT from these values.
    fn default() -> Self {
        Self {
            flags: 0,
            stdin_fd: INHERIT,
            stdout_fd: INHERIT,
            stderr_fd: INHERIT,
            cwd_fd: INHERIT,
            fds: 0,
            fds_count: 0,
            ret_pipes: 0,
            groups: 0,
            groups_count: 0,
            rlimits: 0,
            rlimits_count: 0,
            uid: 0,
            gid: 0,
            umask: 0,
            nice: 0,
            oom_score_adj: 0,
            parent_death_signal: 0,
            ignored_signals: 0,
            blocked_signals: 0,
            pgroup: 0,
            terminal_fd: 0,
            file_fd: 0,
            begin_timeout_ms: 0,
        }
    }
}

// SAFETY: integers, without padding.
unsafe impl Plain for agentcg_spawn_options {
    const SIZE_V0: usize = 24;
}

const _: () = {
    assert!(size_of::<agentcg_spawn_options>() == 136);
    assert!(size_of::<agentcg_spawn_rlimit>() == 24);
    assert!(size_of::<agentcg_spawn_fd>() == 8);
};

impl agentcg_spawn_options {
    fn stdio(&self) -> Result<[c_int; 3]> {
        let all = [self.stdin_fd, self.stdout_fd, self.stderr_fd];
        if let Some(odd) = all.iter().find(|&&fd| fd < PIPE) {
            return invalid(format!("{odd} is neither a descriptor nor AGENTCG_INHERIT, _DEVNULL or _PIPE"));
        }
        if all.contains(&PIPE) && self.ret_pipes == 0 {
            return invalid("ret_pipes is 0, but a standard descriptor is AGENTCG_PIPE");
        }
        for (fd, what) in all.into_iter().zip(["stdin_fd", "stdout_fd", "stderr_fd"]) {
            if fd >= 0 {
                // SAFETY: the borrow ends in this statement.
                unsafe { borrow(fd, what) }?;
            }
        }
        Ok(all)
    }

    /// The elements of `fds`.
    ///
    /// # Safety
    /// `fds` is 0 or the address of `fds_count` elements.
    unsafe fn descriptors(&self) -> Result<Vec<Redirection>> {
        // SAFETY: the caller's promise. The struct has only integers.
        let pairs: Vec<agentcg_spawn_fd> = unsafe { copy_in_array(self.fds, self.fds_count, "fds") }?;
        let mut descriptors = try_alloc::with_capacity(pairs.len()).map_err(out_of_memory)?;
        let limit = if pairs.is_empty() { 0 } else { open_files_limit() };
        let stdio = [self.stdin_fd, self.stdout_fd, self.stderr_fd];
        for (at, &agentcg_spawn_fd { source_fd: source, target_fd: target }) in pairs.iter().enumerate() {
            if !u64::try_from(target).is_ok_and(|target| target < limit) {
                return invalid(format!("fds[{at}]: the target {target} is not from 0 to RLIMIT_NOFILE - 1"));
            }
            if usize::try_from(target)
                .ok()
                .and_then(|target| stdio.get(target))
                .is_some_and(|&fd| fd != INHERIT)
            {
                return invalid(format!(
                    "fds[{at}]: the target {target} is set by stdin_fd, stdout_fd or stderr_fd as well"
                ));
            }
            if source != DEVNULL {
                // SAFETY: the borrow ends in this statement.
                unsafe { borrow(source, &format!("fds[{at}]: the source")) }?;
            }
            descriptors.push(Redirection { source, target });
        }
        descriptors.sort_unstable_by_key(|one: &Redirection| one.target);
        let twice =
            descriptors.iter().zip(descriptors.iter().skip(1)).find(|(one, next)| one.target == next.target);
        if let Some((first, _)) = twice {
            return invalid(format!("fds: two elements have the target {}", first.target));
        }
        Ok(descriptors)
    }

    fn has(&self, flag: u64) -> bool {
        self.flags & flag != 0
    }

    /// The value of a field that has a flag. It must be 0 without the flag.
    fn value<T: Copy + Default + PartialEq + Display>(
        &self,
        flag: u64,
        value: T,
        name: &str,
        is_valid: impl FnOnce(T) -> bool,
    ) -> Result<Option<T>> {
        match self.has(flag) {
            false if value == T::default() => Ok(None),
            false => {
                invalid(format!("{name} is set, but its flag AGENTCG_SPAWN_{} is not", name.to_uppercase()))
            }
            true if is_valid(value) => Ok(Some(value)),
            true => invalid(format!("{name} {value} is out of range")),
        }
    }

    fn begin_timeout(&self) -> Result<BeginTimeout> {
        Ok(match (self.begin_timeout_ms, timeout(self.begin_timeout_ms)?) {
            (0, _) => BeginTimeout::Default,
            (_, None) => BeginTimeout::Forever,
            (_, Some(time)) => BeginTimeout::Within(time),
        })
    }

    /// A descriptor that has a flag. It must be 0 without one of the flags.
    ///
    /// # Safety
    /// The descriptor, if it is open, stays open during `'a`.
    unsafe fn descriptor<'a>(&self, flags: u64, fd: i32, name: &str) -> Result<Option<BorrowedFd<'a>>> {
        match self.has(flags) {
            // SAFETY: as the caller promises.
            true => unsafe { borrow(fd, name) }.map(Some),
            false if fd == 0 => Ok(None),
            false => invalid(format!("{name} is set, but its flag is not")),
        }
    }

    /// The supplementary groups.
    ///
    /// # Safety
    /// `groups` is 0 or the address of `groups_count` elements.
    unsafe fn groups(&self) -> Result<Option<Vec<u32>>> {
        let count =
            self.value(AGENTCG_SPAWN_GROUPS, self.groups_count, "groups", |count| count <= MAX_GROUPS)?;
        // SAFETY: the caller's promise.
        count.map(|count| unsafe { copy_in_array(self.groups, count, "groups") }).transpose()
    }

    /// The resource limits.
    ///
    /// # Safety
    /// `rlimits` is 0 or the address of `rlimits_count` elements.
    unsafe fn resource_limits(&self) -> Result<Vec<ResourceLimit>> {
        // SAFETY: the caller's promise. The struct has only integers.
        let rlimits: Vec<agentcg_spawn_rlimit> =
            unsafe { copy_in_array(self.rlimits, self.rlimits_count, "rlimits") }?;
        let mut limits = try_alloc::with_capacity(rlimits.len()).map_err(out_of_memory)?;
        for (at, &agentcg_spawn_rlimit { resource, soft, hard }) in rlimits.iter().enumerate() {
            let number = c_int::try_from(resource).ok().filter(|&resource| resource < RESOURCES);
            let Some(resource) = number else {
                return invalid(format!("rlimits[{at}]: {resource} is not a resource"));
            };
            if soft > hard {
                return invalid(format!("rlimits[{at}]: the soft limit is greater than the hard limit"));
            }
            limits.push(ResourceLimit { resource, soft, hard });
        }
        Ok(limits)
    }

    /// Check that the options can be combined.
    fn check(&self) -> Result<()> {
        if self.has(AGENTCG_SPAWN_CONTAIN) {
            let ids =
                [(AGENTCG_SPAWN_UID, "uid"), (AGENTCG_SPAWN_GID, "gid"), (AGENTCG_SPAWN_GROUPS, "groups")];
            if let Some((_, name)) = ids.into_iter().find(|&(flag, _)| self.has(flag)) {
                return invalid(format!(
                    "{name} cannot be combined with AGENTCG_SPAWN_CONTAIN: the program's user namespace has only the caller's ids"
                ));
            }
        }
        let starts_session = self.has(AGENTCG_SPAWN_CONTAIN) || self.has(AGENTCG_SPAWN_NEW_SESSION);
        if self.has(AGENTCG_SPAWN_PGROUP) && starts_session {
            return invalid(
                "pgroup cannot be combined with a new session, which has a process group of its own",
            );
        }
        if self.has(AGENTCG_SPAWN_CONTROLLING_TERMINAL) && !starts_session {
            return invalid(
                "AGENTCG_SPAWN_CONTROLLING_TERMINAL for terminal_fd needs AGENTCG_SPAWN_NEW_SESSION",
            );
        }
        if self.has(AGENTCG_SPAWN_FOREGROUND)
            && !self.has(AGENTCG_SPAWN_PGROUP)
            && !self.has(AGENTCG_SPAWN_CONTROLLING_TERMINAL)
        {
            return invalid(
                "AGENTCG_SPAWN_FOREGROUND for terminal_fd needs AGENTCG_SPAWN_PGROUP or _CONTROLLING_TERMINAL",
            );
        }
        if self.has(AGENTCG_SPAWN_FILE_FD) && self.has(AGENTCG_SPAWN_SEARCH_PATH) {
            return invalid("file_fd cannot be combined with AGENTCG_SPAWN_SEARCH_PATH");
        }
        for (signals, name) in
            [(self.ignored_signals, "ignored_signals"), (self.blocked_signals, "blocked_signals")]
        {
            if signals & UNBLOCKABLE != 0 {
                return invalid(format!("{name} has SIGKILL or SIGSTOP, which cannot be ignored or blocked"));
            }
        }
        if self.has(AGENTCG_SPAWN_ASYNC) && self.begin_timeout_ms != 0 {
            return invalid(
                "begin_timeout_ms cannot be combined with AGENTCG_SPAWN_ASYNC, which does not wait",
            );
        }
        if !is_timeout(self.begin_timeout_ms) {
            return invalid(format!("begin_timeout_ms {} is out of range", self.begin_timeout_ms));
        }
        if !(0..=LAST_SIGNAL).contains(&self.parent_death_signal) {
            return invalid(format!("parent_death_signal {} is not a signal", self.parent_death_signal));
        }
        Ok(())
    }

    /// Say so in the message if all descriptors are 0: the caller has cleared the struct instead of initialising it.
    fn explain(&self, e: Error) -> Error {
        let is_all_0 = [self.stdin_fd, self.stdout_fd, self.stderr_fd, self.cwd_fd] == [0; 4];
        if is_all_0 && matches!(e.errno(), Errno::EBADF | Errno::ENOTDIR) {
            let message = "descriptor 0 is not a directory to start in: begin with AGENTCG_SPAWN_OPTIONS_INIT, since 0 is a descriptor";
            return Error::new(e.errno(), message);
        }
        e
    }
}

/// Start a program inside the group. It is in the group before its first
/// instruction, and so is everything that it starts. argv and envp end with
/// NULL. If envp is NULL, the program gets the caller's environment, or an empty
/// one if environ is NULL. options_size is sizeof(*options). options may be NULL
/// if options_size is 0: then the program gets the caller's standard descriptors
/// and working directory, and no flags are set.
///
/// The child belongs to the caller, which waits for it with waitpid(2) or by the
/// pidfd. The pidfd is close-on-exec, and the caller closes it; it is -1 before
/// Linux 5.2. ret_pid and ret_pidfd may be NULL. The child has its three
/// standard descriptors and those of options.fds, and no other. No signal is
/// handled in it, and only those in options are ignored or blocked. A relative
/// file, and a relative directory in PATH, start at cwd_fd. If the kernel cannot
/// run a file (-ENOEXEC), no shell is tried.
///
/// A failure of execve(2) is returned with its code. Then nothing is left of the
/// child, even if other code waits for the caller's children. The caller's
/// memory is not copied, except in these cases: with memory.oom.group, because
/// the kernel would kill the caller with the group; with AGENTCG_SPAWN_CONTAIN
/// under a seccomp filter before Linux 5.16, because a core dump would kill the
/// caller; with AGENTCG_SPAWN_UID or AGENTCG_SPAWN_GID, because the caller would
/// become not dumpable; with AGENTCG_SPAWN_ASYNC, because the caller goes on.
/// agentcg_fd() with posix_spawn(3) does not make these exceptions.
///
/// The calling thread is suspended until the program begins. After
/// begin_timeout_ms the child is killed, and the call returns at most a tenth of
/// a second later. If the child has not ended by then, because it gets no CPU
/// time, a later call waits for it; a waitpid(2) without __WALL does not find
/// it. Without begin_timeout_ms the default of 10 s applies only in a group that
/// its cpu.max has throttled, and in one that was seen frozen. A
/// begin_timeout_ms that is set applies in every group. A start then takes two
/// to four times as long, because more processes have to wake each other.
///
/// If the group is frozen before the program begins, the child is killed and
/// -EBUSY is returned. This holds for every freeze through this handle; for
/// other freezes it holds after one was seen. Until then, the calling thread
/// waits until the group is thawed or killed.
///
/// If the caller has an oom_score_adj of -1000, the program gets 0 instead, so
/// that its memory_max_bytes is enforced: the OOM killer passes over processes
/// with -1000. agentcg_move_self() and agentcg_move_pid() cannot do this.
///
/// Returns 0. Errors, as agentcg_move_pid(), and:
///   -E2BIG         From execve(2); options has a field set that this library
///                  does not know.
///   -EACCES        Also: from execve(2); nice or oom_score_adj is lower than the
///                  caller may set it.
///   -EAGAIN        pids_max or the user's own limit of processes is reached.
///   -EBADF         A descriptor in options is not open.
///   -EBUSY         The group is frozen or is being killed.
///   -ECANCELED     The child was killed before the program began.
///   -EDQUOT        AGENTCG_WHY_NOT_CONTAINED: kernel.keys.maxkeys is reached.
///   -EINVAL        Also: from execve(2); argv is empty; a field is out of range, or
///                  fields cannot be combined, which the message names.
///   -ENOMEM        Also, with the file memory.max: the group's limit leaves too
///                  little memory for the program to begin.
///   -ENOTDIR       From execve(2); cwd_fd is not a directory.
///   -EPERM         AGENTCG_WHY_NOT_CONTAINED: user namespaces are forbidden, or
///                  a seccomp filter kills the child. Without that reason: from
///                  execve(2); a seccomp filter kills the child at another step;
///                  the caller may not set uid, gid, groups, rlimits, pgroup or
///                  terminal_fd, which the message names.
///   -ENOTTY        terminal_fd is not a terminal, or not that of the session.
///   -EOPNOTSUPP    AGENTCG_WHY_NOT_CONTAINED: the hierarchy is not mounted
///                  nsdelegate. Without that reason: the kernel has no
///                  AGENTCG_SPAWN_ASYNC.
///   -ETIMEDOUT     The program did not begin in time. It does not begin later.
///   -EISDIR, -ELIBBAD, -ELOOP, -ENAMETOOLONG, -ENOENT, -ENOEXEC, -ETXTBSY
///                  From execve(2).
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn agentcg_spawn(
    cg: *mut agentcg,
    file: *const c_char,
    argv: *const *mut c_char,
    envp: *const *mut c_char,
    options: *const agentcg_spawn_options,
    options_size: usize,
    ret_pid: *mut pid_t,
    ret_pidfd: *mut c_int,
    reterr: *mut agentcg_error,
) -> c_int {
    use Errno::*;
    let codes = [
        E2BIG,
        EACCES,
        EAGAIN,
        EBADF,
        EBUSY,
        ECANCELED,
        EDQUOT,
        EINVAL,
        EIO,
        EISDIR,
        ELIBBAD,
        ELOOP,
        EMFILE,
        ENAMETOOLONG,
        ENFILE,
        ENODEV,
        ENOENT,
        ENOEXEC,
        ENOMEM,
        ENOTDIR,
        ENOTTY,
        EOPNOTSUPP,
        EPERM,
        ESRCH,
        ETIMEDOUT,
        ETXTBSY,
    ];
    // SAFETY: the C caller passes valid pointers, as the header's conventions say.
    unsafe {
        boundary::call(reterr, &codes, || {
            let agent = agent(cg)?;
            if argv.is_null() {
                return invalid("argv is NULL");
            }
            let options = copy_in_struct(options, options_size)?.unwrap_or_default();
            let known = AGENTCG_SPAWN_SEARCH_PATH
                | AGENTCG_SPAWN_NEW_SESSION
                | AGENTCG_SPAWN_CONTAIN
                | AGENTCG_SPAWN_UID
                | AGENTCG_SPAWN_GID
                | AGENTCG_SPAWN_GROUPS
                | AGENTCG_SPAWN_UMASK
                | AGENTCG_SPAWN_NICE
                | AGENTCG_SPAWN_OOM_SCORE_ADJ
                | AGENTCG_SPAWN_NO_NEW_PRIVS
                | AGENTCG_SPAWN_PGROUP
                | AGENTCG_SPAWN_CONTROLLING_TERMINAL
                | AGENTCG_SPAWN_FOREGROUND
                | AGENTCG_SPAWN_FILE_FD
                | AGENTCG_SPAWN_ASYNC;
            check_flags(options.flags, known)?;
            options.check()?;
            if options.has(AGENTCG_SPAWN_ASYNC) && ret_pidfd.is_null() {
                return invalid("AGENTCG_SPAWN_ASYNC needs ret_pidfd");
            }
            let has = |flag| options.has(flag);
            let path = has(AGENTCG_SPAWN_SEARCH_PATH).then(|| string(libc::getenv(c"PATH".as_ptr())));
            let files = match (string(file), has(AGENTCG_SPAWN_FILE_FD)) {
                (Some(file), false) => candidates(file, path).map_err(out_of_memory)?,
                (None, true) => Vec::new(),
                (None, false) => return invalid("file is NULL"),
                (Some(_), true) => return invalid("file is not NULL, but file_fd is to be executed"),
            };
            // clearenv(3) sets environ to NULL.
            let none: [*const c_char; 1] = [null()];
            let envp =
                [envp, environ].into_iter().find(|list| !list.is_null()).unwrap_or(none.as_ptr().cast());
            let directory = match options.cwd_fd {
                INHERIT => None,
                fd => Some(borrow(fd, "cwd_fd").map_err(|e| options.explain(e))?),
            };
            let terminal = options.descriptor(
                AGENTCG_SPAWN_CONTROLLING_TERMINAL | AGENTCG_SPAWN_FOREGROUND,
                options.terminal_fd,
                "terminal_fd",
            )?;
            let program = Strings::new(files.iter().map(AsRef::as_ref)).map_err(out_of_memory)?;
            let arguments = Strings::from_array(argv.cast()).map_err(out_of_memory)?;
            let environment = Strings::from_array(envp.cast()).map_err(out_of_memory)?;
            let (stdio, descriptors) = (options.stdio()?, options.descriptors()?);
            let pipes = Pipes::create(stdio)
                .map_err(|e| Error::new(e, format!("cannot create a pipe: {}", words(e))))?;
            let command = Command {
                new_session: has(AGENTCG_SPAWN_NEW_SESSION),
                directory,
                stdio: pipes.connect(stdio),
                descriptors,
                umask: options.value(AGENTCG_SPAWN_UMASK, options.umask, "umask", |mask| mask <= 0o777)?,
                nice: options
                    .value(AGENTCG_SPAWN_NICE, options.nice, "nice", |nice| (-20..=19).contains(&nice))?,
                oom_score_adj: options.value(
                    AGENTCG_SPAWN_OOM_SCORE_ADJ,
                    options.oom_score_adj,
                    "oom_score_adj",
                    |score| (-1000..=1000).contains(&score),
                )?,
                resource_limits: options.resource_limits()?,
                groups: options.groups()?,
                gid: options.value(AGENTCG_SPAWN_GID, options.gid, "gid", |gid| gid != u32::MAX)?,
                uid: options.value(AGENTCG_SPAWN_UID, options.uid, "uid", |uid| uid != u32::MAX)?,
                parent_death_signal: Some(options.parent_death_signal).filter(|&signal| signal != 0),
                no_new_privs: has(AGENTCG_SPAWN_NO_NEW_PRIVS),
                file: options.descriptor(AGENTCG_SPAWN_FILE_FD, options.file_fd, "file_fd")?,
                process_group: options
                    .value(AGENTCG_SPAWN_PGROUP, options.pgroup, "pgroup", |group| group >= 0)?,
                controlling_terminal: terminal.filter(|_| has(AGENTCG_SPAWN_CONTROLLING_TERMINAL)),
                foreground_of: terminal.filter(|_| has(AGENTCG_SPAWN_FOREGROUND)),
                ignored_signals: options.ignored_signals,
                blocked_signals: options.blocked_signals,
                begin: options.begin_timeout()?,
                ..Command::new(program, arguments, environment)
            };
            let how = SpawnOptions { contain: has(AGENTCG_SPAWN_CONTAIN), pidfd: !ret_pidfd.is_null() };
            let child = if has(AGENTCG_SPAWN_ASYNC) {
                agent.spawn_async(&command, how)
            } else {
                agent.spawn(&command, how)
            };
            let child = child.map_err(|e| options.explain(e))?;
            if !ret_pid.is_null() {
                ret_pid.write(child.pid);
            }
            if !ret_pidfd.is_null() {
                ret_pidfd.write(child.pidfd.map_or(-1, IntoRawFd::into_raw_fd));
            }
            if options.ret_pipes != 0 {
                let ends = pipes.callers.map(|end| end.map_or(-1, IntoRawFd::into_raw_fd));
                let array = with_exposed_provenance_mut::<[c_int; 3]>(options.ret_pipes as usize);
                array.write_unaligned(ends);
            }
            Ok(0)
        })
    }
}

/// Find out the result of a start with AGENTCG_SPAWN_ASYNC. The call does not
/// wait. A child whose start has failed makes its pidfd readable, sends no
/// SIGCHLD, and is not found by a waitpid(2) without __WALL. The caller does not
/// have to wait for it: this function does so. To give up a start, kill the
/// child by pidfd_send_signal(2), or kill the group. The pidfd stays the
/// caller's.
///
/// Returns 0 if the program has begun, or has begun and ended: from then on the
/// caller waits for the child. Every other value, except -EINPROGRESS, means
/// that the program does not begin, and that nothing is left of the child.
/// Errors, as agentcg_spawn(), and:
///   -EBADF         pidfd is not an open descriptor.
///   -ECHILD        The pidfd is not that of a child of the caller, or the child
///                  was waited for.
///   -EINPROGRESS   The program has not begun yet.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn agentcg_spawn_result(
    cg: *mut agentcg,
    pidfd: c_int,
    reterr: *mut agentcg_error,
) -> c_int {
    use Errno::*;
    let codes = [
        E2BIG,
        EACCES,
        EAGAIN,
        EBADF,
        EBUSY,
        ECANCELED,
        ECHILD,
        EDQUOT,
        EINPROGRESS,
        EINVAL,
        EIO,
        EISDIR,
        ELIBBAD,
        ELOOP,
        EMFILE,
        ENAMETOOLONG,
        ENFILE,
        ENODEV,
        ENOENT,
        ENOEXEC,
        ENOMEM,
        ENOTDIR,
        ENOTTY,
        EOPNOTSUPP,
        EPERM,
        ESRCH,
        ETIMEDOUT,
        ETXTBSY,
    ];
    // SAFETY: the C caller passes valid pointers, as the header's conventions say.
    unsafe {
        boundary::call(reterr, &codes, || {
            let agent = agent(cg)?;
            if agent.spawn_result(borrow(pidfd, "pidfd")?)? {
                return Ok(0);
            }
            Err(Error::new(Errno::EINPROGRESS, "the program has not begun yet"))
        })
    }
}

/// SIGKILL and SIGSTOP.
const UNBLOCKABLE: u64 = (1 << (libc::SIGKILL - 1)) | (1 << (libc::SIGSTOP - 1));
/// NGROUPS_MAX of the kernel.
const MAX_GROUPS: u64 = 65536;
/// RLIM_NLIMITS of the kernel.
const RESOURCES: c_int = 16;
const LAST_SIGNAL: c_int = 64;

/// Returns the soft RLIMIT_NOFILE: the descriptors of the program are below it.
fn open_files_limit() -> u64 {
    getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft)
}

unsafe extern "C" {
    /// The caller's environment. Other threads may change it during the call, as with execv(3).
    static environ: *const *mut c_char;
}

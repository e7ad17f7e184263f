// SPDX-License-Identifier: MIT OR Apache-2.0
//! The header's section "processes": those that begin inside.

use super::boundary::{guard, invalid};
use super::error::agentcg_error;
use super::handle::{agent, agentcg};
use super::memory::{Plain, borrow, check_flags, string, take_struct};
use crate::agent::Spawn;
use crate::error::out_of_memory;
use crate::error::{Error, Result};
use crate::spawn::child::{DEVNULL, INHERIT};
use crate::spawn::parent::{Program, Strings};
use crate::spawn::path::candidates;
use libc::pid_t;
use nix::errno::Errno;
use std::ffi::{c_char, c_int};
use std::os::fd::IntoRawFd;
use std::ptr::null;

/// agentcg_spawn(): look file up in the caller's PATH, as execvp(3) does.
pub const AGENTCG_SPAWN_SEARCH_PATH: u64 = 1u64 << 0;
/// setsid(2): no terminal, and a process group of its own.
pub const AGENTCG_SPAWN_NEW_SESSION: u64 = 1u64 << 1;
/// Namespaces of its own, rooted at the group: it cannot leave it, raise its
/// limits or see the rest of the hierarchy any more. Implies NEW_SESSION and a
/// new session keyring; where Landlock scopes signals (Linux 6.12) it signals
/// only processes of its own. It makes 1,000 cgroups at most, 64 deep, unless the
/// caller has set max_descendants or max_depth, AGENTCG_UNLIMITED included: the
/// memory of cgroups is charged to nobody. docs/containment.md tells what all
/// that stops and what not.
pub const AGENTCG_SPAWN_CONTAIN: u64 = 1u64 << 2;

/// How a program starts. 0 in each field is not the default: see
/// AGENTCG_SPAWN_OPTIONS_INIT.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct agentcg_spawn_options {
    /// AGENTCG_SPAWN_...
    pub flags: u64,
    /// AGENTCG_INHERIT, AGENTCG_DEVNULL or a descriptor
    pub stdin_fd: i32,
    /// the same
    pub stdout_fd: i32,
    /// the same
    pub stderr_fd: i32,
    /// AGENTCG_INHERIT or a directory
    pub cwd_fd: i32,
}

impl Default for agentcg_spawn_options {
    fn default() -> Self {
        let own = INHERIT;
        Self { flags: 0, stdin_fd: own, stdout_fd: own, stderr_fd: own, cwd_fd: own }
    }
}

// SAFETY: integers, without padding.
unsafe impl Plain for agentcg_spawn_options {
    const SIZE_V0: usize = 24;
}

const _: () = {
    assert!(size_of::<agentcg_spawn_options>() == agentcg_spawn_options::SIZE_V0);
};

impl agentcg_spawn_options {
    fn stdio(&self) -> Result<[c_int; 3]> {
        let all = [self.stdin_fd, self.stdout_fd, self.stderr_fd];
        if let Some(odd) = all.iter().find(|&&fd| fd < DEVNULL) {
            return invalid(format!("{odd} is no descriptor, nor AGENTCG_INHERIT or AGENTCG_DEVNULL"));
        }
        for (fd, what) in all.into_iter().zip(["stdin_fd", "stdout_fd", "stderr_fd"]) {
            if fd >= 0 {
                // SAFETY: the borrow ends at once.
                unsafe { borrow(fd, what) }?;
            }
        }
        Ok(all)
    }

    /// Descriptor 0 as all of it makes no sense: such a struct was cleared, not initialised.
    fn explain(&self, e: Error) -> Error {
        let is_all_0 = [self.stdin_fd, self.stdout_fd, self.stderr_fd, self.cwd_fd] == [0; 4];
        if is_all_0 && matches!(e.errno(), Errno::EBADF | Errno::ENOTDIR) {
            let message = "descriptor 0 is no directory to start in: begin with AGENTCG_SPAWN_OPTIONS_INIT, since 0 is a descriptor";
            return Error::new(e.errno(), message);
        }
        e
    }
}

/// Start a program inside the group: it is there before its first instruction,
/// and so is everything that it ever starts. argv and envp end with NULL; envp
/// NULL is the caller's environment, empty if environ is NULL. options may be NULL with options_size 0:
/// the caller's descriptors and directory, no flags.
///
/// The child is the caller's to wait for, by waitpid(2) or by the pidfd, which
/// is close-on-exec (-1 before Linux 5.2); ret_pid and ret_pidfd may be NULL. It
/// has its three standard descriptors and no other, no signal blocked, ignored or handled. A relative
/// file, and a relative directory in PATH, start at cwd_fd. No shell is asked
/// where the kernel cannot run a file (-ENOEXEC).
///
/// A failure of execve(2) is reported here, as the code that it gave; nothing is
/// left of the child then, whoever waits for the caller's children. The calling
/// thread stands still until the program begins; it copies nothing of the
/// caller's memory, save with memory.oom.group, where the kernel would kill the
/// caller with the group, and with AGENTCG_SPAWN_CONTAIN under a seccomp filter
/// before Linux 5.16. agentcg_fd() and posix_spawn(3) do not look at that.
///
/// If the group is frozen before the program begins, the child is killed and
/// -EBUSY returned: always by a freeze through this handle, and for other
/// freezes once one was seen. Until then the thread waits for the thaw or a kill.
///
/// A caller with an oom_score_adj of -1000, over which the OOM killer passes,
/// does not hand that down: the program has 0, so that its memory_max is
/// enforced. agentcg_move_self() and agentcg_move_pid() cannot do that.
///
/// As agentcg_move_pid(), and -E2BIG, -EACCES, -EAGAIN (pids_max, or the user's
/// own limit of processes), -EBADF, -EBUSY (frozen, or being killed), -ECANCELED
/// (killed before it began), -EDQUOT (AGENTCG_WHY_NOT_CONTAINED:
/// kernel.keys.maxkeys), -EINVAL, -EIO, -EISDIR, -ELIBBAD, -ELOOP,
/// -ENAMETOOLONG, -ENOENT, -ENOEXEC, -ENOMEM (file memory.max: the group's limit
/// leaves too little to begin in), -ENOTDIR, -EPERM (AGENTCG_WHY_NOT_CONTAINED:
/// no user namespaces here, or a seccomp filter kills; without that reason a
/// filter kills at another step), -EOPNOTSUPP (AGENTCG_WHY_NOT_CONTAINED: not
/// mounted nsdelegate), -ETXTBSY.
/// With AGENTCG_SPAWN_CONTAIN its directory must not lie in the hierarchy: -EINVAL.
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
        EOPNOTSUPP,
        EPERM,
        ESRCH,
        ETXTBSY,
    ];
    // SAFETY: the C caller's promises, as the comment above and the conventions say.
    unsafe {
        guard(reterr, &codes, || {
            let agent = agent(cg)?;
            let Some(file) = string(file) else { return invalid("file is NULL") };
            if argv.is_null() {
                return invalid("argv is NULL");
            }
            let options = take_struct(options, options_size)?.unwrap_or_default();
            let known = AGENTCG_SPAWN_SEARCH_PATH | AGENTCG_SPAWN_NEW_SESSION | AGENTCG_SPAWN_CONTAIN;
            check_flags(options.flags, known)?;
            let has = |flag| options.flags & flag != 0;
            let files = candidates(
                file,
                has(AGENTCG_SPAWN_SEARCH_PATH).then(|| string(libc::getenv(c"PATH".as_ptr()))),
            )
            .map_err(out_of_memory)?;
            // clearenv(3) leaves NULL.
            let none: [*const c_char; 1] = [null()];
            let envp =
                [envp, environ].into_iter().find(|list| !list.is_null()).unwrap_or(none.as_ptr().cast());
            let directory = match options.cwd_fd {
                INHERIT => None,
                fd => Some(borrow(fd, "cwd_fd").map_err(|e| options.explain(e))?),
            };
            let program = Program {
                files: Strings::new(files.iter().map(AsRef::as_ref)).map_err(out_of_memory)?,
                argv: Strings::listed(argv.cast()).map_err(out_of_memory)?,
                envp: Strings::listed(envp.cast()).map_err(out_of_memory)?,
                new_session: has(AGENTCG_SPAWN_NEW_SESSION),
                directory,
                stdio: options.stdio()?,
            };
            let how = Spawn { contain: has(AGENTCG_SPAWN_CONTAIN), pidfd: !ret_pidfd.is_null() };
            let child = agent.spawn(&program, how).map_err(|e| options.explain(e))?;
            if !ret_pid.is_null() {
                ret_pid.write(child.pid);
            }
            if !ret_pidfd.is_null() {
                ret_pidfd.write(child.pidfd.map_or(-1, IntoRawFd::into_raw_fd));
            }
            Ok(0)
        })
    }
}

unsafe extern "C" {
    /// The caller's environment, which other threads of it may be changing, as for execv(3).
    static environ: *const *mut c_char;
}

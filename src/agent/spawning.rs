// SPDX-License-Identifier: MIT OR Apache-2.0
//! How programs begin inside an agent's group, and what is said where they do not.

use super::Agent;
use crate::error::{Error, Reason, Result, shown, words};
use crate::spawn::{Cradle, Failure};
use crate::sys::birth::{Child, Program};
use crate::sys::newborn::Step;
use crate::{contain, parse};
use nix::errno::Errno;
use nix::unistd::geteuid;

/// What of execve(2)'s refusals is passed on as it is; others, of a security module or a file system, are `EIO`.
const OF_EXECVE: &[Errno] = &[
    Errno::E2BIG,
    Errno::EACCES,
    Errno::EAGAIN,
    Errno::EINVAL,
    Errno::EISDIR,
    Errno::ELIBBAD,
    Errno::ELOOP,
    Errno::EMFILE,
    Errno::ENAMETOOLONG,
    Errno::ENFILE,
    Errno::ENOENT,
    Errno::ENOEXEC,
    Errno::ENOMEM,
    Errno::ENOTDIR,
    Errno::EPERM,
    Errno::ETXTBSY,
];

/// What is to be known of a child beside its program.
#[derive(Debug, Clone, Copy, Default)]
pub struct Spawn {
    /// In namespaces that it cannot leave.
    pub contain: bool,
    /// A pidfd is wanted.
    pub pidfd: bool,
}

impl Agent {
    /// Start a program inside the group.
    pub fn spawn(&self, program: &Program<'_>, how: Spawn) -> Result<Child> {
        if program.argv.is_empty() {
            return Err(Error::new(Errno::EINVAL, "argv is empty: its first word is the program's own name"));
        }
        self.put_back_rest()?;
        if how.contain {
            self.bound_nesting()?;
        }
        let containment = if how.contain {
            Some(contain::prepare(program.directory).map_err(not_contained)?)
        } else {
            None
        };
        let cradle = Cradle { dir: &self.dir, known: &self.spawning, fetches: self.unit.is_some() };
        cradle
            .start(program, containment.as_ref(), how.pidfd, |pid| self.move_pid(pid))
            .map_err(|failure| self.not_spawned(failure, program))
    }

    fn not_spawned(&self, failure: Failure<Error>, program: &Program<'_>) -> Error {
        let group = shown(&self.path);
        match failure {
            Failure::Frozen => Error::new(
                Errno::EBUSY,
                format!("{group} is frozen, or a cgroup above it, or is being killed: a program would not begin there"),
            )
            .on("cgroup.freeze"),
            Failure::Full | Failure::NotMade(Errno::EAGAIN) => Error::new(
                Errno::EAGAIN,
                format!("no more processes in {group}: pids.max of it or above, or the user's RLIMIT_NPROC, is reached"),
            )
            .on("pids.max"),
            Failure::Killed => Error::new(
                Errno::ECANCELED,
                format!("killed before it began: all in {group} were killed meanwhile, or memory ran out"),
            ),
            Failure::NotFetched(e) => e,
            Failure::Stopped(Step::Enter, e) => self.not_entered(e),
            Failure::Stopped(Step::Unshare, e) => no_namespaces(e),
            Failure::Stopped(Step::Map, e) => cannot_contain(not_mapped(), e),
            Failure::Stopped(Step::Mount, e) => cannot_contain(
                "the hierarchy could not be hidden from it by a mount (a security module?)", e),
            Failure::Stopped(Step::Directory, e) => badly("cannot change to the directory cwd_fd", e),
            Failure::Stopped(Step::Stdio, e) => badly("cannot give it its standard descriptors", e),
            Failure::Stopped(Step::Exec | Step::Unborn, e) => not_executed(program, e),
            Failure::NotMade(e @ (Errno::ENOSPC | Errno::EUSERS)) => no_namespaces(e),
            Failure::NotMade(e @ (Errno::ENOMEM | Errno::EMFILE | Errno::ENFILE)) => badly("no child could be made", e),
            // The system call names the group by its directory.
            Failure::NotMade(Errno::ENOENT) if !self.dir.is_alive() => self.failed("start in", "", Errno::ENODEV),
            Failure::NotMade(e) => self.not_entered(e),
            Failure::Errno(e) => self.failed("start a program in", "cgroup.procs", e),
        }
    }

    fn not_entered(&self, e: Errno) -> Error {
        self.not_moved("a new process", e).on("cgroup.procs")
    }
}

fn not_executed(program: &Program<'_>, e: Errno) -> Error {
    let file = program.files.last().unwrap_or_default().to_bytes();
    // Of one that was looked for in many directories its name is what matters.
    let file = shown(if program.files.len() > 1 { parse::split_last(file).1 } else { file });
    if OF_EXECVE.contains(&e) {
        return Error::new(e, format!("cannot start {file}: {}", words(e)));
    }
    Error::new(Errno::EIO, format!("cannot start {file}, for a reason of its own: {e}"))
}

fn badly(what: &str, e: Errno) -> Error {
    let code = if matches!(
        e,
        Errno::EACCES | Errno::EBADF | Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM | Errno::ENOTDIR
    ) {
        e
    } else {
        Errno::EIO
    };
    Error::new(code, format!("{what}: {}", words(e)))
}

fn not_contained(failure: contain::Failure) -> Error {
    match failure {
        contain::Failure::NoDelegation => Error::new(
            Errno::EOPNOTSUPP,
            "the hierarchy is not mounted nsdelegate, so nothing would hold it: mount -o remount,nsdelegate /sys/fs/cgroup",
        )
        .because(Reason::NotContained),
        contain::Failure::Inside => Error::new(
            Errno::EINVAL,
            "its working directory lies in the cgroup hierarchy, which is to be hidden from it: give another by cwd_fd",
        )
        .because(Reason::NotContained),
        contain::Failure::Errno(e) => badly("cannot read /proc/self/mountinfo", e),
    }
}

fn not_mapped() -> &'static str {
    if geteuid().is_root() {
        "root without CAP_SETFCAP, as one that is contained itself, cannot be mapped (Linux 5.12)"
    } else {
        "its ids could not be mapped (kernel.apparmor_restrict_unprivileged_userns?)"
    }
}

fn no_namespaces(e: Errno) -> Error {
    let why = if e == Errno::EPERM {
        "user namespaces are forbidden here (a container, a chroot, a security module, or a sysctl)"
    } else {
        "there are as many user namespaces as there may be (user.max_user_namespaces)"
    };
    cannot_contain(why, e)
}

fn cannot_contain(why: &str, e: Errno) -> Error {
    Error::new(Errno::EPERM, format!("it cannot be contained: {why}: {}", words(e)))
        .because(Reason::NotContained)
}

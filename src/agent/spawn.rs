// SPDX-License-Identifier: MIT OR Apache-2.0
//! Starts programs inside an agent's group, and turns the reasons why a program does not start into errors.

use super::Agent;
use crate::cgroupfs::Dir;
use crate::error::{Error, Reason, Result, shown, words};
use crate::parse;
use crate::spawn::asynchronous::{self, Outcome};
use crate::spawn::child::{Containment, Step};
use crate::spawn::command::Command;
use crate::spawn::contain;
use crate::spawn::parent::Child;
use crate::spawn::{Failure, Spawner};
use nix::errno::Errno;
use nix::unistd::geteuid;
use std::os::fd::BorrowedFd;

/// The errors of execve(2) that the caller gets unchanged. Others, of a security module or a file system, become `EIO`.
const EXECVE_ERRORS: &[Errno] = &[
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

/// How a child is started, in addition to its command.
#[derive(Debug, Clone, Copy, Default)]
pub struct SpawnOptions {
    /// The child starts in namespaces that it cannot leave.
    pub contain: bool,
    /// The caller wants a pidfd of the child.
    pub pidfd: bool,
}

impl Agent {
    /// Starts a program inside the group.
    pub fn spawn(&self, command: &Command<'_>, how: SpawnOptions) -> Result<Child> {
        let containment = self.prepare(command, how)?;
        let child = self
            .enter_by(|entry| {
                let spawner = self.spawner(entry);
                spawner.start(command, containment.as_ref(), how.pidfd, |pid| self.enter(pid))
            })
            .map_err(|failure| self.not_spawned(failure, Some(command)))?;
        self.record_start(may_write_attributes(command));
        Ok(child)
    }

    /// Starts a program inside the group and does not wait until it begins. [`Agent::spawn_result`] returns the result. The
    /// child has a pidfd.
    pub fn spawn_async(&self, command: &Command<'_>, how: SpawnOptions) -> Result<Child> {
        let containment = self.prepare(command, how)?;
        // An agent can freeze this cgroup, too.
        let own = self.open_own().map_err(|e| self.not_spawned(Failure::Errno(e), Some(command)))?;
        let child = self
            .spawner(own.as_ref().unwrap_or(&self.dir))
            .start_async(command, containment.as_ref(), |pid| self.enter(pid))
            .map_err(|failure| self.not_spawned(failure, Some(command)))?;
        self.record_start(may_write_attributes(command));
        Ok(child)
    }

    /// Returns true if the program of this child has begun, and false if it may still begin. After an error it does not
    /// begin, and nothing is left of the child.
    pub fn spawn_result(&self, pidfd: BorrowedFd<'_>) -> Result<bool> {
        match asynchronous::outcome(pidfd) {
            Outcome::Begun => Ok(true),
            Outcome::InProgress => Ok(false),
            Outcome::NotBegun(failure) => Err(self.not_spawned(failure.into(), None)),
            Outcome::NoChild(Errno::ECHILD) => Err(Error::new(
                Errno::ECHILD,
                "the pidfd is not that of a child of the caller, or the child was waited for",
            )),
            Outcome::NoChild(e) => {
                Err(Error::new(Errno::EINVAL, format!("the descriptor is not a pidfd: {}", words(e))))
            }
        }
    }

    /// Calls `start` with the cgroup in which a child starts: the group or, in a session, that of its own processes. The group
    /// may have become a session by another handle.
    fn enter_by(
        &self,
        start: impl Fn(&Dir) -> std::result::Result<Child, Failure<Error>>,
    ) -> std::result::Result<Child, Failure<Error>> {
        let session = self.known_session();
        let found = if session.is_none() { self.open_own().map_err(Failure::Errno)? } else { None };
        let own = session.as_ref().map(|session| &session.own).or(found.as_ref());
        let again = match start(own.unwrap_or(&self.dir)) {
            // The agent has removed the cgroup.
            Err(_) if own.is_some_and(|own| !own.is_alive()) && self.dir.is_alive() => {
                let again = self.open_own_again().map_err(Failure::Errno)?;
                self.forget_session();
                again
            }
            Err(Failure::NotCreated(Errno::EBUSY) | Failure::Failed(Step::Enter, Errno::EBUSY))
                if own.is_none() =>
            {
                self.open_own_again().map_err(Failure::Errno)?
            }
            started => return started,
        };
        start(again.as_ref().unwrap_or(&self.dir))
    }

    fn spawner<'a>(&'a self, entry: &'a Dir) -> Spawner<'a> {
        Spawner {
            dir: &self.dir,
            entry,
            cache: &self.spawn_cache,
            stats_files: &self.files,
            events: self.kill_state.files.events(),
            moved_by_systemd: self.unit().is_some(),
        }
    }

    /// Checks the command, and returns what its child needs to be contained.
    fn prepare(&self, command: &Command<'_>, how: SpawnOptions) -> Result<Option<Containment>> {
        if command.arguments.is_empty() {
            return Err(Error::new(
                Errno::EINVAL,
                "argv is empty: its first string must be the program's name",
            ));
        }
        self.restore_overrides()?;
        if !how.contain {
            return Ok(None);
        }
        self.bound_nesting()?;
        contain::prepare(command.directory).map(Some).map_err(not_contained)
    }

    /// `command` is None if it is not known any more.
    fn not_spawned(&self, failure: Failure<Error>, command: Option<&Command<'_>>) -> Error {
        if let Failure::NotCreated(e) | Failure::Failed(Step::Enter, e) = failure {
            if let Some(error) = self.not_moved_for_policy("the calling thread", 0, e) {
                return error.on("cgroup.procs");
            }
        }
        let group = shown(&self.path());
        match failure {
            Failure::Frozen => Error::new(
                Errno::EBUSY,
                format_args!("{group} or a cgroup above it is frozen or being killed: no program can begin there"),
            )
            .on("cgroup.freeze"),
            Failure::TimedOut => Error::new(
                Errno::ETIMEDOUT,
                format!("no program began in {group} in time: it or a cgroup above it is throttled or frozen, or the system is overloaded"),
            )
            .on("cpu.max"),
            Failure::PidsLimit | Failure::NotCreated(Errno::EAGAIN) => Error::new(
                Errno::EAGAIN,
                format_args!("cannot create a process in {group}: pids.max of it or a cgroup above, or RLIMIT_NPROC, is reached"),
            )
            .on("pids.max"),
            Failure::Killed => Error::new(
                Errno::ECANCELED,
                format_args!("the child was killed before its program began: all processes in {group} were killed, or memory ran out"),
            ),
            Failure::OutOfMemory => Error::new(
                Errno::ENOMEM,
                format_args!("not enough memory to start a program in {group}: raise its memory.max, or free memory in it"),
            )
            .on("memory.max"),
            Failure::KilledByFilter(step) => killed_by_filter(step),
            Failure::NotMoved(e) => e,
            Failure::Failed(Step::Enter, e) => self.not_entered(e),
            Failure::Failed(Step::ProcessGroup, e) => option_failed("pgroup: setpgid(2) fails", e, ""),
            Failure::Failed(Step::Terminal, e) => option_failed(
                "terminal_fd: it cannot become the controlling terminal", e, ""),
            Failure::Failed(Step::Foreground, e) => option_failed(
                "terminal_fd: the program cannot get into its foreground", e, ""),
            Failure::Failed(Step::Nice, e) => option_failed("nice: cannot set the niceness", e, "CAP_SYS_NICE"),
            Failure::Failed(Step::OomScore, e) if command.is_none_or(|command| command.oom_score_adj.is_some()) => option_failed(
                "oom_score_adj: cannot write /proc/self/oom_score_adj", e, "CAP_SYS_RESOURCE"),
            Failure::Failed(Step::ResourceLimits, e) => option_failed(
                "rlimits: cannot set a resource limit", e, "CAP_SYS_RESOURCE"),
            Failure::Failed(Step::Groups, e) => option_failed("groups: cannot set the supplementary groups", e, "CAP_SETGID"),
            Failure::Failed(Step::Gid, e) => option_failed("gid: cannot set the group id", e, "CAP_SETGID"),
            Failure::Failed(Step::Uid, e) => option_failed("uid: cannot set the user id", e, "CAP_SETUID"),
            Failure::Failed(Step::ParentDeath, e) => option_failed("parent_death_signal: cannot set it", e, ""),
            Failure::Failed(Step::NoNewPrivs, e) => option_failed("AGENTCG_SPAWN_NO_NEW_PRIVS: cannot set it", e, ""),
            Failure::Failed(Step::OomScore, e) => step_failed(
                "cannot raise the oom_score_adj of -1000 in /proc/self (is the host dumpable?)",
                e,
            ),
            Failure::Failed(Step::Unshare, e) => no_namespaces(e),
            Failure::Failed(Step::Map, e) => cannot_contain(not_mapped(), e),
            Failure::Failed(Step::Session, e) => step_failed("cannot start a new session", e),
            Failure::Failed(Step::Keyring, e) => no_keyring(e),
            Failure::Failed(Step::Mount, e) => cannot_contain(
                "the hierarchy cannot be hidden from it by a mount (a security module?)", e),
            Failure::Failed(Step::Scope, e) => cannot_contain("Landlock cannot restrict its signals", e),
            Failure::Failed(Step::Capabilities, e) => cannot_contain("its bounding set of capabilities cannot be emptied", e),
            Failure::Failed(Step::Directory, e) => step_failed("cannot change to the directory cwd_fd", e),
            Failure::Failed(Step::Stdio, e) => step_failed("cannot set up its descriptors", e),
            Failure::Failed(Step::Exec | Step::Start, e) => not_executed(command, e),
            Failure::NotCreated(e @ (Errno::ENOSPC | Errno::EUSERS)) => no_namespaces(e),
            Failure::NotCreated(e @ (Errno::ENOMEM | Errno::EMFILE | Errno::ENFILE)) => step_failed("cannot create a child", e),
            Failure::NotCreated(Errno::ENOSYS) => Error::new(
                Errno::EOPNOTSUPP,
                "AGENTCG_SPAWN_ASYNC needs Linux 5.4, for children that are waited for by their pidfd",
            ),
            // clone3(2) fails with ENOENT if the group's directory was removed.
            Failure::NotCreated(Errno::ENOENT) if !self.dir.is_alive() => self.failed("start in", "", Errno::ENODEV),
            Failure::NotCreated(e) => self.not_entered(e),
            Failure::Errno(e) => self.failed("start a program in", "cgroup.procs", e),
        }
    }

    fn not_entered(&self, e: Errno) -> Error {
        self.not_moved("a new process", e).on("cgroup.procs")
    }
}

/// Returns true if a program may write attributes of the group's directory, which belongs to the host.
fn may_write_attributes(command: &Command<'_>) -> bool {
    command.uid.is_none_or(|uid| uid == 0 || uid == geteuid().as_raw())
}

fn not_executed(command: Option<&Command<'_>>, e: Errno) -> Error {
    exec_error(command, e).because(Reason::NotExecuted)
}

fn exec_error(command: Option<&Command<'_>>, e: Errno) -> Error {
    let code = if EXECVE_ERRORS.contains(&e) { e } else { Errno::EIO };
    let Some(command) = command else {
        return Error::new(code, format!("cannot start the program: execve(2) failed: {}", words(e)));
    };
    if command.file.is_some() {
        let hint = if e == Errno::ENOENT {
            " (a script, which a descriptor cannot start, or its interpreter)"
        } else {
            ""
        };
        return Error::new(code, format!("cannot start the file of file_fd: {}{hint}", words(e)));
    }
    let file = command.program.last().unwrap_or_default().to_bytes();
    // For a program that was searched for in several directories the message states only its name.
    let file = shown(if command.program.len() > 1 { parse::split_last(file).1 } else { file });
    if EXECVE_ERRORS.contains(&e) {
        let hint = match e {
            Errno::ENOEXEC => " (a script needs a first line such as #!/bin/sh)",
            Errno::ENOENT if command.program.len() == 1 && !file.contains('/') => {
                " in its working directory: to search PATH use AGENTCG_SPAWN_SEARCH_PATH"
            }
            Errno::ENOENT => " (the file, or the interpreter that it names)",
            _ => "",
        };
        return Error::new(e, format_args!("cannot start {file}: {}{hint}", words(e)));
    }
    Error::new(Errno::EIO, format_args!("cannot start {file}: execve(2) failed with {e}"))
}

fn step_failed(what: &str, e: Errno) -> Error {
    let code = if matches!(
        e,
        Errno::EACCES
            | Errno::EAGAIN
            | Errno::EBADF
            | Errno::EMFILE
            | Errno::ENFILE
            | Errno::ENOMEM
            | Errno::ENOTDIR
    ) {
        e
    } else {
        Errno::EIO
    };
    Error::new(code, format_args!("{what}: {}", words(e)))
}

/// `what` begins with the name of the option. `capability` is what the caller may lack.
fn option_failed(what: &str, e: Errno, capability: &str) -> Error {
    let hint = if matches!(e, Errno::EPERM | Errno::EACCES) && !capability.is_empty() {
        format!(" ({capability} in the first user namespace?)")
    } else {
        String::new()
    };
    let code = match e {
        Errno::EPERM
        | Errno::EACCES
        | Errno::EAGAIN
        | Errno::EINVAL
        | Errno::ENOENT
        | Errno::ENOMEM
        | Errno::ENOTTY
        | Errno::ESRCH => e,
        _ => Errno::EIO,
    };
    Error::new(code, format!("{what}: {}{hint}", words(e)))
}

fn not_contained(failure: contain::Failure) -> Error {
    match failure {
        contain::Failure::NoDelegation => Error::new(
            Errno::EOPNOTSUPP,
            "the hierarchy is mounted without nsdelegate, which containment needs: mount -o remount,nsdelegate /sys/fs/cgroup",
        )
        .because(Reason::NotContained),
        contain::Failure::DirectoryInHierarchy => Error::new(
            Errno::EINVAL,
            "its working directory lies in the cgroup hierarchy, which containment hides: set another one with cwd_fd",
        )
        .because(Reason::NotContained),
        contain::Failure::Errno(e) => step_failed("cannot read /proc/self/mountinfo", e),
        contain::Failure::NotDumpable(e) => {
            cannot_contain("the host is not dumpable, and no executable memfd can be created", e)
        }
    }
}

fn not_mapped() -> &'static str {
    if geteuid().is_root() {
        "root without CAP_SETFCAP cannot be mapped (Linux 5.12), as in a program that is contained itself"
    } else {
        "its ids cannot be mapped (kernel.apparmor_restrict_unprivileged_userns?)"
    }
}

fn no_namespaces(e: Errno) -> Error {
    match e {
        Errno::ENOSPC | Errno::EUSERS => {
            cannot_contain("the limit of user namespaces is reached (user.max_user_namespaces)", e)
        }
        e => cannot_contain(
            "user namespaces are forbidden (by a container, a chroot, a security module or a sysctl)",
            e,
        ),
    }
}

fn no_keyring(e: Errno) -> Error {
    let why = "it cannot join a new session keyring";
    if e == Errno::EDQUOT {
        let message =
            format!("the program cannot be contained: {why}: kernel.keys.maxkeys or maxbytes is reached");
        return Error::new(e, message).because(Reason::NotContained);
    }
    cannot_contain(why, e)
}

/// Some errnos do not mean that containment is impossible: the same call may succeed later.
fn cannot_contain(why: &str, e: Errno) -> Error {
    let message = format!("the program cannot be contained: {why}: {}", words(e));
    match e {
        Errno::EAGAIN | Errno::EIO | Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM => {
            Error::new(e, format_args!("cannot contain the program: {}", words(e)))
        }
        _ => Error::new(Errno::EPERM, message).because(Reason::NotContained),
    }
}

fn killed_by_filter(step: Step) -> Error {
    let (act, is_for_containment) = match step {
        Step::Start => ("its start", false),
        Step::Enter => ("writing cgroup.procs", false),
        Step::OomScore => ("writing oom_score_adj", false),
        Step::Unshare => ("unshare(2)", true),
        Step::Map => ("writing uid_map", true),
        Step::Session => ("setsid(2)", false),
        Step::Keyring => ("keyctl(2)", true),
        Step::Directory => ("fchdir(2)", false),
        Step::Mount => ("unshare(2) or mount(2)", true),
        Step::Scope => ("Landlock's system calls", true),
        Step::Capabilities => ("prctl(2)", true),
        Step::Stdio => ("opening, copying or closing descriptors", false),
        Step::ProcessGroup => ("setpgid(2)", false),
        Step::Terminal | Step::Foreground => ("ioctl(2)", false),
        Step::Nice => ("setpriority(2)", false),
        Step::ResourceLimits => ("prlimit(2)", false),
        Step::Groups => ("setgroups(2)", false),
        Step::Gid => ("setresgid(2)", false),
        Step::Uid => ("setresuid(2)", false),
        Step::ParentDeath | Step::NoNewPrivs => ("prctl(2)", false),
        Step::Exec => ("execve(2)", false),
    };
    if is_for_containment {
        let message = format!(
            "the program cannot be contained: a seccomp filter kills the child at {act} (SystemCallFilter=?)"
        );
        return Error::new(Errno::EPERM, message).because(Reason::NotContained);
    }
    Error::new(Errno::EPERM, format_args!("a seccomp filter kills the child at {act} (SystemCallFilter=?)"))
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The child's side of a spawn: what the child does from clone(2) to execve(2).
//!
//! The child may share the memory of the host, whose other threads continue to run. Therefore it allocates nothing, takes
//! no lock and makes system calls only by [`syscall`]: libc's own functions may be cancellation points, and the thread
//! that created the child may have been cancelled.

#![allow(unsafe_code)]

use super::command::Command;
use super::namespace_holder::NamespaceHolder;
use super::redirect::Redirections;
use crate::parse;
use crate::sys::process::exit;
use crate::sys::syscall::{close, open, syscall, write};
use crate::sys::thread;
use nix::errno::Errno;
use std::convert::Infallible;
use std::ffi::{CStr, CString, c_int, c_void};
use std::io::Write;
use std::ops::Deref;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

/// The steps of a child, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Step {
    /// The child has not run yet.
    Start = 0,
    /// The child writes itself into cgroup.procs.
    Enter = 1,
    /// The child leaves the host's namespaces.
    Unshare = 2,
    /// The child maps its ids in the new user namespace.
    Map = 3,
    /// The child calls setsid(2).
    Session = 4,
    /// The child calls setpgid(2).
    ProcessGroup = 5,
    /// The child sets its controlling terminal.
    Terminal = 6,
    /// The child makes its process group the foreground one.
    Foreground = 7,
    /// The child joins a new session keyring.
    Keyring = 8,
    /// The child changes to its working directory.
    Directory = 9,
    /// The child mounts its own view of the hierarchy over the host's.
    Mount = 10,
    /// The child restricts its signals by Landlock.
    Scope = 11,
    /// The child empties its bounding set of capabilities.
    Capabilities = 12,
    /// The child sets up its descriptors.
    Stdio = 13,
    /// The child sets its niceness.
    Nice = 14,
    /// The child sets its oom_score_adj, or raises an inherited one of -1000.
    OomScore = 15,
    /// The child sets its resource limits.
    ResourceLimits = 16,
    /// The child sets its supplementary groups.
    Groups = 17,
    /// The child sets its group ids.
    Gid = 18,
    /// The child sets its user ids.
    Uid = 19,
    /// The child asks for a signal at the end of the calling thread.
    ParentDeath = 20,
    /// The child gives up new privileges.
    NoNewPrivs = 21,
    /// The child calls execve(2).
    Exec = 22,
}

const STEPS: [Step; 23] = [
    Step::Start,
    Step::Enter,
    Step::Unshare,
    Step::Map,
    Step::Session,
    Step::ProcessGroup,
    Step::Terminal,
    Step::Foreground,
    Step::Keyring,
    Step::Directory,
    Step::Mount,
    Step::Scope,
    Step::Capabilities,
    Step::Stdio,
    Step::Nice,
    Step::OomScore,
    Step::ResourceLimits,
    Step::Groups,
    Step::Gid,
    Step::Uid,
    Step::ParentDeath,
    Step::NoNewPrivs,
    Step::Exec,
];

/// What the name of a failed child begins with.
const NAME: &[u8; 8] = b"agentcg:";

impl Step {
    /// The name of a child that has failed at this step.
    fn to_name(self) -> [u8; 11] {
        let mut name = [0; 11];
        let number = self as u32;
        let digits = [b'0' + (number / 10 % 10) as u8, b'0' + (number % 10) as u8];
        name.iter_mut().zip(NAME.iter().chain(&digits)).for_each(|(byte, &of)| *byte = of);
        name
    }

    /// Returns the step at which a child of this name has failed.
    pub(super) fn from_name(name: &[u8]) -> Option<Self> {
        let number = parse::number(name.strip_prefix(NAME)?)?;
        STEPS.get(usize::try_from(number).ok()?).copied()
    }
}

/// The child's report to its parent, in memory that both share.
#[derive(Default)]
#[repr(C)]
pub(super) struct ChildReport {
    step: AtomicU32,
    errno: AtomicI32,
    /// The child's pid, once the child runs.
    pub pid: AtomicI32,
}

impl ChildReport {
    fn begin(&self, step: Step) {
        self.step.store(step as u32, Ordering::Release);
    }

    pub fn fail(&self, e: Errno) {
        self.errno.store(e as i32, Ordering::Release);
    }

    /// Returns the step that the child began last, and the error with which it failed, if it failed.
    pub fn read(&self) -> (Step, Option<Errno>) {
        let step = STEPS.get(self.step.load(Ordering::Acquire) as usize);
        let errno = self.errno.load(Ordering::Acquire);
        (step.copied().unwrap_or(Step::Start), (errno != 0).then(|| Errno::from_raw(errno)))
    }
}

/// What a child needs to enter namespaces that it cannot leave.
#[derive(Debug)]
pub struct Containment {
    /// The text for `/proc/self/uid_map`.
    pub uid_map: String,
    /// The text for `/proc/self/gid_map`.
    pub gid_map: String,
    /// The directories on which the hierarchy is mounted.
    pub mount_points: Vec<CString>,
    /// The program that holds the user namespace. It is needed if the host is not dumpable.
    pub namespace_holder: Option<NamespaceHolder>,
}

/// The namespaces of a contained child, except its mount namespace.
pub(super) const NAMESPACES: c_int = libc::CLONE_NEWUSER | libc::CLONE_NEWCGROUP;

/// A short text for a file of the kernel: the child allocates nothing.
#[derive(Debug)]
pub(super) struct Text {
    bytes: [u8; 12],
    length: usize,
}

impl Text {
    /// Returns a number in decimal.
    pub fn of(number: c_int) -> Self {
        let mut text = Self { bytes: [0; 12], length: 0 };
        let mut free = text.bytes.as_mut_slice();
        // It fits: the longest number has 11 bytes.
        let _ = write!(free, "{number}");
        let left = free.len();
        text.length = text.bytes.len() - left;
        text
    }
}

impl Deref for Text {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

/// What the child sets up before it executes its program. Everything that it refers to is valid until execve(2).
pub(super) struct ChildSetup<'a> {
    /// The cgroup.procs into which the child writes itself, or -1.
    pub procs: RawFd,
    /// If the child has inherited an oom_score_adj of -1000, it is set to 0.
    pub raise_oom_score: bool,
    /// The child leaves the host's namespaces by unshare(2).
    pub unshare: bool,
    pub containment: Option<&'a Containment>,
    pub command: &'a Command<'a>,
    pub redirections: Redirections,
    /// The parent does not read the report. If a step fails, the child's name says which, and its exit status is the errno.
    pub reports_by_name: bool,
    /// The text for oom_score_adj, if the command sets it.
    pub oom_score_adj: Option<Text>,
    /// The pid of the host, if the command has a parent-death signal.
    pub host: u32,
    pub report: *const ChildReport,
}

/// The child's main function. It takes a [`ChildSetup`] and returns only by execve(2) or by its exit.
pub(super) extern "C" fn child_main(setup: *mut c_void) -> c_int {
    // SAFETY: the parent keeps both until this process has executed the program or ended.
    let (setup, report) = unsafe {
        let setup = &mut *setup.cast::<ChildSetup<'_>>();
        let report = &*setup.report;
        (setup, report)
    };
    report.pid.store(syscall(libc::SYS_getpid, [0; 5]).unwrap_or(0), Ordering::Release);
    let Err(e) = execute(setup, report);
    report.fail(e);
    if setup.reports_by_name {
        let name = report.read().0.to_name();
        // It cannot fail: the name ends with NUL.
        let _ = syscall(libc::SYS_prctl, [libc::PR_SET_NAME as isize, name.as_ptr() as isize, 0, 0, 0]);
        exit(e as i32)
    }
    exit(127)
}

fn execute(setup: &mut ChildSetup<'_>, report: &ChildReport) -> nix::Result<Infallible> {
    if setup.reports_by_name {
        // A descriptor of the host that is a copy here could keep a pipe open for as long as the group is throttled.
        // SAFETY: this process has its own table of descriptors, and uses only those that are kept.
        unsafe { setup.redirections.close_unneeded() };
    }
    report.begin(Step::Enter);
    if setup.procs >= 0 {
        write(setup.procs, b"0")?;
    }
    if setup.unshare {
        report.begin(Step::Unshare);
        syscall(libc::SYS_unshare, [NAMESPACES as isize, 0, 0, 0, 0])?;
    }
    if let Some(containment) = setup.containment {
        report.begin(Step::Map);
        map_ids(containment)?;
    }
    // A contained program could otherwise insert input into the terminal of its host's session (TIOCSTI).
    if setup.command.new_session || setup.containment.is_some() {
        report.begin(Step::Session);
        syscall(libc::SYS_setsid, [0; 5])?;
    }
    set_job(setup.command, report)?;
    if setup.containment.is_some() {
        report.begin(Step::Keyring);
        join_new_keyring()?;
    }
    report.begin(Step::Directory);
    if let Some(directory) = setup.command.directory {
        syscall(libc::SYS_fchdir, [directory.as_raw_fd() as isize, 0, 0, 0, 0])?;
    }
    if let Some(containment) = setup.containment {
        report.begin(Step::Mount);
        hide_hierarchy(containment)?;
        report.begin(Step::Scope);
        scope_signals()?;
        report.begin(Step::Capabilities);
        drop_capabilities()?;
    }
    report.begin(Step::Stdio);
    // SAFETY: this process has its own table of descriptors, and uses none of those from now on.
    unsafe { setup.redirections.apply() }?;
    set_attributes(setup, report)?;
    thread::set_signals(setup.command.ignored_signals, setup.command.blocked_signals);
    report.begin(Step::Exec);
    Err(exec(setup.command, setup.redirections.file()))
}

/// Sets the process group and the terminal. All signals are blocked, so that the change of the foreground group of a
/// terminal does not stop the child.
fn set_job(command: &Command<'_>, report: &ChildReport) -> nix::Result<()> {
    if let Some(group) = command.process_group {
        report.begin(Step::ProcessGroup);
        syscall(libc::SYS_setpgid, [0, group as isize, 0, 0, 0])?;
    }
    if let Some(terminal) = command.controlling_terminal {
        report.begin(Step::Terminal);
        syscall(libc::SYS_ioctl, [terminal.as_raw_fd() as isize, libc::TIOCSCTTY as isize, 0, 0, 0])?;
    }
    if let Some(terminal) = command.foreground_of {
        report.begin(Step::Foreground);
        let group = syscall(libc::SYS_getpgid, [0; 5])?;
        let request = libc::TIOCSPGRP as isize;
        syscall(
            libc::SYS_ioctl,
            [terminal.as_raw_fd() as isize, request, (&raw const group) as isize, 0, 0],
        )?;
    }
    Ok(())
}

/// Sets what needs the host's privileges first, then the ids. RLIMIT_NOFILE must not limit the steps before.
fn set_attributes(setup: &ChildSetup<'_>, report: &ChildReport) -> nix::Result<()> {
    let command = setup.command;
    if let Some(mask) = command.umask {
        // It cannot fail.
        let _ = syscall(libc::SYS_umask, [mask as isize, 0, 0, 0, 0]);
    }
    if let Some(nice) = command.nice {
        report.begin(Step::Nice);
        let whose = libc::PRIO_PROCESS as isize;
        syscall(libc::SYS_setpriority, [whose, 0, nice as isize, 0, 0])?;
    }
    if let Some(score) = &setup.oom_score_adj {
        report.begin(Step::OomScore);
        write_file(libc::AT_FDCWD, OOM_SCORE_ADJ, score)?;
    } else if setup.raise_oom_score {
        report.begin(Step::OomScore);
        raise_oom_score()?;
    }
    for limit in &command.resource_limits {
        report.begin(Step::ResourceLimits);
        let limits = libc::rlimit64 { rlim_cur: limit.soft, rlim_max: limit.hard };
        syscall(libc::SYS_prlimit64, [0, limit.resource as isize, (&raw const limits) as isize, 0, 0])?;
    }
    if let Some(groups) = &command.groups {
        report.begin(Step::Groups);
        syscall(ids::SETGROUPS, [groups.len() as isize, groups.as_ptr() as isize, 0, 0, 0])?;
    }
    if let Some(gid) = command.gid {
        report.begin(Step::Gid);
        syscall(ids::SETRESGID, [gid as isize, gid as isize, gid as isize, 0, 0])?;
    }
    if let Some(uid) = command.uid {
        report.begin(Step::Uid);
        syscall(ids::SETRESUID, [uid as isize, uid as isize, uid as isize, 0, 0])?;
    }
    if let Some(signal) = command.parent_death_signal {
        // A change of the ids has cleared it.
        report.begin(Step::ParentDeath);
        syscall(libc::SYS_prctl, [libc::PR_SET_PDEATHSIG as isize, signal as isize, 0, 0, 0])?;
        // The host may have ended before. If it is outside of the child's pid namespace, its pid is 0.
        let parent = syscall(libc::SYS_getppid, [0; 5])?.unsigned_abs();
        if parent != 0 && parent != setup.host {
            return Err(Errno::ESRCH);
        }
    }
    if command.no_new_privs {
        report.begin(Step::NoNewPrivs);
        syscall(libc::SYS_prctl, [libc::PR_SET_NO_NEW_PRIVS as isize, 1, 0, 0, 0])?;
    }
    Ok(())
}

/// The system calls for ids of 32 bits. libc's functions would change the ids of all threads of the host.
mod ids {
    #[cfg(not(any(target_arch = "x86", target_arch = "arm")))]
    pub use libc::{SYS_setgroups as SETGROUPS, SYS_setresgid as SETRESGID, SYS_setresuid as SETRESUID};
    #[cfg(any(target_arch = "x86", target_arch = "arm"))]
    pub use libc::{
        SYS_setgroups32 as SETGROUPS, SYS_setresgid32 as SETRESGID, SYS_setresuid32 as SETRESUID,
    };
}

const OOM_SCORE_ADJ: &CStr = c"/proc/self/oom_score_adj";

/// Sets an oom_score_adj of -1000 to 0. The OOM killer never chooses a process with -1000: at its memory_max such a process
/// would use CPU time instead of being killed. The host keeps its own value: the kernel does not propagate a change by a
/// child of vfork(2) to the processes with which it shares memory.
fn raise_oom_score() -> nix::Result<()> {
    let fd = match open(libc::AT_FDCWD, OOM_SCORE_ADJ, libc::O_RDWR) {
        // /proc is not mounted.
        Err(Errno::ENOENT) => return Ok(()),
        // If the host is not dumpable, root owns the file.
        Err(Errno::EACCES | Errno::EROFS) => open(libc::AT_FDCWD, OOM_SCORE_ADJ, libc::O_RDONLY)?,
        other => other?,
    };
    let mut text = [0u8; 8];
    let read = [fd as isize, text.as_mut_ptr() as isize, text.len() as isize, 0, 0];
    let result = syscall(libc::SYS_read, read).and_then(|_| {
        // EBADF: the file is open only to read.
        let raise = || write(fd, b"0").map_err(|e| if e == Errno::EBADF { Errno::EACCES } else { e });
        if text.starts_with(b"-1000") { raise() } else { Ok(()) }
    });
    close(fd);
    result
}

/// Maps each id to itself, so that the child's ids are the same inside and outside of its user namespace.
fn map_ids(containment: &Containment) -> nix::Result<()> {
    let Some(holder) = &containment.namespace_holder else {
        let own = open(libc::AT_FDCWD, c"/proc/self", libc::O_PATH)?;
        let result = write_maps(own, containment);
        close(own);
        return result;
    };
    let running = holder.start()?;
    let result = running.open_directory().and_then(|directory| {
        let result = write_maps(directory, containment);
        close(directory);
        result
    });
    running.end()?;
    result
}

/// `process` is the directory in /proc of a process in the namespace.
fn write_maps(process: RawFd, containment: &Containment) -> nix::Result<()> {
    // A process without privileges may write gid_map only after setgroups is denied.
    write_file(process, c"setgroups", b"deny")?;
    write_file(process, c"uid_map", containment.uid_map.as_bytes())?;
    write_file(process, c"gid_map", containment.gid_map.as_bytes())
}

/// Joins a new session keyring. A process that has the host's session keyring can use and read the keys in it.
fn join_new_keyring() -> nix::Result<()> {
    // A keyring counts against the user's quota until the kernel has collected it, which takes some time.
    const MAX_RETRIES: u32 = 100;
    let interval = libc::timespec { tv_sec: 0, tv_nsec: 10_000_000 };
    let join = || syscall(libc::SYS_keyctl, [libc::KEYCTL_JOIN_SESSION_KEYRING as isize, 0, 0, 0, 0]);
    for _ in 0..MAX_RETRIES {
        match join() {
            Err(Errno::EDQUOT) => {
                // An interrupted sleep only shortens the wait.
                let _ = syscall(libc::SYS_nanosleep, [(&raw const interval) as isize, 0, 0, 0, 0]);
            }
            // Either the kernel has no keyrings, or a seccomp filter refuses keyctl(2), to the program as well.
            Ok(_) | Err(Errno::ENOSYS | Errno::EPERM) => return Ok(()),
            Err(e) => return Err(e),
        }
    }
    join().map(drop)
}

/// `struct landlock_ruleset_attr` of ABI 6.
#[repr(C)]
struct LandlockRuleset {
    handled_access_fs: u64,
    handled_access_net: u64,
    scoped: u64,
}

const LANDLOCK_CREATE_RULESET_VERSION: isize = 1;
const LANDLOCK_SCOPE_SIGNAL: u64 = 2;
/// The first ABI with scopes: Linux 6.12.
const ABI_WITH_SCOPES: i32 = 6;

/// Restricts signals to the processes that this process starts. The capabilities in the new user namespace allow it
/// without no_new_privs, which would also apply to the program.
fn scope_signals() -> nix::Result<()> {
    let version = [0, 0, LANDLOCK_CREATE_RULESET_VERSION, 0, 0];
    // Landlock is not built in, not enabled or filtered: the program can signal its host.
    if !syscall(libc::SYS_landlock_create_ruleset, version).is_ok_and(|abi| abi >= ABI_WITH_SCOPES) {
        return Ok(());
    }
    let ruleset =
        LandlockRuleset { handled_access_fs: 0, handled_access_net: 0, scoped: LANDLOCK_SCOPE_SIGNAL };
    let arguments = [(&raw const ruleset) as isize, size_of::<LandlockRuleset>() as isize, 0, 0, 0];
    let fd = syscall(libc::SYS_landlock_create_ruleset, arguments)?;
    let result = syscall(libc::SYS_landlock_restrict_self, [fd as isize, 0, 0, 0, 0]);
    close(fd);
    match result {
        // The process has 16 layers, which is the kernel's maximum. Nested containments can be deeper.
        Err(Errno::E2BIG) => Ok(()),
        result => result.map(drop),
    }
}

/// Hides the hierarchy in a new mount namespace. The child has changed to its working directory before, so that the
/// directory is one of the new mounts. From a directory of the host's mounts `..` would lead on through the host's mounts,
/// in which nothing is hidden.
fn hide_hierarchy(containment: &Containment) -> nix::Result<()> {
    syscall(libc::SYS_unshare, [libc::CLONE_NEWNS as isize, 0, 0, 0, 0])?;
    for point in &containment.mount_points {
        if let Err(e) = hide(point) {
            // The mount point may be hidden by another mount, or lie in a directory that the child cannot search. Then the
            // child cannot reach it. A security module returns the same errnos for a mount point that can be reached.
            if let Ok(fd) = open(libc::AT_FDCWD, point, libc::O_PATH) {
                close(fd);
                return Err(e);
            }
        }
    }
    Ok(())
}

/// Mounts the child's view of the hierarchy over a mount point. A tmpfs lies between the two: the kernel refuses to mount
/// a file system directly over the same file system.
fn hide(point: &CStr) -> nix::Result<()> {
    let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    match mount(c"tmpfs", point, c"tmpfs", flags, c"size=4k,nr_inodes=2") {
        // The mount point is a bind mount of a single file of the hierarchy.
        Err(Errno::ENOTDIR) => mount(c"/dev/null", point, c"", libc::MS_BIND, c""),
        Err(e) => Err(e),
        Ok(()) => mount(c"cgroup2", point, c"cgroup2", flags, c""),
    }
}

/// Empties the bounding set of capabilities. The capabilities of the new user namespace then end with execve(2). Root would
/// otherwise keep them, and could unmount what hides the host's view of the hierarchy.
fn drop_capabilities() -> nix::Result<()> {
    let prctl = |option: c_int, capability| syscall(libc::SYS_prctl, [option as isize, capability, 0, 0, 0]);
    for capability in 0..64 {
        match prctl(libc::PR_CAPBSET_DROP, capability) {
            Ok(_) => {}
            // The kernel has no capability of this number if PR_CAPBSET_READ fails as well.
            Err(Errno::EINVAL)
                if capability > 0 && prctl(libc::PR_CAPBSET_READ, capability) == Err(Errno::EINVAL) =>
            {
                break;
            }
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

fn mount(source: &CStr, point: &CStr, kind: &CStr, flags: libc::c_ulong, options: &CStr) -> nix::Result<()> {
    let [source, point, kind, options] = [source, point, kind, options].map(|text| text.as_ptr() as isize);
    syscall(libc::SYS_mount, [source, point, kind, flags as isize, options]).map(drop)
}

/// Tries each path as execvp(3) does, but starts no shell for ENOEXEC. If there is a descriptor of the program, only that
/// is tried. Returns why none was executed.
fn exec(command: &Command<'_>, program_fd: Option<RawFd>) -> Errno {
    let (program, arguments, environment) = (
        command.program.as_ptr(),
        command.arguments.as_ptr() as isize,
        command.environment.as_ptr() as isize,
    );
    if let Some(fd) = program_fd {
        let path = c"".as_ptr() as isize;
        let execveat = [fd as isize, path, arguments, environment, libc::AT_EMPTY_PATH as isize];
        return syscall(libc::SYS_execveat, execveat).err().unwrap_or(Errno::ENOENT);
    }
    let (mut file, mut error) = (program, Errno::ENOENT);
    loop {
        // SAFETY: the array ends with NULL, and `file` is not beyond that.
        let path = unsafe { *file };
        if path.is_null() {
            return error;
        }
        // SAFETY: the first element is not NULL, so that there is a second one.
        let is_only_path = unsafe { (*program.add(1)).is_null() };
        match syscall(libc::SYS_execve, [path as isize, arguments, environment, 0, 0]) {
            Err(Errno::EACCES) => error = Errno::EACCES,
            Err(e) if is_only_path => return e,
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ESTALE | Errno::ENODEV | Errno::ETIMEDOUT) => {}
            Err(e) => return e,
            Ok(_) => {}
        }
        // SAFETY: the element at `file` is not NULL, so that there is a next one.
        file = unsafe { file.add(1) };
    }
}

fn write_file(directory: RawFd, path: &CStr, text: &[u8]) -> nix::Result<()> {
    let fd = open(directory, path, libc::O_WRONLY)?;
    let result = write(fd, text);
    close(fd);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_in_the_name_of_a_failed_child() {
        for step in STEPS {
            let name = step.to_name();
            let text = CStr::from_bytes_with_nul(&name).unwrap().to_bytes();
            assert_eq!(Step::from_name(text), Some(step));
            assert_eq!(Step::from_name(&[text, b"\n"].concat()), Some(step));
        }
        for other in [&b"agentcg"[..], b"agentcg:", b"agentcg:99", b"sh", b""] {
            assert_eq!(Step::from_name(other), None);
        }
    }
}

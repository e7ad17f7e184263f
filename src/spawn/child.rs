// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a child does from its birth to execve(2). It may have the host's memory, whose other threads go on: it
//! allocates nothing, takes no lock, and makes system calls by syscall(3) alone, since libc's own functions may be
//! where a cancelled thread ends.

#![allow(unsafe_code)]

use super::namespace_holder::NamespaceHolder;
use crate::sys::process::{close_from, exit};
use crate::sys::syscall::{above, call, close, open, write};
use crate::sys::thread;
use nix::errno::Errno;
use std::convert::Infallible;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

/// How far a child has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Step {
    /// It has not run at all.
    Start = 0,
    /// Writing itself into cgroup.procs.
    Enter = 1,
    /// Leaving the host's namespaces.
    Unshare = 2,
    /// Mapping its ids in the new user namespace.
    Map = 3,
    /// setsid(2).
    Session = 4,
    /// Joining a new session keyring.
    Keyring = 5,
    /// Changing to its working directory.
    Directory = 6,
    /// Mounting its own view of the hierarchy over the host's.
    Mount = 7,
    /// Restricting its signals by Landlock.
    Scope = 8,
    /// Emptying its bounding set of capabilities.
    Capabilities = 9,
    /// Its standard input, output and error.
    Stdio = 10,
    /// Raising the oom_score_adj of -1000 that it has from the host.
    OomScore = 11,
    /// execve(2).
    Exec = 12,
}

const STEPS: [Step; 13] = [
    Step::Start,
    Step::Enter,
    Step::Unshare,
    Step::Map,
    Step::Session,
    Step::Keyring,
    Step::Directory,
    Step::Mount,
    Step::Scope,
    Step::Capabilities,
    Step::Stdio,
    Step::OomScore,
    Step::Exec,
];

/// A standard descriptor: as the host has it.
pub const INHERIT: RawFd = -1;
/// A standard descriptor: /dev/null.
pub const DEVNULL: RawFd = -2;
/// A descriptor of [`ChildSetup::passed`] that is to be closed.
pub const CLOSED: RawFd = -3;

/// The child's word back, in memory that both have.
#[derive(Default)]
#[repr(C)]
pub(super) struct Report {
    step: AtomicU32,
    errno: AtomicI32,
    /// Its pid, once it runs.
    pub pid: AtomicI32,
}

impl Report {
    fn at(&self, step: Step) {
        self.step.store(step as u32, Ordering::Release);
    }

    pub fn failed(&self, e: Errno) {
        self.errno.store(e as i32, Ordering::Release);
    }

    /// How far it got, and what stopped it there.
    pub fn read(&self) -> (Step, Option<Errno>) {
        let step = STEPS.get(self.step.load(Ordering::Acquire) as usize);
        let errno = self.errno.load(Ordering::Acquire);
        (step.copied().unwrap_or(Step::Start), (errno != 0).then(|| Errno::from_raw(errno)))
    }
}

/// What keeps a child where it is.
#[derive(Debug)]
pub struct Containment {
    /// For `/proc/self/uid_map`.
    pub uid_map: String,
    /// For `/proc/self/gid_map`.
    pub gid_map: String,
    /// Where the hierarchy is mounted now.
    pub points: Vec<CString>,
    /// For a host that is not dumpable.
    pub namespace_holder: Option<NamespaceHolder>,
}

/// The namespaces of a contained one, but for that of its mounts.
pub(super) const NAMESPACES: c_int = libc::CLONE_NEWUSER | libc::CLONE_NEWCGROUP;

/// What it is to do. All pointers are good until it has exec'd.
pub(super) struct ChildSetup<'a> {
    /// cgroup.procs to enter by, or -1.
    pub enter: RawFd,
    /// If it has an oom_score_adj of -1000 from the host, it is set to 0.
    pub raise_oom_score: bool,
    /// Leave the host's namespaces first.
    pub unshare: bool,
    pub containment: Option<&'a Containment>,
    pub new_session: bool,
    /// Or -1.
    pub directory: RawFd,
    pub stdio: [RawFd; 3],
    /// What is passed on as descriptors 3 and 4, if anything is.
    pub passed: Option<[RawFd; 2]>,
    /// The first that execve(2) takes; NULL ends them.
    pub files: *const *const c_char,
    pub argv: *const *const c_char,
    pub envp: *const *const c_char,
    pub report: *const Report,
}

/// The child_main of the child.
pub(super) extern "C" fn child_main(setup: *mut c_void) -> c_int {
    // SAFETY: who made us keeps both until we have exec'd or ended.
    let (setup, report) = unsafe {
        let setup = &*setup.cast::<ChildSetup<'_>>();
        (setup, &*setup.report)
    };
    report.pid.store(call(libc::SYS_getpid, [0; 5]).unwrap_or(0), Ordering::Release);
    let Err(e) = become_program(setup, report);
    report.failed(e);
    exit(127)
}

fn become_program(setup: &ChildSetup<'_>, report: &Report) -> nix::Result<Infallible> {
    report.at(Step::Enter);
    if setup.enter >= 0 {
        write(setup.enter, b"0")?;
    }
    if setup.unshare {
        report.at(Step::Unshare);
        call(libc::SYS_unshare, [NAMESPACES as isize, 0, 0, 0, 0])?;
    }
    if let Some(containment) = setup.containment {
        report.at(Step::Map);
        map(containment)?;
    }
    // A contained program could otherwise type into the terminal of its host's session (TIOCSTI).
    if setup.new_session || setup.containment.is_some() {
        report.at(Step::Session);
        call(libc::SYS_setsid, [0; 5])?;
    }
    if setup.containment.is_some() {
        report.at(Step::Keyring);
        leave_keyring()?;
    }
    report.at(Step::Directory);
    if setup.directory >= 0 {
        call(libc::SYS_fchdir, [setup.directory as isize, 0, 0, 0, 0])?;
    }
    if let Some(containment) = setup.containment {
        report.at(Step::Mount);
        hide_hierarchy(containment)?;
        report.at(Step::Scope);
        scope_signals()?;
        report.at(Step::Capabilities);
        drop_capabilities()?;
    }
    report.at(Step::Stdio);
    let kept = redirect(setup.stdio, setup.passed)?;
    // SAFETY: this process has a table of descriptors of its own, and needs no other any more.
    unsafe { close_from(kept) };
    if setup.raise_oom_score {
        report.at(Step::OomScore);
        raise_oom_score()?;
    }
    thread::reset_signals();
    report.at(Step::Exec);
    // SAFETY: the pointers are as execve(2) wants them.
    Err(unsafe { exec(setup) })
}

/// Over a process with -1000 the OOM killer passes: at its memory_max it would use CPU time and not be killed. The host
/// keeps its own: the kernel tells a child of vfork(2) from others that share the memory.
fn raise_oom_score() -> nix::Result<()> {
    const FILE: &CStr = c"/proc/self/oom_score_adj";
    let fd = match open(libc::AT_FDCWD, FILE, libc::O_RDWR) {
        // No /proc.
        Err(Errno::ENOENT) => return Ok(()),
        // The files of a host that is not dumpable are root's.
        Err(Errno::EACCES | Errno::EROFS) => open(libc::AT_FDCWD, FILE, libc::O_RDONLY)?,
        other => other?,
    };
    let mut text = [0u8; 8];
    let read = [fd as isize, text.as_mut_ptr() as isize, text.len() as isize, 0, 0];
    let done = call(libc::SYS_read, read).and_then(|_| {
        // EBADF: it is open to read alone.
        let raise = || write(fd, b"0").map_err(|e| if e == Errno::EBADF { Errno::EACCES } else { e });
        if text.starts_with(b"-1000") { raise() } else { Ok(()) }
    });
    close(fd);
    done
}

/// A uid that is mapped to itself, so that it stays what it is outside.
fn map(containment: &Containment) -> nix::Result<()> {
    let Some(holder) = &containment.namespace_holder else {
        let own = open(libc::AT_FDCWD, c"/proc/self", libc::O_PATH)?;
        let done = write_maps(own, containment);
        close(own);
        return done;
    };
    let running = holder.start()?;
    let done = running.open_directory().and_then(|directory| {
        let done = write_maps(directory, containment);
        close(directory);
        done
    });
    running.end()?;
    done
}

/// `process` is the directory in /proc of a process in the namespace.
fn write_maps(process: RawFd, containment: &Containment) -> nix::Result<()> {
    // Without it who may set the gid_map need be root.
    write_file(process, c"setgroups", b"deny")?;
    write_file(process, c"uid_map", containment.uid_map.as_bytes())?;
    write_file(process, c"gid_map", containment.gid_map.as_bytes())
}

/// Join a new session keyring. The keys in the host's could be used and read by a process that has it.
fn leave_keyring() -> nix::Result<()> {
    // A keyring counts against the user's quota until the kernel has collected it, which takes a while.
    const MOST_NAPS: u32 = 100;
    let nap = libc::timespec { tv_sec: 0, tv_nsec: 10_000_000 };
    let join = || call(libc::SYS_keyctl, [libc::KEYCTL_JOIN_SESSION_KEYRING as isize, 0, 0, 0, 0]);
    for _ in 0..MOST_NAPS {
        match join() {
            Err(Errno::EDQUOT) => {
                // An interrupted nap only shortens the wait.
                let _ = call(libc::SYS_nanosleep, [(&raw const nap) as isize, 0, 0, 0, 0]);
            }
            // The kernel has no keys, or a seccomp filter, which holds for the program as well, keeps them away.
            Ok(_) | Err(Errno::ENOSYS | Errno::EPERM) => return Ok(()),
            Err(e) => return Err(e),
        }
    }
    join().map(drop)
}

/// `struct landlock_ruleset_attr` as of ABI 6.
#[repr(C)]
struct LandlockRuleset {
    handled_access_fs: u64,
    handled_access_net: u64,
    scoped: u64,
}

const LANDLOCK_CREATE_RULESET_VERSION: isize = 1;
const LANDLOCK_SCOPE_SIGNAL: u64 = 2;
/// The first that has scopes: Linux 6.12.
const ABI_WITH_SCOPES: i32 = 6;

/// Restrict signals to the processes that this one starts. The capability of the new user namespace allows it
/// without no_new_privs, which would reach the program.
fn scope_signals() -> nix::Result<()> {
    let version = [0, 0, LANDLOCK_CREATE_RULESET_VERSION, 0, 0];
    // Not built in, not switched on, or filtered: the program can signal its host.
    if !call(libc::SYS_landlock_create_ruleset, version).is_ok_and(|abi| abi >= ABI_WITH_SCOPES) {
        return Ok(());
    }
    let ruleset =
        LandlockRuleset { handled_access_fs: 0, handled_access_net: 0, scoped: LANDLOCK_SCOPE_SIGNAL };
    let arguments = [(&raw const ruleset) as isize, size_of::<LandlockRuleset>() as isize, 0, 0, 0];
    let fd = call(libc::SYS_landlock_create_ruleset, arguments)?;
    let done = call(libc::SYS_landlock_restrict_self, [fd as isize, 0, 0, 0, 0]);
    close(fd);
    match done {
        // 16 layers are in force, the most that the kernel takes. Containment by containment goes deeper.
        Err(Errno::E2BIG) => Ok(()),
        done => done.map(drop),
    }
}

/// In mounts of our own. What is our directory as they are made is one of theirs then: from one of the host's, to which
/// a descriptor leads, `..` would go on through the host's mounts, in which nothing is hidden.
fn hide_hierarchy(containment: &Containment) -> nix::Result<()> {
    call(libc::SYS_unshare, [libc::CLONE_NEWNS as isize, 0, 0, 0, 0])?;
    for point in &containment.points {
        if let Err(e) = hide(point) {
            // Hidden by another mount or in a directory that is closed to us: the child cannot get there either. A
            // security module gives the same errnos for what can be reached.
            if let Ok(fd) = open(libc::AT_FDCWD, point, libc::O_PATH) {
                close(fd);
                return Err(e);
            }
        }
    }
    Ok(())
}

/// Not one on the other: the kernel takes no file system twice at the same point.
fn hide(point: &CStr) -> nix::Result<()> {
    let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    match mount(c"tmpfs", point, c"tmpfs", flags, c"size=4k,nr_inodes=2") {
        // A single file of the hierarchy, bound to another place.
        Err(Errno::ENOTDIR) => mount(c"/dev/null", point, c"", libc::MS_BIND, c""),
        Err(e) => Err(e),
        Ok(()) => mount(c"cgroup2", point, c"cgroup2", flags, c""),
    }
}

/// Those that the user namespace gives the child end with execve(2), for good if there is nothing left to bound them
/// by: root could else unmount what hides the host's view of the hierarchy.
fn drop_capabilities() -> nix::Result<()> {
    let prctl = |option: c_int, capability| call(libc::SYS_prctl, [option as isize, capability, 0, 0, 0]);
    for capability in 0..64 {
        match prctl(libc::PR_CAPBSET_DROP, capability) {
            Ok(_) => {}
            // The kernel has no more of them, if the call that reads says so, too.
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
    call(libc::SYS_mount, [source, point, kind, flags as isize, options]).map(drop)
}

/// Put each descriptor where the program expects it. Returns the number after the last of them.
fn redirect(stdio: [RawFd; 3], passed: Option<[RawFd; 2]>) -> nix::Result<RawFd> {
    let [zero, one, two] = stdio;
    match passed {
        None => redirect_all(&mut [zero, one, two], 3),
        Some([three, four]) => redirect_all(&mut [zero, one, two, three, four], 5),
    }
}

fn redirect_all(sources: &mut [RawFd], count: RawFd) -> nix::Result<RawFd> {
    // A source among the targets would be replaced before its turn comes.
    for (target, source) in (0..).zip(&mut *sources) {
        if *source == DEVNULL {
            let null = open(libc::AT_FDCWD, c"/dev/null", libc::O_RDWR)?;
            *source = above(null, count)?;
            close(null);
        } else if (0..count).contains(source) && *source != target {
            *source = above(*source, count)?;
        }
    }
    for (target, &mut source) in (0 as RawFd..).zip(sources) {
        if source == CLOSED {
            close(target);
            continue;
        }
        if source < 0 && is_placeholder(target) {
            // The host has it closed: so will the program.
            continue;
        }
        if source < 0 || source == target {
            match call(libc::SYS_fcntl, [target as isize, libc::F_SETFD as isize, 0, 0, 0]) {
                // The host has it closed, and does not give another.
                Err(Errno::EBADF) if source < 0 => {}
                other => drop(other?),
            }
        } else {
            call(libc::SYS_dup3, [source as isize, target as isize, 0, 0, 0])?;
        }
    }
    Ok(count)
}

/// Returns true if it was put there while another thread of the host makes a descriptor ([`crate::sys::descriptors`]).
fn is_placeholder(fd: RawFd) -> bool {
    let has = |command: c_int, flag| {
        call(libc::SYS_fcntl, [fd as isize, command as isize, 0, 0, 0]).is_ok_and(|flags| flags & flag != 0)
    };
    has(libc::F_GETFL, libc::O_PATH) && has(libc::F_GETFD, libc::FD_CLOEXEC)
}

/// As execvp(3) does, but for the shell that it would ask about ENOEXEC.
unsafe fn exec(setup: &ChildSetup<'_>) -> Errno {
    let (mut file, mut why) = (setup.files, Errno::ENOENT);
    loop {
        // SAFETY: NULL ends them.
        let path = unsafe { *file };
        if path.is_null() {
            return why;
        }
        // SAFETY: the first is not the end.
        let only = unsafe { (*setup.files.add(1)).is_null() };
        match call(libc::SYS_execve, [path as isize, setup.argv as isize, setup.envp as isize, 0, 0]) {
            Err(Errno::EACCES) => why = Errno::EACCES,
            Err(e) if only => return e,
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ESTALE | Errno::ENODEV | Errno::ETIMEDOUT) => {}
            Err(e) => return e,
            Ok(_) => {}
        }
        // SAFETY: not yet at the end.
        file = unsafe { file.add(1) };
    }
}

fn write_file(directory: RawFd, path: &CStr, text: &[u8]) -> nix::Result<()> {
    let fd = open(directory, path, libc::O_WRONLY)?;
    let done = write(fd, text);
    close(fd);
    done
}

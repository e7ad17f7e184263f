// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a child does from its birth to execve(2). It may have the host's memory, whose other threads go on: it
//! allocates nothing, takes no lock, and makes system calls by syscall(3) alone, since libc's own functions may be
//! where a cancelled thread ends.

use super::process::{close_from, exit};
use super::signals;
use nix::errno::Errno;
use std::convert::Infallible;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::os::fd::RawFd;
use std::ptr::null;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

/// How far a child has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Step {
    /// It has not run at all.
    Unborn = 0,
    /// Writing itself into cgroup.procs.
    Enter = 1,
    /// Leaving the host's namespaces.
    Unshare = 2,
    /// Mapping its ids in the new user namespace.
    Map = 3,
    /// Changing to its working directory.
    Directory = 4,
    /// Mounting its own view of the hierarchy over the host's.
    Mount = 5,
    /// Its standard input, output and error.
    Stdio = 6,
    /// execve(2).
    Exec = 7,
}

const STEPS: [Step; 8] = [
    Step::Unborn,
    Step::Enter,
    Step::Unshare,
    Step::Map,
    Step::Directory,
    Step::Mount,
    Step::Stdio,
    Step::Exec,
];

/// A standard descriptor: as the host has it.
pub const INHERIT: RawFd = -1;
/// A standard descriptor: /dev/null.
pub const DEVNULL: RawFd = -2;

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
        (step.copied().unwrap_or(Step::Unborn), (errno != 0).then(|| Errno::from_raw(errno)))
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
}

/// The namespaces of a contained one, but for that of its mounts.
pub(super) const NAMESPACES: c_int = libc::CLONE_NEWUSER | libc::CLONE_NEWCGROUP;

/// What it is to do. All pointers are good until it has exec'd.
pub(super) struct Orders<'a> {
    /// cgroup.procs to enter by, or -1.
    pub enter: RawFd,
    /// Leave the host's namespaces first.
    pub unshare: bool,
    pub containment: Option<&'a Containment>,
    pub new_session: bool,
    /// Or -1.
    pub directory: RawFd,
    pub stdio: [RawFd; 3],
    /// The first that execve(2) takes; NULL ends them.
    pub files: *const *const c_char,
    pub argv: *const *const c_char,
    pub envp: *const *const c_char,
    pub report: *const Report,
}

/// The life of the child.
pub(super) extern "C" fn live(orders: *mut c_void) -> c_int {
    // SAFETY: who made us keeps both until we have exec'd or ended.
    let (orders, report) = unsafe {
        let orders = &*orders.cast::<Orders<'_>>();
        (orders, &*orders.report)
    };
    report.pid.store(call(libc::SYS_getpid, [0; 5]).unwrap_or(0), Ordering::Release);
    let Err(e) = become_program(orders, report);
    report.failed(e);
    exit(127)
}

fn become_program(orders: &Orders<'_>, report: &Report) -> nix::Result<Infallible> {
    report.at(Step::Enter);
    if orders.enter >= 0 {
        write(orders.enter, b"0")?;
    }
    if orders.unshare {
        report.at(Step::Unshare);
        call(libc::SYS_unshare, [NAMESPACES as isize, 0, 0, 0, 0])?;
    }
    if let Some(containment) = orders.containment {
        report.at(Step::Map);
        map(containment)?;
    }
    if orders.new_session {
        call(libc::SYS_setsid, [0; 5])?;
    }
    report.at(Step::Directory);
    if orders.directory >= 0 {
        call(libc::SYS_fchdir, [orders.directory as isize, 0, 0, 0, 0])?;
    }
    if let Some(containment) = orders.containment {
        report.at(Step::Mount);
        hide_hierarchy(containment)?;
        drop_capabilities()?;
    }
    report.at(Step::Stdio);
    redirect(orders.stdio)?;
    // SAFETY: this process has a table of descriptors of its own, and needs no other any more.
    unsafe { close_from(3) };
    signals::reset();
    report.at(Step::Exec);
    // SAFETY: the pointers are as execve(2) wants them.
    Err(unsafe { exec(orders) })
}

/// A uid that is mapped to itself, so that it stays what it is outside.
fn map(containment: &Containment) -> nix::Result<()> {
    // Without it who may set the gid_map need be root.
    write_file(c"/proc/self/setgroups", b"deny")?;
    write_file(c"/proc/self/uid_map", containment.uid_map.as_bytes())?;
    write_file(c"/proc/self/gid_map", containment.gid_map.as_bytes())
}

/// In mounts of our own. What is our directory as they are made is one of theirs then: from one of the host's, to which
/// a descriptor leads, `..` would go on through the host's mounts, in which nothing is hidden.
fn hide_hierarchy(containment: &Containment) -> nix::Result<()> {
    call(libc::SYS_unshare, [libc::CLONE_NEWNS as isize, 0, 0, 0, 0])?;
    for point in &containment.points {
        if let Err(e) = hide(point) {
            // Hidden by another mount or in a directory that is closed to us: the child cannot get there either. A
            // security module gives the same errnos for what can be reached.
            if let Ok(fd) = open(point, libc::O_PATH) {
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
    for capability in 0..64 {
        match call(libc::SYS_prctl, [libc::PR_CAPBSET_DROP as isize, capability, 0, 0, 0]) {
            Ok(_) => {}
            // The kernel has no more of them.
            Err(Errno::EINVAL) => break,
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

fn mount(source: &CStr, point: &CStr, kind: &CStr, flags: libc::c_ulong, options: &CStr) -> nix::Result<()> {
    let [source, point, kind, options] = [source, point, kind, options].map(|text| text.as_ptr() as isize);
    call(libc::SYS_mount, [source, point, kind, flags as isize, options]).map(drop)
}

fn redirect(mut sources: [RawFd; 3]) -> nix::Result<()> {
    // A source among the three would be replaced before its turn comes.
    for (target, source) in (0..).zip(&mut sources) {
        if *source == DEVNULL {
            let null = open(c"/dev/null", libc::O_RDWR)?;
            *source = above(null)?;
            close(null);
        } else if (0..3).contains(source) && *source != target {
            *source = above(*source)?;
        }
    }
    for (target, source) in (0 as RawFd..).zip(sources) {
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
    Ok(())
}

/// Returns true if it was put there while another thread of the host makes a descriptor ([`super::descriptors`]).
fn is_placeholder(fd: RawFd) -> bool {
    let has = |command: c_int, flag| {
        call(libc::SYS_fcntl, [fd as isize, command as isize, 0, 0, 0]).is_ok_and(|flags| flags & flag != 0)
    };
    has(libc::F_GETFL, libc::O_PATH) && has(libc::F_GETFD, libc::FD_CLOEXEC)
}

/// As execvp(3) does, but for the shell that it would ask about ENOEXEC.
unsafe fn exec(orders: &Orders<'_>) -> Errno {
    let (mut file, mut why) = (orders.files, Errno::ENOENT);
    loop {
        // SAFETY: NULL ends them.
        let path = unsafe { *file };
        if path.is_null() {
            return why;
        }
        // SAFETY: the first is not the end.
        let only = unsafe { (*orders.files.add(1)).is_null() };
        match call(libc::SYS_execve, [path as isize, orders.argv as isize, orders.envp as isize, 0, 0]) {
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

fn write_file(path: &CStr, text: &[u8]) -> nix::Result<()> {
    let fd = open(path, libc::O_WRONLY)?;
    let done = write(fd, text);
    close(fd);
    done
}

fn open(path: &CStr, flags: c_int) -> nix::Result<RawFd> {
    let flags = (flags | libc::O_CLOEXEC) as isize;
    call(libc::SYS_openat, [libc::AT_FDCWD as isize, path.as_ptr() as isize, flags, 0, 0])
}

fn write(fd: RawFd, text: &[u8]) -> nix::Result<()> {
    call(libc::SYS_write, [fd as isize, text.as_ptr() as isize, text.len() as isize, 0, 0]).map(drop)
}

fn above(fd: RawFd) -> nix::Result<RawFd> {
    call(libc::SYS_fcntl, [fd as isize, libc::F_DUPFD_CLOEXEC as isize, 3, 0, 0])
}

fn close(fd: RawFd) {
    let _ours = call(libc::SYS_close, [fd as isize, 0, 0, 0, 0]);
}

/// What these system calls give fits into an int.
pub(super) fn call(number: libc::c_long, [a, b, c, d, e]: [isize; 5]) -> nix::Result<i32> {
    let nothing = null::<c_void>();
    // SAFETY: each caller passes what its call takes; none of those here takes six.
    let result = Errno::result(unsafe { libc::syscall(number, a, b, c, d, e, nothing) })?;
    i32::try_from(result).map_err(|_| Errno::EOVERFLOW)
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads /proc: the cgroup of a process, the mounts, the state of processes.

use crate::parse::{self, ProcStat, Task};
use crate::sys::descriptors;
use crate::sys::fork_id::AtomicForkId;
use crate::sys::fork_mutex::ForkMutex;
use crate::sys::getdents::for_each_directory;
use crate::sys::kernfile::{self, errno};
use crate::sys::retry_on_eintr;
use crate::sys::try_alloc;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::{AccessFlags, Pid, access, getpid, gettid};
use std::fmt;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

/// Returns the `0::` path of a process (`self` or a pid), or `None` if no cgroup2 hierarchy was ever mounted.
pub fn cgroup_of(process: &str) -> nix::Result<Option<Vec<u8>>> {
    let file = open(&format!("/proc/{process}/cgroup"))?;
    kernfile::find_line(file, |line| parse::own_cgroup(line).map(try_alloc::copy))?.transpose()
}

/// The file `/proc/PID/cgroup`. It belongs to the process and not to its pid: it never shows a later process with the same pid.
#[derive(Debug)]
pub struct CgroupFile(File);

impl CgroupFile {
    /// Opens the file of a process or of a thread. Fails with `ENOENT` if there is none, or if hidepid hides it.
    pub fn of(pid: i32) -> nix::Result<Self> {
        let mut path = [0; NUMBERED_MAX];
        open(numbered_file(&mut path, pid, "cgroup")?).map(Self)
    }

    /// Returns the present `0::` path, which is empty if no cgroup2 hierarchy was ever mounted. Fails with `ESRCH` if the
    /// process was reaped.
    pub fn path(&self) -> nix::Result<Vec<u8>> {
        let copy = |path: &[u8]| {
            if path.len() < PATH_MAX { try_alloc::copy(path) } else { Err(Errno::ENAMETOOLONG) }
        };
        read_path(&self.0, copy)?.unwrap_or_else(|| Ok(Vec::new()))
    }
}

/// Returns a thread that lives, if the main thread of a process has ended and another one lives.
pub fn living_thread(pid: i32) -> nix::Result<Option<i32>> {
    let mut path = [0; NUMBERED_MAX];
    let mut text = [0; 2];
    let statm = open(numbered_file(&mut path, pid, "statm")?)?;
    retry_on_eintr(|| statm.read_at(&mut text, 0).map_err(|e| errno(&e)))?;
    // A thread that has ended has no memory. A kernel thread has none, either.
    if &text != b"0 " {
        return Ok(None);
    }
    for thread in threads_of(pid)? {
        match Process::open(thread).and_then(|thread| thread.stat()) {
            Ok(stat) if matches!(stat.state, b'Z' | b'X' | b'x') => {}
            Ok(_) => return Ok((thread != pid).then_some(thread)),
            Err(Errno::ESRCH) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(None)
}

/// Returns true if /proc numbers processes as the pid namespace of the calling process does. A process finds this out once.
pub fn shows_own_pid_namespace() -> nix::Result<bool> {
    static SHOWS: AtomicForkId = AtomicForkId::new();
    if SHOWS.is_current() {
        return Ok(true);
    }
    let shows = match read("/proc/self/status") {
        Ok(text) => parse::is_numbered_once(&text),
        Err(Errno::ENOENT | Errno::EACCES) => false,
        Err(e) => return Err(e),
    };
    if shows {
        SHOWS.set_current();
    }
    Ok(shows)
}

/// More than the kernel's longest line, which it cuts at PATH_MAX.
const LINE_MAX: usize = 4096 + 64;

/// Calls `visit` with the `0::` path of the calling thread, as the kernel shows it in the caller's cgroup namespace.
/// Allocates nothing, and needs no free descriptor after [`keep_own_files`]. Returns `None` if no cgroup2 hierarchy was
/// ever mounted, or if the path is longer than the kernel shows.
///
/// It reads the path of the thread, because the path of the process is that of its main thread, which a dead main thread
/// keeps when the process is moved.
pub fn with_own_cgroup<T>(visit: impl FnOnce(&[u8]) -> T) -> nix::Result<Option<T>> {
    let kept = OWN_FILES.lock().upgrade();
    // To open the file of the thread takes as long as to read it.
    if let Some(files) = kept.as_ref().filter(|files| files.main_thread == gettid()) {
        return own_path(&files.cgroup, visit);
    }
    match (open("/proc/thread-self/cgroup"), kept) {
        (Ok(file), _) => own_path(&file, visit),
        (Err(_), Some(files)) => own_path(&files.cgroup, visit),
        (Err(e), None) => Err(e),
    }
}

fn own_path<T>(file: &File, visit: impl FnOnce(&[u8]) -> T) -> nix::Result<Option<T>> {
    read_path(file, |path| (path.len() < PATH_MAX).then(|| visit(path))).map(Option::flatten)
}

fn read_path<T>(file: &File, visit: impl FnOnce(&[u8]) -> T) -> nix::Result<Option<T>> {
    let mut buf = [0; LINE_MAX];
    let (mut at, mut filled) = (0u64, 0);
    loop {
        let room = buf.get_mut(filled..).unwrap_or_default();
        let read = retry_on_eintr(|| file.read_at(room, at).map_err(|e| errno(&e)))?;
        at += read as u64;
        filled += read;
        let text = buf.get(..filled).unwrap_or_default();
        // The line is the last one. If there was room for more, the read has returned the rest of the file.
        if read == 0 || (filled < buf.len() && parse::own_cgroup(text).is_some() && text.ends_with(b"\n")) {
            return Ok(parse::own_cgroup(text).map(visit));
        }
        if filled == buf.len() {
            // The lines of v1 hierarchies come first.
            let line = text.iter().rposition(|&b| b == b'\n').map_or(filled, |end| end + 1);
            buf.copy_within(line.., 0);
            filled -= line;
        }
    }
}

/// The kernel cuts longer paths.
const PATH_MAX: usize = 4095;

/// The files of the calling process that are open while an agent of the process needs them. A forked child does not use them.
static OWN_FILES: ForkMutex<Weak<ProcessFiles>> = ForkMutex::new();

/// Open files in `/proc/self`.
#[derive(Debug)]
struct ProcessFiles {
    cgroup: File,
    /// The thread to which the files belong. Its id is the process's.
    main_thread: Pid,
    /// Empty in the guard, and if it could not be opened.
    oom_score_adj: OnceLock<File>,
}

/// Keeps the files of the calling process open.
#[derive(Debug)]
pub struct OwnFiles(Arc<ProcessFiles>);

/// Keeps `/proc/self/cgroup` open, for the case that the process has no descriptor left later. All agents share it.
pub fn keep_own_files() -> nix::Result<OwnFiles> {
    let mut kept = OWN_FILES.lock();
    if let Some(files) = kept.upgrade() {
        return Ok(OwnFiles(files));
    }
    let files = Arc::new(ProcessFiles {
        cgroup: open("/proc/self/cgroup")?,
        main_thread: getpid(),
        oom_score_adj: OnceLock::new(),
    });
    *kept = Arc::downgrade(&files);
    Ok(OwnFiles(files))
}

/// The last one frees the memory.
impl Drop for OwnFiles {
    fn drop(&mut self) {
        let mut kept = OWN_FILES.lock();
        if Arc::strong_count(&self.0) == 1 {
            *kept = Weak::new();
        }
    }
}

/// Keeps `/proc/self/oom_score_adj` open, too, which each spawn reads.
pub fn keep_oom_score_adj() {
    if let Some(files) = OWN_FILES.lock().upgrade().filter(|files| files.oom_score_adj.get().is_none()) {
        if let Ok(file) = open("/proc/self/oom_score_adj") {
            files.oom_score_adj.get_or_init(|| file);
        }
    }
}

/// Returns false if the oom_score_adj of the calling process is not -1000. Returns true if it is, and if it is unknown because
/// the file is not kept open.
pub fn oom_score_adj_may_be_least() -> bool {
    let files = OWN_FILES.lock().upgrade();
    let Some(file) = files.as_ref().and_then(|files| files.oom_score_adj.get()) else { return true };
    let mut text = [0; 8];
    retry_on_eintr(|| file.read_at(&mut text, 0).map_err(|e| errno(&e))).is_err()
        || text.starts_with(b"-1000")
}

/// The process that was in the initial cgroup namespace at the last look.
static IN_INITIAL_NAMESPACE: AtomicForkId = AtomicForkId::new();

/// Returns the number of the calling process's cgroup namespace, or 0 if it is unknown.
pub fn cgroup_namespace() -> u64 {
    let namespace = read_cgroup_namespace();
    if namespace == INITIAL_CGROUP_NAMESPACE {
        IN_INITIAL_NAMESPACE.set_current();
    } else {
        IN_INITIAL_NAMESPACE.clear();
    }
    namespace
}

fn read_cgroup_namespace() -> u64 {
    let mut link = [0; 64];
    kernfile::read_link(c"/proc/self/ns/cgroup", &mut link).ok().and_then(parse::namespace).unwrap_or(0)
}

/// Returns true if the calling process was in the initial cgroup namespace when [`cgroup_namespace`] was last called.
pub fn was_in_initial_cgroup_namespace() -> bool {
    IN_INITIAL_NAMESPACE.is_current()
}

/// PROC_CGROUP_INIT_INO of include/linux/proc_ns.h: the number of the initial namespace, in which paths are absolute.
pub const INITIAL_CGROUP_NAMESPACE: u64 = 0xEFFF_FFFB;

/// Returns true if the root of the directory's mount is in the calling process's cgroup namespace.
pub fn is_in_cgroup_namespace(dir: BorrowedFd<'_>) -> nix::Result<bool> {
    let mut path = [0; NUMBERED_MAX];
    let text = kernfile::read_all(open(numbered(&mut path, "/proc/self/fdinfo/", dir.as_raw_fd())?)?)?;
    let id = parse::mount_id(&text).ok_or(Errno::ENOENT)?;
    let inside = find_mount(|line| parse::mount_root(line, id).map(|root| !root.starts_with(b"/..")))?;
    inside.ok_or(Errno::ENOENT)
}

/// The flag of an exiting process, from include/linux/sched.h.
const PF_EXITING: u64 = 0x4;

/// Returns true if a process that exits in a cgroup whose path has this component still frees its memory or files. A process
/// that only waits for others to be reaped does not count.
pub fn any_exits_in(component: &[u8]) -> bool {
    let Ok(all) = open("/proc") else { return false };
    let stat = |id| Process::open(id).and_then(|process| process.stat()).ok();
    let mut found = false;
    // A process that disappears during the listing has ended.
    let _ = for_each_directory(all.as_fd(), |entry| {
        let Some(pid) = entry.to_str().ok().and_then(|text| text.parse::<i32>().ok()) else { return Ok(()) };
        let exits = stat(pid).is_some_and(|stat| stat.flags & PF_EXITING != 0);
        let is_inside = || {
            cgroup_of(&pid.to_string())
                .is_ok_and(|path| path.is_some_and(|path| parse::has_component(&path, component)))
        };
        found = exits
            && is_inside()
            && threads_of(pid)
                .unwrap_or_default()
                .into_iter()
                .any(|thread| stat(thread).is_some_and(|stat| matches!(stat.state, b'R' | b'D')));
        if found { Err(Errno::EEXIST) } else { Ok(()) }
    });
    found
}

/// Returns the zombies in a cgroup whose path has this component, at most `most`.
pub fn zombies_in(component: &[u8], most: usize) -> Vec<i32> {
    let mut found = Vec::new();
    let Ok(all) = open("/proc") else { return found };
    // A process that disappears during the listing has no cgroup.
    let _ = for_each_directory(all.as_fd(), |entry| {
        let Some(pid) = entry.to_str().ok().and_then(|text| text.parse::<i32>().ok()) else { return Ok(()) };
        let ended =
            Process::open(pid).and_then(|process| process.stat()).is_ok_and(|stat| stat.state == b'Z');
        if ended
            && cgroup_of(&pid.to_string())
                .is_ok_and(|path| path.is_some_and(|path| parse::has_component(&path, component)))
        {
            found.push(pid);
        }
        if found.len() < most { Ok(()) } else { Err(Errno::ENOSPC) }
    });
    found
}

/// Returns true if a v1 hierarchy has a controller that the library uses.
pub fn v1_holds_controllers() -> bool {
    let text = read("/proc/self/cgroup").unwrap_or_default();
    parse::v1_controllers(&text).any(|name| matches!(name, b"cpu" | b"memory" | b"pids"))
}

/// Returns the text of `/proc/vmstat`, the counters of the machine.
pub fn vmstat() -> nix::Result<Vec<u8>> {
    read("/proc/vmstat")
}

/// Returns the text of a file of one line, such as `/proc/cmdline`, or an empty string if it cannot be read.
pub fn text_of(path: &str) -> String {
    read(path).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default()
}

/// Returns true if this is the id of a thread of the calling process.
pub fn is_own_thread(tid: i32) -> bool {
    let mut path = [0; NUMBERED_MAX];
    numbered(&mut path, "/proc/self/task/", tid).is_ok_and(|path| access(path, AccessFlags::F_OK).is_ok())
}

/// Enough for the paths that [`numbered`] makes.
const NUMBERED_MAX: usize = 40;

/// A path that ends with a number, in a buffer: a kill is sent where nothing can be allocated.
fn numbered<'b>(buf: &'b mut [u8; NUMBERED_MAX], path: &str, number: i32) -> nix::Result<&'b str> {
    formatted(buf, format_args!("{path}{number}"))
}

/// The path of a file of a process.
fn numbered_file<'b>(buf: &'b mut [u8; NUMBERED_MAX], pid: i32, file: &str) -> nix::Result<&'b str> {
    formatted(buf, format_args!("/proc/{pid}/{file}"))
}

fn formatted<'b>(buf: &'b mut [u8; NUMBERED_MAX], path: fmt::Arguments<'_>) -> nix::Result<&'b str> {
    let mut rest = buf.as_mut_slice();
    rest.write_fmt(path).map_err(|_| Errno::ENAMETOOLONG)?;
    let left = rest.len();
    let text = buf.get(..NUMBERED_MAX - left).unwrap_or_default();
    std::str::from_utf8(text).map_err(|_| Errno::EILSEQ)
}

/// Returns true if /proc is mounted.
pub fn is_there() -> bool {
    access("/proc/self", AccessFlags::F_OK).is_ok()
}

/// Returns the process and the state of a thread or process by its id. Fails with `ENOENT` or `ESRCH` if the caller sees no
/// such id.
pub fn task(id: i32) -> nix::Result<Task> {
    let text = kernfile::read_all(open(&format!("/proc/{id}/status"))?)?;
    parse::task(&text).ok_or(Errno::ESRCH)
}

/// Returns the pid of a pidfd. Fails with `ESRCH` if its process was reaped or has no pid in this namespace, and with `EBADF`
/// if the descriptor is no pidfd.
pub fn pid_of(pidfd: BorrowedFd<'_>) -> nix::Result<i32> {
    let text = match open(&format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())) {
        Ok(file) => kernfile::read_all(file)?,
        Err(Errno::ENOENT) if is_there() => return Err(Errno::EBADF),
        Err(e) => return Err(e),
    };
    match parse::pidfd(&text) {
        Some(0) => Err(Errno::ESRCH),
        other => other.ok_or(Errno::EBADF),
    }
}

/// Returns the threads of a process. A process that was reaped has none.
pub fn threads_of(pid: i32) -> nix::Result<Vec<i32>> {
    let mut threads = Vec::new();
    let listed = open(&format!("/proc/{pid}/task")).and_then(|tasks| {
        for_each_directory(tasks.as_fd(), |name| {
            try_alloc::extend(&mut threads, name.to_str().ok().and_then(|name| name.parse().ok()))
        })
    });
    match listed {
        Err(e @ (Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM)) => Err(e),
        // The process was reaped.
        _ => Ok(threads),
    }
}

/// Returns true if a signal or a tracer has stopped the process.
pub fn is_stopped(pid: i32) -> bool {
    let stat = Process::open(pid).and_then(|process| process.stat());
    stat.is_ok_and(|stat| matches!(stat.state, b'T' | b't'))
}

/// Passes each line of mountinfo to `find`, until `find` returns a value.
pub fn find_mount<T>(find: impl FnMut(&[u8]) -> Option<T>) -> nix::Result<Option<T>> {
    kernfile::find_line(open("/proc/self/mountinfo")?, find)
}

fn open(path: &str) -> nix::Result<File> {
    descriptors::open(path, OFlag::O_RDONLY).map(File::from)
}

fn read(path: &str) -> nix::Result<Vec<u8>> {
    kernfile::read_all(open(path)?)
}

/// A process, by an open file in /proc. The file belongs to the process and not to its pid: it never shows a later process
/// with the same pid.
#[derive(Debug)]
pub struct Process(File);

impl Process {
    /// Opens a process. Fails with `ESRCH` if there is none, or if hidepid hides it from the caller.
    pub fn open(pid: i32) -> nix::Result<Self> {
        match open(&format!("/proc/{pid}/stat")) {
            Ok(file) => Ok(Self(file)),
            Err(Errno::ENOENT) => Err(Errno::ESRCH),
            Err(e) => Err(e),
        }
    }

    /// Returns the present state. Fails with `ESRCH` if the process was reaped.
    pub fn stat(&self) -> nix::Result<ProcStat> {
        let mut text = [0; 1024];
        let end = retry_on_eintr(|| self.0.read_at(&mut text, 0).map_err(|e| errno(&e)))?;
        text.get(..end).and_then(parse::proc_stat).ok_or(Errno::ESRCH)
    }

    /// Returns the present state of a living process. Fails with `ESRCH` for a zombie, too.
    pub fn living(&self) -> nix::Result<ProcStat> {
        self.stat().and_then(|stat| {
            if parse::lives(stat.state, stat.threads) { Ok(stat) } else { Err(Errno::ESRCH) }
        })
    }
}

/// Returns the pid of the calling process, and its start time in clock ticks since boot, or 0 if it is unknown. They are read
/// once.
pub fn own_pid_and_start_ticks() -> (u32, u64) {
    static READ_BY: AtomicForkId = AtomicForkId::new();
    static PID: AtomicU32 = AtomicU32::new(0);
    static TICKS: AtomicU64 = AtomicU64::new(0);
    if READ_BY.is_current() {
        return (PID.load(Ordering::Relaxed), TICKS.load(Ordering::Relaxed));
    }
    let pid = std::process::id();
    let own = i32::try_from(pid).map_err(|_| Errno::ESRCH).and_then(Process::open);
    let Ok(stat) = own.and_then(|process| process.stat()) else { return (pid, 0) };
    PID.store(pid, Ordering::Relaxed);
    TICKS.store(stat.start_ticks, Ordering::Relaxed);
    READ_BY.set_current();
    (pid, stat.start_ticks)
}

/// Returns true if the system has no swap: /proc/swaps has only its heading, or does not exist.
pub fn swap_is_off() -> bool {
    match read("/proc/swaps") {
        Ok(text) => text.iter().filter(|&&b| b == b'\n').count() <= 1,
        Err(e) => e == Errno::ENOENT,
    }
}

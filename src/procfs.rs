// SPDX-License-Identifier: MIT OR Apache-2.0
//! What /proc tells: where we are, what is mounted, how a process is.

use crate::kernfile::{self, errno};
use crate::parse::{self, ProcStat, Task};
use crate::sys::descriptors;
use crate::sys::fallible;
use crate::sys::listing::directories;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::{AccessFlags, access};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::FileExt;

/// The `0::` path of a process (`self` or a pid), nothing if no cgroup2 hierarchy was ever mounted.
pub fn cgroup_of(process: &str) -> nix::Result<Option<Vec<u8>>> {
    let file = open(&format!("/proc/{process}/cgroup"))?;
    kernfile::find_line(file, |line| parse::own_cgroup(line).map(fallible::copy))?.transpose()
}

/// Whether v1 hierarchies hold controllers that we would use.
pub fn v1_holds_controllers() -> bool {
    let text = read("/proc/self/cgroup").unwrap_or_default();
    parse::v1_controllers(&text).any(|name| matches!(name, b"cpu" | b"memory" | b"pids"))
}

/// A file of one line, such as `/proc/cmdline`; nothing where it cannot be read.
pub fn text_of(path: &str) -> String {
    read(path).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default()
}

/// Whether this is a thread of ours.
pub fn is_own_thread(tid: i32) -> bool {
    access(format!("/proc/self/task/{tid}").as_str(), AccessFlags::F_OK).is_ok()
}

/// Whether /proc is mounted at all.
pub fn is_there() -> bool {
    access("/proc/self", AccessFlags::F_OK).is_ok()
}

/// What a thread's (or process') id stands for. `ENOENT` or `ESRCH` if for nothing that we can see.
pub fn task(id: i32) -> nix::Result<Task> {
    let text = kernfile::read_all(open(&format!("/proc/{id}/status"))?)?;
    parse::task(&text).ok_or(Errno::ESRCH)
}

/// The pid that a pidfd stands for: `ESRCH` if its process is gone or has none here, `EBADF` if it is no pidfd.
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

/// The threads of a process; none of one that is gone.
pub fn threads_of(pid: i32) -> nix::Result<Vec<i32>> {
    let mut threads = Vec::new();
    let listed = open(&format!("/proc/{pid}/task")).and_then(|tasks| {
        directories(tasks.as_fd(), |name| {
            fallible::extend(&mut threads, name.to_str().ok().and_then(|name| name.parse().ok()))
        })
    });
    match listed {
        Err(e @ (Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM)) => Err(e),
        // Gone meanwhile.
        _ => Ok(threads),
    }
}

/// Offers each line of mountinfo to `find` until it takes one.
pub fn find_mount<T>(find: impl FnMut(&[u8]) -> Option<T>) -> nix::Result<Option<T>> {
    kernfile::find_line(open("/proc/self/mountinfo")?, find)
}

fn open(path: &str) -> nix::Result<File> {
    descriptors::open(path, OFlag::O_RDONLY).map(File::from)
}

fn read(path: &str) -> nix::Result<Vec<u8>> {
    kernfile::read_all(open(path)?)
}

/// A process, held by its file in /proc: that belongs to the process and not to its number, and so is
/// never another's who was given the number later.
#[derive(Debug)]
pub struct Process(File);

impl Process {
    /// `ESRCH` if there is none (or hidepid hides it from us).
    pub fn open(pid: i32) -> nix::Result<Self> {
        match open(&format!("/proc/{pid}/stat")) {
            Ok(file) => Ok(Self(file)),
            Err(Errno::ENOENT) => Err(Errno::ESRCH),
            Err(e) => Err(e),
        }
    }

    /// How it is now: `ESRCH` once it has been waited for.
    pub fn stat(&self) -> nix::Result<ProcStat> {
        let mut text = [0; 1024];
        let end = self.0.read_at(&mut text, 0).map_err(|e| errno(&e))?;
        text.get(..end).and_then(parse::proc_stat).ok_or(Errno::ESRCH)
    }

    /// The same for one that lives: `ESRCH` for a zombie too.
    pub fn living(&self) -> nix::Result<ProcStat> {
        self.stat().and_then(|stat| {
            if parse::lives(stat.state, stat.threads) { Ok(stat) } else { Err(Errno::ESRCH) }
        })
    }
}

/// No swap is in use by the whole system: /proc/swaps holds its heading alone, or is not there.
pub fn swap_is_off() -> bool {
    match read("/proc/swaps") {
        Ok(text) => text.iter().filter(|&&b| b == b'\n').count() <= 1,
        Err(e) => e == Errno::ENOENT,
    }
}

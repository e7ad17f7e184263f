// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every descriptor of the library is made here, so that none is ever 0, 1 or 2, be it for an instant. A host may have
//! closed those, and the kernel gives the lowest free number. There a host that prints would write into a limit,
//! and a child of any thread that is between fork and exec would have the descriptor as one of its standard ones.
//!
//! No system call that makes one can be told the lowest number, and to move the descriptor afterwards is too late.
//! So what is free of 0, 1 and 2 is filled first, and freed again afterwards. The placeholders are opened with O_PATH:
//! to read(2) and write(2) they are what a closed descriptor is, EBADF. They are close-on-exec, and an agent that is to
//! inherit such a number gets it closed. A host in which all three are open, as in nearly all, pays for three
//! calls of fcntl(2).
//!
//! What no check can prevent: a host that closes one of the three in another thread after the check and before the system
//! call. Such a descriptor is moved at once.

use super::fork_mutex::ForkMutex;
use super::thread::BlockedSignals;
use nix::NixPath;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag};
use nix::sys::epoll::{Epoll, EpollCreateFlags};
use nix::sys::stat::Mode;
use nix::sys::timerfd::{ClockId, TimerFd, TimerFlags};
use std::ffi::{CStr, c_int};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU32, Ordering};

/// The standard descriptors are below this.
const LOWEST: RawFd = libc::STDERR_FILENO + 1;

/// Odd while there may be placeholders. Whoever sees it even and unchanged before and after it has seen all
/// three open, has seen the host's own.
static EPOCH: AtomicU32 = AtomicU32::new(0);
static PLACEHOLDERS: ForkMutex<Placeholders> = ForkMutex::new();

#[derive(Default)]
struct Placeholders {
    users: u32,
    placed: [bool; LOWEST as usize],
}

/// Until this is dropped the kernel gives no descriptor of this process a number below 3.
#[must_use]
pub struct StdioHeld {
    by_placeholders: bool,
}

/// Fill what is free of 0, 1 and 2.
pub fn hold_stdio() -> nix::Result<StdioHeld> {
    let epoch = EPOCH.load(Ordering::SeqCst);
    if epoch % 2 == 0 && (0..LOWEST).all(is_open) && EPOCH.load(Ordering::SeqCst) == epoch {
        return Ok(StdioHeld { by_placeholders: false });
    }
    // A handler of the host's that calls agentcg_move_self() must not find the lock held by its own thread.
    let _blocked = BlockedSignals::block_all()?;
    PLACEHOLDERS.lock().place()?;
    Ok(StdioHeld { by_placeholders: true })
}

impl Drop for StdioHeld {
    fn drop(&mut self) {
        if self.by_placeholders {
            let _blocked = BlockedSignals::block_all();
            PLACEHOLDERS.lock().release();
        }
    }
}

impl Placeholders {
    fn place(&mut self) -> nix::Result<()> {
        EPOCH.fetch_or(1, Ordering::SeqCst);
        self.users += 1;
        while !(0..LOWEST).all(is_open) {
            match placeholder() {
                // Another thread of the host was quicker.
                Ok(fd) if fd.as_raw_fd() >= LOWEST => {}
                Ok(fd) => {
                    let number = usize::try_from(fd.into_raw_fd()).unwrap_or_default();
                    if let Some(placed) = self.placed.get_mut(number) {
                        *placed = true;
                    }
                }
                Err(e) => {
                    self.release();
                    return Err(e);
                }
            }
        }
        Ok(())
    }

    fn release(&mut self) {
        self.users = self.users.saturating_sub(1);
        if self.users > 0 {
            return;
        }
        for (number, placed) in (0..).zip(&mut self.placed) {
            // Another thread of the host may have put something of its own there.
            if std::mem::take(placed)
                && fcntl(number, libc::F_GETFL).is_ok_and(|flags| flags & libc::O_PATH != 0)
            {
                // SAFETY: it is the placeholder, which nobody else owns.
                drop(unsafe { OwnedFd::from_raw_fd(number) });
            }
        }
        // In a forked child the epoch may have been odd without a placeholder of its own: fetch_add would not do.
        EPOCH.store((EPOCH.load(Ordering::SeqCst) | 1).wrapping_add(1), Ordering::SeqCst);
    }
}

/// At the lowest free number. Some containers have no /dev.
fn placeholder() -> nix::Result<OwnedFd> {
    let open = |path: &CStr| nix::fcntl::open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty());
    open(c"/dev/null").or_else(|e| match e {
        Errno::ENOENT | Errno::ENOTDIR | Errno::EACCES => open(c"/"),
        other => Err(other),
    })
}

fn is_open(fd: RawFd) -> bool {
    fcntl(fd, libc::F_GETFD).is_ok()
}

fn fcntl(fd: RawFd, command: c_int) -> nix::Result<c_int> {
    // SAFETY: the commands used here take and give integers.
    Errno::result(unsafe { libc::fcntl(fd, command) })
}

/// One that has a number which the host has closed meanwhile is moved.
fn above_stdio(fd: OwnedFd) -> nix::Result<OwnedFd> {
    if fd.as_raw_fd() >= LOWEST {
        return Ok(fd);
    }
    move_up(&fd)
}

fn move_up(fd: &OwnedFd) -> nix::Result<OwnedFd> {
    // SAFETY: three integers in, a new descriptor or an error out.
    let moved = Errno::result(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, LOWEST) })?;
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(moved) })
}

/// The descriptor that a system call has just made, under [`hold_stdio`], beside something that cannot be undone. It
/// is moved like others, but stays where it is if there is no number left.
///
/// # Safety
/// `fd` is open, and the caller owns it.
pub unsafe fn made(fd: RawFd) -> OwnedFd {
    // SAFETY: the caller's promise.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    if fd.as_raw_fd() >= LOWEST { fd } else { move_up(&fd).unwrap_or(fd) }
}

/// Run a system call that makes one descriptor.
pub fn make(call: impl Fn() -> nix::Result<OwnedFd>) -> nix::Result<OwnedFd> {
    let _held = hold_stdio()?;
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            made => return above_stdio(made?),
        }
    }
}

/// The same of one that gives its number.
fn make_raw(call: impl Fn() -> c_int) -> nix::Result<OwnedFd> {
    // SAFETY: the kernel has just made it for us.
    make(|| Errno::result(call()).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// openat(2), close-on-exec.
pub fn openat(dir: impl AsFd, path: &(impl NixPath + ?Sized), flags: OFlag) -> nix::Result<OwnedFd> {
    make(|| nix::fcntl::openat(&dir, path, flags | OFlag::O_CLOEXEC, Mode::empty()))
}

/// open(2), close-on-exec.
pub fn open(path: &(impl NixPath + ?Sized), flags: OFlag) -> nix::Result<OwnedFd> {
    openat(AT_FDCWD, path, flags)
}

/// socket(2) of the unix domain, close-on-exec.
pub fn unix_socket(kind: c_int) -> nix::Result<OwnedFd> {
    // SAFETY: three integers in, a new descriptor or an error out.
    make_raw(|| unsafe { libc::socket(libc::AF_UNIX, kind | libc::SOCK_CLOEXEC, 0) })
}

/// socketpair(2) of the unix domain, close-on-exec.
pub fn unix_pair(kind: c_int) -> nix::Result<(OwnedFd, OwnedFd)> {
    let _held = hold_stdio()?;
    let mut ends: [RawFd; 2] = [-1; 2];
    // SAFETY: the kernel writes two descriptors, which are then ours.
    let [one, other] = unsafe {
        Errno::result(libc::socketpair(libc::AF_UNIX, kind | libc::SOCK_CLOEXEC, 0, ends.as_mut_ptr()))?;
        ends.map(|end| OwnedFd::from_raw_fd(end))
    };
    Ok((above_stdio(one)?, above_stdio(other)?))
}

/// pidfd_open(2), Linux 5.3: names a process so that its pid cannot be recycled meanwhile.
pub fn pidfd_open(pid: i32) -> nix::Result<OwnedFd> {
    // SAFETY: the call takes two integers and gives a new descriptor, close-on-exec, or an error; both fit.
    make_raw(|| unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) as c_int })
}

/// memfd_create(2), close-on-exec: a file that can be executed, in memory.
pub fn executable_memory(name: &CStr) -> nix::Result<OwnedFd> {
    const MFD_EXEC: libc::c_uint = 0x10;
    // SAFETY: a string and flags in, a new descriptor or an error out.
    let make = |flags| make_raw(|| unsafe { libc::memfd_create(name.as_ptr(), flags | libc::MFD_CLOEXEC) });
    // Before Linux 6.3 each can be executed, and there is no such flag.
    make(MFD_EXEC).or_else(|e| if e == Errno::EINVAL { make(0) } else { Err(e) })
}

/// epoll_create1(2), close-on-exec.
pub fn epoll() -> nix::Result<Epoll> {
    make(|| Ok(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?.0)).map(Epoll)
}

/// inotify_init1(2), close-on-exec and non-blocking.
pub fn inotify() -> nix::Result<OwnedFd> {
    // SAFETY: an integer in, a new descriptor or an error out.
    make_raw(|| unsafe { libc::inotify_init1(libc::IN_CLOEXEC | libc::IN_NONBLOCK) })
}

/// timerfd_create(2) of the monotonic clock, close-on-exec and non-blocking.
pub fn timer() -> nix::Result<TimerFd> {
    let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
    let fd = make(|| Ok(TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?.into()))?;
    // SAFETY: it is a timer's, and owned.
    Ok(unsafe { TimerFd::from_raw_fd(fd.into_raw_fd()) })
}

#[cfg(test)]
mod tests {
    use super::super::fork_id::tests::in_a_child;
    use super::*;
    use std::fs;
    use std::path::Path;

    /// Runs `look` in a child in which these are closed.
    fn in_a_child_without(closed: u8, look: impl FnOnce() -> bool) {
        let held = in_a_child(|| {
            (0..LOWEST).filter(|fd| closed >> fd & 1 == 1).for_each(|fd| nix::unistd::close(fd).unwrap());
            u8::from(look())
        });
        assert_eq!(held, 1, "closed: {closed:#b}");
    }

    fn open_ones() -> u8 {
        (0..LOWEST).map(|fd| u8::from(is_open(fd)) << fd).sum()
    }

    #[test]
    fn whatever_the_host_has_closed_every_descriptor_is_above_2_and_nothing_stays_below() {
        for closed in 0..8 {
            in_a_child_without(closed, || {
                let before = open_ones();
                let (one, other) = unix_pair(libc::SOCK_SEQPACKET).unwrap();
                let all: [OwnedFd; 7] = [
                    open(c"/", OFlag::O_RDONLY).unwrap(),
                    one,
                    other,
                    unix_socket(libc::SOCK_STREAM).unwrap(),
                    epoll().unwrap().0,
                    timer().unwrap().into(),
                    pidfd_open(i32::try_from(std::process::id()).unwrap()).unwrap(),
                ];
                let cloexec = |fd: &OwnedFd| fcntl(fd.as_raw_fd(), libc::F_GETFD) == Ok(libc::FD_CLOEXEC);
                all.iter().all(|fd| fd.as_raw_fd() >= LOWEST && cloexec(fd)) && open_ones() == before
            });
        }
    }

    #[test]
    fn what_is_held_stays_so_until_its_last_user_is_done() {
        in_a_child_without(0b101, || {
            let first = hold_stdio().unwrap();
            let second = hold_stdio().unwrap();
            drop(first);
            let held = open_ones() == 0b111;
            drop(second);
            held && open_ones() == 0b010 && EPOCH.load(Ordering::SeqCst) % 2 == 0
        });
    }

    /// One thread's placeholders are gone while another still counts on what it has seen open.
    #[test]
    fn no_thread_takes_the_placeholders_of_another_for_the_hosts_own() {
        in_a_child_without(0b101, || {
            let opens = || {
                (0..3_000).all(|_| {
                    let _held = hold_stdio().unwrap();
                    // As the system call that makes a descriptor, which takes the lowest.
                    let fd = nix::fcntl::open(c"/", OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).unwrap();
                    fd.as_raw_fd() >= LOWEST
                })
            };
            let held = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(opens)).collect();
                threads.into_iter().all(|thread| thread.join().unwrap())
            });
            held && open_ones() == 0b010
        });
    }

    #[test]
    fn what_the_host_puts_in_a_placeholders_stead_is_left_to_it() {
        in_a_child_without(0b001, || {
            let held = hold_stdio().unwrap();
            // SAFETY: two integers.
            unsafe { libc::dup2(libc::STDERR_FILENO, 0) };
            drop(held);
            is_open(0)
        });
    }

    #[test]
    fn a_placeholder_can_be_neither_read_nor_written() {
        in_a_child_without(0b010, || {
            let _held = hold_stdio().unwrap();
            // SAFETY: one byte, which is live.
            unsafe { libc::write(1, c"1".as_ptr().cast(), 1) == -1 && Errno::last() == Errno::EBADF }
        });
    }

    /// What makes descriptors, but for clone(2) and recvmsg(2), which are known by a flag that they take.
    const MAKERS: [&str; 28] = [
        "File::open(",
        "File::create(",
        "OpenOptions",
        "fs::read(",
        "fs::read_to_string(",
        "fs::read_dir(",
        "fs::write(",
        "openat(AT_",
        "fcntl::open",
        "libc::open",
        "libc::socket(",
        "socketpair(",
        "Epoll::new(",
        "epoll_create",
        "TimerFd::new(",
        "timerfd_create",
        "SYS_pidfd_open",
        "SYS_pidfd_getfd",
        "eventfd",
        "memfd_create",
        "inotify_init",
        "Inotify::init",
        "libc::dup(",
        "unistd::dup",
        "F_DUPFD",
        "pipe(",
        "pipe2(",
        "accept4(",
    ];
    const MARKS: [&str; 2] = ["CLONE_PIDFD", "recvmsg("];
    /// This module, and what runs in a process with a table of descriptors of its own.
    const ELSEWHERE: [&str; 3] = ["sys/descriptors.rs", "spawn/child.rs", "sys/syscall.rs"];

    #[test]
    fn no_other_module_makes_descriptors() {
        fn visit(dir: &Path, each: &mut impl FnMut(&Path)) {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { visit(&path, each) } else { each(&path) }
            }
        }
        let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut files = 0;
        visit(&top, &mut |path| {
            let name = path.strip_prefix(&top).unwrap().to_str().unwrap();
            files += 1;
            if ELSEWHERE.contains(&name) || name.contains("tests") || name.ends_with("kernels.rs") {
                return;
            }
            let text = fs::read_to_string(path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap();
            for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
                let maker = MAKERS.iter().find(|maker| line.contains(**maker));
                assert!(maker.is_none(), "{name}: {line}: use crate::sys::descriptors");
            }
            for mark in MARKS.iter().filter(|mark| code.contains(**mark)) {
                assert!(code.contains("hold_stdio"), "{name}: {mark} without hold_stdio()");
            }
        });
        assert!(files > 50, "{files} files");
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Creates every descriptor of the library, so that none is ever 0, 1 or 2, not even for a moment.
//!
//! A host may have closed those numbers, and the kernel uses the lowest free number. A host that prints would then write
//! into a limit, and a child that another thread of the host has between fork and exec would have the descriptor as a
//! standard descriptor.
//!
//! No system call that creates a descriptor takes a lowest number, and it is too late to move the descriptor afterwards.
//! Therefore the free numbers among 0, 1 and 2 are occupied by placeholders first, and freed afterwards. A placeholder is
//! opened with O_PATH: read(2) and write(2) fail with EBADF, as for a closed descriptor. Placeholders are close-on-exec, and
//! an agent that is to inherit such a number gets it closed. A host in which all three numbers are open, as in nearly all
//! hosts, pays for three calls of fcntl(2): for each new descriptor, or once for all that a thread creates while it holds
//! [`occupy_stdio_for_several`].
//!
//! One case cannot be prevented: another thread of the host closes one of the three numbers between the check and the
//! system call. The new descriptor is then moved at once.

use super::fork_id::ForkId;
use super::fork_mutex::ForkMutex;
use super::thread::BlockedSignals;
use nix::NixPath;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, FcntlArg, OFlag};
use nix::sys::epoll::{Epoll, EpollCreateFlags};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::Mode;
use nix::sys::timerfd::{ClockId, TimerFd, TimerFlags};
use std::ffi::{CStr, c_int};
use std::marker::PhantomData;
use std::num::NonZeroU64;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// The lowest number that is not a standard descriptor.
const LOWEST: RawFd = libc::STDERR_FILENO + 1;

/// Odd while there may be placeholders. If a thread reads the same even value before and after it has found all three
/// numbers open, then those descriptors are the host's own.
static EPOCH: AtomicU32 = AtomicU32::new(0);
static PLACEHOLDERS: ForkMutex<Placeholders> = ForkMutex::new();

#[derive(Default)]
struct Placeholders {
    users: u32,
    placed: [bool; LOWEST as usize],
}

/// While this value lives, the kernel gives no descriptor of this process a number below 3.
#[must_use]
pub struct StdioOccupied {
    by_placeholders: bool,
}

/// Occupies the free numbers among 0, 1 and 2.
pub fn occupy_stdio() -> nix::Result<StdioOccupied> {
    let thread = this_thread();
    if SEVERAL.iter().any(|holder| holder.load(Ordering::Relaxed) == thread) {
        return Ok(StdioOccupied { by_placeholders: false });
    }
    let epoch = EPOCH.load(Ordering::SeqCst);
    if epoch % 2 == 0 && (0..LOWEST).all(is_open) && EPOCH.load(Ordering::SeqCst) == epoch {
        return Ok(StdioOccupied { by_placeholders: false });
    }
    // A signal handler of the host that calls agentcg_move_self() must not find the lock held by its own thread.
    let _blocked = BlockedSignals::block_all()?;
    PLACEHOLDERS.lock().place()?;
    Ok(StdioOccupied { by_placeholders: true })
}

/// The threads that hold an [`OccupiedForSeveral`], by [`this_thread`], and zeros. A thread that finds no room checks for
/// each descriptor. Thread-local data is no alternative: the C library allocates it at the first use, and ends the process
/// if it cannot.
static SEVERAL: [AtomicU64; 8] = [const { AtomicU64::new(0) }; 8];

/// Identifies the calling thread. A forked child does not mistake the entry of a thread of its parent for its own.
fn this_thread() -> u64 {
    // SAFETY: the call has no preconditions.
    let thread = unsafe { libc::pthread_self() };
    thread.wrapping_add(NonZeroU64::from(ForkId::current()).get().rotate_left(48))
}

/// While this value lives, [`occupy_stdio`] costs the thread that has created it no system call.
#[must_use]
pub struct OccupiedForSeveral {
    _occupied: StdioOccupied,
    holder: Option<&'static AtomicU64>,
    /// The value belongs to one thread.
    _not_send: PhantomData<*const ()>,
}

/// Occupies the free numbers among 0, 1 and 2 for a call that creates several descriptors one after the other, and does not
/// wait for anything meanwhile.
pub fn occupy_stdio_for_several() -> nix::Result<OccupiedForSeveral> {
    let occupied = occupy_stdio()?;
    let thread = this_thread();
    let take = |holder: &&AtomicU64| {
        holder.compare_exchange(0, thread, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    };
    let holder = SEVERAL.iter().find(take);
    Ok(OccupiedForSeveral { _occupied: occupied, holder, _not_send: PhantomData })
}

impl Drop for OccupiedForSeveral {
    fn drop(&mut self) {
        if let Some(holder) = self.holder {
            holder.store(0, Ordering::Relaxed);
        }
    }
}

impl Drop for StdioOccupied {
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
            match open_placeholder() {
                // Another thread of the host has opened the number.
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
            // Another thread of the host may have replaced the placeholder by a descriptor of its own.
            if std::mem::take(placed)
                && fcntl(number, libc::F_GETFL).is_ok_and(|flags| flags & libc::O_PATH != 0)
            {
                // SAFETY: the descriptor is the placeholder, which this module owns.
                drop(unsafe { OwnedFd::from_raw_fd(number) });
            }
        }
        // fetch_add would not do: a forked child may have inherited an odd epoch without a placeholder of its own.
        EPOCH.store((EPOCH.load(Ordering::SeqCst) | 1).wrapping_add(1), Ordering::SeqCst);
    }
}

/// Opens a placeholder, which gets the lowest free number. Some containers have no /dev.
fn open_placeholder() -> nix::Result<OwnedFd> {
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
    // SAFETY: the commands that are used here take and return integers.
    Errno::result(unsafe { libc::fcntl(fd, command) })
}

/// Moves a descriptor whose number the host has closed since the check.
fn above_stdio(fd: OwnedFd) -> nix::Result<OwnedFd> {
    if fd.as_raw_fd() >= LOWEST {
        return Ok(fd);
    }
    move_up(&fd)
}

fn move_up(fd: &OwnedFd) -> nix::Result<OwnedFd> {
    let moved = nix::fcntl::fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(LOWEST))?;
    // SAFETY: the kernel has just created this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(moved) })
}

/// Adopts a descriptor that a system call has created, under [`occupy_stdio`], together with an effect that cannot be
/// undone. The descriptor is moved as others are, but keeps its number if no other is free.
///
/// # Safety
/// `fd` is open, and the caller owns it.
pub unsafe fn adopt(fd: RawFd) -> OwnedFd {
    // SAFETY: the caller's promise.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    if fd.as_raw_fd() >= LOWEST { fd } else { move_up(&fd).unwrap_or(fd) }
}

/// Makes a system call that creates one descriptor.
pub fn create(call: impl Fn() -> nix::Result<OwnedFd>) -> nix::Result<OwnedFd> {
    let _occupied = occupy_stdio()?;
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            created => return above_stdio(created?),
        }
    }
}

/// The same as [`create`] for a system call that returns the number of a new descriptor.
fn create_raw(call: impl Fn() -> c_int) -> nix::Result<OwnedFd> {
    // SAFETY: the kernel has just created this descriptor.
    create(|| Errno::result(call()).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// openat(2), close-on-exec.
pub fn openat(dir: impl AsFd, path: &(impl NixPath + ?Sized), flags: OFlag) -> nix::Result<OwnedFd> {
    create(|| nix::fcntl::openat(&dir, path, flags | OFlag::O_CLOEXEC, Mode::empty()))
}

/// open(2), close-on-exec.
pub fn open(path: &(impl NixPath + ?Sized), flags: OFlag) -> nix::Result<OwnedFd> {
    openat(AT_FDCWD, path, flags)
}

/// socket(2) in the unix domain, close-on-exec.
pub fn unix_socket(kind: c_int) -> nix::Result<OwnedFd> {
    // SAFETY: the call takes three integers and returns a new descriptor or an error.
    create_raw(|| unsafe { libc::socket(libc::AF_UNIX, kind | libc::SOCK_CLOEXEC, 0) })
}

/// pipe2(2), close-on-exec: the end to read and the end to write.
pub fn pipe_ends() -> nix::Result<(OwnedFd, OwnedFd)> {
    let _occupied = occupy_stdio()?;
    let (reads, writes) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    Ok((above_stdio(reads)?, above_stdio(writes)?))
}

/// socketpair(2) in the unix domain, close-on-exec.
pub fn unix_pair(kind: c_int) -> nix::Result<(OwnedFd, OwnedFd)> {
    let _occupied = occupy_stdio()?;
    let mut ends: [RawFd; 2] = [-1; 2];
    // SAFETY: the kernel writes two new descriptors, which the caller owns.
    let [one, other] = unsafe {
        Errno::result(libc::socketpair(libc::AF_UNIX, kind | libc::SOCK_CLOEXEC, 0, ends.as_mut_ptr()))?;
        ends.map(|end| OwnedFd::from_raw_fd(end))
    };
    Ok((above_stdio(one)?, above_stdio(other)?))
}

/// pidfd_open(2) (Linux 5.3): the descriptor refers to the same process even after the pid is reused.
pub fn pidfd_open(pid: i32) -> nix::Result<OwnedFd> {
    // SAFETY: the call takes two integers and returns a new descriptor, close-on-exec, or an error. Both fit into an int.
    create_raw(|| unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) as c_int })
}

/// memfd_create(2), close-on-exec, for a file that can be executed.
pub fn executable_memfd(name: &CStr) -> nix::Result<OwnedFd> {
    const MFD_EXEC: libc::c_uint = 0x10;
    let create = |flags| create(|| memfd_create(name, MFdFlags::MFD_CLOEXEC | flags));
    // Before Linux 6.3 the flag does not exist, and every memfd can be executed.
    create(MFdFlags::from_bits_retain(MFD_EXEC))
        .or_else(|e| if e == Errno::EINVAL { create(MFdFlags::empty()) } else { Err(e) })
}

/// epoll_create1(2), close-on-exec.
pub fn epoll() -> nix::Result<Epoll> {
    create(|| Ok(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?.0)).map(Epoll)
}

/// inotify_init1(2), close-on-exec and non-blocking.
pub fn inotify() -> nix::Result<OwnedFd> {
    // SAFETY: the call takes an integer and returns a new descriptor or an error.
    create_raw(|| unsafe { libc::inotify_init1(libc::IN_CLOEXEC | libc::IN_NONBLOCK) })
}

/// timerfd_create(2) for the monotonic clock, close-on-exec and non-blocking.
pub fn timer() -> nix::Result<TimerFd> {
    let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
    let fd = create(|| Ok(TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?.into()))?;
    // SAFETY: the descriptor is a timer's, and its ownership moves.
    Ok(unsafe { TimerFd::from_raw_fd(fd.into_raw_fd()) })
}

#[cfg(test)]
mod tests {
    use super::super::fork_id::tests::in_a_child;
    use super::*;
    use std::fs;
    use std::path::Path;

    /// Runs `look` in a child in which the standard descriptors of these bits are closed.
    fn in_a_child_without(closed: u8, look: impl FnOnce() -> bool) {
        let succeeded = in_a_child(|| {
            (0..LOWEST).filter(|fd| (closed >> fd) & 1 == 1).for_each(|fd| nix::unistd::close(fd).unwrap());
            u8::from(look())
        });
        assert_eq!(succeeded, 1, "closed: {closed:#b}");
    }

    fn open_numbers() -> u8 {
        (0..LOWEST).map(|fd| u8::from(is_open(fd)) << fd).sum()
    }

    #[test]
    fn whatever_the_host_has_closed_every_descriptor_is_above_2_and_nothing_stays_below() {
        for closed in 0..8 {
            in_a_child_without(closed, || {
                let before = open_numbers();
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
                all.iter().all(|fd| fd.as_raw_fd() >= LOWEST && cloexec(fd)) && open_numbers() == before
            });
        }
    }

    #[test]
    fn numbers_stay_occupied_until_the_last_user_is_done() {
        in_a_child_without(0b101, || {
            let first = occupy_stdio().unwrap();
            let second = occupy_stdio().unwrap();
            drop(first);
            let occupied = open_numbers() == 0b111;
            drop(second);
            occupied && open_numbers() == 0b010 && EPOCH.load(Ordering::SeqCst) % 2 == 0
        });
    }

    #[test]
    fn a_check_for_several_descriptors_holds_for_its_thread_alone_and_until_its_end() {
        in_a_child_without(0b101, || {
            let several = occupy_stdio_for_several().unwrap();
            let nested = occupy_stdio_for_several().unwrap();
            drop(nested);
            let checks = || !matches!(occupy_stdio(), Ok(StdioOccupied { by_placeholders: false }));
            let here = checks();
            let elsewhere = std::thread::scope(|scope| scope.spawn(checks).join().unwrap());
            let occupied = open_numbers() == 0b111;
            drop(several);
            !here && elsewhere && occupied && checks() && open_numbers() == 0b010
        });
    }

    /// One thread closes its placeholders while another relies on the numbers that it has found open.
    #[test]
    fn no_thread_mistakes_the_placeholders_of_another_for_the_hosts_descriptors() {
        in_a_child_without(0b101, || {
            let opens = || {
                (0..3_000).all(|_| {
                    let _occupied = occupy_stdio().unwrap();
                    // As a system call that creates a descriptor, it uses the lowest free number.
                    let fd = nix::fcntl::open(c"/", OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).unwrap();
                    fd.as_raw_fd() >= LOWEST
                })
            };
            let held = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(opens)).collect();
                threads.into_iter().all(|thread| thread.join().unwrap())
            });
            held && open_numbers() == 0b010
        });
    }

    #[test]
    fn a_descriptor_with_which_the_host_replaces_a_placeholder_stays_open() {
        in_a_child_without(0b001, || {
            let occupied = occupy_stdio().unwrap();
            // SAFETY: the call takes two integers.
            unsafe { libc::dup2(libc::STDERR_FILENO, 0) };
            drop(occupied);
            is_open(0)
        });
    }

    #[test]
    fn a_placeholder_can_be_neither_read_nor_written() {
        in_a_child_without(0b010, || {
            let _occupied = occupy_stdio().unwrap();
            // SAFETY: the kernel reads one byte of a string that lives.
            unsafe { libc::write(1, c"1".as_ptr().cast(), 1) == -1 && Errno::last() == Errno::EBADF }
        });
    }

    /// Calls that create descriptors, except clone(2) and recvmsg(2), which are found by [`MARKS`].
    const CREATORS: [&str; 28] = [
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
    /// This module, and code that runs in a process with its own table of descriptors.
    const EXEMPT: [&str; 3] = ["sys/descriptors.rs", "spawn/child.rs", "sys/syscall.rs"];

    #[test]
    fn no_other_module_creates_descriptors() {
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
            if EXEMPT.contains(&name) || name.contains("tests") || name.ends_with("kernels.rs") {
                return;
            }
            let text = fs::read_to_string(path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap();
            for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
                let creator = CREATORS.iter().find(|creator| line.contains(**creator));
                assert!(creator.is_none(), "{name}: {line}: use crate::sys::descriptors");
            }
            for mark in MARKS.iter().filter(|mark| code.contains(**mark)) {
                assert!(code.contains("occupy_stdio"), "{name}: {mark} without occupy_stdio()");
            }
        });
        assert!(files > 50, "{files} files");
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a pidfd says about its process (Linux 6.13): the ioctl PIDFD_GET_INFO of include/uapi/linux/pidfd.h.

use nix::errno::Errno;
use nix::sys::statfs::fstatfs;
use std::os::fd::{AsRawFd, BorrowedFd};

/// The process of a pidfd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PidfdInfo {
    /// It lives, or its parent has not waited for it.
    Unreaped {
        /// The pid in the pid namespace of the calling process.
        pid: i32,
    },
    /// It has ended, and its parent has waited for it (Linux 6.15).
    Reaped {
        /// The id of the cgroup in which it ended.
        cgroup: u64,
    },
}

/// The first version of the kernel's `struct pidfd_info`.
#[repr(C)]
#[derive(Default)]
struct Info {
    mask: u64,
    cgroup: u64,
    pid: u32,
    /// The pid of the process, its parent, its user and group ids, and its exit code.
    others: [u32; 11],
}

const GET_INFO: u64 = 0xC040_FF0B; // _IOWR(0xFF, 11, 64 bytes)
const WITH_CGROUP: u64 = 1 << 2;
const WITH_EXIT: u64 = 1 << 3;
/// PID_FS_MAGIC of include/uapi/linux/magic.h. Linux 6.9 has the file system.
const PIDFS: i64 = 0x5049_4446;

/// Returns true if the descriptor is a pidfd that [`pidfd_info`] may ask. To a device the number of the ioctl may mean something
/// else.
pub fn may_be_asked(fd: BorrowedFd<'_>) -> bool {
    #[allow(clippy::unnecessary_cast, reason = "the type differs between C libraries")]
    fstatfs(fd).is_ok_and(|system| system.filesystem_type().0 as i64 == PIDFS)
}

/// Asks a pidfd. Fails with `ESRCH` if the process was reaped and the kernel reports nothing about it, or if it has no pid in the
/// namespace of the caller. Before Linux 6.13 it fails with another error.
pub fn pidfd_info(pidfd: BorrowedFd<'_>) -> nix::Result<PidfdInfo> {
    let mut info = Info { mask: WITH_CGROUP | WITH_EXIT, ..Info::default() };
    // SAFETY: the kernel reads and writes the 64 bytes of the struct, which the number of the ioctl contains.
    Errno::result(unsafe { libc::ioctl(pidfd.as_raw_fd(), GET_INFO as _, &raw mut info) })?;
    let reported = |bits| info.mask & bits == bits;
    match i32::try_from(info.pid) {
        Ok(pid) if pid > 0 => Ok(PidfdInfo::Unreaped { pid }),
        _ if reported(WITH_CGROUP | WITH_EXIT) => Ok(PidfdInfo::Reaped { cgroup: info.cgroup }),
        _ => Err(Errno::ESRCH),
    }
}

const _: () = assert!(size_of::<Info>() == 64);

// SPDX-License-Identifier: MIT OR Apache-2.0
//! connect(2) to a unix socket with a deadline. connect(2) waits for a free entry in the queue of the listener for at most
//! SO_SNDTIMEO. sd-bus would connect without waiting, and treat a full queue as a refusal.

#![allow(unsafe_code)]

use crate::sys::deadline::Deadline;
use crate::sys::descriptors;
use nix::errno::Errno;
use std::ffi::OsStr;
use std::mem::{offset_of, size_of};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

/// Connect to the socket. `ETIMEDOUT` if no process accepts in time.
pub fn connect(path: &Path, deadline: Deadline) -> nix::Result<OwnedFd> {
    let (address, length) = address(path.as_os_str())?;
    let fd = descriptors::unix_socket(libc::SOCK_STREAM)?;
    loop {
        set_timeout(&fd, deadline)?;
        // SAFETY: the address is live and initialised over its length.
        let done = unsafe { libc::connect(fd.as_raw_fd(), (&raw const address).cast(), length) };
        match Errno::result(done) {
            Ok(_) => return Ok(fd),
            // EINTR: the program has got a signal. A unix socket has not begun to connect then, and can be used again.
            Err(Errno::EINTR | Errno::EAGAIN) if !deadline.passed() => {}
            Err(Errno::EINTR | Errno::EAGAIN) => return Err(Errno::ETIMEDOUT),
            Err(e) => return Err(e),
        }
    }
}

fn address(path: &OsStr) -> nix::Result<(libc::sockaddr_un, libc::socklen_t)> {
    // SAFETY: sockaddr_un is integers only, for which zero is a value.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::sa_family_t::try_from(libc::AF_UNIX).map_err(|_| Errno::EAFNOSUPPORT)?;
    let path = path.as_bytes();
    if path.len() >= address.sun_path.len() {
        return Err(Errno::ENAMETOOLONG);
    }
    for (to, from) in address.sun_path.iter_mut().zip(path) {
        *to = libc::c_char::from_ne_bytes([*from]);
    }
    let length = offset_of!(libc::sockaddr_un, sun_path) + path.len() + 1;
    Ok((address, libc::socklen_t::try_from(length).map_err(|_| Errno::ENAMETOOLONG)?))
}

/// Set SO_SNDTIMEO to the time until the deadline. At least 1 ms, because 0 means to wait without limit.
fn set_timeout(fd: &OwnedFd, deadline: Deadline) -> nix::Result<()> {
    let left = deadline.left().unwrap_or_default().max(Duration::from_millis(1));
    let value = libc::timeval {
        tv_sec: left.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_usec: left.subsec_micros().into(),
    };
    let length = libc::socklen_t::try_from(size_of::<libc::timeval>()).map_err(|_| Errno::EINVAL)?;
    // SAFETY: the value is live and `length` bytes long.
    let done = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_SNDTIMEO,
            (&raw const value).cast(),
            length,
        )
    };
    Errno::result(done).map(drop)
}

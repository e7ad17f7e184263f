// SPDX-License-Identifier: MIT OR Apache-2.0
//! A connection to a unix socket within a time: connect(2) waits for a place in the listener's queue as
//! long as SO_SNDTIMEO lets it, where sd-bus would ask without waiting and take a full queue for a no.

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

/// `ETIMEDOUT` if nobody took us in time.
pub fn connect(path: &Path, deadline: Deadline) -> nix::Result<OwnedFd> {
    let (address, length) = address(path.as_os_str())?;
    let fd = descriptors::unix_socket(libc::SOCK_STREAM)?;
    loop {
        set_patience(&fd, deadline)?;
        // SAFETY: the address is live and initialised over its length.
        let done = unsafe { libc::connect(fd.as_raw_fd(), (&raw const address).cast(), length) };
        match Errno::result(done) {
            Ok(_) => return Ok(fd),
            // EINTR: a signal of the host's. A unix socket has then not begun, it can be asked again.
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

/// What is left until the deadline; the kernel takes zero for "for ever".
fn set_patience(fd: &OwnedFd, deadline: Deadline) -> nix::Result<()> {
    let left = deadline.left().unwrap_or_default().max(Duration::from_millis(1));
    let value = libc::timeval {
        tv_sec: left.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_usec: left.subsec_micros().into(),
    };
    let length = libc::socklen_t::try_from(size_of::<libc::timeval>()).map_err(|_| Errno::EINVAL)?;
    // SAFETY: the value is live and as long as said.
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

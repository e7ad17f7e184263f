// SPDX-License-Identifier: MIT OR Apache-2.0
//! SOCK_SEQPACKET sockets, which preserve message boundaries and can pass descriptors.
//!
//! nix's recvmsg is not used: if the descriptors of a message are truncated, it loses those that have arrived.

use super::descriptors;
use nix::errno::Errno;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// The largest number of descriptors in one message.
const MAX_PASSED: usize = 4;
const FD_BYTES: libc::c_uint = size_of::<RawFd>() as libc::c_uint;

/// The buffer of a control message, with the alignment of `cmsghdr`.
#[repr(C, align(8))]
struct Control([u8; 64]);

const _: () = {
    // SAFETY: the macro only computes with its argument.
    let needed = unsafe { libc::CMSG_SPACE(MAX_PASSED as libc::c_uint * FD_BYTES) } as usize;
    assert!(needed <= size_of::<Control>());
};

/// Creates a pair of connected sockets, close-on-exec.
pub fn pair() -> nix::Result<(OwnedFd, OwnedFd)> {
    descriptors::unix_pair(libc::SOCK_SEQPACKET)
}

/// Sends one message with copies of these descriptors, without waiting. Fails with `EAGAIN` if the socket's buffer is full.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], passed: &[BorrowedFd<'_>]) -> nix::Result<()> {
    let passed = passed.get(..MAX_PASSED).unwrap_or(passed);
    let length = passed.len() as libc::c_uint * FD_BYTES;
    let mut control = Control([0; 64]);
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let mut message = message(&mut part);
    if !passed.is_empty() {
        message.msg_control = (&raw mut control).cast();
        // SAFETY: the control message lies in `control`, which has room for `MAX_PASSED` descriptors.
        unsafe {
            message.msg_controllen = libc::CMSG_SPACE(length) as _;
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(length) as _;
            let numbers = libc::CMSG_DATA(header).cast::<RawFd>();
            for (at, fd) in passed.iter().enumerate() {
                numbers.add(at).write_unaligned(fd.as_raw_fd());
            }
        }
    }
    loop {
        let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
        // SAFETY: the message and the memory that it points to live. MSG_NOSIGNAL: a closed end causes no SIGPIPE.
        let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, flags) };
        match Errno::result(sent) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(e) => return Err(e),
        }
    }
}

/// A received message.
#[derive(Debug, Default)]
pub struct Received {
    /// The number of bytes. It is 0 if the other end was closed.
    pub length: usize,
    /// The descriptors that were passed with the message, in their order.
    pub passed: [Option<OwnedFd>; MAX_PASSED],
    /// True if descriptors are missing because the process has too many open.
    pub truncated: bool,
}

/// Receives the next message, without waiting. Fails with `EAGAIN` if there is none.
pub fn receive(socket: BorrowedFd<'_>, buf: &mut [u8]) -> nix::Result<Received> {
    let mut control = Control([0; 64]);
    let mut part = libc::iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() };
    let mut message = message(&mut part);
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = size_of::<Control>() as _;
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    let _occupied = descriptors::occupy_stdio()?;
    // SAFETY: the kernel writes at most the lengths in `message`.
    let read = loop {
        match Errno::result(unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags) }) {
            Err(Errno::EINTR) => {}
            done => break done?,
        }
    };
    let mut received = Received {
        length: usize::try_from(read).unwrap_or_default(),
        truncated: message.msg_flags & libc::MSG_CTRUNC != 0,
        ..Received::default()
    };
    // SAFETY: the kernel has written the control message. This process owns each descriptor in it.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        if !header.is_null() && (*header).cmsg_type == libc::SCM_RIGHTS {
            let bytes = ((*header).cmsg_len as usize).saturating_sub(libc::CMSG_LEN(0) as usize);
            let numbers = libc::CMSG_DATA(header).cast::<RawFd>();
            for (at, place) in received.passed.iter_mut().enumerate().take(bytes / size_of::<RawFd>()) {
                *place = Some(descriptors::adopt(numbers.add(at).read_unaligned()));
            }
        }
    }
    Ok(received)
}

/// Shuts the connection down, also for processes that have a copy of this end.
pub fn shutdown(socket: BorrowedFd<'_>) {
    // SAFETY: the call takes two integers. It fails only if the other end is closed.
    unsafe { libc::shutdown(socket.as_raw_fd(), libc::SHUT_RDWR) };
}

fn message(part: &mut libc::iovec) -> libc::msghdr {
    // SAFETY: all zeros are a valid `msghdr`. It has padding on some systems, so it cannot be written as a literal.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_iov = part;
    message.msg_iovlen = 1;
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::stat::fstat;
    use std::os::fd::AsFd;

    #[test]
    fn messages_keep_their_boundaries_and_their_descriptors() {
        let (here, there) = pair().expect("a pair");
        let root = std::fs::File::open("/").expect("open");
        send(here.as_fd(), b"one", &[root.as_fd(), here.as_fd()]).expect("send");
        send(here.as_fd(), b"two", &[]).expect("send");
        let mut buf = [0; 16];
        let one = receive(there.as_fd(), &mut buf).expect("receive");
        assert_eq!((&buf[..one.length], one.truncated), (&b"one"[..], false));
        let [Some(first), Some(second), None, None] = &one.passed else { panic!("{one:?}") };
        assert_eq!(fstat(first).expect("fstat").st_ino, fstat(&root).expect("fstat").st_ino);
        assert_eq!(fstat(second).expect("fstat").st_ino, fstat(&here).expect("fstat").st_ino);
        let two = receive(there.as_fd(), &mut buf).expect("receive");
        assert_eq!(&buf[..two.length], b"two");
        assert!(two.passed.iter().all(Option::is_none));
        assert_eq!(receive(there.as_fd(), &mut buf).expect_err("nothing"), Errno::EAGAIN);
    }

    #[test]
    fn a_shutdown_applies_to_copies_and_comes_after_the_messages_sent_before() {
        let (here, there) = pair().expect("a pair");
        let _copy = here.try_clone().expect("dup");
        send(here.as_fd(), b"last", &[]).expect("send");
        shutdown(here.as_fd());
        let mut buf = [0; 16];
        assert_eq!(receive(there.as_fd(), &mut buf).map(|r| r.length), Ok(4));
        assert_eq!(receive(there.as_fd(), &mut buf).map(|r| r.length), Ok(0));
        assert_eq!(send(there.as_fd(), b"?", &[]), Err(Errno::EPIPE));
    }
}

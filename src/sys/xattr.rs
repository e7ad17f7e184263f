// SPDX-License-Identifier: MIT OR Apache-2.0
//! Extended attributes (xattr(7)), for which nix has no functions.

use nix::errno::Errno;
use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::null_mut;

/// Returns the value of an attribute of an open file: getxattr(2). `ERANGE` if the value is longer than `buf`.
pub fn get_xattr<'b>(fd: BorrowedFd<'_>, name: &CStr, buf: &'b mut [u8]) -> nix::Result<&'b [u8]> {
    // SAFETY: the name ends with NUL. The kernel writes at most the buffer's length.
    let size = unsafe { libc::fgetxattr(fd.as_raw_fd(), name.as_ptr(), buf.as_mut_ptr().cast(), buf.len()) };
    let size = usize::try_from(size).map_err(|_| Errno::last())?;
    Ok(buf.get(..size).unwrap_or_default())
}

/// The same as [`get_xattr`] for the file at `path`. It needs no descriptor.
///
/// It does not call libc's getxattr(3): in a host under MemorySanitizer that is a wrapper that reports the path as
/// uninitialized and ends the host, because this library, which wrote the path, is not instrumented.
pub fn get_xattr_at<'b>(path: &CStr, name: &CStr, buf: &'b mut [u8]) -> nix::Result<&'b [u8]> {
    // SAFETY: both strings end with NUL. The kernel writes at most the buffer's length.
    let size = unsafe {
        libc::syscall(libc::SYS_getxattr, path.as_ptr(), name.as_ptr(), buf.as_mut_ptr(), buf.len())
    };
    let size = usize::try_from(size).map_err(|_| Errno::last())?;
    Ok(buf.get(..size).unwrap_or_default())
}

/// Sets an attribute of an open file: setxattr(2).
pub fn set_xattr(fd: BorrowedFd<'_>, name: &CStr, value: &[u8]) -> nix::Result<()> {
    // SAFETY: the name ends with NUL. The kernel reads at most the value's length.
    let result =
        unsafe { libc::fsetxattr(fd.as_raw_fd(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    Errno::result(result).map(drop)
}

/// The same as [`set_xattr`] for the file at `path`.
pub fn set_xattr_at(path: &CStr, name: &CStr, value: &[u8]) -> nix::Result<()> {
    // SAFETY: both strings end with NUL. The kernel reads at most the value's length.
    let result =
        unsafe { libc::setxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    Errno::result(result).map(drop)
}

/// Succeeds if an open file has the attribute. Fails with `ENODATA` if it has not.
pub fn xattr_exists(fd: BorrowedFd<'_>, name: &CStr) -> nix::Result<()> {
    // SAFETY: the name ends with NUL. With a length of 0 the kernel writes nothing.
    let size = unsafe { libc::fgetxattr(fd.as_raw_fd(), name.as_ptr(), null_mut(), 0) };
    Errno::result(size).map(drop)
}

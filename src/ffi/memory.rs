// SPDX-License-Identifier: MIT OR Apache-2.0
//! All work with the caller's memory: strings, and structs that grow.

use super::boundary::invalid;
use crate::error::{Error, Result};
use crate::sys::deadline::Deadline;
use nix::errno::Errno;
use std::ffi::{CStr, c_char, c_int};
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// A string, or nothing for NULL.
///
/// # Safety
/// `text` is NULL or a string that ends with NUL and stays as it is for `'a`.
pub unsafe fn string<'a>(text: *const c_char) -> Option<&'a CStr> {
    // SAFETY: the caller's promise.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) })
}

/// The same, where it has to be text: `what` it is, for people.
///
/// # Safety
/// As [`string`].
pub unsafe fn text<'a>(text: *const c_char, what: &str) -> Result<Option<&'a str>> {
    // SAFETY: the caller's promise.
    match unsafe { string(text) }.map(CStr::to_str) {
        Some(Err(_)) => invalid(format!("{what} is not text")),
        other => Ok(other.and_then(std::result::Result::ok)),
    }
}

/// A descriptor of the caller's. `what` it is, for people. Asked for before anything is opened, which could be given the
/// number of one that is closed.
///
/// # Safety
/// It stays open for `'a`, if it is open.
pub unsafe fn borrow<'a>(fd: c_int, what: &str) -> Result<BorrowedFd<'a>> {
    // SAFETY: the call takes integers.
    if unsafe { libc::fcntl(fd, libc::F_GETFD) } < 0 {
        return Err(Error::new(Errno::EBADF, format!("{what} {fd} is no open descriptor")));
    }
    // SAFETY: the caller's promise; it is not -1.
    Ok(unsafe { BorrowedFd::borrow_raw(fd) })
}

/// As snprintf(3): cut to fit, always terminated, the full length returned.
///
/// # Safety
/// `buf` is NULL or has `size` bytes that may be written.
pub unsafe fn give_string(text: &[u8], buf: *mut c_char, size: usize) -> Result<c_int> {
    if let Some(room) = size.checked_sub(1) {
        if buf.is_null() {
            return invalid("buf is NULL, but size is not 0");
        }
        let fits = text.len().min(room);
        // SAFETY: `fits` + 1 is at most `size`, which the caller promised; the two do not overlap,
        // since `text` is ours.
        unsafe {
            std::ptr::copy_nonoverlapping(text.as_ptr(), buf.cast::<u8>(), fits);
            buf.add(fits).write(0);
        }
    }
    c_int::try_from(text.len()).or_else(|_| invalid("the text is longer than an int can tell"))
}

/// A struct that C and Rust share. Only such as may be copied byte by byte, any bytes being valid.
///
/// # Safety
/// `repr(C)`, integers only, no padding.
pub unsafe trait Plain: Copy + Default {
    /// Its size in the first release that had it. Callers may know more fields, never fewer.
    const SIZE_V0: usize;
}

/// Take a struct from a caller whose header may be older or newer than we: what it does not know is 0,
/// and what we do not know must be 0.
///
/// # Safety
/// `ptr` is NULL or has `size` bytes that may be read.
pub unsafe fn take_struct<T: Plain>(ptr: *const T, size: usize) -> Result<Option<T>> {
    if ptr.is_null() {
        return if size == 0 { Ok(None) } else { invalid("a struct is NULL, but its size is not 0") };
    }
    check_size::<T>(size)?;
    let ours = size_of::<T>();
    let mut value = T::default();
    // SAFETY: at most `size` bytes are read, and at most a `T` is written, of which any bytes are valid.
    let tail = unsafe {
        std::ptr::copy_nonoverlapping(ptr.cast::<u8>(), (&raw mut value).cast::<u8>(), size.min(ours));
        std::slice::from_raw_parts(ptr.cast::<u8>().add(size.min(ours)), size.saturating_sub(ours))
    };
    if tail.iter().any(|&byte| byte != 0) {
        return Err(Error::new(
            Errno::E2BIG,
            "a struct has fields set that this version of libagentcg does not know",
        ));
    }
    Ok(Some(value))
}

/// Whether [`give_struct`] will succeed, to be asked before anything is done.
pub fn check_struct<T: Plain>(ptr: *mut T, size: usize) -> Result<()> {
    if ptr.is_null() {
        return invalid("the struct to fill is NULL");
    }
    check_size::<T>(size)
}

/// Refuse a size that no release of the struct had. Fields are only ever added, whole ones, at the end.
pub fn check_size<T: Plain>(size: usize) -> Result<()> {
    let least = T::SIZE_V0;
    if size == size_of::<*const T>() && size < least {
        return invalid(format!(
            "the struct's size is given as {size}, the size of a pointer: pass sizeof of the struct, {least} or more"
        ));
    }
    if size < least {
        return invalid(format!(
            "the struct's size is given as {size}, but it has had {least} bytes or more in every release: pass its sizeof"
        ));
    }
    Ok(())
}

/// Give a struct to a caller whose header may be older or newer than we.
///
/// # Safety
/// [`check_struct`] was content, and `ptr` has `size` bytes that may be written.
pub unsafe fn give_struct<T: Plain>(value: &T, ptr: *mut T, size: usize) {
    let fits = size.min(size_of::<T>());
    // SAFETY: `size` bytes may be written, of which the first `fits` come from a `T` without padding.
    unsafe {
        std::ptr::copy_nonoverlapping(std::ptr::from_ref(value).cast::<u8>(), ptr.cast::<u8>(), fits);
        ptr.cast::<u8>().add(fits).write_bytes(0, size - fits);
    }
}

/// Whether [`give_array`] can succeed, to be asked before anything is done.
pub fn check_array<T>(ptr: *mut T, count: usize) -> Result<()> {
    if ptr.is_null() && count > 0 {
        invalid("the array to fill is NULL, but its count is not 0")
    } else {
        Ok(())
    }
}

/// Give what fits into an array of `count`; the full number is returned.
///
/// # Safety
/// [`check_array`] was content, and `ptr` has `count` elements that may be written.
pub unsafe fn give_array<T: Copy>(values: &[T], ptr: *mut T, count: usize) -> Result<c_int> {
    let fits = values.len().min(count);
    if fits > 0 {
        // SAFETY: `fits` is at most `count`, which the caller promised; `values` is ours.
        unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), ptr, fits) };
    }
    number(values.len())
}

/// How many, as C gets it.
pub fn number(count: usize) -> Result<c_int> {
    c_int::try_from(count).or_else(|_| invalid("there are more than an int can tell"))
}

/// Milliseconds, or AGENTCG_FOREVER.
pub fn deadline(timeout_ms: c_int) -> Result<Deadline> {
    timeout(timeout_ms).map(Deadline::within)
}

/// The same for a wait that begins later; `None` is for ever.
pub fn timeout(timeout_ms: c_int) -> Result<Option<Duration>> {
    match u64::try_from(timeout_ms) {
        Ok(ms) => Ok(Some(Duration::from_millis(ms))),
        Err(_) if timeout_ms == -1 => Ok(None),
        Err(_) => invalid(format!("a timeout of {timeout_ms} ms: 0 or more, or AGENTCG_FOREVER")),
    }
}

/// The outcome of a wait of `timeout_ms`. Where that is 0 the message says that nothing was waited for.
pub fn waited<T>(timeout_ms: c_int, outcome: Result<T>) -> Result<T> {
    outcome.map_err(|e| match (timeout_ms, e.errno()) {
        (0, Errno::ETIMEDOUT) => {
            e.preceded_by("timeout_ms 0 does not wait: ", "not done yet: call again, or pass a time to wait")
        }
        _ => e,
    })
}

/// Only these flags.
pub fn check_flags(flags: u64, known: u64) -> Result<()> {
    match flags & !known {
        0 => Ok(()),
        unknown => invalid(format!("unknown flags {unknown:#x}")),
    }
}

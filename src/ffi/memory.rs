// SPDX-License-Identifier: MIT OR Apache-2.0
//! Access to the caller's memory: strings, arrays, and structs that grow.

use super::boundary::invalid;
use crate::error::{Error, Result, out_of_memory};
use crate::sys::deadline::Deadline;
use crate::sys::try_alloc;
use nix::errno::Errno;
use std::ffi::{CStr, c_char, c_int};
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// A string of the caller, `None` for NULL.
///
/// # Safety
/// `text` is NULL or a NUL-terminated string that does not change during `'a`.
pub unsafe fn string<'a>(text: *const c_char) -> Option<&'a CStr> {
    // SAFETY: as the caller promises.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) })
}

/// A string that has to be UTF-8. `what` names it in the message.
///
/// # Safety
/// As for [`string`].
pub unsafe fn text<'a>(text: *const c_char, what: &str) -> Result<Option<&'a str>> {
    // SAFETY: as the caller promises.
    match unsafe { string(text) }.map(CStr::to_str) {
        Some(Err(_)) => invalid(format_args!("{what} is not UTF-8 text")),
        other => Ok(other.and_then(std::result::Result::ok)),
    }
}

/// A descriptor of the caller. `what` names it in the message. Call this before anything is opened: a new descriptor could
/// get the number of one that the caller has closed.
///
/// # Safety
/// The descriptor, if it is open, stays open during `'a`.
pub unsafe fn borrow<'a>(fd: c_int, what: &str) -> Result<BorrowedFd<'a>> {
    // SAFETY: the arguments are integers.
    if unsafe { libc::fcntl(fd, libc::F_GETFD) } < 0 {
        return Err(Error::new(Errno::EBADF, format_args!("{what} {fd} is not an open descriptor")));
    }
    // SAFETY: as the caller promises; it is not -1, because fcntl succeeded.
    Ok(unsafe { BorrowedFd::borrow_raw(fd) })
}

/// Copy a string to the caller as snprintf(3) does: cut to fit, always terminated. Returns the full length.
///
/// # Safety
/// `buf` is NULL or points to `size` writable bytes.
pub unsafe fn copy_out_string(text: &[u8], buf: *mut c_char, size: usize) -> Result<c_int> {
    // SAFETY: as the caller promises.
    unsafe { copy_out_parts(&[text], buf, size) }
}

/// Copy the concatenation of these parts as [`copy_out_string`] does. Allocates nothing.
///
/// # Safety
/// As for [`copy_out_string`].
pub unsafe fn copy_out_parts(parts: &[&[u8]], buf: *mut c_char, size: usize) -> Result<c_int> {
    if let Some(room) = size.checked_sub(1) {
        if buf.is_null() {
            return invalid("buf is NULL, but size is not 0");
        }
        let mut end = 0;
        for part in parts {
            let fits = part.len().min(room - end);
            // SAFETY: `end` + `fits` is less than `size`, the number of bytes of `buf`. The two do not overlap, because `part`
            // belongs to the library.
            unsafe { std::ptr::copy_nonoverlapping(part.as_ptr(), buf.add(end).cast::<u8>(), fits) };
            end += fits;
        }
        // SAFETY: `end` is less than `size`.
        unsafe { buf.add(end).write(0) };
    }
    let length: usize = parts.iter().map(|part| part.len()).sum();
    c_int::try_from(length).or_else(|_| invalid("the length of the text is greater than an int can hold"))
}

/// A struct that C and Rust share. It can be copied byte by byte, and all values of its bytes are valid.
///
/// # Safety
/// The struct is `repr(C)`, has only fields of integers and raw pointers, and has no padding.
pub unsafe trait Plain: Copy + Default {
    /// The size in the first release that had the struct. A caller may know more fields, but never fewer.
    const SIZE_V0: usize;
}

/// Copy in a struct of a caller whose header may be older or newer than the library. Fields that the caller does not know
/// are 0. Fields that the library does not know must be 0. NULL with size 0 is `None`.
///
/// # Safety
/// `ptr` is NULL or points to `size` readable bytes.
pub unsafe fn copy_in_struct<T: Plain>(ptr: *const T, size: usize) -> Result<Option<T>> {
    if ptr.is_null() {
        return if size == 0 { Ok(None) } else { invalid("a struct is NULL, but its size is not 0") };
    }
    check_size::<T>(size)?;
    let known = size_of::<T>();
    let mut value = T::default();
    // SAFETY: at most `size` bytes are read, and at most a `T` is written, for which all bytes are valid.
    let tail = unsafe {
        std::ptr::copy_nonoverlapping(ptr.cast::<u8>(), (&raw mut value).cast::<u8>(), size.min(known));
        std::slice::from_raw_parts(ptr.cast::<u8>().add(size.min(known)), size.saturating_sub(known))
    };
    if tail.iter().any(|&byte| byte != 0) {
        return Err(Error::new(
            Errno::E2BIG,
            "a struct has fields set that this version of libagentcg does not know",
        ));
    }
    Ok(Some(value))
}

/// Copy in an array of a caller that has its address and the number of its elements in a struct. `what` is the name of the
/// field with the address.
///
/// # Safety
/// `address` is 0 or the address of `count` elements. All values of the bytes of a `T` are valid.
pub unsafe fn copy_in_array<T: Copy>(address: u64, count: u64, what: &str) -> Result<Vec<T>> {
    let mut values = Vec::new();
    let (Ok(address), Ok(count)) = (usize::try_from(address), usize::try_from(count)) else {
        return invalid(format!("{what} is not the address of an array"));
    };
    if address == 0 && count > 0 {
        return invalid(format!("{what} is 0, but {what}_count is not"));
    }
    try_alloc::reserve(&mut values, count).map_err(out_of_memory)?;
    let array = std::ptr::with_exposed_provenance::<T>(address);
    for at in 0..count {
        // SAFETY: as the caller promises.
        values.push(unsafe { array.wrapping_add(at).read_unaligned() });
    }
    Ok(values)
}

/// Check that [`copy_out_struct`] will succeed, before the call has any effect.
pub fn check_struct<T: Plain>(ptr: *mut T, size: usize) -> Result<()> {
    if ptr.is_null() {
        return invalid("the struct to fill is NULL");
    }
    check_size::<T>(size)
}

/// Refuse a size that the struct had in no release. Only whole fields are added, and only at the end.
pub fn check_size<T: Plain>(size: usize) -> Result<()> {
    let least = T::SIZE_V0;
    if size == size_of::<*const T>() && size < least {
        return invalid(format_args!(
            "the struct's size is given as {size}, the size of a pointer: pass sizeof of the struct, {least} or more"
        ));
    }
    if size < least {
        return invalid(format_args!(
            "the struct's size is given as {size}, but it has had {least} bytes or more in every release: pass its sizeof"
        ));
    }
    Ok(())
}

/// Copy out a struct to a caller whose header may be older or newer than the library. Fields that the library does not know
/// become 0.
///
/// # Safety
/// [`check_struct`] succeeded, and `ptr` points to `size` writable bytes.
pub unsafe fn copy_out_struct<T: Plain>(value: &T, ptr: *mut T, size: usize) {
    let fits = size.min(size_of::<T>());
    // SAFETY: `size` bytes are writable. The first `fits` of them come from a `T`, which has no padding.
    unsafe {
        std::ptr::copy_nonoverlapping(std::ptr::from_ref(value).cast::<u8>(), ptr.cast::<u8>(), fits);
        ptr.cast::<u8>().add(fits).write_bytes(0, size - fits);
    }
}

/// Check that [`copy_out_array`] can succeed, before the call has any effect.
pub fn check_array<T>(ptr: *mut T, count: usize) -> Result<()> {
    if ptr.is_null() && count > 0 {
        invalid("the array to fill is NULL, but its count is not 0")
    } else {
        Ok(())
    }
}

/// Copy out to an array of `count` elements what fits. Returns the full number.
///
/// # Safety
/// [`check_array`] succeeded, and `ptr` points to `count` writable elements.
pub unsafe fn copy_out_array<T: Copy>(values: &[T], ptr: *mut T, count: usize) -> Result<c_int> {
    let fits = values.len().min(count);
    if fits > 0 {
        // SAFETY: `fits` is at most `count`, as the caller promises. `values` belongs to the library.
        unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), ptr, fits) };
    }
    number(values.len())
}

/// Convert a number to the return type of the exported functions.
pub fn number(count: usize) -> Result<c_int> {
    c_int::try_from(count).or_else(|_| invalid("the number is greater than an int can hold"))
}

/// Returns true if [`deadline`] and [`timeout`] accept it. They allocate the error with which they refuse.
pub fn is_timeout(timeout_ms: c_int) -> bool {
    timeout_ms >= -1
}

/// The deadline of a wait that begins now. `timeout_ms` is in milliseconds or AGENTCG_FOREVER.
pub fn deadline(timeout_ms: c_int) -> Result<Deadline> {
    timeout(timeout_ms).map(Deadline::within)
}

/// The duration of a wait that begins later. `None` means that it has no end.
pub fn timeout(timeout_ms: c_int) -> Result<Option<Duration>> {
    match u64::try_from(timeout_ms) {
        Ok(ms) => Ok(Some(Duration::from_millis(ms))),
        Err(_) if timeout_ms == -1 => Ok(None),
        Err(_) => invalid(format_args!(
            "a timeout of {timeout_ms} ms is invalid: pass 0 or more, or AGENTCG_FOREVER"
        )),
    }
}

/// Complete the error of a wait of `timeout_ms`: if that is 0, the message says that the call did not wait.
pub fn waited<T>(timeout_ms: c_int, outcome: Result<T>) -> Result<T> {
    outcome.map_err(|e| match (timeout_ms, e.errno()) {
        (0, Errno::ETIMEDOUT) => {
            e.preceded_by("timeout_ms 0 does not wait: ", "not done yet: call again, or pass a time to wait")
        }
        _ => e,
    })
}

/// Refuse flags that are not in `known`.
pub fn check_flags(flags: u64, known: u64) -> Result<()> {
    match flags & !known {
        0 => Ok(()),
        unknown => invalid(format_args!("unknown flags {unknown:#x}")),
    }
}

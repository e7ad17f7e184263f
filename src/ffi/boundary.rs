// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where Rust's results become C's.

use super::error::agentcg_error;
use crate::error::{Error, Result};
use crate::sys::cancel::Deferred;
use nix::errno::Errno;
use std::borrow::Cow;
use std::ffi::{c_char, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What every function that can fail may return besides: the conventions in the header say so once.
const COMMON: [Errno; 4] = [Errno::EIO, Errno::EMFILE, Errno::ENFILE, Errno::ENOMEM];

/// An error of the kernel's that the function does not list is `EIO` to its caller. The message names it.
fn listed(errno: Errno, codes: &[Errno]) -> Errno {
    if codes.contains(&errno) || COMMON.contains(&errno) { errno } else { Errno::EIO }
}

/// Run the body of an exported function. `codes` are the errors that its comment lists.
///
/// # Safety
/// `reterr` is NULL or points to an `agentcg_error` that may be written.
pub unsafe fn guard(
    reterr: *mut agentcg_error,
    codes: &[Errno],
    body: impl FnOnce() -> Result<c_int>,
) -> c_int {
    #[cfg(feature = "c-library")]
    let Some(_held) = crate::sys::reserve::hold() else {
        // SAFETY: the caller's promise.
        return unsafe { guard_without_memory(reterr, codes, || Err(no_memory())) };
    };
    // SAFETY: the caller's promise.
    unsafe { guard_without_memory(reterr, codes, body) }
}

/// The same for a function that kills: where there is no memory to begin the call, `kill` is sent before it fails.
///
/// # Safety
/// As of [`guard`].
pub unsafe fn guard_killing(
    reterr: *mut agentcg_error,
    codes: &[Errno],
    kill: impl FnOnce(),
    body: impl FnOnce() -> Result<c_int>,
) -> c_int {
    #[cfg(feature = "c-library")]
    let Some(_held) = crate::sys::reserve::hold() else {
        let refuse = || {
            kill();
            Err(no_memory())
        };
        // SAFETY: the caller's promise.
        return unsafe { guard_without_memory(reterr, codes, refuse) };
    };
    #[cfg(not(feature = "c-library"))]
    let _ = kill;
    // SAFETY: the caller's promise.
    unsafe { guard_without_memory(reterr, codes, body) }
}

/// The same where nothing can be done but to go on, with memory for it or not.
///
/// # Safety
/// As of [`guard`].
pub unsafe fn guard_always(
    reterr: *mut agentcg_error,
    codes: &[Errno],
    body: impl FnOnce() -> Result<c_int>,
) -> c_int {
    #[cfg(feature = "c-library")]
    let _held = crate::sys::reserve::hold();
    // SAFETY: the caller's promise.
    unsafe { guard_without_memory(reterr, codes, body) }
}

/// The same for a body that allocates nothing.
///
/// # Safety
/// As of [`guard`].
pub unsafe fn guard_without_memory(
    reterr: *mut agentcg_error,
    codes: &[Errno],
    body: impl FnOnce() -> Result<c_int>,
) -> c_int {
    let _deferred = Deferred::begin();
    silence_panics();
    let error = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(value)) => return value,
        Ok(Err(e)) => {
            let code = listed(e.errno(), codes);
            e.coded(code)
        }
        Err(_) => bug("a bug in libagentcg was caught: please report it"),
    };
    let code = -(error.errno() as c_int);
    if !reterr.is_null() {
        // SAFETY: the caller's promise.
        unsafe { reterr.write(agentcg_error::from(&error)) };
    }
    code
}

/// The same where nothing may be allocated: for functions without a reterr.
pub fn guard_quietly(codes: &[Errno], body: impl FnOnce() -> nix::Result<()>) -> c_int {
    let _deferred = Deferred::begin();
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => 0,
        Ok(Err(e)) => -(listed(e, codes) as c_int),
        Err(_) => -(Errno::ENOTRECOVERABLE as c_int),
    }
}

/// What std prints about a panic would go to the host's standard error. The C library has a std of its own, and so a
/// hook of its own; a Rust program that links the crate keeps the one that it has.
#[inline]
fn silence_panics() {
    #[cfg(feature = "c-library")]
    {
        use std::sync::atomic::{AtomicBool, Ordering};
        static SILENT: AtomicBool = AtomicBool::new(false);
        if !SILENT.load(Ordering::Relaxed) {
            // A closure without captures is not allocated.
            std::panic::set_hook(Box::new(|_| ()));
            SILENT.store(true, Ordering::Relaxed);
        }
    }
}

#[cfg(feature = "c-library")]
fn no_memory() -> Error {
    Error::new(Errno::ENOMEM, "no memory is left to begin the call")
}

fn bug(message: impl Into<Cow<'static, str>>) -> Error {
    Error::new(Errno::ENOTRECOVERABLE, message)
}

/// An argument that is not as it must be.
pub fn invalid<T>(message: impl Into<Cow<'static, str>>) -> Result<T> {
    Err(Error::new(Errno::EINVAL, message))
}

impl From<&Error> for agentcg_error {
    fn from(e: &Error) -> Self {
        let mut out = Self {
            code: -(e.errno() as i32),
            reason: e.reason().map_or(0, |reason| reason as u32),
            file: [0; 64],
            message: [0; 184],
        };
        fill(&mut out.file, e.file());
        fill(&mut out.message, e.message());
        out
    }
}

/// Copy what fits, whole characters only. The array keeps a NUL at its end.
pub fn fill(array: &mut [c_char], text: &str) {
    let room = array.len().saturating_sub(1);
    let end = (0..=room.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    for (to, from) in array.iter_mut().zip(text.bytes().take(end)) {
        *to = from as c_char;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CStr;

    fn text(array: &[c_char]) -> String {
        let bytes: Vec<u8> = array.iter().map(|&c| c as u8).collect();
        CStr::from_bytes_until_nul(&bytes).unwrap().to_str().unwrap().to_owned()
    }

    fn run(codes: &[Errno], body: impl FnOnce() -> Result<c_int>) -> (c_int, agentcg_error) {
        let mut err = agentcg_error { code: 7, reason: 7, file: [1; 64], message: [1; 184] };
        // SAFETY: it points to one.
        let code = unsafe { guard(&raw mut err, codes, body) };
        (code, err)
    }

    #[test]
    fn success_leaves_the_error_alone() {
        let (code, err) = run(&[], || Ok(5));
        assert_eq!((code, err.code, err.reason, err.file[0]), (5, 7, 7, 1));
    }

    #[test]
    fn a_listed_error_is_told_in_full() {
        let e = Error::new(Errno::EBUSY, "held").because(crate::Reason::Populated).on("cgroup.procs");
        let (code, err) = run(&[Errno::EBUSY], || Err(e));
        assert_eq!((code, err.code, err.reason), (-libc::EBUSY, -libc::EBUSY, 6));
        assert_eq!((text(&err.file), text(&err.message)), ("cgroup.procs".into(), "held".into()));
    }

    #[test]
    fn an_error_that_the_function_does_not_list_is_eio_and_the_message_keeps_its_name() {
        let e = Error::new(Errno::ENOSPC, "no room: ENOSPC").because(crate::Reason::Gone).on("cgroup.procs");
        let (code, err) = run(&[Errno::EBUSY], || Err(e));
        assert_eq!((code, err.code, err.reason), (-libc::EIO, -libc::EIO, 8));
        assert_eq!((text(&err.file), text(&err.message)), ("cgroup.procs".into(), "no room: ENOSPC".into()));
        assert_eq!(guard_quietly(&[], || Err(Errno::ENOSPC)), -libc::EIO);
    }

    #[test]
    fn every_function_may_tell_of_want_of_descriptors_and_memory() {
        for e in [Errno::EMFILE, Errno::ENFILE, Errno::ENOMEM] {
            assert_eq!(run(&[], || Err(Error::new(e, "none left"))).0, -(e as c_int));
            assert_eq!(guard_quietly(&[], || Err(e)), -(e as c_int));
        }
    }

    #[test]
    fn a_panic_is_caught_and_told() {
        let (code, err) = run(&[], || panic!("on purpose"));
        assert_eq!((code, err.code), (-libc::ENOTRECOVERABLE, -libc::ENOTRECOVERABLE));
        assert!(text(&err.message).contains("bug"));
        assert_eq!(guard_quietly(&[], || panic!("on purpose")), -libc::ENOTRECOVERABLE);
    }

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        let (_, err) = run(&[Errno::EIO], || Err(Error::new(Errno::EIO, "é".repeat(200))));
        assert_eq!(text(&err.message), "é".repeat(91));
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The panic boundary of every exported function: it converts results to return values, errors to `agentcg_error`, and
//! panics to `-ENOTRECOVERABLE`.

use super::error::agentcg_error;
use crate::error::{Error, Message, Result, out_of_memory};
use crate::sys::thread::CancellationDisabled;
use nix::errno::Errno;
use std::ffi::{c_char, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The errors that every function may return, whether or not it lists them. The other common errors of the header's
/// conventions are in the lists of the functions, since some functions never return them.
const COMMON: [Errno; 4] = [Errno::EIO, Errno::EMFILE, Errno::ENFILE, Errno::ENOMEM];

/// The code for the caller: `EIO` for an errno that the function does not list. The message names the original.
pub fn listed(errno: Errno, codes: &[Errno]) -> Errno {
    if codes.contains(&errno) || COMMON.contains(&errno) { errno } else { Errno::EIO }
}

/// Run the body of an exported function. `codes` are the errors that it may return: those that its comment lists, and the
/// common ones.
///
/// # Safety
/// `reterr` is NULL or points to an `agentcg_error` that may be written.
pub unsafe fn call(
    reterr: *mut agentcg_error,
    codes: &[Errno],
    body: impl FnOnce() -> Result<c_int>,
) -> c_int {
    // SAFETY: as the caller promises.
    unsafe { call_killing(reterr, codes, || (), body) }
}

/// [`call`] for a function that kills. If there is no memory to begin the call, `kill` runs before the call fails.
///
/// # Safety
/// As for [`call`].
pub unsafe fn call_killing(
    reterr: *mut agentcg_error,
    codes: &[Errno],
    kill: impl FnOnce(),
    body: impl FnOnce() -> Result<c_int>,
) -> c_int {
    let call = Call::begin();
    let result = if call.has_memory() {
        catch_unwind(AssertUnwindSafe(body))
    } else {
        catch_unwind(AssertUnwindSafe(kill)).map(|()| Err(out_of_memory(Errno::ENOMEM)))
    };
    // SAFETY: as the caller promises.
    unsafe { outcome(reterr, codes, result) }
}

/// [`call`] for a function that cannot report want of memory. The body runs even if there is no memory to begin the call.
///
/// # Safety
/// As for [`call`].
pub unsafe fn call_always(
    reterr: *mut agentcg_error,
    codes: &[Errno],
    body: impl FnOnce() -> Result<c_int>,
) -> c_int {
    let _call = Call::begin();
    // SAFETY: as the caller promises.
    unsafe { outcome(reterr, codes, catch_unwind(AssertUnwindSafe(body))) }
}

/// [`call`] for a function that has no `reterr`. If its body allocates nothing, it is async-signal-safe.
pub fn call_without_error(codes: &[Errno], body: impl FnOnce() -> nix::Result<c_int>) -> c_int {
    let _disabled = CancellationDisabled::begin();
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(value)) => value,
        Ok(Err(e)) => -(listed(e, codes) as c_int),
        Err(_) => -(Errno::ENOTRECOVERABLE as c_int),
    }
}

/// What holds during a call of an exported function. It is not generic, so that its code exists once.
struct Call {
    _disabled: CancellationDisabled,
    #[cfg(feature = "c-library")]
    reserve: Option<crate::sys::reserve_allocator::ClaimedArena>,
}

impl Call {
    #[inline(never)]
    fn begin() -> Self {
        #[cfg(feature = "c-library")]
        let reserve = crate::sys::reserve_allocator::claim_arena();
        silence_panics();
        Self {
            _disabled: CancellationDisabled::begin(),
            #[cfg(feature = "c-library")]
            reserve,
        }
    }

    /// Returns false if there is no memory to begin the call.
    fn has_memory(&self) -> bool {
        #[cfg(feature = "c-library")]
        return self.reserve.is_some();
        #[cfg(not(feature = "c-library"))]
        return true;
    }
}

/// Returns the value for the caller.
///
/// # Safety
/// As for [`call`].
unsafe fn outcome(
    reterr: *mut agentcg_error,
    codes: &[Errno],
    result: std::thread::Result<Result<c_int>>,
) -> c_int {
    let error = match result {
        Ok(Ok(value)) => return value,
        Ok(Err(e)) => {
            let code = listed(e.errno(), codes);
            e.coded(code)
        }
        Err(_) => bug("a bug in libagentcg was caught: please report it"),
    };
    // SAFETY: as the caller promises.
    unsafe { report(reterr, &error) }
}

/// Writes the error to `reterr` and returns its code.
///
/// # Safety
/// As for [`call`].
#[cold]
#[inline(never)]
unsafe fn report(reterr: *mut agentcg_error, error: &Error) -> c_int {
    if !reterr.is_null() {
        // SAFETY: as the caller promises.
        unsafe { reterr.write(agentcg_error::from(error)) };
    }
    -(error.errno() as c_int)
}

/// Replace std's panic hook, which would print to the standard error of the calling program. The C library contains a copy
/// of std, so this does not change the hook of a Rust program. A Rust program that links the crate keeps its hook.
#[inline]
fn silence_panics() {
    #[cfg(feature = "c-library")]
    {
        use std::sync::atomic::{AtomicBool, Ordering};
        static SILENT: AtomicBool = AtomicBool::new(false);
        if !SILENT.load(Ordering::Relaxed) {
            // A box of a closure without captures does not allocate.
            std::panic::set_hook(Box::new(|_| ()));
            SILENT.store(true, Ordering::Relaxed);
        }
    }
}

fn bug(message: impl Message) -> Error {
    Error::new(Errno::ENOTRECOVERABLE, message)
}

/// The error for an invalid argument.
pub fn invalid<T>(message: impl Message) -> Result<T> {
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

/// Copy `text` to a C array, cut at a character boundary if it is too long. The last byte of the array stays NUL.
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
        // SAFETY: the pointer is that of a local variable.
        let code = unsafe { call(&raw mut err, codes, body) };
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
        assert_eq!(call_without_error(&[], || Err(Errno::ENOSPC)), -libc::EIO);
    }

    #[test]
    fn every_function_may_tell_of_want_of_descriptors_and_memory() {
        for e in [Errno::EMFILE, Errno::ENFILE, Errno::ENOMEM] {
            assert_eq!(run(&[], || Err(Error::new(e, "none left"))).0, -(e as c_int));
            assert_eq!(call_without_error(&[], || Err(e)), -(e as c_int));
        }
    }

    #[test]
    fn a_panic_is_caught_and_told() {
        let (code, err) = run(&[], || panic!("on purpose"));
        assert_eq!((code, err.code), (-libc::ENOTRECOVERABLE, -libc::ENOTRECOVERABLE));
        assert!(text(&err.message).contains("bug"));
        assert_eq!(call_without_error(&[], || panic!("on purpose")), -libc::ENOTRECOVERABLE);
    }

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        let (_, err) = run(&[Errno::EIO], || Err(Error::new(Errno::EIO, "é".repeat(200))));
        assert_eq!(text(&err.message), "é".repeat(91));
    }
}

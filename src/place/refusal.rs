// SPDX-License-Identifier: MIT OR Apache-2.0
//! The errors that several kinds of places return.

use crate::error::{Error, Reason, words};
use nix::errno::Errno;

/// Returns true for a shortage of descriptors or memory, and for EIO: these say nothing about the file.
pub fn is_shortage(errno: Errno) -> bool {
    matches!(errno, Errno::EIO | Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM)
}

/// Why cgroups cannot be made in the directory `here`.
pub fn refused(errno: Errno, here: &str) -> Error {
    let (reason, message) = match errno {
        Errno::EACCES => (
            Reason::NotDelegated,
            format!(
                "no right to make cgroups in {here}: run under a user manager (systemd-run --user --scope) or in a unit with Delegate=yes"
            ),
        ),
        Errno::EROFS => (
            Reason::ReadOnly,
            format!(
                "cgroupfs is read-only at {here}: a service needs ProtectControlGroups=no, a container a writable mount"
            ),
        ),
        Errno::EAGAIN => (
            Reason::NestingLimit,
            format!(
                "cannot make cgroups in {here}: cgroup.max.depth or cgroup.max.descendants of a cgroup above is reached"
            ),
        ),
        Errno::ENODEV => (Reason::Gone, format!("{here} was removed during the call: try again")),
        e => return Error::new(e, format_args!("cannot make cgroups in {here}: {}", words(e))),
    };
    Error::new(errno, message).because(reason)
}

/// Why `file` of the cgroup `here` could not be read or written, whichever `verb` says.
pub fn cannot(verb: &str, file: &'static str, errno: Errno, here: &str) -> Error {
    let why = words(errno);
    let name = file.rsplit('/').next().unwrap_or_default();
    let error = Error::new(errno, format_args!("cannot {verb} {file} of {here}: {why}")).on(name);
    match errno {
        Errno::ENODEV | Errno::ENOENT => error.because(Reason::Gone),
        Errno::EACCES => error.because(Reason::NotDelegated),
        Errno::EROFS => error.because(Reason::ReadOnly),
        Errno::EOPNOTSUPP => error.because(Reason::Threaded),
        _ => error,
    }
}

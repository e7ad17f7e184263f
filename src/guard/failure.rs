// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why no guard is available, and the errors that the caller gets for it.

use super::message::PROTOCOL;
use crate::error::{Error, Reason, shown, words};
use crate::spawn::parent;
use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};
use std::ffi::CString;

/// Why no guard is available.
#[derive(Debug)]
pub enum Failure {
    /// A system call failed.
    Errno(Errno),
    /// No process could be started.
    NotStarted(parent::Failure),
    /// The program at this path cannot be executed.
    NoProgram(Vec<u8>, Errno),
    /// The program at this path is not the guard of this library. One of another version reports its protocol.
    Foreign(Vec<u8>, Option<u64>),
    /// The cgroup in which the guard would start is frozen.
    Frozen,
    /// The guard has ended, was stopped, or does not answer.
    Ended,
}

/// The result of a call that needs a guard.
pub type Result<T> = std::result::Result<T, Failure>;

impl From<Errno> for Failure {
    fn from(e: Errno) -> Self {
        Self::Errno(e)
    }
}

impl Failure {
    /// Returns the failure to execute any of these programs.
    pub fn no_program(candidates: &[CString], e: Errno) -> Self {
        Self::NoProgram(first(candidates), e)
    }

    /// Returns the failure of a program that is not the guard of this library: the first of these that exists.
    pub fn foreign(candidates: &[CString], its_protocol: Option<u64>) -> Self {
        let exists = |path: &&CString| access(path.as_c_str(), AccessFlags::F_OK).is_ok();
        let path = candidates.iter().find(exists);
        Self::Foreign(path.map_or_else(|| first(candidates), |path| path.to_bytes().to_vec()), its_protocol)
    }

    /// Returns the error for the caller. `purpose` completes "cannot start the process that".
    pub fn to_error(&self, purpose: &str) -> Error {
        match self {
            Self::Errno(e)
            | Self::NotStarted(parent::Failure::NotCreated(e) | parent::Failure::Failed(_, e)) => {
                let code = match e {
                    Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM => *e,
                    _ => Errno::EAGAIN,
                };
                Error::new(
                    code,
                    format_args!("cannot start the process that {purpose}: {}: try again", words(*e)),
                )
            }
            Self::NotStarted(_) | Self::Ended => Error::new(
                Errno::EAGAIN,
                format_args!("the process that {purpose} was killed or stopped as it began: try again"),
            ),
            Self::NoProgram(path, e) => {
                let code = if *e == Errno::ENOENT { Errno::ENOENT } else { Errno::EACCES };
                Error::new(
                    code,
                    format_args!("cannot execute the guard {}: {}: install it there", shown(path), words(*e)),
                )
                .because(Reason::NoGuard)
            }
            Self::Foreign(path, its_protocol) => {
                let path = shown(path);
                let message = match its_protocol {
                    Some(its_protocol) => format!(
                        "{path} speaks protocol {its_protocol}, and this library {PROTOCOL}: install the guard of this library"
                    ),
                    None => format!(
                        "{path} is not the guard of this library, or cannot run: install the right one"
                    ),
                };
                Error::new(Errno::ENOEXEC, message).because(Reason::NoGuard)
            }
            Self::Frozen => Error::new(
                Errno::EBUSY,
                format_args!(
                    "the cgroup of the process that {purpose} would be frozen: thaw the cgroup above it"
                ),
            ),
        }
    }
}

fn first(candidates: &[CString]) -> Vec<u8> {
    candidates.first().map(|path| path.to_bytes().to_vec()).unwrap_or_default()
}

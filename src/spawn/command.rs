// SPDX-License-Identifier: MIT OR Apache-2.0
//! The program to execute: its file, arguments, environment, working directory and standard descriptors.

#![allow(unsafe_code)]

use crate::sys::deadline::Deadline;
use crate::sys::try_alloc;
use nix::errno::Errno;
use std::ffi::{CStr, CString, c_char, c_int};
use std::marker::PhantomData;
use std::os::fd::{BorrowedFd, RawFd};
use std::ptr::null;
use std::time::Duration;

/// A value of [`Command::stdio`]: the child inherits the caller's descriptor.
pub const INHERIT: RawFd = -1;
/// A value of [`Command::stdio`]: the child gets /dev/null.
pub const DEVNULL: RawFd = -2;
/// A standard descriptor that is to become a pipe to the caller. [`super::pipes::Pipes`] puts a descriptor in its place.
pub const PIPE: RawFd = -3;
/// A value of [`Redirection::source`]: the child gets the target closed.
pub const CLOSED: RawFd = RawFd::MIN;

/// A descriptor of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Redirection {
    /// The caller's descriptor, [`DEVNULL`] or [`CLOSED`].
    pub source: RawFd,
    /// The number that it has in the program.
    pub target: RawFd,
}

/// Strings in the form that execve(2) takes: an array of pointers that ends with NULL.
#[derive(Debug, Clone)]
pub struct Strings<'a>(Vec<*const c_char>, PhantomData<&'a CStr>);

impl<'a> Strings<'a> {
    /// Borrows each of these strings.
    pub fn new(strings: impl IntoIterator<Item = &'a CStr>) -> nix::Result<Self> {
        let mut pointers = Vec::new();
        try_alloc::extend(&mut pointers, strings.into_iter().map(CStr::as_ptr).chain([null()]))?;
        Ok(Self(pointers, PhantomData))
    }

    /// Borrows the strings of a C array.
    ///
    /// # Safety
    /// `array` ends with NULL. Its strings end with NUL and do not change during `'a`.
    pub unsafe fn from_array(array: *const *const c_char) -> nix::Result<Self> {
        let mut pointers = Vec::new();
        // SAFETY: the caller promises that the array ends with NULL, and no element after that is read.
        while let Some(string) = unsafe { (*array.add(pointers.len())).as_ref() } {
            try_alloc::push(&mut pointers, &raw const *string)?;
        }
        try_alloc::push(&mut pointers, null())?;
        Ok(Self(pointers, PhantomData))
    }

    /// Returns the last string, if there is one.
    pub fn last(&self) -> Option<&CStr> {
        let last = self.0.iter().rev().nth(1)?;
        // SAFETY: only the final element is NULL. `new` and `from_array` stored pointers to strings that end with NUL.
        Some(unsafe { CStr::from_ptr(*last) })
    }

    /// Returns the number of strings.
    pub fn len(&self) -> usize {
        self.0.len() - 1
    }

    /// Returns true if there is no string.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn as_ptr(&self) -> *const *const c_char {
        self.0.as_ptr()
    }
}

/// A resource limit of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResourceLimit {
    /// RLIMIT_...
    pub resource: c_int,
    /// The soft limit. `u64::MAX` is no limit.
    pub soft: u64,
    /// The hard limit.
    pub hard: u64,
}

/// How long to wait for a program to begin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BeginTimeout {
    /// Ten seconds, if the group is known to be throttled or frozen at times.
    #[default]
    Default,
    /// This long, in every group.
    Within(Duration),
    /// As long as it takes.
    Forever,
}

impl BeginTimeout {
    /// Returns the deadline of a start that begins now.
    pub(super) fn deadline(self) -> Deadline {
        match self {
            Self::Default => Deadline::after(Duration::from_secs(10)),
            Self::Within(time) => Deadline::after(time),
            Self::Forever => Deadline::FOREVER,
        }
    }
}

/// A program to start.
#[derive(Debug)]
pub struct Command<'a> {
    /// The paths of the program's file. They are tried in this order.
    pub program: Strings<'a>,
    /// The arguments. The first is the program's name.
    pub arguments: Strings<'a>,
    /// The environment.
    pub environment: Strings<'a>,
    /// The program's file by a descriptor, in the place of `program`.
    pub file: Option<BorrowedFd<'a>>,
    /// If true, the child starts a session of its own.
    pub new_session: bool,
    /// The process group that the child joins. 0 is a new one.
    pub process_group: Option<i32>,
    /// The terminal that becomes the controlling terminal of the child, which starts a session.
    pub controlling_terminal: Option<BorrowedFd<'a>>,
    /// The terminal whose foreground process group becomes that of the child.
    pub foreground_of: Option<BorrowedFd<'a>>,
    /// The working directory. None is the caller's.
    pub directory: Option<BorrowedFd<'a>>,
    /// Standard input, output and error: [`INHERIT`], [`DEVNULL`] or a descriptor.
    pub stdio: [RawFd; 3],
    /// More descriptors of the program, in any order. No target is there twice. The program has no others.
    pub descriptors: Vec<Redirection>,
    /// The file mode creation mask. None is the caller's, as for all that follow.
    pub umask: Option<u32>,
    /// The niceness, from -20 to 19.
    pub nice: Option<c_int>,
    /// The oom_score_adj, from -1000 to 1000.
    pub oom_score_adj: Option<c_int>,
    /// The resource limits that differ from the caller's.
    pub resource_limits: Vec<ResourceLimit>,
    /// The supplementary groups.
    pub groups: Option<Vec<u32>>,
    /// The real, effective and saved group id.
    pub gid: Option<u32>,
    /// The real, effective and saved user id.
    pub uid: Option<u32>,
    /// The signal that the program gets when the thread that has started it ends.
    pub parent_death_signal: Option<c_int>,
    /// If true, execve(2) gives the program and its descendants no privileges.
    pub no_new_privs: bool,
    /// The signals that are ignored in the program; all others have their default action. Signal n is bit n - 1.
    pub ignored_signals: u64,
    /// The signals that are blocked in the program.
    pub blocked_signals: u64,
    /// How long to wait for the program to begin.
    pub begin: BeginTimeout,
}

impl<'a> Command<'a> {
    /// A program with the caller's session, working directory and standard descriptors.
    pub fn new(program: Strings<'a>, arguments: Strings<'a>, environment: Strings<'a>) -> Self {
        Self {
            program,
            arguments,
            environment,
            file: None,
            new_session: false,
            process_group: None,
            controlling_terminal: None,
            foreground_of: None,
            directory: None,
            stdio: [INHERIT; 3],
            descriptors: Vec::new(),
            umask: None,
            nice: None,
            oom_score_adj: None,
            resource_limits: Vec::new(),
            groups: None,
            gid: None,
            uid: None,
            parent_death_signal: None,
            no_new_privs: false,
            ignored_signals: 0,
            blocked_signals: 0,
            begin: BeginTimeout::Default,
        }
    }
}

/// The directories that are searched if PATH is not set.
const DEFAULT_PATH: &[u8] = b"/bin:/usr/bin";

/// Returns the paths to try for a program's file, by the rules of execvp(3). `path` is None if no PATH is to be
/// searched, and `Some(None)` if PATH is not set. An empty directory in PATH is the working directory.
pub fn candidates(file: &CStr, path: Option<Option<&CStr>>) -> nix::Result<Vec<CString>> {
    let name = file.to_bytes();
    let mut candidates = Vec::new();
    match path {
        Some(path) if !name.is_empty() && !name.contains(&b'/') => {
            for directory in path.map_or(DEFAULT_PATH, CStr::to_bytes).split(|&b| b == b':') {
                try_alloc::push(&mut candidates, join(directory, name)?)?;
            }
        }
        _ => try_alloc::push(&mut candidates, try_alloc::copy_cstr(file)?)?,
    }
    Ok(candidates)
}

fn join(directory: &[u8], name: &[u8]) -> nix::Result<CString> {
    let parts = [directory, if directory.is_empty() { b"" } else { b"/" }, name, b"\0"];
    // The capacity is exact: `CString` would otherwise reallocate, and abort if there is no memory.
    let mut path = try_alloc::with_capacity(parts.iter().map(|part| part.len()).sum())?;
    parts.iter().for_each(|part| path.extend_from_slice(part));
    CString::from_vec_with_nul(path).map_err(|_| Errno::EINVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_looked_for_in_each_directory_of_path() {
        let found = candidates(c"sh", Some(Some(c"/a:/b:")));
        assert_eq!(found, Ok(vec![c"/a/sh".to_owned(), c"/b/sh".to_owned(), c"sh".to_owned()]));
        assert_eq!(candidates(c"sh", Some(Some(c""))), Ok(vec![c"sh".to_owned()]));
    }

    #[test]
    fn without_a_path_the_default_directories_are_searched() {
        let default = vec![c"/bin/sh".to_owned(), c"/usr/bin/sh".to_owned()];
        assert_eq!(candidates(c"sh", Some(None)), Ok(default));
    }

    #[test]
    fn a_path_with_a_slash_and_a_name_that_is_not_searched_for_are_used_unchanged() {
        for (file, path) in [(c"./sh", Some(Some(c"/a"))), (c"", Some(Some(c"/a"))), (c"sh", None)] {
            assert_eq!(candidates(file, path), Ok(vec![file.to_owned()]));
        }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reading and writing any interface file of an agent, for files that have no function of their own.

use super::Agent;
use crate::cgroupfs::FILE_MAX;
use crate::cgroupfs::controllers::Controllers;
use crate::error::{Error, Reason, Result, shown, words};
use nix::errno::Errno;
use std::ffi::CStr;

/// The longest name of a file, in bytes.
const NAME_MAX: usize = 255;
/// The longest value, in bytes. The kernel takes at most one page, including a NUL.
const VALUE_MAX: usize = 4095;

/// The errnos that both calls return unchanged. All others become `EIO`, and the message names them.
const OF_READING: &[Errno] = &[
    Errno::EACCES,
    Errno::EINVAL,
    Errno::EMFILE,
    Errno::ENFILE,
    Errno::ENODEV,
    Errno::ENOENT,
    Errno::ENOMEM,
    Errno::EOPNOTSUPP,
];
/// The errnos that only a write returns unchanged.
const OF_WRITING: &[Errno] =
    &[Errno::EAGAIN, Errno::EBUSY, Errno::EEXIST, Errno::ENOSPC, Errno::ERANGE, Errno::ESRCH];

impl Agent {
    /// Returns the whole content of a file.
    pub fn read_file(&self, name: &CStr) -> Result<Vec<u8>> {
        let file = file_name(name)?;
        self.dir.read_all(name).map_err(|e| self.file_refused(None, name, file, e))
    }

    /// Writes one value by one write(2), so that the kernel takes or refuses the value as a whole.
    pub fn write_file(&self, name: &CStr, value: &[u8]) -> Result<()> {
        let file = file_name(name)?;
        let shown_file = shown(file.as_bytes());
        if value.is_empty() {
            // The kernel accepts it and does nothing.
            return Err(wrong(Errno::EINVAL, format!("the value for {shown_file} is empty"), file));
        }
        if value.len() > VALUE_MAX {
            let message = format!(
                "the value for {shown_file} has {} bytes: the kernel takes at most {VALUE_MAX}",
                value.len()
            );
            return Err(wrong(Errno::E2BIG, message, file));
        }
        self.dir.write_living(name, value).map_err(|e| self.file_refused(Some(value), name, file, e))
    }

    /// Returns the error of a read or write. `ENODEV` means that the group was removed or, for io.max, that the device
    /// does not exist. `ENOENT` means that the file does not exist or, for cgroup.subtree_control, that the controller
    /// is not available.
    fn file_refused(&self, value: Option<&[u8]>, name: &CStr, file: &str, errno: Errno) -> Error {
        let (group, shown_file) = (shown(&self.path()), shown(file.as_bytes()));
        if errno == Errno::ENODEV && !self.dir.is_alive() {
            return self.failed("use", "", errno).on(file.to_owned());
        }
        let writing = value.is_some();
        let (code, why) = match errno {
            Errno::ENOENT | Errno::ENODEV if !self.dir.has(name) => return self.file_missing(file),
            Errno::EISDIR | Errno::ELOOP | Errno::ENXIO => {
                let message = format!("{shown_file} of {group} is not an interface file: is it a cgroup?");
                return wrong(Errno::EINVAL, message, file);
            }
            // The hierarchy was mounted read-only after the group was made.
            Errno::EROFS => (Errno::EACCES, Some(Reason::ReadOnly)),
            Errno::EACCES if self.dir.nobody_may(writing, name) => {
                let only = if writing { "read" } else { "written" };
                return wrong(errno, format!("{shown_file} of {group} can only be {only}"), file);
            }
            Errno::EACCES => (errno, Some(Reason::NotDelegated)),
            Errno::EOPNOTSUPP if file == "cgroup.type" && writing => return self.not_threaded(file),
            e if OF_READING.contains(&e) || (writing && OF_WRITING.contains(&e)) => (e, None),
            _ => (Errno::EIO, None),
        };
        let tried = match value {
            Some(value) => format!("write \"{}\" to", beginning(value)),
            None => "read".to_owned(),
        };
        // The system's words for these two are misleading.
        let said = match errno {
            Errno::ERANGE => "out of range",
            Errno::ENOENT => "not available",
            other => words(other),
        };
        let e = wrong(code, format!("cannot {tried} {shown_file} of {group}: {said}"), file);
        why.into_iter().fold(e, Error::because)
    }

    /// Returns the error of writing cgroup.type. The kernel makes a cgroup threaded only if its parent enables no
    /// domain controller for it, it contains no process, and its parent is a domain.
    fn not_threaded(&self, file: &str) -> Error {
        let group = shown(&self.path());
        let mut buf = [0; FILE_MAX];
        let enabled = self.dir.read(c"../cgroup.subtree_control", &mut buf).map(Controllers::listed);
        let domain = enabled.unwrap_or_default() - Controllers::THREADED;
        let message = if domain.is_empty() {
            format!("{group} cannot become threaded: it contains processes, or its parent is not a domain")
        } else {
            let named = domain.to_string().replace(' ', ", ");
            format!("{group} cannot become threaded: its parent enables {named} for it, which need a domain")
        };
        wrong(Errno::EOPNOTSUPP, message, file).because(Reason::Threaded)
    }

    fn file_missing(&self, file: &str) -> Error {
        let (group, shown_file) = (shown(&self.path()), shown(file.as_bytes()));
        let controller = file.split('.').next().unwrap_or_default();
        let wanted = Controllers::listed(controller.as_bytes());
        let mut buf = [0; FILE_MAX];
        let available = self.dir.read(c"cgroup.controllers", &mut buf).map_or(wanted, Controllers::listed);
        if available.contains(wanted) {
            return wrong(
                Errno::ENOENT,
                format!("{group} has no {shown_file}: this kernel does not have that file"),
                file,
            );
        }
        let message = format!(
            "{group} has no {shown_file}: its controller {controller} is not in force: see agentcg_diagnose()"
        );
        wrong(Errno::ENOENT, message, file).because(Reason::NoController)
    }
}

/// Returns the name as text if an interface file can have it.
fn file_name(name: &CStr) -> Result<&str> {
    let text = name.to_str().unwrap_or_default();
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    let is_valid = text.len() <= NAME_MAX
        && text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic())
        && text.bytes().all(is_allowed);
    if is_valid {
        return Ok(text);
    }
    let shown = shown(name.to_bytes());
    Err(Error::new(
        Errno::EINVAL,
        format_args!(
            "\"{shown}\" is not the name of an interface file: give a letter, then letters, digits, '.', '_', '-', at most 255"
        ),
    ))
}

/// Returns the beginning of a value, short enough for a message.
fn beginning(value: &[u8]) -> String {
    const MOST: usize = 24;
    let text = shown(value.trim_ascii_end().get(..MOST).unwrap_or(value.trim_ascii_end()));
    if value.len() > MOST { text + "..." } else { text }
}

fn wrong(errno: Errno, message: String, file: &str) -> Error {
    Error::new(errno, message).on(file.to_owned())
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Any interface file of an agent by its name, for what has no words of its own here.

use super::Agent;
use crate::cgroupfs::FILE_MAX;
use crate::cgroupfs::controllers::Controllers;
use crate::error::{Error, Reason, Result, shown, words};
use nix::errno::Errno;
use std::ffi::CStr;

/// As long as a file's name can be.
const NAME_MAX: usize = 255;
/// The kernel takes a page at most, NUL included.
const VALUE_MAX: usize = 4095;

/// What of the kernel's refusals is passed on as it is; others are `EIO`, with their words.
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
/// Of what writing meets besides.
const OF_WRITING: &[Errno] =
    &[Errno::EAGAIN, Errno::EBUSY, Errno::EEXIST, Errno::ENOSPC, Errno::ERANGE, Errno::ESRCH];

impl Agent {
    /// The whole of a file, as the kernel gives it.
    pub fn read_file(&self, name: &CStr) -> Result<Vec<u8>> {
        let file = file_name(name)?;
        self.dir.read_all(name).map_err(|e| self.file_refused(None, name, file, e))
    }

    /// One value, in one write(2): what the kernel makes of it, it makes of all of it.
    pub fn write_file(&self, name: &CStr, value: &[u8]) -> Result<()> {
        let file = file_name(name)?;
        let told = shown(file.as_bytes());
        if value.is_empty() {
            // The kernel says yes to it, and does nothing.
            return Err(wrong(Errno::EINVAL, format!("the value for {told} is empty"), file));
        }
        if value.len() > VALUE_MAX {
            let message = format!("{} bytes for {told}: the kernel takes {VALUE_MAX} at most", value.len());
            return Err(wrong(Errno::E2BIG, message, file));
        }
        self.dir.write_living(name, value).map_err(|e| self.file_refused(Some(value), name, file, e))
    }

    /// `ENODEV` here is "the group is gone" or, from io.max, "there is no such device"; `ENOENT` is "no such file" or, from
    /// cgroup.subtree_control, "no such controller".
    fn file_refused(&self, value: Option<&[u8]>, name: &CStr, file: &str, errno: Errno) -> Error {
        let (group, told) = (shown(&self.path), shown(file.as_bytes()));
        if errno == Errno::ENODEV && !self.dir.is_alive() {
            return self.failed("use", "", errno).on(file.to_owned());
        }
        let writing = value.is_some();
        let (code, why) = match errno {
            Errno::ENOENT | Errno::ENODEV if !self.dir.has(name) => return self.file_missing(file),
            Errno::EISDIR | Errno::ELOOP | Errno::ENXIO => {
                let message = format!("{told} of {group} is no interface file: perhaps a cgroup inside it");
                return wrong(Errno::EINVAL, message, file);
            }
            // Mounted read-only since the group was made.
            Errno::EROFS => (Errno::EACCES, Some(Reason::ReadOnly)),
            Errno::EACCES if self.dir.nobody_may(writing, name) => {
                let only = if writing { "read" } else { "written" };
                return wrong(errno, format!("{told} of {group} can only be {only}"), file);
            }
            Errno::EACCES => (errno, Some(Reason::NotDelegated)),
            Errno::EOPNOTSUPP if file == "cgroup.type" && writing => return self.stays_a_domain(file),
            e if OF_READING.contains(&e) || (writing && OF_WRITING.contains(&e)) => (e, None),
            _ => (Errno::EIO, None),
        };
        let tried = match value {
            Some(value) => format!("write \"{}\" to", beginning(value)),
            None => "read".to_owned(),
        };
        // Of these two the system's words say something else.
        let said = match errno {
            Errno::ERANGE => "out of range",
            Errno::ENOENT => "not to be had here",
            other => words(other),
        };
        let e = wrong(code, format!("cannot {tried} {told} of {group}: {said}"), file);
        why.into_iter().fold(e, Error::because)
    }

    /// The kernel makes a cgroup threaded only where no domain controller is in force for it, nothing lives in it, and
    /// its parent is a domain.
    fn stays_a_domain(&self, file: &str) -> Error {
        let group = shown(&self.path);
        let mut buf = [0; FILE_MAX];
        let enabled = self.dir.read(c"../cgroup.subtree_control", &mut buf).map(Controllers::listed);
        let domain = enabled.unwrap_or_default() - Controllers::THREADED;
        let message = if domain.is_empty() {
            format!("{group} cannot become threaded: processes are in it, or its parent is no domain")
        } else {
            let named = domain.to_string().replace(' ', ", ");
            format!(
                "{group} cannot become threaded: its parent enables {named} for it, which do not work on threads"
            )
        };
        wrong(Errno::EOPNOTSUPP, message, file).because(Reason::Threaded)
    }

    fn file_missing(&self, file: &str) -> Error {
        let (group, told) = (shown(&self.path), shown(file.as_bytes()));
        let owner = file.split('.').next().unwrap_or_default();
        let wanted = Controllers::listed(owner.as_bytes());
        let mut buf = [0; FILE_MAX];
        let there = self.dir.read(c"cgroup.controllers", &mut buf).map_or(wanted, Controllers::listed);
        if there.contains(wanted) {
            return wrong(
                Errno::ENOENT,
                format!("{group} has no {told}: this kernel does not know it"),
                file,
            );
        }
        let message =
            format!("{group} has no {told}: its controller {owner} is not in force, see agentcg_diagnose()");
        wrong(Errno::ENOENT, message, file).because(Reason::NoController)
    }
}

/// The name as text, if it is one that interface files have.
fn file_name(name: &CStr) -> Result<&str> {
    let text = name.to_str().unwrap_or_default();
    let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    let good = text.len() <= NAME_MAX
        && text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic())
        && text.bytes().all(known);
    if good {
        return Ok(text);
    }
    let shown = shown(name.to_bytes());
    Err(Error::new(
        Errno::EINVAL,
        format!(
            "\"{shown}\" is no interface file's name: a letter, then letters, digits, '.', '_', '-'; 255 at most"
        ),
    ))
}

/// Of a value, as much as leaves room for the rest.
fn beginning(value: &[u8]) -> String {
    const MOST: usize = 24;
    let text = shown(value.trim_ascii_end().get(..MOST).unwrap_or(value.trim_ascii_end()));
    if value.len() > MOST { text + "..." } else { text }
}

fn wrong(errno: Errno, message: String, file: &str) -> Error {
    Error::new(errno, message).on(file.to_owned())
}

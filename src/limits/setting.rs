// SPDX-License-Identifier: MIT OR Apache-2.0
//! One limit and its file: the text to write, the comparison with the text read back, and the errors.

use super::{name, page_bytes};
use crate::cgroupfs::controllers::Controllers;
use crate::cgroupfs::{AgentName, Dir, FILE_MAX};
use crate::error::{Error, Reason, shown, words};
use crate::parse::{self, UNLIMITED};
use crate::procfs;
use nix::errno::Errno;
use std::ffi::CStr;

/// One file to write.
pub struct Setting {
    pub file: &'static CStr,
    pub controller: Controllers,
    pub value: Value,
}

#[derive(Debug, Clone, Copy)]
pub enum Value {
    /// Bytes, of which the kernel stores whole pages.
    Bytes(u64),
    Count(u64),
    CpuMax {
        quota_us: u64,
        period_us: u64,
    },
}

impl Setting {
    /// Writes the value in a new, empty group and checks what the kernel has stored.
    pub fn write(&self, dir: &Dir, path: &[u8]) -> Result<(), Error> {
        let text = self.value.text();
        let mut buf = [0; FILE_MAX];
        match dir.set(self.file, text.as_bytes(), &mut buf) {
            Ok(kernel_has) if self.value.is(kernel_has) => Ok(()),
            Ok(kernel_has) => Err(self.differs(path, kernel_has)),
            Err(Errno::ENOENT) if self.is_moot() => Ok(()),
            Err(e) => Err(self.refused(dir, path, e)),
        }
    }

    /// Returns true if the value needs no file: swap is set to 0 on a system without swap, where the file may be missing.
    pub fn is_moot(&self) -> bool {
        let no_swap = matches!(self.value, Value::Bytes(0)) && self.file == c"memory.swap.max";
        no_swap && procfs::swap_is_off()
    }

    /// Makes the error for a value that the kernel accepted but stored differently.
    pub fn differs(&self, path: &[u8], kernel_has: &[u8]) -> Error {
        let kernel_has = shown(kernel_has.trim_ascii_end());
        self.failed(Errno::ERANGE, path, &format!("the kernel made \"{kernel_has}\" of it"))
    }

    /// Makes the error for a file that is missing, or cannot be opened or written.
    pub fn refused(&self, dir: &Dir, path: &[u8], errno: Errno) -> Error {
        match errno {
            Errno::ENOENT => self.absent(dir, path),
            Errno::ENODEV => self.failed(errno, path, "the group was removed").because(Reason::Gone),
            Errno::EACCES => self.failed(errno, path, words(errno)).because(Reason::NotDelegated),
            // Mounted read-only since the group was made.
            Errno::EROFS => self.failed(Errno::EACCES, path, words(errno)).because(Reason::ReadOnly),
            _ => self.failed(errno, path, words(errno)),
        }
    }

    fn absent(&self, dir: &Dir, path: &[u8]) -> Error {
        let mut buf = [0; FILE_MAX];
        let have = dir.read(c"cgroup.controllers", &mut buf).map(Controllers::listed);
        if have.is_ok_and(|have| have.contains(self.controller)) {
            return self
                .failed(Errno::EOPNOTSUPP, path, "this kernel has no such file")
                .because(Reason::NoController);
        }
        let (file, controller) = (name(self.file), self.controller);
        let message = match holder(self.controller, dir, path) {
            Some(above) => format!(
                "cannot set {file}: no {controller} controller here; the owner of {} must enable it in its cgroup.subtree_control",
                shown(above)
            ),
            None => format!(
                "cannot set {file}: no {controller} controller in cgroup2; v1 has it (boot with systemd.unified_cgroup_hierarchy=1) or the kernel has none"
            ),
        };
        Error::new(Errno::EOPNOTSUPP, message).because(Reason::NoController).on(file)
    }

    pub fn failed(&self, errno: Errno, path: &[u8], why: &str) -> Error {
        let file = name(self.file);
        // The path of the parent says more than the uuid, and leaves room for the reason.
        let (above, last) = parse::split_last(path);
        let group = shown(if AgentName::is_of_directory(last) { above } else { path });
        Error::new(errno, format_args!("cannot set {file} to {} in {group}: {why}", self.value.text()))
            .on(file)
    }
}

/// Returns the nearest ancestor that has the controller, and could enable it for its children.
fn holder<'a>(controller: Controllers, dir: &Dir, path: &'a [u8]) -> Option<&'a [u8]> {
    let mut above = dir.child(c"..").ok()?;
    let mut path = parse::split_last(path).0;
    loop {
        // Above the root of the mount there is no such file.
        let has = above.read(c"cgroup.controllers", &mut [0; FILE_MAX]).map(Controllers::listed).ok()?;
        if has.contains(controller) {
            return Some(path);
        }
        above = above.child(c"..").ok()?;
        path = parse::split_last(path).0;
    }
}

impl Value {
    pub fn text(self) -> String {
        let or_max = |value: u64| if value == UNLIMITED { "max".to_owned() } else { value.to_string() };
        match self {
            Self::Bytes(value) | Self::Count(value) => or_max(value),
            Self::CpuMax { quota_us, period_us } => format!("{} {period_us}", or_max(quota_us)),
        }
    }

    /// Returns the number that is the limit.
    pub fn amount(self) -> u64 {
        match self {
            Self::Bytes(value) | Self::Count(value) => value,
            Self::CpuMax { quota_us, .. } => quota_us,
        }
    }

    /// Returns true if the kernel's text has this value.
    pub fn is(self, text: &[u8]) -> bool {
        match self {
            Self::Bytes(value) => parse::limit(text) == Some(whole_pages(value)),
            Self::Count(value) => parse::limit(plain(text)) == Some(value),
            Self::CpuMax { quota_us, period_us } => parse::cpu_max(text) == Some((quota_us, period_us)),
        }
    }
}

/// Returns the value of a file, without the `default` of `io.weight` and its lines for single devices.
pub fn plain(text: &[u8]) -> &[u8] {
    match text.strip_prefix(b"default ") {
        Some(rest) => first_line(rest),
        None => text,
    }
}

/// Returns the first line without its newline.
pub fn first_line(text: &[u8]) -> &[u8] {
    text.split(|&b| b == b'\n').next().unwrap_or_default()
}

/// Rounds bytes as the kernel's page_counter does: down to whole pages; from LONG_MAX bytes on there is no limit.
fn whole_pages(bytes: u64) -> u64 {
    let page = page_bytes();
    let pages = bytes / page;
    if pages >= i64::MAX as u64 / page { UNLIMITED } else { pages * page }
}

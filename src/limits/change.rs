// SPDX-License-Identifier: MIT OR Apache-2.0
//! A change of the limits of a group that lives: all of them or, on failure, none.
//!
//! All files are opened and read before any is written, so that what is missing, forbidden, or more than
//! the host has descriptors for changes nothing. What the kernel refuses then, or makes something else
//! of, is answered by writing back what was there.

use super::setting::{Setting, Value, first_line};
use super::{Limits, name};
use crate::cgroupfs::overrides::Overrides;
use crate::cgroupfs::{Dir, FILE_MAX, read_once, write_once};
use crate::error::{Error, Result, shown, words};
use crate::parse::{self, UNLIMITED};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

/// A file with what it held before.
struct Held {
    file: &'static CStr,
    fd: OwnedFd,
    before: Vec<u8>,
}

/// A file with what it is to hold.
struct Step {
    setting: Setting,
    held: Held,
}

impl Limits {
    /// Set them in a living group. `in_use` tells how many bytes it uses: unless `force` says so it gets
    /// no `memory.max` that the kernel would have to kill for.
    pub fn change(
        &self,
        dir: &Dir,
        path: &[u8],
        force: bool,
        overrides: &Overrides,
        in_use: impl FnOnce() -> Result<u64>,
    ) -> Result<()> {
        let mut steps = Vec::new();
        for setting in self.settings()? {
            match Held::open(dir, setting.file, force) {
                Ok(held) => steps.push(Step { setting, held }),
                Err(Errno::ENOENT) if setting.is_moot() => {}
                Err(e) => return Err(setting.refused(dir, path, e)),
            }
        }
        if let Some(max) = self.memory_max.filter(|&max| max != UNLIMITED && !force) {
            check_room(max, in_use()?, path)?;
        }
        let weight = weight_to_lose(dir, path, &steps)?;
        arrange(&mut steps);
        let outcome = steps.iter().try_for_each(|step| step.write(dir, path));
        outcome.and_then(|()| steps.iter().try_for_each(|step| step.confirm(dir, path))).map_err(|e| {
            let held = weight.into_iter().chain(steps.into_iter().map(|step| step.held)).collect();
            put_back(dir, held, overrides, e)
        })
    }
}

/// With a `memory.max` under what is used the kernel reclaims, and then kills, until it fits. It is the
/// writer who does that; a moment later the group's own next page would begin it.
fn check_room(max: u64, in_use: u64, path: &[u8]) -> Result<()> {
    // What is in use is whole pages: that the kernel rounds the limit down to some makes no difference.
    if in_use <= max {
        return Ok(());
    }
    let group = shown(path);
    let message = format!(
        "memory.max {max}: {in_use} bytes are in use in {group}, and the kernel would kill; free some, or AGENTCG_SET_FORCE"
    );
    Err(Error::new(Errno::EBUSY, message).on("memory.max"))
}

/// To make a group idle is to make the kernel forget its weight: after that it is 100 again.
fn weight_to_lose(dir: &Dir, path: &[u8], steps: &[Step]) -> Result<Option<Held>> {
    let idle = steps.iter().find(|step| step.setting.file == c"cpu.idle" && step.held.before == b"0");
    match idle.filter(|step| matches!(step.setting.value, Value::Count(1))) {
        Some(idle) => Held::open(dir, c"cpu.weight", false)
            .map(Some)
            .map_err(|e| idle.setting.failed(e, path, "its cpu.weight cannot be opened, to be put back")),
        None => Ok(None),
    }
}

/// The order that depends on what the group has. No moment between two writes is tighter than both what
/// was and what is to be, and the kernel takes no burst over the quota.
fn arrange(steps: &mut [Step]) {
    let at = |steps: &[Step], file| steps.iter().position(|step| step.setting.file == file);
    let before = |steps: &[Step], at: usize| steps.get(at).and_then(|step| parse::limit(&step.held.before));
    if let (Some(quota), Some(burst)) = (at(steps, c"cpu.max"), at(steps, c"cpu.max.burst")) {
        let new_quota_us = steps.get(quota).map(|step| step.setting.value.amount());
        if before(steps, burst) > new_quota_us {
            steps.swap(quota, burst);
        }
    }
    if let Some(max) = at(steps, c"memory.max") {
        let raised =
            steps.get(max).is_some_and(|step| before(steps, max) < Some(step.setting.value.amount()));
        let makes_room = |step: &Step| [c"memory.swap.max", c"memory.high"].contains(&step.setting.file);
        let first = steps.iter().position(makes_room).unwrap_or(max);
        if let Some(last) = steps.get_mut(first..).filter(|_| raised) {
            last.reverse();
        }
    }
}

impl Step {
    fn write(&self, dir: &Dir, path: &[u8]) -> Result<()> {
        write_once(self.held.fd.as_fd(), self.setting.value.text().as_bytes())
            .map_err(|e| self.refused(dir, path, dir.settle(e)))
    }

    /// Read back, after all is written: a later write may have changed an earlier one's. Before Linux
    /// 6.10 one of cpu.max cuts cpu.max.burst to a thousandth, so one more is tried.
    fn confirm(&self, dir: &Dir, path: &[u8]) -> Result<()> {
        let mut buf = [0; FILE_MAX];
        let mut is_so = || {
            let kernel_has = read_once(self.held.fd.as_fd(), &mut buf)?;
            Ok(if self.setting.value.is(kernel_has) { None } else { Some(first_line(kernel_has).to_vec()) })
        };
        let refused = |e| self.setting.refused(dir, path, dir.settle(e));
        if is_so().map_err(refused)?.is_none() {
            return Ok(());
        }
        self.write(dir, path)?;
        match is_so().map_err(refused)? {
            None => Ok(()),
            Some(kernel_has) => Err(self.setting.differs(path, &kernel_has)),
        }
    }

    /// What the kernel calls invalid because of a limit that was not asked for. To look at that one before
    /// would cost each change three system calls.
    fn refused(&self, dir: &Dir, path: &[u8], errno: Errno) -> Error {
        let mut buf = [0; FILE_MAX];
        let mut number =
            |file| dir.read(file, &mut buf).ok().and_then(|text| parse::limit(parse::words(text).next()?));
        let asked = self.setting.value.amount();
        let why = match self.setting.file.to_bytes() {
            _ if errno != Errno::EINVAL => None,
            b"cpu.weight" if number(c"cpu.idle") == Some(1) => {
                let why = "an idle group has no weight: set cpu_idle to 0 with it";
                return self.setting.failed(errno, path, why);
            }
            b"cpu.max" => number(c"cpu.max.burst")
                .filter(|&burst_us| burst_us > asked)
                .map(|burst_us| format!("its cpu.max.burst is {burst_us}: lower that with it")),
            b"cpu.max.burst" => number(c"cpu.max")
                .filter(|&quota_us| quota_us < asked)
                .map(|quota_us| format!("its quota is {quota_us} us: raise cpu_max with it")),
            _ => None,
        };
        match why {
            Some(why) => self.setting.failed(Errno::ERANGE, path, &why),
            None => self.setting.refused(dir, path, errno),
        }
    }
}

impl Held {
    fn open(dir: &Dir, file: &'static CStr, force: bool) -> nix::Result<Self> {
        let memory = [c"memory.max", c"memory.high"].contains(&file);
        // From Linux 6.16 on this sets them without reclaiming or killing on the spot, which is as it
        // should be where use has grown since we looked; with `force` it is what was asked for.
        let access = if memory && !force { OFlag::O_RDWR | OFlag::O_NONBLOCK } else { OFlag::O_RDWR };
        let fd = dir.open_file(file, access)?;
        let mut buf = [0; FILE_MAX];
        let before = read_once(fd.as_fd(), &mut buf).map_err(|e| dir.settle(e))?;
        let before = first_line(before).to_vec();
        Ok(Self { file, fd, before })
    }

    /// True, too, if the file is no longer there, with its controller.
    fn is_as_before(&self, dir: &Dir) -> bool {
        match self.now() {
            Ok(same) => same,
            Err(Errno::ENODEV) => !dir.has(self.file),
            Err(_) => false,
        }
    }

    fn now(&self) -> nix::Result<bool> {
        let mut buf = [0; FILE_MAX];
        read_once(self.fd.as_fd(), &mut buf).map(|now| first_line(now) == self.before)
    }

    fn put_back(&self) {
        if self.now() != Ok(true) {
            // A memory.max that was raised comes back down: not by killing, whatever was forced.
            let _not_a_memory_file = fcntl(&self.fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK));
            let _is_looked_at_after_all = write_once(self.fd.as_fd(), &self.before);
        }
    }
}

/// The last written first. Burst and quota bind each other, so that what did not work in this order is
/// tried in the other. What cannot be put back is left to the next call. Returns the error, or a worse one.
fn put_back(dir: &Dir, held: Vec<Held>, overrides: &Overrides, e: Error) -> Error {
    if !dir.is_alive() {
        return e;
    }
    held.iter().rev().chain(&held).for_each(Held::put_back);
    let (left, _): (Vec<Held>, Vec<Held>) = held.into_iter().partition(|one| !one.is_as_before(dir));
    let worse = half_set(&left, e);
    left.into_iter().for_each(|one| overrides.remember(one.file, one.fd, one.before));
    worse
}

fn half_set(left: &[Held], e: Error) -> Error {
    let mut left = left.iter().map(|one| name(one.file));
    let Some(first) = left.next() else { return e };
    let others = match left.count() {
        0 => String::new(),
        count => format!(" and {count} more"),
    };
    let message = format!(
        "{} failed ({}), and {first}{others} could not be put back: the limits are half set",
        e.file(),
        words(e.errno())
    );
    let half_set = Error::new(e.errno(), message).on(e.file().to_owned());
    match e.reason() {
        Some(reason) => half_set.because(reason),
        None => half_set,
    }
}

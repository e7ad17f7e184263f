// SPDX-License-Identifier: MIT OR Apache-2.0
//! Changes the limits of a living group: all of them or, if the call fails, none.
//!
//! All files are opened and read before any is written. Therefore a missing file, a missing right or a lack of descriptors
//! changes nothing. If the kernel refuses a value, or stores another one, the old values are written back. Another thread
//! may kill the group at the same time, and override `cpu.max` for that: the old and the new value are the permanent ones.

use super::setting::{Setting, Value, first_line};
use super::{Limits, name};
use crate::cgroupfs::overrides::Overrides;
use crate::cgroupfs::{Dir, FILE_MAX, read_once};
use crate::error::{Error, Result, shown, words};
use crate::parse::{self, UNLIMITED};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

/// An open file with its old value.
struct Held<'a> {
    file: &'static CStr,
    fd: OwnedFd,
    before: Vec<u8>,
    overrides: &'a Overrides,
}

/// An open file with its new value.
struct Change<'a> {
    setting: Setting,
    held: Held<'a>,
}

impl Limits {
    /// Sets the limits in a living group. `in_use` returns the bytes of memory in use. Without `force` a `memory.max` below
    /// that is refused, because the kernel would kill processes.
    pub fn change(
        &self,
        dir: &Dir,
        path: &[u8],
        force: bool,
        overrides: &Overrides,
        in_use: impl FnOnce() -> Result<u64>,
    ) -> Result<()> {
        let mut changes = Vec::new();
        for setting in self.settings()? {
            match Held::open(dir, setting.file, force, overrides) {
                Ok(held) => changes.push(Change { setting, held }),
                Err(Errno::ENOENT) if setting.is_moot() => {}
                Err(e) => return Err(setting.refused(dir, path, e)),
            }
        }
        if let Some(max) = self.memory_max.filter(|&max| max != UNLIMITED && !force) {
            check_room(max, in_use()?, path)?;
        }
        let weight = weight_to_lose(dir, path, &changes, overrides)?;
        arrange(&mut changes);
        let outcome = changes.iter().try_for_each(|change| change.write(dir, path));
        outcome.and_then(|()| changes.iter().try_for_each(|change| change.confirm(dir, path))).map_err(|e| {
            let held = weight.into_iter().chain(changes.into_iter().map(|change| change.held)).collect();
            put_back(dir, held, e)
        })
    }
}

/// Refuses a `memory.max` below the memory in use. With such a limit the kernel reclaims and then kills until the memory
/// fits, first in the write, and later when the group needs its next page.
fn check_room(max: u64, in_use: u64, path: &[u8]) -> Result<()> {
    // The memory in use is whole pages, so the kernel's rounding of the limit makes no difference.
    if in_use <= max {
        return Ok(());
    }
    let group = shown(path);
    let message = format!(
        "memory.max {max}: {in_use} bytes are in use in {group}, and the kernel would kill; free some, or AGENTCG_SET_FORCE"
    );
    Err(Error::new(Errno::EBUSY, message).on("memory.max"))
}

/// Opens `cpu.weight` if the change makes the group idle: the kernel then resets the weight to 100.
fn weight_to_lose<'a>(
    dir: &Dir,
    path: &[u8],
    changes: &[Change<'_>],
    overrides: &'a Overrides,
) -> Result<Option<Held<'a>>> {
    let idle = changes.iter().find(|change| change.setting.file == c"cpu.idle" && change.held.before == b"0");
    match idle.filter(|change| matches!(change.setting.value, Value::Count(1))) {
        Some(idle) => Held::open(dir, c"cpu.weight", false, overrides)
            .map(Some)
            .map_err(|e| idle.setting.failed(e, path, "its cpu.weight cannot be opened, to be put back")),
        None => Ok(None),
    }
}

/// Orders the writes by the values that the group has. Between two writes no limit is tighter than both its old and its new
/// value. The kernel accepts no burst above the quota.
fn arrange(changes: &mut [Change<'_>]) {
    let at = |changes: &[Change<'_>], file| changes.iter().position(|change| change.setting.file == file);
    let before = |changes: &[Change<'_>], at: usize| {
        changes.get(at).and_then(|change| parse::limit(&change.held.before))
    };
    if let (Some(quota), Some(burst)) = (at(changes, c"cpu.max"), at(changes, c"cpu.max.burst")) {
        let new_quota_us = changes.get(quota).map(|change| change.setting.value.amount());
        if before(changes, burst) > new_quota_us {
            changes.swap(quota, burst);
        }
    }
    if let Some(max) = at(changes, c"memory.max") {
        let raised =
            changes.get(max).is_some_and(|change| before(changes, max) < Some(change.setting.value.amount()));
        let makes_room =
            |change: &Change<'_>| [c"memory.swap.max", c"memory.high"].contains(&change.setting.file);
        let first = changes.iter().position(makes_room).unwrap_or(max);
        if let Some(last) = changes.get_mut(first..).filter(|_| raised) {
            last.reverse();
        }
    }
}

impl Change<'_> {
    fn write(&self, dir: &Dir, path: &[u8]) -> Result<()> {
        self.held
            .write(self.setting.value.text().as_bytes())
            .map_err(|e| self.refused(dir, path, dir.settle(e)))
    }

    /// Reads the value back after all writes, because a later write may have changed it: before Linux 6.10 a write of
    /// `cpu.max` cuts `cpu.max.burst` to a thousandth. A value that differs is written once more.
    fn confirm(&self, dir: &Dir, path: &[u8]) -> Result<()> {
        let is_so = || {
            self.held.permanent(|kernel_has| {
                if self.setting.value.is(kernel_has) { None } else { Some(first_line(kernel_has).to_vec()) }
            })
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

    /// Explains a value that the kernel refuses because of another limit of the group. A check in advance would cost each
    /// change three system calls.
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

impl<'a> Held<'a> {
    fn open(dir: &Dir, file: &'static CStr, force: bool, overrides: &'a Overrides) -> nix::Result<Self> {
        let memory = [c"memory.max", c"memory.high"].contains(&file);
        // From Linux 6.16 on O_NONBLOCK sets these without reclaim or kills in the write, in case more memory is in use
        // than at the check. With `force` the caller has asked for the kills.
        let access = if memory && !force { OFlag::O_RDWR | OFlag::O_NONBLOCK } else { OFlag::O_RDWR };
        let mut held = Self { file, fd: dir.open_file(file, access)?, before: Vec::new(), overrides };
        held.before = held.permanent(|before| first_line(before).to_vec()).map_err(|e| dir.settle(e))?;
        Ok(held)
    }

    fn permanent<R>(&self, parse: impl FnOnce(&[u8]) -> R) -> nix::Result<R> {
        self.overrides.permanent_value(self.file, |buf| read_once(self.fd.as_fd(), buf), parse)
    }

    /// Writes a permanent value. Calls that override the file do not restore the old one.
    fn write(&self, value: &[u8]) -> nix::Result<()> {
        self.overrides.write_permanent(self.file, self.fd.as_fd(), value)
    }

    /// Returns true if the file has its old value, or no longer exists because its controller was disabled.
    fn is_as_before(&self, dir: &Dir) -> bool {
        match self.now() {
            Ok(same) => same,
            Err(Errno::ENODEV) => !dir.has(self.file),
            Err(_) => false,
        }
    }

    fn now(&self) -> nix::Result<bool> {
        self.permanent(|now| first_line(now) == self.before)
    }

    /// Returns false if the kernel refuses the old value.
    fn put_back(&self) -> bool {
        if self.now() == Ok(true) {
            return true;
        }
        // Lowering a raised memory.max again must not kill, with `force` neither.
        let _ = fcntl(&self.fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK));
        self.write(&self.before).is_ok()
    }
}

/// Restores the old values. Values that cannot be restored are left to the next call. Returns the error, or one that says
/// "half set".
fn put_back(dir: &Dir, held: Vec<Held<'_>>, e: Error) -> Error {
    if !dir.is_alive() {
        return e;
    }
    let left = put_back_all(dir, held);
    let worse = half_set(&left, e);
    left.into_iter().for_each(|one| one.overrides.remember(one.file, one.fd, one.before));
    worse
}

/// Restores the old values, the last written first and then in the other order, because burst and quota depend on each
/// other. Returns the files that could not be restored. A file that has another value after its old one was written is not
/// one of them: another caller has set that value, and the next call must not replace it.
fn put_back_all<'a>(dir: &Dir, held: Vec<Held<'a>>) -> Vec<Held<'a>> {
    for one in held.iter().rev() {
        one.put_back();
    }
    let refused: Vec<bool> = held.iter().map(|one| !one.put_back()).collect();
    let left = held.into_iter().zip(refused).filter(|(one, refused)| *refused && !one.is_as_before(dir));
    left.map(|(one, _)| one).collect()
}

fn half_set(left: &[Held<'_>], e: Error) -> Error {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroupfs::overrides::tests::{FILE, of_this_thread, value};
    use crate::procfs::Process;
    use nix::unistd::gettid;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

    #[test]
    fn a_change_that_fails_during_a_kill_puts_back_the_value_from_before_the_kill() {
        let (dir, overrides) = (of_this_thread(), Overrides::default());
        dir.write(FILE, b"before").expect("it can be written");
        let kill = overrides.begin();
        assert_eq!(kill.set(&dir, FILE, b"lifted", |_| true), Ok(true));
        let held = Held::open(&dir, FILE, false, &overrides).expect("it can be opened");
        assert_eq!(held.before, b"before");
        // Nothing was written, so the kill still needs the value that it has set.
        held.put_back();
        assert_eq!(value(&dir), "lifted");
        assert_eq!(held.write(b"new"), Ok(()));
        held.put_back();
        assert!(held.is_as_before(&dir));
        assert_eq!(kill.restore(&dir), Ok(()));
        assert_eq!(value(&dir), "before");
    }

    #[test]
    fn a_kill_that_ends_after_a_change_leaves_the_new_value() {
        let (dir, overrides) = (of_this_thread(), Overrides::default());
        dir.write(FILE, b"before").expect("it can be written");
        let (kill, later) = (overrides.begin(), overrides.begin());
        assert_eq!(kill.set(&dir, FILE, b"lifted", |_| true), Ok(true));
        let held = Held::open(&dir, FILE, false, &overrides).expect("it can be opened");
        assert_eq!(held.write(b"new"), Ok(()));
        assert_eq!(later.set(&dir, FILE, b"lifted", |_| true), Ok(true));
        assert_eq!(held.permanent(|text| text.to_vec()), Ok(b"new".to_vec()));
        assert_eq!(kill.restore(&dir), Ok(()));
        assert_eq!(later.restore(&dir), Ok(()));
        assert_eq!(value(&dir), "new");
    }

    #[test]
    fn a_kill_that_begins_during_a_change_leaves_the_new_value() {
        let (dir, overrides) = (of_this_thread(), Overrides::default());
        let held = Held::open(&dir, FILE, false, &overrides).expect("it can be opened");
        let (kill, begun, writer) = (overrides.begin(), AtomicBool::new(false), AtomicI32::new(0));
        let is_written_or_waits = || {
            let stat = Process::open(writer.load(Ordering::Relaxed)).and_then(|writer| writer.stat());
            value(&dir) == "new" || stat.is_ok_and(|stat| stat.state == b'S')
        };
        let (written, lifted) = std::thread::scope(|scope| {
            let writing = scope.spawn(|| {
                writer.store(gettid().as_raw(), Ordering::Relaxed);
                // It does not sleep before the write.
                while !begun.load(Ordering::Acquire) {
                    std::thread::yield_now();
                }
                held.write(b"new")
            });
            let lifted = kill.set(&dir, FILE, b"lifted", |_| {
                begun.store(true, Ordering::Release);
                while !is_written_or_waits() {
                    std::thread::yield_now();
                }
                true
            });
            (writing.join(), lifted)
        });
        assert!(matches!(written, Ok(Ok(()))) && lifted == Ok(true));
        assert_eq!(kill.restore(&dir), Ok(()));
        assert_eq!(value(&dir), "new");
    }

    #[test]
    fn a_change_that_fails_leaves_nothing_to_the_next_call_if_another_caller_sets_the_value() {
        let (dir, overrides) = (of_this_thread(), Overrides::default());
        let (begun, done) = (Barrier::new(2), AtomicBool::new(false));
        let open = || Held::open(&dir, FILE, false, &overrides).expect("it can be opened");
        let (mine, others) = (open(), open());
        let left: usize = std::thread::scope(|scope| {
            scope.spawn(|| {
                begun.wait();
                while !done.load(Ordering::Relaxed) {
                    let _ = others.write(b"other");
                }
            });
            begun.wait();
            let round = |_| {
                let held = Held {
                    file: FILE,
                    fd: mine.fd.try_clone().expect("a descriptor"),
                    before: mine.before.clone(),
                    overrides: &overrides,
                };
                put_back_all(&dir, vec![held]).len()
            };
            let left = (0..ROUNDS).map(round).sum();
            done.store(true, Ordering::Relaxed);
            left
        });
        assert_eq!(left, 0);
    }

    const ROUNDS: usize = 2000;
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whose an agent is. Its owner holds flock(2) on the group's directory, and the kernel lets go when the
//! owner ends, however it ends: who gets the lock knows that there is no owner any more. No pid that is
//! given again and no clock can make that wrong.
//!
//! Beside it stands an attribute that tells people who the owner is. Nothing is decided by it: before
//! Linux 5.7 it cannot be had, and an agent of the same uid can write it.

use crate::cgroupfs::Dir;
use crate::parse::{self, OwnerNote};
use crate::procfs;
use crate::sys::{self, Lock, flock};
use nix::errno::Errno;
use std::ffi::CStr;
use std::os::fd::AsFd;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const NOTE: &CStr = c"user.agentcg.owner";

/// How often those who only look may be in the way of a claim. No wait for a lock has an end of its own.
const LOOKS: u32 = 500;
/// What a reaper needs to remove an empty group, and much more.
const REAPING: Duration = Duration::from_secs(1);
const NAP: Duration = Duration::from_millis(1);

/// Become the owner, unless there is one. Tells whether we did.
pub fn claim(dir: &Dir) -> nix::Result<bool> {
    for _ in 0..LOOKS {
        if flock(dir.as_fd(), Lock::Exclusive)? {
            return Ok(true);
        }
        // Who only looks shares the lock, for a moment; an owner does not.
        if !is_orphan(dir)? {
            return Ok(false);
        }
        flock(dir.as_fd(), Lock::None)?;
        std::thread::sleep(NAP);
    }
    Ok(false)
}

/// Become the owner of a group that we have just made. A reaper may have found it before we could lock it:
/// then it is being removed, or another's of the same name stands in its place, and it is not ours.
pub fn claim_new(dir: &Dir) -> nix::Result<bool> {
    let start = Instant::now();
    loop {
        let ours = claim(dir)?;
        if !dir.is_alive() {
            return Ok(false);
        }
        if ours || start.elapsed() > REAPING {
            return Ok(ours);
        }
        std::thread::sleep(NAP);
    }
}

/// Be its owner no more, though its descriptor stays open, be it in a child of ours.
pub fn give_up(dir: &Dir) {
    let _nobody_else_unlocks_it = flock(dir.as_fd(), Lock::None);
}

/// Whether it has no owner. `dir` is to be opened for this question alone: it shares the lock from now on.
pub fn is_orphan(dir: &Dir) -> nix::Result<bool> {
    flock(dir.as_fd(), Lock::Shared)
}

/// Write down that it is ours, for people, and when it was made. That the system was booted since need not be
/// told: no cgroup outlives that.
pub fn sign(dir: &Dir, pid: u32, created_unix_ns: u64) {
    let start_ticks = i32::try_from(pid)
        .ok()
        .and_then(|pid| procfs::Process::open(pid).and_then(|process| process.stat()).ok())
        .map_or(0, |stat| stat.start_ticks);
    let note = format!("pid={pid} start={start_ticks} created_ns={created_unix_ns}");
    let _only_a_hint = sys::set_xattr(dir.as_fd(), NOTE, note.as_bytes());
}

/// What is written down; nothing where none is, or where the kernel keeps or shows none.
pub fn read(dir: &Dir) -> nix::Result<OwnerNote> {
    let mut buf = [0; 256];
    match sys::get_xattr(dir.as_fd(), NOTE, &mut buf) {
        Ok(text) => Ok(parse::owner_note(text)),
        Err(e @ (Errno::EIO | Errno::ENOMEM)) => Err(e),
        Err(_) => Ok(OwnerNote::default()),
    }
}

/// For who makes one.
pub fn now_unix_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

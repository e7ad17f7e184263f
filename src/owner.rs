// SPDX-License-Identifier: MIT OR Apache-2.0
//! The owner of an agent. It holds flock(2) on the directory of the group. When the owner ends, for whatever reason, the
//! kernel releases the lock: a process that gets the lock knows that the owner has ended. Neither a reused pid nor a
//! clock can falsify this.
//!
//! An extended attribute of the directory, the note, shows users which process is the owner, and holds the tag and the label
//! of the agent. It does not exist before Linux 5.7, and an agent of the same uid can write it. Therefore only the calls that
//! are bound to a tag decide by it, and only which agents they leave alone.

use crate::cgroupfs::Dir;
use crate::error::{Error, Result, words};
use crate::parse::{self, Label, OwnerNote, Tag};
use crate::procfs;
use crate::sys::{self, Lock, flock};
use nix::errno::Errno;
use std::ffi::CStr;
use std::os::fd::AsFd;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const NOTE: &CStr = c"user.agentcg.owner";
/// The attribute in the messages of errors.
pub const NOTE_NAME: &str = "user.agentcg.owner";
/// More than the longest note that the library writes, which has the longest tag and label.
const NOTE_MAX: usize = 256;

/// How often a claim is repeated because another process is checking the lock. flock(2) itself has no timeout.
const CHECKS: u32 = 500;
/// How long to wait for a reaper to remove an empty group. It needs much less.
const REAP_TIME: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(1);

/// Become the owner. Returns false if there is one.
pub fn claim(dir: &Dir) -> nix::Result<bool> {
    for _ in 0..CHECKS {
        if flock(dir.as_fd(), Lock::Exclusive)? {
            return Ok(true);
        }
        // A process that checks the lock holds it shared, for a moment. An owner holds it exclusively.
        if !is_orphan(dir)? {
            return Ok(false);
        }
        flock(dir.as_fd(), Lock::None)?;
        std::thread::sleep(PAUSE);
    }
    Ok(false)
}

/// Become the owner of a group that the caller has just made. Returns false if a reaper has locked it first: the group is
/// removed then, and another of the same name may have been made. The reaper may also have removed the group if this returns
/// true: the caller must check that.
pub fn claim_new(dir: &Dir) -> nix::Result<bool> {
    if flock(dir.as_fd(), Lock::Exclusive)? {
        return Ok(true);
    }
    let start = Instant::now();
    loop {
        let claimed = claim(dir)?;
        if !dir.is_alive() {
            return Ok(false);
        }
        if claimed || start.elapsed() > REAP_TIME {
            return Ok(claimed);
        }
        std::thread::sleep(PAUSE);
    }
}

/// Stop being the owner, even if a descriptor of the directory remains open, such as in a forked child.
pub fn release(dir: &Dir) {
    let _ = flock(dir.as_fd(), Lock::None); // LOCK_UN fails only for an invalid descriptor.
}

/// Returns true if the group has no owner. `dir` must have been opened only for this check, since it holds the lock
/// shared afterwards.
pub fn is_orphan(dir: &Dir) -> nix::Result<bool> {
    flock(dir.as_fd(), Lock::Shared)
}

/// Write the note of the calling process, which owns the group. `note.pid` is ignored. The boot need not be recorded, since no
/// cgroup outlives it. Fails with `EOPNOTSUPP` before Linux 5.7.
pub fn write_note(dir: &Dir, note: &OwnerNote) -> nix::Result<()> {
    let (pid, start_ticks) = procfs::own_pid_and_start_ticks();
    let mut text = format!("pid={pid} start={start_ticks} created_ns={}", note.created_unix_ns);
    if let Some(tag) = &note.tag {
        text.extend([" tag=", tag.as_str()]);
    }
    // Last: the label may contain words of any form.
    if let Some(label) = &note.label {
        text.extend([" label=", label.as_str()]);
    }
    let write = || sys::set_xattr(dir.as_fd(), NOTE, text.as_bytes());
    match write() {
        Err(Errno::EACCES) if dir.restore_directory() => write(),
        written => written,
    }
}

/// Read the note. It is empty if none was written or the kernel does not keep or show it.
pub fn read_note(dir: &Dir) -> nix::Result<OwnerNote> {
    match existing_note(dir) {
        Ok(note) => Ok(note.unwrap_or_default()),
        Err(e @ (Errno::EIO | Errno::ENOMEM)) => Err(e),
        Err(_) => Ok(OwnerNote::default()),
    }
}

/// Read the note. Returns none if none was written: `new` has not got so far, or the note was removed.
pub fn existing_note(dir: &Dir) -> nix::Result<Option<OwnerNote>> {
    let mut buf = [0; NOTE_MAX];
    let mut read = || sys::get_xattr(dir.as_fd(), NOTE, &mut buf).map(parse::owner_note);
    let note = match read() {
        Err(Errno::EACCES) if dir.restore_directory() => read(),
        note => note,
    };
    match note {
        Err(Errno::ENODATA) => Ok(None),
        note => note.map(Some),
    }
}

/// Read the note of the group at `path`, without opening it. Returns none if there is no such directory.
pub fn read_note_at(path: &CStr) -> nix::Result<Option<OwnerNote>> {
    let mut buf = [0; NOTE_MAX];
    match sys::get_xattr_at(path, NOTE, &mut buf) {
        Ok(text) => Ok(Some(parse::owner_note(text))),
        Err(Errno::ENOENT | Errno::ENODEV | Errno::ENOTDIR) => Ok(None),
        Err(e @ (Errno::EIO | Errno::ENOMEM)) => Err(e),
        Err(_) => Ok(Some(OwnerNote::default())),
    }
}

/// The error of a group whose tag or label cannot be written.
pub fn not_kept(errno: Errno, group: &str) -> Error {
    let message = match errno {
        Errno::EOPNOTSUPP => format!(
            "cannot keep a label or a tag of {group}: the kernel keeps no attributes of cgroups, which Linux 5.7 and later do"
        ),
        Errno::ENOSPC => {
            format!("cannot write the label or tag of {group}: its attributes take all the room that it has")
        }
        e => format!("cannot write the label or tag of {group}: {}", words(e)),
    };
    let errno = if errno == Errno::EPERM { Errno::EACCES } else { errno };
    Error::new(errno, message).on(NOTE_NAME)
}

/// The label that a caller gives. An empty text is no label.
pub fn label(text: &str) -> Result<Option<Label>> {
    if text.is_empty() {
        return Ok(None);
    }
    Label::parse(text.as_bytes()).map(Some).ok_or_else(|| {
        let message = "the label is not valid: it has at most 63 bytes, and no character that controls the terminal, the line or the direction of text";
        Error::new(Errno::EINVAL, message)
    })
}

/// The tag that a caller gives.
pub fn tag(text: &str) -> Result<Tag> {
    Tag::parse(text.as_bytes()).ok_or_else(|| {
        Error::new(
            Errno::EINVAL,
            "the tag is not valid: it has 1 to 63 letters, digits and characters of . _ - : /",
        )
    })
}

/// The time for a new note, in nanoseconds since 1970.
pub fn now_unix_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

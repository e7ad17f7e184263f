// SPDX-License-Identifier: MIT OR Apache-2.0
//! What who removes a group leaves for those who watch it. With the directory all counters vanish, and the
//! removal wakes nobody who waits in poll(2) or epoll(7). But attributes of a directory that is removed can
//! still be read by those who hold it open, and a freeze of an empty group wakes them.
//!
//! Removed by anybody else, a group is found gone at the watcher's next look.

use crate::cgroupfs::Dir;
use crate::events::Events;
use crate::parse;
use crate::sys;
use std::ffi::CStr;
use std::os::fd::AsFd;

const WATCHED: &CStr = c"user.agentcg.watched";
const FINAL: &CStr = c"user.agentcg.final";
const FREEZE: &CStr = c"cgroup.freeze";

/// What happened in a group, and how often. Numbers never go down.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Of `memory.events`: processes killed.
    pub oom_kill: u64,
    /// Of `memory.events`.
    pub high: u64,
    /// Of `memory.events`.
    pub max: u64,
    /// Of `pids.events`: forks refused.
    pub pids_max: u64,
}

impl Counts {
    /// From `memory.events`.
    pub fn take_memory(&mut self, text: &[u8]) {
        for (key, value) in parse::pairs(text) {
            match key {
                b"oom_kill" => self.oom_kill = value,
                b"high" => self.high = value,
                b"max" => self.max = value,
                _ => {}
            }
        }
    }

    /// From `pids.events`.
    pub fn take_pids(&mut self, text: &[u8]) {
        self.pids_max = parse::value(text, b"max").unwrap_or(self.pids_max);
    }
}

/// Have the remover leave word. Where that cannot be (before Linux 5.7, or a group that is not ours to write to) the
/// group is found gone later, and what happened in its last moments is not.
pub fn ask_for(dir: &Dir) {
    let _else_later = sys::set_xattr(dir.as_fd(), WATCHED, b"1");
}

/// Whether there are such.
pub fn is_asked_for(dir: &Dir) -> bool {
    sys::xattr_size(dir.as_fd(), WATCHED).is_ok()
}

/// What was left, once somebody is about to remove the group or has done so.
pub fn left(dir: &Dir) -> Option<Counts> {
    let mut buf = [0; 128];
    let text = sys::get_xattr(dir.as_fd(), FINAL, &mut buf).ok().filter(|text| !text.is_empty())?;
    let of = |key: &[u8]| parse::noted(text, key);
    Some(Counts {
        oom_kill: of(b"oom_kill="),
        high: of(b"high="),
        max: of(b"max="),
        pids_max: of(b"pids_max="),
    })
}

/// Said before a removal, taken back if it comes to none.
#[derive(Debug)]
pub struct Farewell<'a> {
    dir: &'a Dir,
    /// What `cgroup.freeze` was.
    frozen_before: Option<bool>,
}

impl<'a> Farewell<'a> {
    /// Leave word for those who watch `dir`, in which nothing lives any more, and wake them. Nothing if there are none.
    pub fn say(dir: &'a Dir) -> Option<Self> {
        if !is_asked_for(dir) {
            return None;
        }
        let mut counts = Counts::default();
        let mut buf = [0; 1024];
        if let Ok(text) = dir.read(c"memory.events", &mut buf) {
            counts.take_memory(text);
        }
        if let Ok(text) = dir.read(c"pids.events", &mut buf) {
            counts.take_pids(text);
        }
        let Counts { oom_kill, high, max, pids_max } = counts;
        let note = format!("oom_kill={oom_kill} high={high} max={max} pids_max={pids_max}");
        let _else_only_gone = sys::set_xattr(dir.as_fd(), FINAL, note.as_bytes());
        // A change is what wakes. If the kernel puts the notification off, for there was another in the last 20 ms,
        // the watchers are awake anyway, and look again after it.
        let frozen = Events::open(dir).and_then(|events| events.state()).map(|state| state.frozen);
        let frozen_before = frozen.ok().filter(|&frozen| set_frozen(dir, !frozen));
        Some(Self { dir, frozen_before })
    }

    /// Whether the group was frozen before.
    pub fn was_frozen(&self) -> Option<bool> {
        self.frozen_before
    }
}

fn set_frozen(dir: &Dir, frozen: bool) -> bool {
    dir.write(FREEZE, if frozen { b"1" } else { b"0" }).is_ok()
}

impl Drop for Farewell<'_> {
    fn drop(&mut self) {
        if !self.dir.is_alive() {
            return;
        }
        if let Some(frozen) = self.frozen_before {
            // Gone meanwhile, else: as it let itself be changed it lets itself be changed back.
            set_frozen(self.dir, frozen);
        }
        // Not before: who looks in between would take the freeze for somebody's wish.
        let _not_said = sys::set_xattr(self.dir.as_fd(), FINAL, b"");
    }
}

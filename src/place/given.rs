// SPDX-License-Identifier: MIT OR Apache-2.0
//! The parent that the caller named. No directory above it is tried.

use super::enable;
use super::refusal::refused;
use super::types::{Kind, KnownParent, Occupancy, Place};
use crate::cgroupfs::controllers::Controllers;
use crate::cgroupfs::{CachedFile, Dir, FILE_MAX, worth_keeping};
use crate::error::{Error, Reason, Result, out_of_memory, shown, words};
use crate::sys::fork_mutex::ForkMutex;
use crate::sys::kernfile::errno;
use crate::sys::statx::{MountedFile, identity_of, identity_of_path};
use crate::sys::try_alloc;
use nix::errno::Errno;
use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStringExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

/// The parent that was named last, as long as an agent that was made there needs it. Most programs name the same parent each
/// time.
static LAST: ForkMutex<Weak<KnownParent>> = ForkMutex::new();

impl KnownParent {
    fn place(self: &Arc<Self>) -> nix::Result<Place> {
        let path = try_alloc::copy(&self.path)?;
        let place = Place::new(Kind::Given, Arc::clone(&self.dir), path, Occupancy::Empty);
        Ok(Place { known_parent: Some(Arc::clone(self)), ..place })
    }

    /// Remembers the parent of a place. If that fails, the parent is opened anew each time.
    fn remember(named: &CStr, identity: MountedFile, place: &Place) -> nix::Result<Arc<Self>> {
        let known = Arc::new(Self {
            named: try_alloc::copy_cstr(named)?,
            identity,
            dir: Arc::clone(&place.dir),
            path: try_alloc::copy(&place.path)?,
            controllers: CachedFile::new(),
            lacks_cpu: AtomicBool::new(false),
        });
        *LAST.lock() = Arc::downgrade(&known);
        Ok(known)
    }
}

impl KnownParent {
    /// Finds out if the parent has the cpu controller.
    pub fn look_for_cpu(&self) {
        // Not by the open file: most parents have cpu and need none.
        let lacks_cpu = enable::available(&self.dir).is_ok_and(|all| !all.contains(Controllers::CPU));
        self.lacks_cpu.store(lacks_cpu, Ordering::Relaxed);
    }

    /// Returns the available controllers that are wanted. Returns none if the parent has cpu, if that is unknown, or if it
    /// had cpu at the last look.
    pub fn available_without_cpu(&self) -> Option<Controllers> {
        if !self.lacks_cpu.load(Ordering::Relaxed) {
            return None;
        }
        self.available().filter(|available| !available.contains(Controllers::CPU))
    }

    fn available(&self) -> Option<Controllers> {
        let mut buf = [0; FILE_MAX];
        let text = self.controllers.named(c"cgroup.controllers").read(&self.dir, &mut buf).ok()??;
        Some(Controllers::listed(text) & Controllers::WANTED)
    }
}

/// The last agent has ended: frees the memory, which the weak reference would keep.
impl Drop for KnownParent {
    fn drop(&mut self) {
        let mut last = LAST.lock();
        if last.strong_count() == 0 {
            *last = Weak::new();
        }
    }
}

/// Open the parent. The path of the place is the real one, without symbolic links and `..`.
pub fn open(parent: &CStr) -> Result<Place> {
    let last = LAST.lock().upgrade();
    let last = last.filter(|known| *known.named == *parent);
    // One system call instead of four finds out if the name still leads to the same directory.
    if let Some(known) = last.as_ref().filter(|known| identity_of_path(parent) == Ok(known.identity)) {
        return known.place().map_err(out_of_memory);
    }
    let mut place = open_anew(parent)?;
    if let Ok(identity) = identity_of(place.dir.as_fd()) {
        match last {
            // The first look has failed. A second descriptor of the directory would stay open.
            Some(known) if known.identity == identity => return known.place().map_err(out_of_memory),
            _ if worth_keeping(place.dir.as_fd().as_raw_fd()) => {
                place.known_parent = KnownParent::remember(parent, identity, &place).ok();
            }
            _ => {}
        }
    }
    Ok(place)
}

fn open_anew(parent: &CStr) -> Result<Place> {
    let here = shown(parent.to_bytes());
    let dir = Dir::open(parent).map_err(|e| match e {
        Errno::ENOTTY | Errno::ENOTDIR => Error::new(
            Errno::ENODEV,
            format_args!("{here} is not a cgroup2 directory: name one under the cgroup2 mount"),
        )
        .because(Reason::NoCgroup2),
        Errno::ENOENT => {
            Error::new(e, format_args!("the parent {here} does not exist: create it, or name another"))
        }
        Errno::ELOOP | Errno::ENAMETOOLONG => {
            let why = words(e);
            Error::new(Errno::ENODEV, format_args!("cannot open the parent {here}: {why}"))
                .because(Reason::NoCgroup2)
        }
        e => refused(e, &here),
    })?;
    let link = format!("/proc/self/fd/{}", dir.as_fd().as_raw_fd());
    let path = std::fs::read_link(link).map_err(|e| match errno(&e) {
        Errno::ENOENT | Errno::ENOTDIR => Error::new(
            Errno::ENODEV,
            format_args!("cannot read the path of {here} from /proc/self/fd: mount proc at /proc"),
        ),
        e => Error::new(e, format_args!("cannot read the path of {here} from /proc/self/fd: {}", words(e))),
    })?;
    let path = path.into_os_string().into_vec();
    Ok(Place::new(Kind::Given, Arc::new(dir), path, Occupancy::Empty))
}

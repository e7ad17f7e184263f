// SPDX-License-Identifier: MIT OR Apache-2.0
//! The places that were used last. Most programs make all agents in the same place, and a few system calls find out that it
//! is still the right one.

use super::enable;
use super::types::{AGENTS, KnownParent, Occupancy, Place};
use crate::cgroupfs::controllers::Controllers;
use crate::cgroupfs::{CachedFile, Dir, FILE_MAX, worth_keeping};
use crate::procfs;
use crate::sys::fork_mutex::ForkMutex;
use crate::sys::statx::{identity_of, identity_of_path};
use crate::sys::try_alloc;
use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

/// The parent that was named last, as long as an agent that was made there needs it.
static NAMED: ForkMutex<Weak<KnownParent>> = ForkMutex::new();
/// The same for the place that was found last.
static FOUND: ForkMutex<Weak<KnownParent>> = ForkMutex::new();

/// Returns the parent that was named last, if it was named like this and still exists.
pub fn named(parent: &CStr) -> Option<nix::Result<Place>> {
    let known = NAMED.lock().upgrade().filter(|known| *known.named == *parent)?;
    known.place_if_there()
}

/// Returns the place that was found last, if the calling process is in the same cgroup as then, and the place still exists.
/// That it still allows agents is not checked.
pub fn found() -> Option<Place> {
    let known = FOUND.lock().upgrade()?;
    let own = known.own_cgroup.as_deref()?;
    let is_same = procfs::with_own_cgroup(|path| path == own) == Ok(Some(true));
    is_same.then(|| known.place_if_there()).flatten()?.ok()
}

/// Remembers a place. `own_cgroup` is for a place that was found: the cgroup of the calling process, as /proc shows it. If
/// there is no memory or there are few descriptors, the place is looked for anew each time.
pub fn remember(place: Place, named: &CStr, own_cgroup: Option<&[u8]>) -> Place {
    let last = slot(own_cgroup).lock().upgrade();
    let is_same = |known: &Arc<KnownParent>| {
        *known.named == *named
            && known.own_cgroup.as_deref() == own_cgroup
            && identity_of(place.dir.as_fd()) == Ok(known.identity)
    };
    // It was not recognised, perhaps by another thread. A second descriptor of the directory would stay open.
    if let Some(same) = last.filter(is_same).and_then(|known| known.place().ok()) {
        return same;
    }
    let known = if worth_keeping(place.dir.as_fd().as_raw_fd()) {
        KnownParent::of(&place, named, own_cgroup).ok()
    } else {
        None
    };
    Place { known_parent: known, ..place }
}

fn slot(own_cgroup: Option<&[u8]>) -> &'static ForkMutex<Weak<KnownParent>> {
    if own_cgroup.is_some() { &FOUND } else { &NAMED }
}

impl KnownParent {
    fn of(place: &Place, named: &CStr, own_cgroup: Option<&[u8]>) -> nix::Result<Arc<Self>> {
        let known = Self::unlisted(place, named, own_cgroup)?;
        *slot(own_cgroup).lock() = Arc::downgrade(&known);
        Ok(known)
    }

    /// The place of the children of a session. The handle of the session keeps it, and no later call looks for it.
    pub fn of_session(place: &Place) -> nix::Result<Arc<Self>> {
        let known = Self::unlisted(place, c"", None)?;
        *known.agents.lock() = Some(Arc::clone(&place.dir));
        Ok(known)
    }

    fn unlisted(place: &Place, named: &CStr, own_cgroup: Option<&[u8]>) -> nix::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            kind: place.kind,
            layout: place.layout,
            own_cgroup: own_cgroup.map(try_alloc::copy).transpose()?,
            named: try_alloc::copy_cstr(named)?,
            identity: identity_of(place.dir.as_fd())?,
            dir: Arc::clone(&place.dir),
            agents: ForkMutex::new(),
            enabled: CachedFile::new(),
            path: try_alloc::copy(&place.path)?,
            controllers: CachedFile::new(),
            lacks_cpu: AtomicBool::new(false),
        }))
    }

    /// Returns the place, which exists or has been removed.
    pub fn place(self: &Arc<Self>) -> nix::Result<Place> {
        let path = try_alloc::copy(&self.path)?;
        let place = Place::new(self.kind, Arc::clone(&self.dir), path, Occupancy::Empty);
        Ok(Place { layout: self.layout, known_parent: Some(Arc::clone(self)), ..place })
    }

    /// Returns the place if its name still leads to it. One system call finds that out.
    fn place_if_there(self: &Arc<Self>) -> Option<nix::Result<Place>> {
        (identity_of_path(&self.named) == Ok(self.identity)).then(|| self.place())
    }

    /// Returns the directory that holds the groups of the agents, if it is kept open. A path that begins there has two levels
    /// less, whose lookup takes as long as two or three short system calls.
    pub fn agents(&self) -> Option<Arc<Dir>> {
        self.agents.lock().clone()
    }

    /// Keeps that directory open, which exists. Does nothing if few descriptors are left.
    pub fn keep_agents(&self) {
        let mut kept = self.agents.lock();
        if kept.is_none() {
            *kept = self
                .dir
                .child(AGENTS)
                .ok()
                .filter(|dir| worth_keeping(dir.as_fd().as_raw_fd()))
                .map(Arc::new);
        }
    }

    /// Closes that directory, which was removed, unless another thread has opened a new one.
    pub fn forget_agents(&self, removed: &Arc<Dir>) {
        self.agents.lock().take_if(|kept| Arc::ptr_eq(kept, removed));
    }

    /// Returns the controllers that the agents have, if the directory that holds their groups is kept open.
    pub fn enabled(&self) -> Option<Controllers> {
        let mut buf = [0; FILE_MAX];
        let file = self.enabled.named(c"cgroup.subtree_control");
        file.read(self.agents()?.as_ref(), &mut buf).ok().flatten().map(Controllers::listed)
    }

    /// Finds out if the place has the cpu controller. If it has none, keeps `cgroup.controllers` open from now on.
    pub fn look_for_cpu(&self) {
        // Not by the open file: most places have cpu and need none.
        let lacks_cpu = enable::available(&self.dir).is_ok_and(|all| !all.contains(Controllers::CPU))
            && self.available().is_some();
        self.lacks_cpu.store(lacks_cpu, Ordering::Relaxed);
    }

    /// Returns the available controllers that are wanted. Returns none if the place has cpu, if that is unknown, or if it
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
        let mut last = slot(self.own_cgroup.as_deref()).lock();
        if last.strong_count() == 0 {
            *last = Weak::new();
        }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! A scope that systemd makes for us, with `Delegate=yes`: the user's manager does for a user, the
//! system's for root. One for the whole process; what keeps it is [`guard`].

use super::self_cgroup::{self, SelfCgroup};
use super::site::{Candidate, Kind, Occupancy, Place, Probe};
use super::{PlaceRequest, enable, exit_cgroups};
use crate::cgroupfs::Dir;
use crate::cgroupfs::controllers::Controllers;
use crate::error::{Error, Reason, Result, shown, words};
use crate::guard::{self, Leaf, Message, Process, Scope};
use crate::parse;
use crate::sys::try_alloc;
use crate::systemd::{Failure, Manager};
use nix::errno::Errno;
use nix::unistd::geteuid;
use std::ffi::{CStr, CString};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Arc;

/// The guard's own leaf: the scope itself must be empty.
const LEAF: &CStr = c"guard";
const LEAF_PROCS: &CStr = c"guard/cgroup.procs";

/// A manager that would make us a scope.
pub struct PendingScope {
    manager: Manager,
    /// Where the scope would be.
    pub path: Vec<u8>,
    /// What it could give to its children.
    pub controllers: Controllers,
}

pub fn probe(own: &SelfCgroup, request: PlaceRequest<'_>) -> Probe {
    if let Some(scope) = guard::standing() {
        return match scope.open() {
            Ok(dir) => Probe::Found(Candidate::Existing(place(&scope, dir))),
            Err(e) => Probe::Refused(not_open(e, &scope.path)),
        };
    }
    match offer(own, request) {
        Ok(offer) => Probe::Found(Candidate::Scope(offer)),
        Err(e) => Probe::Refused(e),
    }
}

fn offer(own: &SelfCgroup, request: PlaceRequest<'_>) -> Result<PendingScope> {
    let manager = Manager::reach().map_err(failed)?;
    let group = manager.control_group().map_err(failed)?;
    let at = |path: &[u8]| {
        let below = parse::below(&own.mount.root, path)?;
        let point = own.mount.point.strip_suffix(b"/").unwrap_or(&own.mount.point);
        Some(if below.is_empty() { own.mount.point.clone() } else { [point, below].join(&b'/') })
    };
    let outside = || {
        let (group, point) = (shown(&group), shown(&own.mount.point));
        Error::new(
            Errno::EACCES,
            format!("systemd's own cgroup {group} is not in the hierarchy at {point}, so a scope of its is out of our reach"),
        )
        .because(Reason::OutsideNamespace)
    };
    let top = at(&group).ok_or_else(outside)?;
    let dir = open(&top).map_err(|e| if may_pass(e) { not_opened(e, &top) } else { outside() })?;
    let controllers = enable::available(&dir)
        .map_err(|e| enable::cannot("read", "cgroup.controllers", e, &shown(&top)))?
        & Controllers::WANTED;
    let lacking = request.needs - controllers;
    if !lacking.is_empty() {
        let message = format!("systemd has no {lacking} controller to give at {}", shown(&top));
        return Err(Error::new(Errno::EOPNOTSUPP, message)
            .because(Reason::NoController)
            .on("cgroup.controllers"));
    }
    let unit = unit_name(guard::own().scope.count);
    let path = [group.strip_suffix(b"/").unwrap_or(&group), slice().as_bytes(), unit.as_bytes()].join(&b'/');
    Ok(PendingScope { manager, path: at(&path).ok_or_else(outside)?, controllers })
}

/// Where systemd puts such units by itself, said so that we know it beforehand.
fn slice() -> &'static str {
    if geteuid().is_root() { "system.slice" } else { "app.slice" }
}

/// The scopes of ours that there are, beside one or where one would be: those of programs that have ended
/// may hold agents still.
pub fn scopes_beside(path: &[u8]) -> nix::Result<Vec<Place>> {
    let slice = parse::split_last(path).0;
    let (dir, names) = match open(slice).and_then(|dir| dir.children().map(|names| (dir, names))) {
        Ok(found) => found,
        Err(e) if may_pass(e) => return Err(e),
        Err(_) => return Ok(Vec::new()),
    };
    let ours = names.iter().filter(|name| {
        let name = name.to_bytes();
        name.starts_with(PREFIX.as_bytes()) && name.ends_with(b".scope")
    });
    let mut scopes = Vec::new();
    for name in ours {
        match dir.child(name) {
            Ok(scope) => {
                let path = [slice, name.to_bytes()].join(&b'/');
                try_alloc::push(
                    &mut scopes,
                    Place::new(Kind::Systemd, Rc::new(scope), path, Occupancy::Empty),
                )?;
            }
            Err(e) if may_pass(e) => return Err(e),
            Err(_) => {} // Gone, or another uid's.
        }
    }
    Ok(scopes)
}

fn open(path: &[u8]) -> nix::Result<Dir> {
    Dir::open(&CString::new(path).map_err(|_| Errno::ENOENT)?)
}

/// Returns true for errors that say nothing about what was to be opened.
fn may_pass(errno: Errno) -> bool {
    matches!(errno, Errno::EIO | Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM)
}

fn not_opened(errno: Errno, path: &[u8]) -> Error {
    let error = Error::new(errno, format!("cannot open {}: {}", shown(path), words(errno)));
    if errno == Errno::EACCES { error.because(Reason::NotDelegated) } else { error }
}

/// What the names of our scopes begin with.
const PREFIX: &str = "agentcg-";

/// One that lost its guard may still hold agents: the next has another name.
fn unit_name(count: u32) -> String {
    let pid = std::process::id();
    if count == 0 { format!("{PREFIX}{pid}.scope") } else { format!("{PREFIX}{pid}-{count}.scope") }
}

impl PendingScope {
    /// Have it made, or take the one that another thread has had made meanwhile.
    pub fn start(self) -> Result<Place> {
        let mut own = guard::own();
        if let Some(scope) = own.scope.standing() {
            let dir = scope.open().map_err(|e| not_open(e, &scope.path))?;
            return Ok(place(&scope, dir));
        }
        let unit = unit_name(own.scope.count);
        let ways = exit_cgroups().map_err(|e| {
            Error::new(e, format!("cannot open where the guard of {unit} goes: {}", words(e)))
        })?;
        let guard = own.guard().map_err(|failure| failure.told(&format!("keeps {unit} alive")))?;
        own.scope.count += 1;
        let pid = guard.pid();
        // From here on dropping it ends the scope, which systemd may have made though its answer was lost.
        let mut scope = Scope { path: self.path, guard };
        self.manager
            .start_scope(&unit, slice(), "Agents of a program that uses agentcg", pid, scope.guard.pidfd())
            .map_err(failed)?;
        let (dir, path) = find(pid, &unit)?;
        scope.path = path;
        let scope = Arc::new(scope);
        enter(&scope.guard, &dir)
            .map_err(|e| enable::cannot("move the guard by", "guard/cgroup.procs", e, &shown(&scope.path)))?;
        let mut passed = vec![dir.as_fd()];
        passed.extend(ways.iter().map(AsFd::as_fd));
        scope
            .guard
            .ask(Message::Scope, &passed)
            .map_err(|failure| failure.told(&format!("keeps {unit} alive")))?;
        own.scope.remember(&scope);
        Ok(place(&scope, dir))
    }
}

/// Move the guard to its leaf of the scope. The leaf that it was in before goes.
fn enter(guard: &Process, scope: &Dir) -> nix::Result<()> {
    scope.make(LEAF)?;
    scope.write(LEAF_PROCS, guard.pid().to_string().as_bytes())?;
    let leaf = Leaf::new(scope.child(c".")?, LEAF.to_owned());
    if let Some(before) = guard.is_in(leaf) {
        before.remove();
    }
    Ok(())
}

/// The scope's directory, found by its guard.
fn find(pid: i32, unit: &str) -> Result<(Dir, Vec<u8>)> {
    let own = self_cgroup::find_of(&pid.to_string(), pid.unsigned_abs())?;
    let path = own.upwards().next().unwrap_or_default();
    let dir =
        own.name.as_ref().filter(|name| name.to_bytes() == unit.as_bytes()).map(|name| own.dir.child(name));
    match dir {
        Some(Ok(dir)) => Ok((dir, path)),
        Some(Err(e)) if may_pass(e) => Err(not_opened(e, &path)),
        _ => Err(Error::new(
            Errno::EACCES,
            format!("systemd says that {unit} is there, but the guard is in {}", shown(&path)),
        )
        .because(Reason::SystemdRefused)),
    }
}

fn place(scope: &Arc<Scope>, dir: Dir) -> Place {
    let scope = Arc::clone(scope);
    Place {
        scope: Some(Arc::clone(&scope)),
        ..Place::new(Kind::Systemd, Rc::new(dir), scope.path.clone(), Occupancy::Empty)
    }
}

/// The scope is to last as long as this process.
pub fn commit(scope: &Arc<Scope>) {
    guard::own().scope.keep(scope);
}

/// Why the scope of this process cannot be used.
fn not_open(errno: Errno, path: &[u8]) -> Error {
    match errno {
        Errno::ENODEV | Errno::ENOENT | Errno::ENOTTY => lost(path),
        e => not_opened(e, path),
    }
}

fn lost(path: &[u8]) -> Error {
    Error::new(Errno::ENODEV, format!("our scope {} was stopped: try again", shown(path)))
        .because(Reason::Gone)
}

/// Why a manager gave us nothing.
pub fn failed(failure: Failure) -> Error {
    match failure {
        Failure::Unreachable(why) => Error::new(Errno::ENOTCONN, why).because(Reason::NoSystemd),
        Failure::TimedOut(why) => {
            Error::new(Errno::ENOTCONN, format!("systemd does not answer: {why}")).because(Reason::NoSystemd)
        }
        Failure::Refused(why) => {
            Error::new(Errno::EACCES, format!("systemd refuses: {why}")).because(Reason::SystemdRefused)
        }
        Failure::Errno(e) => Error::new(e, format!("cannot talk to systemd: {}", words(e))),
    }
}

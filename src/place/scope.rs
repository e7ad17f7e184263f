// SPDX-License-Identifier: MIT OR Apache-2.0
//! A transient scope with `Delegate=yes` that systemd makes for the caller: the system manager for root, the user
//! manager for other users. A process has one scope, which its guard keeps alive.

use super::enable;
use super::refusal::{cannot, is_shortage};
use super::self_cgroup::{self, SelfCgroup, exit_cgroups};
use super::types::{Candidate, Kind, Occupancy, PendingScope, Place, PlaceRequest, Probe};
use crate::cgroupfs::Dir;
use crate::cgroupfs::controllers::Controllers;
use crate::error::{Error, Reason, Result, out_of_memory, shown, words};
use crate::guard::{self, GuardCgroup, Message, Process, Scope};
use crate::parse;
use crate::sys::try_alloc;
use crate::systemd::{Failure, Manager};
use nix::errno::Errno;
use nix::unistd::geteuid;
use std::ffi::{CStr, CString};
use std::os::fd::AsFd;
use std::sync::Arc;

/// The guard's cgroup in the scope, which itself must hold no process.
const GUARD: &CStr = c"guard";
const GUARD_PROCS: &CStr = c"guard/cgroup.procs";

/// Find the scope of this process, or a manager that would make one.
pub fn probe(own: &SelfCgroup, request: PlaceRequest<'_>) -> Probe {
    if let Some(scope) = guard::current_scope() {
        return match scope.open() {
            Ok(dir) => Probe::Found(Candidate::Existing(place(&scope, dir))),
            Err(e) => Probe::Refused(not_usable(e, &scope.path)),
        };
    }
    match pending(own, request) {
        Ok(pending) => Probe::Found(Candidate::Scope(pending)),
        Err(e) => Probe::Refused(e),
    }
}

fn pending(own: &SelfCgroup, request: PlaceRequest<'_>) -> Result<PendingScope> {
    let manager = Manager::connect().map_err(failed)?;
    let group = manager.control_group().map_err(failed)?;
    let mounted_at = |path: &[u8]| {
        let below = parse::below(&own.mount.root, path)?;
        let point = own.mount.point.strip_suffix(b"/").unwrap_or(&own.mount.point);
        Some(if below.is_empty() { own.mount.point.clone() } else { [point, below].join(&b'/') })
    };
    let outside = || {
        let (group, point) = (shown(&group), shown(&own.mount.point));
        Error::new(
            Errno::EACCES,
            format_args!("the cgroup {group} of systemd is outside of {point}, and so would be a scope"),
        )
        .because(Reason::OutsideNamespace)
    };
    let top = mounted_at(&group).ok_or_else(outside)?;
    let dir = open(&top).map_err(|e| if is_shortage(e) { not_opened(e, &top) } else { outside() })?;
    let controllers = enable::available(&dir)
        .map_err(|e| cannot("read", "cgroup.controllers", e, &shown(&top)))?
        & Controllers::WANTED;
    let lacking = request.needs - controllers;
    if !lacking.is_empty() {
        let message = format!("systemd has no {lacking} controller at {}", shown(&top));
        return Err(Error::new(Errno::EOPNOTSUPP, message)
            .because(Reason::NoController)
            .on("cgroup.controllers"));
    }
    let unit = unit_name(guard::state().scope.count);
    let path = [group.strip_suffix(b"/").unwrap_or(&group), slice().as_bytes(), unit.as_bytes()].join(&b'/');
    Ok(PendingScope { manager, path: mounted_at(&path).ok_or_else(outside)?, controllers })
}

/// The slice in which systemd puts such units by default. It is requested explicitly, so that the path of the scope is
/// known beforehand.
fn slice() -> &'static str {
    if geteuid().is_root() { "system.slice" } else { "app.slice" }
}

/// The scopes of this library in the slice that holds, or would hold, the scope `path`. Those of programs that have
/// ended may still hold agents.
pub fn beside(path: &[u8]) -> nix::Result<Vec<Place>> {
    let slice = parse::split_last(path).0;
    let (dir, names) = match open(slice).and_then(|dir| dir.children().map(|names| (dir, names))) {
        Ok(found) => found,
        Err(e) if is_shortage(e) => return Err(e),
        Err(_) => return Ok(Vec::new()),
    };
    let scopes_of_library = names.iter().filter(|name| is_scope_of_library(name.to_bytes()));
    let mut scopes = Vec::new();
    for name in scopes_of_library {
        match dir.child(name) {
            Ok(scope) => {
                let path = [slice, name.to_bytes()].join(&b'/');
                let place = Place::new(Kind::Systemd, Arc::new(scope), path, Occupancy::Empty);
                try_alloc::push(&mut scopes, place)?;
            }
            Err(e) if is_shortage(e) => return Err(e),
            Err(_) => {} // The scope was removed, or belongs to another uid.
        }
    }
    Ok(scopes)
}

fn open(path: &[u8]) -> nix::Result<Dir> {
    Dir::open(&CString::new(path).map_err(|_| Errno::ENOENT)?)
}

fn not_opened(errno: Errno, path: &[u8]) -> Error {
    let error = Error::new(errno, format_args!("cannot open {}: {}", shown(path), words(errno)));
    if errno == Errno::EACCES { error.because(Reason::NotDelegated) } else { error }
}

/// The first characters of the names of this library's scopes.
const PREFIX: &str = "agentcg-";

fn is_scope_of_library(name: &[u8]) -> bool {
    name.starts_with(PREFIX.as_bytes()) && name.ends_with(b".scope")
}

/// The name of the next scope. Each scope of a process has another name, because one that has lost its guard may still
/// hold agents.
fn unit_name(count: u32) -> String {
    let pid = std::process::id();
    if count == 0 { format!("{PREFIX}{pid}.scope") } else { format!("{PREFIX}{pid}-{count}.scope") }
}

/// Have systemd make the scope, or use the one that another thread has made since the probe.
pub fn start(pending: PendingScope) -> Result<Place> {
    let mut state = guard::state();
    if let Some(scope) = state.scope.current() {
        let dir = scope.open().map_err(|e| not_usable(e, &scope.path))?;
        return Ok(place(&scope, dir));
    }
    let unit = unit_name(state.scope.count);
    let exits = exit_cgroups().map_err(|e| {
        Error::new(
            e,
            format_args!("cannot open the cgroups to which the guard of {unit} can exit: {}", words(e)),
        )
    })?;
    let guard = state.guard().map_err(|failure| failure.to_error(&format!("keeps {unit} alive")))?;
    state.scope.count += 1;
    let pid = guard.pid();
    // From here on a drop ends the scope. systemd may have made it even if its answer was lost.
    let mut scope = Scope { path: pending.path, guard, held: false };
    pending
        .manager
        .start_scope(&unit, slice(), "Agents of a program that uses agentcg", pid, scope.guard.pidfd())
        .map_err(failed)?;
    let (dir, path) = find(pid, &unit)?;
    scope.path = path;
    let scope = Arc::new(scope);
    enter(&scope.guard, &dir)
        .map_err(|e| cannot("move the guard by", "guard/cgroup.procs", e, &shown(&scope.path)))?;
    let mut passed = vec![dir.as_fd()];
    passed.extend(exits.iter().map(AsFd::as_fd));
    scope
        .guard
        .request(Message::Scope, &passed)
        .map_err(|failure| failure.to_error(&format!("keeps {unit} alive")))?;
    state.scope.set(&scope);
    Ok(place(&scope, dir))
}

/// Keep a scope that an earlier program has made, for an agent in it that is adopted. systemd removes a scope when its last
/// process has ended, and with it the groups of agents and their statistics. Returns none if the place is no scope of this
/// library.
pub fn hold(place: &Place) -> Result<Option<Arc<Scope>>> {
    let (_, unit) = parse::split_last(&place.path);
    if !is_scope_of_library(unit) {
        return Ok(None);
    }
    let mut state = guard::state();
    let known = state.scope.current().filter(|scope| scope.path == place.path);
    if let Some(scope) = known.or_else(|| state.scope.held(&place.path)) {
        return Ok(Some(scope));
    }
    let unit = String::from_utf8_lossy(unit);
    let purpose = format!("keeps {unit} alive");
    let guard = Process::start(None).map_err(|failure| failure.to_error(&purpose))?;
    let path = try_alloc::copy(&place.path).map_err(out_of_memory)?;
    // From here on a drop ends the guard.
    let scope = Scope { path, guard: Arc::new(guard), held: true };
    let not_entered = |e| cannot("move the guard by", "guard/cgroup.procs", e, &shown(&scope.path));
    match enter(&scope.guard, &place.dir) {
        // The caller is outside of what it may write, as in a login session.
        Err(Errno::EACCES) => {
            let manager = Manager::connect().map_err(failed)?;
            manager.attach(&unit, "/guard", scope.guard.pid()).map_err(failed)?;
            record_entry(&scope.guard, &place.dir).map_err(not_entered)?;
        }
        entered => entered.map_err(not_entered)?,
    }
    // It has no other work, and so never moves to another cgroup.
    let kept = scope.guard.request(Message::Scope, &[place.dir.as_fd()]);
    kept.map_err(|failure| failure.to_error(&purpose))?;
    let scope = Arc::new(scope);
    state.scope.hold(&scope).map_err(out_of_memory)?;
    Ok(Some(scope))
}

/// Move the guard to its cgroup in the scope, and remove the cgroup in which it was before.
fn enter(guard: &Process, scope: &Dir) -> nix::Result<()> {
    match scope.make(GUARD) {
        // That of the earlier program, whose guard may be in it.
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(e) => return Err(e),
    }
    scope.write(GUARD_PROCS, guard.pid().to_string().as_bytes())?;
    record_entry(guard, scope)
}

fn record_entry(guard: &Process, scope: &Dir) -> nix::Result<()> {
    let cgroup = GuardCgroup::new(scope.child(c".")?, GUARD.to_owned());
    if let Some(before) = guard.set_cgroup(cgroup) {
        before.remove();
    }
    Ok(())
}

/// Open the directory of the scope, which is the cgroup of its guard.
fn find(pid: i32, unit: &str) -> Result<(Dir, Vec<u8>)> {
    let own = self_cgroup::find_of(&pid.to_string(), pid.unsigned_abs())?;
    let path = own.upwards().next().unwrap_or_default();
    let dir =
        own.name.as_ref().filter(|name| name.to_bytes() == unit.as_bytes()).map(|name| own.dir.child(name));
    match dir {
        Some(Ok(dir)) => Ok((dir, path)),
        Some(Err(e)) if is_shortage(e) => Err(not_opened(e, &path)),
        _ => Err(Error::new(
            Errno::EACCES,
            format_args!("systemd reports that {unit} is started, but the guard is in {}", shown(&path)),
        )
        .because(Reason::SystemdRefused)),
    }
}

fn place(scope: &Arc<Scope>, dir: Dir) -> Place {
    let scope = Arc::clone(scope);
    Place {
        scope: Some(Arc::clone(&scope)),
        ..Place::new(Kind::Systemd, Arc::new(dir), scope.path.clone(), Occupancy::Empty)
    }
}

/// Keep the scope until this process ends, if the place is one. An agent has been made in it.
pub fn keep(place: &Place) {
    if let Some(scope) = &place.scope {
        guard::state().scope.keep(scope);
    }
}

/// Why the scope of this process cannot be used.
fn not_usable(errno: Errno, path: &[u8]) -> Error {
    match errno {
        Errno::ENODEV | Errno::ENOENT | Errno::ENOTTY => {
            let message = format!("the scope {} of this process was stopped: try again", shown(path));
            Error::new(Errno::ENODEV, message).because(Reason::Gone)
        }
        e => not_opened(e, path),
    }
}

/// Why systemd did not do what it was asked for.
pub fn failed(failure: Failure) -> Error {
    match failure {
        Failure::Unreachable(why) => Error::new(Errno::ENOTCONN, why).because(Reason::NoSystemd),
        Failure::TimedOut(why) => Error::new(Errno::ENOTCONN, format_args!("systemd does not answer: {why}"))
            .because(Reason::NoSystemd),
        Failure::Refused(why) => {
            Error::new(Errno::EACCES, format_args!("systemd refuses: {why}")).because(Reason::SystemdRefused)
        }
        Failure::Errno(e) => Error::new(e, format_args!("cannot talk to systemd: {}", words(e))),
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The limits of a whole place, which are those of `synwire/agents`: they bound all agents of the place together.
//!
//! Shares and protection apply between the children of one cgroup, and `synwire/agents` has no sibling. They are therefore set
//! in `synwire`, too, which competes with what else is in the place.

use super::chain;
use super::marker::{self, Held};
use super::refusal::cannot;
use super::types::{AGENTS, Candidate, Place, PlaceRequest, SYNWIRE};
use crate::cgroupfs::Dir;
use crate::cgroupfs::overrides::Overrides;
use crate::error::{Error, Reason, Result, shown, words};
use crate::guard;
use crate::limits::Limits;
use crate::parse;
use crate::sys::descriptors::occupy_stdio_for_several;
use crate::sys::retry_transient;
use nix::errno::Errno;
use std::ffi::CStr;

/// Set limits of the place in which an agent with these limits would be made: all of them or, on failure, none. Limits that are
/// not given stay. A `memory_max` below the current usage fails with `EBUSY`; with `force` the kernel reclaims and kills until
/// the usage fits.
pub fn set_limits(parent: Option<&CStr>, limits: &Limits, force: bool) -> Result<()> {
    limits.check()?;
    guard::clear_up();
    let request = PlaceRequest { parent, needs: limits.controllers(), ..PlaceRequest::default() };
    chain::first_usable(request, |place| set(place, limits, force))
}

/// The limits of the place that the caller named, or of the one in which an agent without limits would be made. Changes nothing.
/// Fails with `ENOENT` if the place has no agent and no limit.
pub fn get_limits(parent: Option<&CStr>) -> Result<Limits> {
    chain::look(PlaceRequest { parent, ..PlaceRequest::default() }, |candidate| match candidate {
        Candidate::Existing(place) => get(place),
        Candidate::Scope(pending) => Err(nothing_there(&pending.path)),
    })
}

fn set(place: &Place, limits: &Limits, force: bool) -> Result<()> {
    let mut held = marker::hold(place)?;
    let changed = match change(place, &held, limits, force) {
        // The tree may have been made when fewer controllers were available.
        Err(e) if e.reason() == Some(Reason::NoController) => {
            held.complete().and_then(|()| change(place, &held, limits, force))
        }
        changed => changed,
    };
    match changed {
        Ok(agents) => {
            // No other call would remove the marker, so temporary errors are retried.
            let now =
                retry_transient(|_| false, || Limits::of(&agents, &Overrides::default()).map_err(|(e, _)| e));
            let is_default = now.is_ok_and(|now| now.are_default());
            drop(agents);
            if is_default {
                held.discard()
            } else {
                held.keep()
            }
            Ok(())
        }
        Err(e) => {
            held.undo();
            Err(e)
        }
    }
}

/// Change the files. Returns `synwire/agents`.
fn change(place: &Place, held: &Held<'_>, limits: &Limits, force: bool) -> Result<Dir> {
    let _stdio = occupy_stdio_for_several().map_err(|e| not_opened(e, place))?;
    let agents = held.level(AGENTS)?;
    let shares = limits.shares();
    if shares == Limits::default() {
        write(place, AGENTS, &agents, limits, force)?;
        return Ok(agents);
    }
    let synwire = held.level(SYNWIRE)?;
    let before = read(place, SYNWIRE, &synwire)?.shares();
    write(place, SYNWIRE, &synwire, &shares, false)?;
    write(place, AGENTS, &agents, limits, force).map_err(|e| {
        let put_back = write(place, SYNWIRE, &synwire, &before, false);
        put_back.err().map_or(e.clone(), |left| half_set(&e, &left))
    })?;
    Ok(agents)
}

fn write(place: &Place, name: &CStr, level: &Dir, limits: &Limits, force: bool) -> Result<()> {
    let path = place.path_of_level(name);
    let in_use = || {
        let file = "memory.current";
        let text = level.read(c"memory.current", &mut [0; 32]).map(parse::limit);
        let here = shown(&path);
        text.map_err(|e| cannot("read", file, e, &here))?
            .ok_or_else(|| Error::new(Errno::EIO, format_args!("{file} of {here} is no number")).on(file))
    };
    let overrides = Overrides::of(level).map_err(|e| not_opened(e, place))?;
    limits.change(level, &path, force, &overrides, in_use)
}

fn read(place: &Place, name: &CStr, level: &Dir) -> Result<Limits> {
    Limits::of(level, &Overrides::default()).map_err(|(e, file)| {
        cannot("read", file.to_str().unwrap_or_default(), e, &shown(&place.path_of_level(name)))
    })
}

fn get(place: &Place) -> Result<Limits> {
    let agents = match place.agents() {
        Err(Errno::ENOENT | Errno::ENODEV) => return Err(nothing_there(&place.path)),
        agents => agents.map_err(|e| not_opened(e, place))?,
    };
    match read(place, AGENTS, &agents) {
        // The last agent has ended during the call.
        Err(e) if e.errno() == Errno::ENODEV => Err(nothing_there(&place.path)),
        limits => limits,
    }
}

fn not_opened(errno: Errno, place: &Place) -> Error {
    cannot("open", "synwire/agents", errno, &shown(&place.path))
}

fn nothing_there(place: &[u8]) -> Error {
    let here = shown(place);
    Error::new(Errno::ENOENT, format_args!("{here} has no agents and no limits: it has no synwire/agents"))
}

fn half_set(e: &Error, left: &Error) -> Error {
    let message = format!(
        "{} failed ({}), and {} of synwire could not be put back: the limits are half set",
        e.file(),
        words(e.errno()),
        left.file()
    );
    let half_set = Error::new(e.errno(), message).on(e.file().to_owned());
    match e.reason() {
        Some(reason) => half_set.because(reason),
        None => half_set,
    }
}

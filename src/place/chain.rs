// SPDX-License-Identifier: MIT OR Apache-2.0
//! The order in which the kinds of places are tried. The first place that can be used is used.

use super::refusal::refused;
use super::self_cgroup::{self, SelfCgroup};
use super::types::{Candidate, Occupancy, Place, PlaceRequest, Probe, Systemd};
use super::{delegated, given, known, root, scope, sibling, tracking, types};
use crate::error::{Error, Reason, Result, out_of_memory, shown};
use nix::errno::Errno;
use std::ffi::{CStr, CString};
use std::sync::Arc;

/// One kind of place in the chain.
struct Link {
    /// The name that the report of a diagnosis gives it.
    name: &'static str,
    probe: fn(&SelfCgroup, PlaceRequest<'_>) -> Probe,
    asks_systemd: bool,
    /// The next call may use the place again.
    is_lasting: bool,
}

const CHAIN: [Link; 5] = [
    Link { name: "delegated cgroup", probe: delegated::probe, asks_systemd: false, is_lasting: true },
    Link { name: "root", probe: root::probe, asks_systemd: false, is_lasting: true },
    Link { name: "beside own cgroup", probe: sibling::probe, asks_systemd: false, is_lasting: true },
    Link { name: "systemd scope", probe: scope::probe, asks_systemd: true, is_lasting: false },
    Link { name: "without limits", probe: tracking::probe, asks_systemd: false, is_lasting: false },
];

impl PlaceRequest<'_> {
    /// The links that the request allows, in their order.
    fn chain(self) -> impl Iterator<Item = &'static Link> {
        CHAIN.iter().filter(move |link| match self.systemd {
            Systemd::Last => true,
            Systemd::Only => link.asks_systemd,
            Systemd::Never => !link.asks_systemd,
        })
    }
}

impl Link {
    /// Probe for this kind of place, and refuse what the request or the mount does not allow.
    fn candidate(&self, own: &SelfCgroup, request: PlaceRequest<'_>) -> Probe {
        let read_only = |path: &[u8]| Probe::Refused(refused(Errno::EROFS, &shown(path)));
        // A scope would be read-only, too: ProtectControlGroups= is about the mounts of the calling process.
        if own.mount.read_only && self.asks_systemd {
            return read_only(&own.mount.point);
        }
        match (self.probe)(own, request) {
            // This refusal precedes all others: on a read-only mount no right to a directory helps.
            Probe::Found(candidate) if own.mount.read_only => read_only(candidate.path()),
            Probe::Found(candidate) if candidate.must_move_caller() && request.keep_caller => {
                Probe::Refused(caller_must_move(candidate.path()))
            }
            probe => probe,
        }
    }

    /// Remembers a place that the next call would choose again: no better one was refused, which may be usable then, and
    /// the calling process need not move.
    fn remember(&self, candidate: Candidate, own: &SelfCgroup, refusals: &Refusals) -> Candidate {
        match candidate {
            Candidate::Existing(place)
                if self.is_lasting && refusals.0.is_none() && place.occupancy == Occupancy::Empty =>
            {
                let path = CString::new(place.path.as_slice());
                Candidate::Existing(match path {
                    Ok(path) => known::remember(place, &path, Some(&own.in_proc)),
                    Err(_) => place, // A path of the kernel holds no NUL byte.
                })
            }
            other => other,
        }
    }
}

impl Candidate {
    /// The place. systemd makes the scope if it does not exist yet.
    fn into_place(self) -> Result<Place> {
        match self {
            Self::Existing(place) => Ok(place),
            Self::Scope(pending) => scope::start(pending),
        }
    }
}

/// Call `attempt` with the parent that the caller named, or with each place of the chain until `attempt` succeeds. If
/// all fail, the error is that of the first place, which is the best one.
pub fn first_usable<T>(request: PlaceRequest<'_>, mut attempt: impl FnMut(&Place) -> Result<T>) -> Result<T> {
    let mut use_place = |candidate: Candidate| {
        let place = candidate.into_place()?;
        let done = attempt(&place).map_err(|e| place.explain(e))?;
        scope::keep(&place);
        Ok(done)
    };
    let is_for_found = request.parent.is_none() && request.systemd != Systemd::Only;
    if let Some(place) = is_for_found.then(known::found).flatten() {
        match use_place(Candidate::Existing(place)) {
            Err(e) if depends_on_place(&e) => {}
            used => return used,
        }
    }
    first_candidate(request, use_place)
}

/// Call `attempt` with the parent that the caller named, or with the place that [`first_usable`] would use. Changes nothing: a
/// scope that does not exist is not requested.
pub fn look<T>(request: PlaceRequest<'_>, attempt: impl Fn(&Candidate) -> Result<T>) -> Result<T> {
    if request.parent.is_none() {
        if let Some(place) = known::found() {
            return attempt(&Candidate::Existing(place));
        }
    }
    first_candidate(request, |candidate| {
        if request.parent.is_none() {
            candidate.check()?;
        }
        attempt(&candidate)
    })
}

fn first_candidate<T>(
    request: PlaceRequest<'_>,
    mut attempt: impl FnMut(Candidate) -> Result<T>,
) -> Result<T> {
    if let Some(parent) = request.parent {
        if request.systemd == Systemd::Only {
            return Err(Error::new(
                Errno::EINVAL,
                "the call names a parent and asks for a systemd scope: choose one of them",
            ));
        }
        return attempt(Candidate::Existing(given::open(parent)?));
    }
    let own = self_cgroup::find()?;
    let mut refusals = Refusals::default();
    for link in request.chain() {
        match link.candidate(&own, request) {
            Probe::NotApplicable(_) => {}
            Probe::Refused(e) => refusals.add(e)?,
            Probe::Found(candidate) => match attempt(link.remember(candidate, &own, &refusals)) {
                Ok(done) => return Ok(done),
                Err(e) => refusals.add(e)?,
            },
        }
    }
    Err(refusals.into_error(request))
}

/// Returns false if every other place would return the error, too.
fn depends_on_place(e: &Error) -> bool {
    !matches!(e.reason(), None | Some(Reason::NoGuard))
}

/// The most helpful refusal so far.
#[derive(Default)]
struct Refusals(Option<Error>);

impl Refusals {
    /// Add the refusal of one place. Returns the error if it does not depend on the place: every other place would
    /// return it, too.
    fn add(&mut self, e: Error) -> Result<()> {
        if !depends_on_place(&e) {
            return Err(e);
        }
        self.0 = Some(match self.0.take() {
            None => e,
            Some(first) => more_helpful(first, e),
        });
        Ok(())
    }

    fn into_error(self, request: PlaceRequest<'_>) -> Error {
        // A missing systemd is no reason unless the caller asked for it.
        let refusal =
            self.0.filter(|e| request.systemd == Systemd::Only || e.reason() != Some(Reason::NoSystemd));
        refusal.unwrap_or_else(|| {
            Error::new(
                Errno::EACCES,
                "found no place where this process may make cgroups: name a parent that it may write",
            )
            .because(Reason::NotDelegated)
        })
    }
}

/// The first refusal, which is that of the best place; but the later one if that place could be used except for
/// its missing controllers.
fn more_helpful(first: Error, then: Error) -> Error {
    let only_limits_fail = then.reason() == Some(Reason::NoController) && then.file() != "cgroup.controllers";
    if only_limits_fail && first.reason() == Some(Reason::Populated) { then } else { first }
}

/// The place needs a move of the calling process, and the request forbids it.
fn caller_must_move(path: &[u8]) -> Error {
    let here = shown(path);
    Error::new(
        Errno::EBUSY,
        format_args!("agents can be in {here} only if this process moves to a child of it: allow that, or move it there"),
    )
    .because(Reason::Populated)
}

/// What one link of the chain has found.
pub struct Tried {
    /// The name of the link.
    pub name: &'static str,
    /// What it has found.
    pub outcome: Outcome,
}

/// What one link of the chain has found, and if that can be used.
#[allow(clippy::large_enum_variant, reason = "a call makes a handful, and most have this variant")]
pub enum Outcome {
    /// There is no such place, for this reason.
    NotApplicable(String),
    /// There is such a place, but it cannot be used.
    Refused(Error),
    /// The place can be used.
    Usable(Candidate),
}

/// What the whole chain has found.
pub struct Survey<T> {
    /// What each link has found.
    pub links: Vec<Tried>,
    /// The number of the link that [`first_usable`] would use and the result of `attempt` there; or the error that it
    /// would return.
    pub verdict: Result<(usize, T)>,
}

impl<T> Survey<T> {
    /// The candidate of the link of this number, if it can be used.
    pub fn usable(&self, number: usize) -> Option<&Candidate> {
        match self.links.get(number).map(|link| &link.outcome) {
            Some(Outcome::Usable(candidate)) => Some(candidate),
            _ => None,
        }
    }
}

/// Probe every link, also those after the first usable one. `attempt` gets the first usable candidate, as with
/// [`first_usable`].
pub fn survey<T>(
    own: &SelfCgroup,
    request: PlaceRequest<'_>,
    mut attempt: impl FnMut(&Candidate) -> Result<T>,
) -> Survey<T> {
    let mut links = Vec::new();
    let mut refusals = Refusals::default();
    let mut verdict = None;
    for link in request.chain() {
        let outcome = match link.candidate(own, request) {
            Probe::NotApplicable(why) => Outcome::NotApplicable(why),
            Probe::Refused(e) => Outcome::Refused(e),
            Probe::Found(candidate) if verdict.is_some() => match candidate.check() {
                Ok(()) => Outcome::Usable(candidate),
                Err(e) => Outcome::Refused(e),
            },
            Probe::Found(candidate) => match candidate.check().and_then(|()| attempt(&candidate)) {
                Ok(done) => {
                    verdict = Some(Ok((links.len(), done)));
                    Outcome::Usable(candidate)
                }
                Err(e) => Outcome::Refused(e),
            },
        };
        if let (Outcome::Refused(e), None) = (&outcome, &verdict) {
            verdict = refusals.add(e.clone()).err().map(Err);
        }
        links.push(Tried { name: link.name, outcome });
    }
    Survey { links, verdict: verdict.unwrap_or_else(|| Err(refusals.into_error(request))) }
}

/// Returns true if the cgroup of the calling process is found in a mounted cgroup2 hierarchy.
pub fn is_available() -> bool {
    self_cgroup::find().is_ok()
}

/// The absolute path of the place that a request without requirements would use. Changes nothing.
pub fn discover() -> Result<Vec<u8>> {
    first_candidate(PlaceRequest::default(), |candidate| {
        candidate.check().map(|()| candidate.path().to_vec())
    })
}

/// The existing places: the parent that the caller named, or every place where the chain could have put agents of this
/// program, an earlier one or another. A refused place is left out, since the caller has no agents there. The group of an agent
/// is two places: that of the agents which its programs have made, and that of its children.
pub fn existing(parent: Option<&CStr>) -> Result<Vec<Place>> {
    if let Some(parent) = parent {
        let place = given::open(parent)?;
        let session = Place::of_session(place.kind, Arc::clone(&place.dir), place.path.clone());
        let is_session = session.session().is_some() && types::is_agent(&session.path);
        return Ok(if is_session { vec![place, session] } else { vec![place] });
    }
    let own = self_cgroup::find()?;
    let mut places: Vec<Place> = Vec::new();
    for link in &CHAIN {
        let found = match (link.probe)(&own, PlaceRequest::default()) {
            Probe::Found(Candidate::Existing(place)) if !link.asks_systemd => vec![place],
            Probe::Found(candidate) => scope::beside(candidate.path()).map_err(out_of_memory)?,
            // The caller lacks descriptors or memory.
            Probe::Refused(e) if e.reason().is_none() => return Err(e),
            Probe::Refused(_) | Probe::NotApplicable(_) => Vec::new(),
        };
        for place in found {
            // Two links can find the same place.
            if places.iter().all(|known| known.path != place.path) {
                places.push(place);
            }
        }
    }
    Ok(places)
}

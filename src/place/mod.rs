// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where agents can be put. A chain of links, each of which knows one kind of place; the first that
//! can be used is taken. Nothing but [`CHAIN`] knows their order.

mod delegated;
mod enable;
mod existing;
mod given;
mod home;
mod root;
pub mod self_cgroup;
mod sibling;
mod site;
mod systemd;
mod tracking;
mod tree;
mod vacate;

pub use existing::existing;
pub use home::exit_cgroups;
pub use site::{Candidate, Kind, Occupancy, Place};
pub use systemd::failed;
pub use tree::{AgentDir, make_agent_dir};

use crate::cgroupfs::controllers::Controllers;
use crate::error::{Error, Reason, Result, shown, words};
use nix::errno::Errno;
use self_cgroup::SelfCgroup;
use site::Probe;
use std::ffi::CStr;

/// Whether systemd is asked for a place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Systemd {
    /// Where nothing better is found.
    #[default]
    Last,
    /// It alone.
    Only,
    /// Not at all.
    Never,
}

/// What the caller wants of the place.
#[derive(Debug, Clone, Copy, Default)]
pub struct PlaceRequest<'a> {
    /// This one and no other.
    pub parent: Option<&'a CStr>,
    /// Never move the calling process to make room.
    pub keep_caller: bool,
    /// Whether systemd is asked.
    pub systemd: Systemd,
    /// Kill and remove the agent when this process ends first.
    pub guard: bool,
    /// The limits to come need these.
    pub needs: Controllers,
}

/// One link of the chain.
struct Link {
    /// For people.
    name: &'static str,
    probe: fn(&SelfCgroup, PlaceRequest<'_>) -> Probe,
    asks_systemd: bool,
}

const CHAIN: [Link; 5] = [
    Link { name: "delegated to us", probe: delegated::probe, asks_systemd: false },
    Link { name: "the root", probe: root::probe, asks_systemd: false },
    Link { name: "beside our own cgroup", probe: sibling::probe, asks_systemd: false },
    Link { name: "a scope of systemd's", probe: systemd::probe, asks_systemd: true },
    Link { name: "without limits", probe: tracking::probe, asks_systemd: false },
];

impl PlaceRequest<'_> {
    fn chain(self) -> impl Iterator<Item = &'static Link> {
        CHAIN.iter().filter(move |link| match self.systemd {
            Systemd::Last => true,
            Systemd::Only => link.asks_systemd,
            Systemd::Never => !link.asks_systemd,
        })
    }
}

/// Try the places in their order: the parent that the caller named, or else the chain. `attempt` is
/// asked for each until it succeeds; the first refusal is the one to report, since it stands for the
/// best place that there could have been.
pub fn first_usable<T>(request: PlaceRequest<'_>, mut attempt: impl FnMut(&Place) -> Result<T>) -> Result<T> {
    first_site(request, |site| {
        let place = site.into_place()?;
        let done = attempt(&place).map_err(|e| place.explain(e))?;
        place.commit();
        Ok(done)
    })
}

fn first_site<T>(request: PlaceRequest<'_>, mut attempt: impl FnMut(Candidate) -> Result<T>) -> Result<T> {
    if let Some(parent) = request.parent {
        if request.systemd == Systemd::Only {
            return Err(Error::new(
                Errno::EINVAL,
                "a parent was named, and a systemd scope asked for: choose one",
            ));
        }
        return attempt(Candidate::Existing(given::open(parent)?));
    }
    let own = self_cgroup::find()?;
    let mut refusal = Refusal::default();
    for link in request.chain() {
        match link.site(&own, request) {
            Probe::NotApplicable(_) => {}
            Probe::Refused(e) => refusal.note(e)?,
            Probe::Found(site) => match attempt(site) {
                Ok(done) => return Ok(done),
                Err(e) => refusal.note(e)?,
            },
        }
    }
    Err(refusal.told(request))
}

impl Link {
    /// What it finds that the caller allows.
    fn site(&self, own: &SelfCgroup, request: PlaceRequest<'_>) -> Probe {
        let read_only = |path: &[u8]| Probe::Refused(refused(Errno::EROFS, &shown(path)));
        // A scope that systemd makes is read-only for us, too: ProtectControlGroups= is about our mounts.
        if own.mount.read_only && self.asks_systemd {
            return read_only(&own.mount.point);
        }
        match (self.probe)(own, request) {
            // Before what else would be refused: the rights to a directory do not help.
            Probe::Found(site) if own.mount.read_only => read_only(site.path()),
            Probe::Found(site) if site.must_move_caller() && request.keep_caller => {
                Probe::Refused(kept(site.path()))
            }
            probe => probe,
        }
    }
}

/// What has been said against the places so far.
#[derive(Default)]
struct Refusal(Option<Error>);

impl Refusal {
    /// Gives back what is not the place's fault: elsewhere it would be the same.
    fn note(&mut self, e: Error) -> Result<()> {
        if e.reason().is_none() || e.reason() == Some(Reason::NoGuard) {
            return Err(e);
        }
        self.0 = Some(match self.0.take() {
            None => e,
            Some(first) => more_telling(first, e),
        });
        Ok(())
    }

    /// What the caller is told.
    fn told(self, request: PlaceRequest<'_>) -> Error {
        // That systemd is not there is no reason where it was not asked for.
        let refusal =
            self.0.filter(|e| request.systemd == Systemd::Only || e.reason() != Some(Reason::NoSystemd));
        refusal.unwrap_or_else(|| {
            Error::new(Errno::EACCES, "no place for agents was found here: name a parent that is ours")
                .because(Reason::NotDelegated)
        })
    }
}

/// What one link of the chain has come to.
pub struct Tried {
    /// The link's, for people.
    pub name: &'static str,
    pub outcome: Outcome,
}

pub enum Outcome {
    /// There is no such place here, for this reason.
    NotApplicable(String),
    Refused(Error),
    Usable(Candidate),
}

/// The whole chain, and what comes of it.
pub struct Survey<T> {
    pub links: Vec<Tried>,
    /// The link that would be taken and what `attempt` gave there; or what the caller would be told.
    pub verdict: Result<(usize, T)>,
}

/// Probe at every link, those behind the first usable one too, which is given to `attempt` as
/// [`first_usable`] would.
pub fn survey<T>(
    own: &SelfCgroup,
    request: PlaceRequest<'_>,
    mut attempt: impl FnMut(&Candidate) -> Result<T>,
) -> Survey<T> {
    let mut links = Vec::new();
    let mut refusal = Refusal::default();
    let mut verdict = None;
    for link in request.chain() {
        let outcome = match link.site(own, request) {
            Probe::NotApplicable(why) => Outcome::NotApplicable(why),
            Probe::Refused(e) => Outcome::Refused(e),
            Probe::Found(site) if verdict.is_some() => match site.check() {
                Ok(()) => Outcome::Usable(site),
                Err(e) => Outcome::Refused(e),
            },
            Probe::Found(site) => match site.check().and_then(|()| attempt(&site)) {
                Ok(done) => {
                    verdict = Some(Ok((links.len(), done)));
                    Outcome::Usable(site)
                }
                Err(e) => Outcome::Refused(e),
            },
        };
        if let (Outcome::Refused(e), None) = (&outcome, &verdict) {
            verdict = refusal.note(e.clone()).err().map(Err);
        }
        links.push(Tried { name: link.name, outcome });
    }
    Survey { links, verdict: verdict.unwrap_or_else(|| Err(refusal.told(request))) }
}

/// The first refusal stands for the best place that there could have been; but where there is a place
/// and only limits are not available, that is what the caller has to know.
fn more_telling(first: Error, then: Error) -> Error {
    let only_limits_fail = then.reason() == Some(Reason::NoController) && then.file() != "cgroup.controllers";
    if only_limits_fail && first.reason() == Some(Reason::Populated) { then } else { first }
}

/// Whether our own cgroup is found in a mounted hierarchy.
pub fn is_available() -> bool {
    self_cgroup::find().is_ok()
}

/// Where a tree would be put. Changes nothing.
pub fn discover() -> Result<Vec<u8>> {
    first_site(PlaceRequest::default(), |site| site.check().map(|()| site.path().to_vec()))
}

/// A place that needs what the caller forbade.
fn kept(path: &[u8]) -> Error {
    let here = shown(path);
    Error::new(
        Errno::EBUSY,
        format!(
            "agents could be in {here} if we moved ourselves to a child of it: allow that, or move us there"
        ),
    )
    .because(Reason::Populated)
}

/// A directory in which we cannot make or write what we need.
fn refused(errno: Errno, here: &str) -> Error {
    let (reason, message) = match errno {
        Errno::EACCES => (
            Reason::NotDelegated,
            format!(
                "no right to make cgroups in {here}: run under a user manager (systemd-run --user --scope) or in a unit with Delegate=yes"
            ),
        ),
        Errno::EROFS => (
            Reason::ReadOnly,
            format!(
                "cgroupfs is read-only at {here}: a service needs ProtectControlGroups=no, a container a writable mount"
            ),
        ),
        Errno::EAGAIN => (
            Reason::NestingLimit,
            format!(
                "cannot make cgroups in {here}: cgroup.max.depth or cgroup.max.descendants of a cgroup above is reached"
            ),
        ),
        Errno::ENODEV => (Reason::Gone, format!("{here} was removed meanwhile")),
        e => return Error::new(e, format!("cannot make cgroups in {here}: {}", words(e))),
    };
    Error::new(errno, message).because(reason)
}

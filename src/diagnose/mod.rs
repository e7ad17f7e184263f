// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `new` would do here and why, and what a person can do about it. Nothing is left behind, and
//! nobody is moved.

mod features;
mod remedy;
mod report;
mod surroundings;

pub use features::feature;

use crate::cgroupfs::controllers::Controllers;
use crate::error::{Error, Reason, Result, shown};
use crate::limits::Limits;
use crate::place::self_cgroup::{self, SelfCgroup};
use crate::place::{self, Candidate, Kind, Occupancy, Outcome, PlaceRequest, Survey};
use nix::errno::Errno;
use report::Report;
use surroundings::Surroundings;

/// Would it work here?
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    /// Why `new` would fail. Nothing, with a place, if it works; nothing without one if the caller lacks
    /// something that has to do with no place, such as descriptors.
    pub obstacle: Option<Reason>,
    /// Which kind of place it would use.
    pub place: Option<Kind>,
    /// Limits that would work.
    pub controllers: Controllers,
    /// Of cpu, memory and pids, those that would not.
    pub missing_controllers: Controllers,
    /// [`feature`] bits.
    pub features: u64,
    /// All of it and more, for people.
    pub report: String,
}

/// Find out for an agent without limits.
pub fn diagnose() -> Diagnosis {
    diagnose_for(PlaceRequest::default(), &Limits::default())
}

/// Find out for what the caller wants of the place, and for these limits, which are in range.
pub fn diagnose_for(request: PlaceRequest<'_>, limits: &Limits) -> Diagnosis {
    let request = PlaceRequest { needs: limits.controllers(), ..request };
    let own = self_cgroup::find();
    let survey = match &own {
        Ok(own) => place::survey(own, request, |site| try_out(own, site, limits)),
        Err(e) => Survey { links: Vec::new(), verdict: Err(e.clone()) },
    };
    let (chosen, mut features) = match &survey.verdict {
        Ok((number, features)) => (site(&survey, *number), *features),
        Err(_) => (None, own.as_ref().map_or(0, features::of_own)),
    };
    if own.as_ref().is_ok_and(|own| own.mount.nsdelegate) {
        features |= feature::NSDELEGATE;
    }
    let systemd = (0..survey.links.len())
        .filter_map(|number| site(&survey, number))
        .any(|site| site.kind() == Kind::Systemd);
    if systemd {
        features |= feature::SYSTEMD;
    }
    let controllers = chosen.map_or(Controllers::NONE, |site| site.controllers() & Controllers::WANTED);
    let missing_controllers = Controllers::NEEDED - controllers;
    let obstacle = survey.verdict.as_ref().err().and_then(Error::reason);
    let surroundings = Surroundings::read(own.as_ref().ok(), &survey, missing_controllers, systemd);
    let report = Report { survey: &survey, surroundings: &surroundings, controllers, features };
    Diagnosis {
        obstacle,
        place: chosen.map(Candidate::kind),
        controllers,
        missing_controllers,
        features,
        report: report.to_string(),
    }
}

fn site<T>(survey: &Survey<T>, number: usize) -> Option<&Candidate> {
    match survey.links.get(number).map(|link| &link.outcome) {
        Some(Outcome::Usable(site)) => Some(site),
        _ => None,
    }
}

/// Make an agent there as `new` would, learn what it can do, and take it back. Not where that would
/// move us, or have systemd make something.
fn try_out(own: &SelfCgroup, site: &Candidate, limits: &Limits) -> Result<u64> {
    match site {
        Candidate::Existing(place) if place.occupancy != Occupancy::Caller => {
            let mut agent_dir = place::make_agent_dir(place, &crate::sys::random::uuid().to_string())?;
            let applied = match limits.apply(&agent_dir.dir, &agent_dir.path) {
                // The tree may have been made when less was available.
                Err(e) if e.reason() == Some(Reason::NoController) => {
                    agent_dir.complete().and_then(|()| limits.apply(&agent_dir.dir, &agent_dir.path))
                }
                applied => applied,
            };
            let features = features::of_probe(&agent_dir.dir);
            agent_dir.undo();
            applied.map(|()| features).map_err(|e| place.explain(e))
        }
        _ => {
            let missing = limits.controllers() - site.controllers();
            if missing.is_empty() {
                return Ok(features::of_own(own));
            }
            let here = shown(site.path());
            Err(Error::new(Errno::EOPNOTSUPP, format!("{here} has no {missing} controller for these limits"))
                .because(Reason::NoController)
                .on("cgroup.controllers"))
        }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! What [`crate::Agent::new`] would do in this process and why, and what the administrator or the user can do about it.
//! A diagnosis leaves nothing behind and moves no process.

mod features;
mod remedy;
mod report;
mod surroundings;

pub use features::feature;

use crate::cgroupfs::AgentName;
use crate::cgroupfs::controllers::Controllers;
use crate::error::{Error, Reason, Result, shown};
use crate::limits::Limits;
use crate::place::self_cgroup::{self, SelfCgroup};
use crate::place::{self, Candidate, Kind, Occupancy, PlaceRequest, Survey};
use nix::errno::Errno;
use report::Report;
use surroundings::Surroundings;

/// What [`crate::Agent::new`] would do, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    /// Why [`crate::Agent::new`] would fail. If obstacle and place are both `None`, the cause is not cgroups: the caller
    /// lacks something such as descriptors.
    pub obstacle: Option<Reason>,
    /// The kind of place that it would use. `None` if it would fail.
    pub place: Option<Kind>,
    /// The controllers whose limits would work.
    pub controllers: Controllers,
    /// Those of cpu, memory and pids whose limits would not work.
    pub missing_controllers: Controllers,
    /// The features that were found, as bits of [`feature`].
    pub features: u64,
    /// The whole diagnosis as text, with the remedies.
    pub report: String,
}

/// Diagnose a request without requirements for an agent without limits.
pub fn diagnose() -> Diagnosis {
    diagnose_for(PlaceRequest::default(), &Limits::default())
}

/// Diagnose this request for an agent with these limits, which must be in range.
pub fn diagnose_for(request: PlaceRequest<'_>, limits: &Limits) -> Diagnosis {
    let request = PlaceRequest { needs: limits.controllers(), ..request };
    let own = self_cgroup::find();
    let survey = match &own {
        Ok(own) => place::survey(own, request, |candidate| try_candidate(own, candidate, limits)),
        Err(e) => Survey { links: Vec::new(), verdict: Err(e.clone()) },
    };
    let (chosen, mut features) = match &survey.verdict {
        Ok((number, features)) => (survey.usable(*number), *features),
        Err(_) => (None, own.as_ref().map_or(0, features::of_self_cgroup)),
    };
    if own.as_ref().is_ok_and(|own| own.mount.nsdelegate) {
        features |= feature::NSDELEGATE;
    }
    let systemd = (0..survey.links.len())
        .filter_map(|number| survey.usable(number))
        .any(|candidate| candidate.kind() == Kind::Systemd);
    if systemd {
        features |= feature::SYSTEMD;
    }
    let controllers =
        chosen.map_or(Controllers::NONE, |candidate| candidate.controllers() & Controllers::WANTED);
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

/// Make the group of an agent as [`crate::Agent::new`] would, look at its features and remove it. If that would move the
/// calling process or have systemd make a scope, only check the controllers. Returns [`feature`] bits.
fn try_candidate(own: &SelfCgroup, candidate: &Candidate, limits: &Limits) -> Result<u64> {
    match candidate {
        Candidate::Existing(place) if place.occupancy != Occupancy::Caller => {
            let mut agent = place::make_agent_dir(place, &AgentName::random(), Controllers::NONE, None)?;
            let applied = match limits.apply(&agent.dir, &agent.path) {
                // The tree may have been made when less was available.
                Err(e) if e.reason() == Some(Reason::NoController) => {
                    agent.complete().and_then(|()| limits.apply(&agent.dir, &agent.path))
                }
                applied => applied,
            };
            let features = features::of_agent_dir(&agent.dir);
            agent.undo();
            applied.map(|()| features).map_err(|e| place.explain(e))
        }
        _ => {
            let missing = limits.controllers() - candidate.controllers();
            if missing.is_empty() {
                return Ok(features::of_self_cgroup(own));
            }
            let here = shown(candidate.path());
            Err(Error::new(
                Errno::EOPNOTSUPP,
                format_args!("{here} has no {missing} controller, which these limits need"),
            )
            .because(Reason::NoController)
            .on("cgroup.controllers"))
        }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `new` would do here and why, and what a person can do about it. Nothing is left behind, and
//! nobody is moved.

mod features;
mod remedy;
mod report;
mod surroundings;

pub use features::feature;

use crate::controllers::Controllers;
use crate::error::{Error, Reason};
use crate::place::own::{self, Own};
use crate::place::{self, Kind, Outcome, Room, Site, Survey};
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

/// Find out.
pub fn diagnose() -> Diagnosis {
    let own = own::find();
    let survey = match &own {
        Ok(own) => place::survey(own, |site| try_out(own, site)),
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
        place: chosen.map(Site::kind),
        controllers,
        missing_controllers,
        features,
        report: report.to_string(),
    }
}

fn site<T>(survey: &Survey<T>, number: usize) -> Option<&Site> {
    match survey.links.get(number).map(|link| &link.outcome) {
        Some(Outcome::Usable(site)) => Some(site),
        _ => None,
    }
}

/// Make an agent there as `new` would, learn what it can do, and take it back. Not where that would
/// move us, or have systemd make something.
fn try_out(own: &Own, site: &Site) -> crate::Result<u64> {
    match site {
        Site::Standing(place) if place.room != Room::HoldsUs => {
            let leaf = place::make_leaf(place, &crate::sys::random::uuid().to_string())?;
            let features = features::of_probe(&leaf.dir);
            leaf.undo();
            Ok(features)
        }
        _ => Ok(features::of_own(own)),
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where there is no place with limits: a cgroup that is ours, but has others' processes in it. The
//! kernel allows children beside them as long as no controller is on, and those can be killed, frozen,
//! waited for, and tell their CPU time.

use super::self_cgroup::SelfCgroup;
use super::site::{Candidate, Occupancy, Place, Probe};
use super::{PlaceRequest, delegated, root};

pub fn probe(own: &SelfCgroup, request: PlaceRequest<'_>) -> Probe {
    for link in [delegated::probe, root::probe] {
        if let Probe::Found(Candidate::Existing(place)) = link(own, request) {
            if place.occupancy == Occupancy::Caller {
                return Probe::Found(Candidate::Existing(Place { occupancy: Occupancy::Others, ..place }));
            }
        }
    }
    Probe::NotApplicable("no cgroup that is ours holds us".to_owned())
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! A place without limits: a cgroup that belongs to the caller but holds other processes. The kernel allows children
//! beside them as long as no controller is enabled. Such children can be killed, frozen and waited for, and they count
//! their CPU time.

use super::self_cgroup::SelfCgroup;
use super::types::{Candidate, Occupancy, Place, PlaceRequest, Probe};
use super::{delegated, root};

/// Find a delegated cgroup or a root that holds the caller, and leave the processes in it.
pub fn probe(own: &SelfCgroup, request: PlaceRequest<'_>) -> Probe {
    for link in [delegated::probe, root::probe] {
        if let Probe::Found(Candidate::Existing(place)) = link(own, request) {
            if place.occupancy == Occupancy::Caller {
                return Probe::Found(Candidate::Existing(Place { occupancy: Occupancy::Others, ..place }));
            }
        }
    }
    Probe::NotApplicable("no cgroup that belongs to the caller holds this process".to_owned())
}

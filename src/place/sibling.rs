// SPDX-License-Identifier: MIT OR Apache-2.0
//! Beside our own cgroup: the usual place on a desktop, where our parent is the user's `app.slice`.
//! Always two levels deep with controllers enabled on both: systemd takes controllers away from a
//! slice when no unit of its own needs them, and meets EBUSY while our second level uses them.

use super::PlaceRequest;
use super::self_cgroup::SelfCgroup;
use super::site::{Candidate, Kind, Occupancy, Place, Probe};
use super::tree;
use std::rc::Rc;

pub fn probe(own: &SelfCgroup, _: PlaceRequest<'_>) -> Probe {
    if own.name.is_none() {
        return Probe::NotApplicable(
            "our own cgroup is at the top of the mount and has no parent there".to_owned(),
        );
    }
    // Beside an agent's group there are other agents', who are not ours to join.
    if tree::is_agents(&own.path) {
        return Probe::NotApplicable("beside our own cgroup are agents, of whom we are one".to_owned());
    }
    Probe::Found(Candidate::Existing(Place::new(
        Kind::Sibling,
        Rc::clone(&own.dir),
        own.path.clone(),
        Occupancy::Empty,
    )))
}

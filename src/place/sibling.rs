// SPDX-License-Identifier: MIT OR Apache-2.0
//! The parent of the self cgroup: the usual place on a desktop, where it is the user's `app.slice`.
//! The tree has two levels, and both have their controllers enabled: systemd disables controllers of a slice that no
//! unit of the slice needs, and gets EBUSY while the second level uses them.

use super::self_cgroup::SelfCgroup;
use super::types::{self, Candidate, Kind, Occupancy, Place, PlaceRequest, Probe};
use std::sync::Arc;

/// Find the parent of the self cgroup.
pub fn probe(own: &SelfCgroup, _: PlaceRequest<'_>) -> Probe {
    let Some(name) = &own.name else {
        return Probe::NotApplicable("the cgroup of this process has no parent in the mount".to_owned());
    };
    // A process of an agent must not add agents beside its own.
    if types::is_agent(&[own.path.as_slice(), name.to_bytes()].join(&b'/')) {
        return Probe::NotApplicable(
            "this process belongs to an agent, and its group is beside others".to_owned(),
        );
    }
    Probe::Found(Candidate::Existing(Place::new(
        Kind::Sibling,
        Arc::clone(&own.dir),
        own.path.clone(),
        Occupancy::Empty,
    )))
}

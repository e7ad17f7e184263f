// SPDX-License-Identifier: MIT OR Apache-2.0
//! The root of the hierarchy, where no systemd owns it. Only the real root may hold processes beside children with
//! controllers. In the root of a namespace, such as that of a container, the caller moves to a child first, or has
//! done so before.

use super::self_cgroup::SelfCgroup;
use super::types::{Candidate, Kind, Occupancy, Place, PlaceRequest, Probe};
use super::{enable, vacate};
use std::sync::Arc;

/// Find the root, if the caller is in it or in the child to which it has moved.
pub fn probe(own: &SelfCgroup, _: PlaceRequest<'_>) -> Probe {
    let at_root = match &own.name {
        None => true,
        Some(name) => own.depth == 0 && name.as_c_str() == vacate::SUPERVISOR,
    };
    if !at_root {
        return Probe::NotApplicable(
            "the cgroup of this process is not the root of the hierarchy or of a namespace".to_owned(),
        );
    }
    let holds_caller = own.name.is_none() && !enable::is_real_root(&own.dir);
    let occupancy = if holds_caller { Occupancy::Caller } else { Occupancy::Empty };
    Probe::Found(Candidate::Existing(Place::new(
        Kind::Root,
        Arc::clone(&own.dir),
        own.path.clone(),
        occupancy,
    )))
}

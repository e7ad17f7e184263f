// SPDX-License-Identifier: MIT OR Apache-2.0
//! The root of the hierarchy, where there is no systemd to own it. The real root alone may hold
//! processes beside children with controllers; in the root of a namespace, a container's, we make room
//! first, or have made it.

use super::self_cgroup::SelfCgroup;
use super::site::{Candidate, Kind, Occupancy, Place, Probe};
use super::{PlaceRequest, enable, vacate};
use std::rc::Rc;

pub fn probe(own: &SelfCgroup, _: PlaceRequest<'_>) -> Probe {
    let at_root = match &own.name {
        None => true,
        Some(name) => own.depth == 0 && name.as_c_str() == vacate::SUPERVISOR,
    };
    if !at_root {
        return Probe::NotApplicable(
            "our own cgroup is not the root of the hierarchy nor of a namespace".to_owned(),
        );
    }
    let holds_us = own.name.is_none() && !enable::is_real_root(&own.dir);
    let occupancy = if holds_us { Occupancy::Caller } else { Occupancy::Empty };
    Probe::Found(Candidate::Existing(Place::new(
        Kind::Root,
        Rc::clone(&own.dir),
        own.path.clone(),
        occupancy,
    )))
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Places where agents may stand by now, of this program, of one before it or of others: every place in
//! which [`super::CHAIN`] could have put them.

use super::self_cgroup;
use super::site::{Candidate, Place, Probe};
use super::{CHAIN, PlaceRequest, given, systemd};
use crate::error::{Result, out_of_memory};
use std::ffi::CStr;

/// The parent that the caller named, or all of the chain. Where we may not make agents there is none of
/// ours to be found either, so a refusal only passes a link over.
pub fn existing(parent: Option<&CStr>) -> Result<Vec<Place>> {
    if let Some(parent) = parent {
        return Ok(vec![given::open(parent)?]);
    }
    let own = self_cgroup::find()?;
    let mut places: Vec<Place> = Vec::new();
    for link in &CHAIN {
        let found = match (link.probe)(&own, PlaceRequest::default()) {
            Probe::Found(Candidate::Existing(place)) if !link.asks_systemd => vec![place],
            Probe::Found(site) => systemd::scopes_beside(site.path()).map_err(out_of_memory)?,
            // Descriptors or memory are lacking.
            Probe::Refused(e) if e.reason().is_none() => return Err(e),
            Probe::Refused(_) | Probe::NotApplicable(_) => Vec::new(),
        };
        for place in found {
            // Two links may lead to one place.
            if places.iter().all(|known| known.path != place.path) {
                places.push(place);
            }
        }
    }
    Ok(places)
}

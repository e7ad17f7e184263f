// SPDX-License-Identifier: MIT OR Apache-2.0
//! Places where agents may stand by now, of this program, of one before it or of others: every place in
//! which [`super::CHAIN`] could have put them.

use super::self_cgroup;
use super::site::{Look, Place, Site};
use super::{CHAIN, Wish, given, systemd};
use crate::error::{Result, out_of_memory};
use std::ffi::CStr;

/// The parent that the caller named, or all of the chain. Where we may not make agents there is none of
/// ours to be found either, so a refusal only passes a link over.
pub fn standing(parent: Option<&CStr>) -> Result<Vec<Place>> {
    if let Some(parent) = parent {
        return Ok(vec![given::look(parent)?]);
    }
    let own = self_cgroup::find()?;
    let mut places: Vec<Place> = Vec::new();
    for link in &CHAIN {
        let found = match (link.look)(&own, Wish::default()) {
            Look::At(Site::Standing(place)) if !link.asks_systemd => vec![place],
            Look::At(site) => systemd::scopes_beside(site.path()).map_err(out_of_memory)?,
            // Descriptors or memory are lacking.
            Look::Refused(e) if e.reason().is_none() => return Err(e),
            Look::Refused(_) | Look::Nowhere(_) => Vec::new(),
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

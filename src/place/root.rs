// SPDX-License-Identifier: MIT OR Apache-2.0
//! The root of the hierarchy, where there is no systemd to own it. The real root alone may hold
//! processes beside children with controllers; in the root of a namespace, a container's, we make room
//! first, or have made it.

use super::self_cgroup::Own;
use super::site::{Kind, Look, Place, Room, Site};
use super::{Wish, enable, vacate};
use std::rc::Rc;

pub fn look(own: &Own, _: Wish<'_>) -> Look {
    let at_root = match &own.name {
        None => true,
        Some(name) => own.depth == 0 && name.as_c_str() == vacate::SUPERVISOR,
    };
    if !at_root {
        return Look::Nowhere(
            "our own cgroup is not the root of the hierarchy nor of a namespace".to_owned(),
        );
    }
    let holds_us = own.name.is_none() && !enable::is_real_root(&own.dir);
    let room = if holds_us { Room::HoldsUs } else { Room::Free };
    Look::At(Site::Standing(Place::new(Kind::Root, Rc::clone(&own.dir), own.path.clone(), room)))
}

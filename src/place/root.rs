// SPDX-License-Identifier: MIT OR Apache-2.0
//! The root of the hierarchy, where there is no systemd to own it. The real root alone may hold
//! processes beside children with controllers; in the root of a namespace, a container's, we make room
//! first, or have made it.

use super::own::Own;
use super::{Kind, Place, enable, room};
use std::rc::Rc;

pub fn look(own: &Own) -> Option<Place> {
    let at_root = match &own.name {
        None => true,
        Some(name) => own.depth == 0 && name.as_c_str() == room::SUPERVISOR,
    };
    at_root.then(|| Place {
        kind: Kind::Root,
        dir: Rc::clone(&own.dir),
        path: own.path.clone(),
        holds_us: own.name.is_none() && !enable::is_real_root(&own.dir),
    })
}

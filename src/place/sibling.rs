// SPDX-License-Identifier: MIT OR Apache-2.0
//! Beside our own cgroup: the usual place on a desktop, where our parent is the user's `app.slice`.
//! Always two levels deep with controllers enabled on both: systemd takes controllers away from a
//! slice when no unit of its own needs them, and meets EBUSY while our second level uses them.

use super::own::Own;
use super::{Kind, Place};
use std::rc::Rc;

pub fn look(own: &Own) -> Option<Place> {
    own.name.as_ref()?;
    // Beside an agent's group there are other agents', who are not ours to join.
    if own.path.ends_with(b"/synwire/agents") {
        return None;
    }
    Some(Place { kind: Kind::Sibling, dir: Rc::clone(&own.dir), path: own.path.clone(), holds_us: false })
}

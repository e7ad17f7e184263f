// SPDX-License-Identifier: MIT OR Apache-2.0
//! Beside our own cgroup: the usual place on a desktop, where our parent is the user's `app.slice`.
//! Always two levels deep with controllers enabled on both: systemd takes controllers away from a
//! slice when no unit of its own needs them, and meets EBUSY while our second level uses them.

use super::Wish;
use super::self_cgroup::Own;
use super::site::{Kind, Look, Place, Room, Site};
use super::tree;
use std::rc::Rc;

pub fn look(own: &Own, _: Wish<'_>) -> Look {
    if own.name.is_none() {
        return Look::Nowhere("our own cgroup is at the top of the mount and has no parent there".to_owned());
    }
    // Beside an agent's group there are other agents', who are not ours to join.
    if tree::is_agents(&own.path) {
        return Look::Nowhere("beside our own cgroup are agents, of whom we are one".to_owned());
    }
    Look::At(Site::Standing(Place::new(Kind::Sibling, Rc::clone(&own.dir), own.path.clone(), Room::Free)))
}

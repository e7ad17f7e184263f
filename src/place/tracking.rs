// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where there is no place with limits: a cgroup that is ours, but has others' processes in it. The
//! kernel allows children beside them as long as no controller is on, and those can be killed, frozen,
//! waited for, and tell their CPU time.

use super::self_cgroup::Own;
use super::site::{Look, Place, Room, Site};
use super::{Wish, delegated, root};

pub fn look(own: &Own, wish: Wish<'_>) -> Look {
    for link in [delegated::look, root::look] {
        if let Look::At(Site::Standing(place)) = link(own, wish) {
            if place.room == Room::HoldsUs {
                return Look::At(Site::Standing(Place { room: Room::Shared, ..place }));
            }
        }
    }
    Look::Nowhere("no cgroup that is ours holds us".to_owned())
}

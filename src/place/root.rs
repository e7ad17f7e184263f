// SPDX-License-Identifier: MIT OR Apache-2.0
//! The root of the hierarchy, where there is no systemd to own it. The real root alone may hold
//! processes beside children with controllers; the root of a namespace may not.

use super::own::Own;
use super::{Answer, Kind, Place, enable};
use std::rc::Rc;

pub fn look(own: &Own) -> Answer {
    if !own.at_top {
        return Answer::Elsewhere;
    }
    let place = Place { kind: Kind::Root, dir: Rc::clone(&own.dir), path: own.path.clone() };
    if !enable::is_real_root(&place.dir) {
        // We ourselves are in it, and so it takes no controllers for children.
        if let Err(e) = place.vet() {
            return Answer::Not(e);
        }
    }
    Answer::Use(place)
}

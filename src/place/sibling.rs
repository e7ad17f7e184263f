// SPDX-License-Identifier: MIT OR Apache-2.0
//! Beside our own cgroup: the usual place on a desktop, where our parent is the user's `app.slice`.
//! Always two levels deep with controllers enabled on both: systemd takes controllers away from a
//! slice when no unit of its own needs them, and meets EBUSY while our second level uses them.

use super::own::Own;
use super::{Answer, Kind, Place};
use std::rc::Rc;

pub fn look(own: &Own) -> Answer {
    if own.at_top {
        return Answer::Elsewhere;
    }
    Answer::Use(Place { kind: Kind::Sibling, dir: Rc::clone(&own.dir), path: own.path.clone() })
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The cgroups that a living agent may make in its own one, after their number was limited.

use super::{none, set};
use crate::common::cgroup::Cgroup;
use crate::common::group::Group;
use crate::common::member::role;
use agentcg::{Limits, UNLIMITED};

/// A role that makes the cgroups that the test names, in its own one.
pub fn makes_cgroups(_: &[String]) {
    role::receive();
    let own = Cgroup::own();
    loop {
        let name = role::receive();
        match std::fs::create_dir(own.join(name).0) {
            Ok(()) => role::send("made"),
            Err(e) => role::send(&format!("{:?}", e.raw_os_error().map(nix::errno::Errno::from_raw))),
        }
    }
}

#[test]
fn a_limit_below_the_number_of_cgroups_refuses_more_and_removes_none() {
    let group = Group::plain();
    let mut member = group.start("inside::makes_cgroups", &[]);
    let mut make = |name: &str, answer: &str| {
        member.send(name);
        member.expect_line(answer);
    };
    let refused = "Some(EAGAIN)";
    make("one", "made");
    make("one/below", "made");
    make("two", "made");

    set(&group, &Limits { max_descendants: Some(2), ..none() });
    make("three", refused);
    set(&group, &Limits { max_descendants: Some(4), ..none() });
    make("three", "made");
    make("four", refused);

    set(&group, &Limits { max_descendants: Some(UNLIMITED), max_depth: Some(1), ..none() });
    make("one/other", refused);
    make("four", "made");
    set(&group, &Limits { max_depth: Some(2), ..none() });
    make("one/other", "made");
    make("one/other/deep", refused);
    assert_eq!(group.cgroup.value("cgroup.stat", "nr_descendants"), 6);
    group.destroy();
}

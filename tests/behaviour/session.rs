// SPDX-License-Identifier: MIT OR Apache-2.0
//! In a login session a caller can make cgroups in the tree of the user manager, but cannot move processes
//! there.

use crate::common::cgroup::Cgroup;
use crate::common::member::Member;
use crate::common::{deadline, lab};
use agentcg::{Agent, Errno, Limits, Reason};

/// The common ancestor of the session and that tree belongs to root.
#[test]
fn no_process_of_the_session_can_be_moved_into_the_tree_of_the_user_manager() {
    lab::needs(&["session"]);
    let app_slice = c"/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/app.slice";
    let agent = Agent::new(Some(app_slice), None, &Limits::default()).unwrap();
    let mut member = Member::start("sleeper", &[]);
    let e = agent.move_pid(member.pid()).unwrap_err();
    assert_eq!((e.errno(), e.reason()), (Errno::EACCES, Some(Reason::NotDelegated)), "{e}");
    assert_eq!(e.file(), "cgroup.procs");
    assert!(e.message().len() <= 183, "{e}");
    assert_eq!(agent.move_self(), Err(Errno::EACCES));
    assert!(Cgroup::at(agent.path()).members().is_empty());
    assert!(!member.is_dead());
    agent.destroy(false, deadline(), false).unwrap();
}

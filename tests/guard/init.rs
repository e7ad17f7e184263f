// SPDX-License-Identifier: MIT OR Apache-2.0
//! Guards in a container whose init waits for nobody but its own child: what ends there stays a zombie.

use crate::common::cgroup::Scratch;
use crate::common::member::{Member, role};
use crate::common::patience;
use agentcg::{Agent, Limits, PlaceRequest};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::wait::waitpid;
use nix::unistd::ForkResult;
use std::ffi::CString;

/// True in the child, which its parent waits for.
fn in_a_child() -> bool {
    // SAFETY: a role has one thread, so the child has all that the parent had.
    #[allow(unsafe_code, reason = "see SAFETY")]
    match unsafe { nix::unistd::fork() }.expect("fork") {
        ForkResult::Child => true,
        ForkResult::Parent { child } => {
            waitpid(child, None).expect("waitpid");
            false
        }
    }
}

fn zombies() -> usize {
    let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
    let stats = processes.filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
    stats.filter(|stat| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z'))).count()
}

/// Makes fifty guarded agents one after the other, and says how many zombies there are then.
pub fn beside_an_idle_init(args: &[String]) {
    let parent = CString::new(args[0].as_str()).expect("no NUL");
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS).expect("unshare");
    if !in_a_child() {
        return;
    }
    mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), None::<&str>).expect("mount");
    if in_a_child() {
        for _ in 0..50 {
            let request = PlaceRequest { parent: Some(&parent), guard: true, ..PlaceRequest::default() };
            let agent = Agent::new_where(request, None, &Limits::default()).unwrap_or_else(|e| panic!("{e}"));
            agent.destroy(false, patience(), false).unwrap_or_else(|e| panic!("{e}"));
        }
        role::say(&zombies().to_string());
    }
    role::exit(0);
}

#[test]
fn fifty_agents_one_after_the_other_leave_one_zombie_at_most_where_nobody_waits() {
    let scratch = Scratch::new();
    let mut member =
        Member::start("beside_an_idle_init", &[scratch.parent.0.to_str().expect("a path of ours")]);
    let said: usize = member.hear().parse().expect("a number");
    assert!(said <= 1, "{said} zombies");
    member.wait();
}

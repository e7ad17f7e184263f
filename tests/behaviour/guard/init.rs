// SPDX-License-Identifier: MIT OR Apache-2.0
//! Guards in a container whose init reaps only its own child: every other process that ends there remains a
//! zombie.

use crate::common::cgroup::Scratch;
use crate::common::deadline;
use crate::common::member::{Member, role};
use agentcg::{Agent, Limits, PlaceRequest};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::wait::waitpid;
use nix::unistd::ForkResult;
use std::ffi::CString;

/// Forks. Returns true in the child, and false in the parent after the end of the child.
fn fork_and_wait() -> bool {
    // SAFETY: a role has one thread, so the child has a complete copy of the process.
    #[allow(unsafe_code, reason = "see SAFETY")]
    match unsafe { nix::unistd::fork() }.expect("fork") {
        ForkResult::Child => true,
        ForkResult::Parent { child } => {
            waitpid(child, None).expect("waitpid");
            false
        }
    }
}

fn count_zombies() -> usize {
    let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
    let stats = processes.filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
    stats.filter(|stat| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z'))).count()
}

/// A role that makes fifty guarded agents one after the other and sends the number of zombies.
pub fn runs_beside_an_idle_init(args: &[String]) {
    let parent = CString::new(args[0].as_str()).expect("no NUL");
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS).expect("unshare");
    if !fork_and_wait() {
        return;
    }
    mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), None::<&str>).expect("mount");
    if fork_and_wait() {
        for _ in 0..50 {
            let request = PlaceRequest { parent: Some(&parent), guard: true, ..PlaceRequest::default() };
            let agent = Agent::new_where(request, None, &Limits::default()).unwrap_or_else(|e| panic!("{e}"));
            agent.destroy(false, deadline(), false).unwrap_or_else(|e| panic!("{e}"));
        }
        role::send(&count_zombies().to_string());
    }
    role::exit(0);
}

#[test]
fn fifty_successive_agents_leave_at_most_one_zombie_if_init_does_not_reap() {
    let scratch = Scratch::new();
    let mut member =
        Member::start("runs_beside_an_idle_init", &[scratch.parent.0.to_str().expect("a UTF-8 path")]);
    let zombies: usize = member.receive().parse().expect("a number");
    assert!(zombies <= 1, "{zombies} zombies");
    member.wait();
}

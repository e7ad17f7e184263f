// SPDX-License-Identifier: MIT OR Apache-2.0
//! Guarded agents end with the program that made them, in whichever way it ends, and the guard does not
//! disturb the program.

mod creation;
mod crippled;
mod executable;
mod host;
mod init;
mod program;
mod resources;
mod stopped;

use crate::common::cgroup::Cgroup;
use crate::common::member::Member;
use crate::common::{self, TIMEOUT, deadline, lab, state_of, wait_until};
use agentcg::events::GONE;
use agentcg::{Agent, Deadline};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{AccessFlags, Pid};
use program::Program;
use std::time::{Duration, Instant};

roles![host::host, executable::makes_a_guarded_agent, init::runs_beside_an_idle_init];

fn is_alive(pid: i32) -> bool {
    kill(Pid::from_raw(pid), None).is_ok()
}

#[test]
fn agents_end_with_their_program_in_whichever_way_it_ends() {
    for end in ["SIGKILL", "exit", "abort", "SIGSEGV", "a main thread that has ended"] {
        let mut program = Program::start();
        let agents = [program.new_guarded(3), program.new_guarded(0), program.new_guarded(1)];
        assert!(agents.iter().all(Cgroup::exists));
        let guard = program.guard();
        match end {
            "SIGKILL" => program.member.signal(Signal::SIGKILL),
            "SIGSEGV" => program.member.signal(Signal::SIGSEGV),
            "a main thread that has ended" => {
                program.member.send("end thread");
                program.member.expect_line("ended");
                program.member.signal(Signal::SIGKILL);
            }
            command => program.member.send(command),
        }
        program.wait_for_cleanup();
        wait_until(&format!("the guard has ended: {end}"), || !is_alive(guard));
    }
}

/// The guard thaws the processes and publishes the final counters before it removes the group.
#[test]
fn the_removal_of_an_agent_by_the_guard_is_reported_to_watchers() {
    let mut program = Program::start();
    let agent = program.new_guarded(0);
    let uuid = agent.0.file_name().unwrap().to_str().unwrap();
    let watcher = Agent::open(Some(&program.scratch.path()), uuid, false).unwrap();
    watcher.event_fd(GONE).unwrap();
    assert_eq!(watcher.next_events(Deadline::after(Duration::from_millis(200))).unwrap(), 0);
    program.member.kill_it_alone();
    assert_eq!(watcher.next_events(deadline()).unwrap(), GONE);
    program.wait_for_cleanup();
}

/// The process goes on as another program, which has no agents.
#[test]
fn agents_of_a_program_that_execs_another_are_removed() {
    let mut program = Program::start();
    let agent = program.new_guarded(0);
    let mut inside = Member::start("sleeper", &[]);
    agent.move_in(inside.pid());
    program.member.send("exec");
    inside.wait_dead();
    wait_until("the tree is gone", || !program.scratch.parent.join("synwire").exists());
}

/// No process can remove its own cgroup. The cgroup of the program may be removed before the guard moves back
/// there. The guard then moves to systemd's init.scope; if it cannot, a reaper removes the guard's cgroup.
#[test]
fn a_guard_that_cannot_move_back_moves_elsewhere_or_its_cgroup_is_reaped() {
    let mut program = Program::start();
    let exit = program.scratch.outer.make("exit");
    exit.move_in(program.member.pid());
    let agent = program.new_guarded(1);
    let (guard, guard_cgroup) = (program.guard(), program.guard_cgroup());
    kill(Pid::from_raw(guard), Signal::SIGSTOP).expect("kill");
    program.member.kill_it_alone();
    for member in exit.words("cgroup.procs") {
        kill(Pid::from_raw(member.parse().expect("a pid")), Signal::SIGKILL).expect("kill");
    }
    exit.wait_for("cgroup.events", |text| text.contains("populated 0"));
    exit.remove();
    assert!(agent.exists() && guard_cgroup.exists());
    kill(Pid::from_raw(guard), Signal::SIGCONT).expect("kill");
    wait_until("the guard has ended", || !is_alive(guard));
    assert!(!agent.exists());
    let refuge = exit
        .0
        .ancestors()
        .any(|above| nix::unistd::access(&above.join("init.scope/cgroup.procs"), AccessFlags::W_OK).is_ok());
    assert_eq!(guard_cgroup.exists(), !refuge);
    if guard_cgroup.exists() {
        assert_eq!(agentcg::reap(Some(&program.scratch.path()), deadline()), Ok(0));
    }
    program.wait_for_cleanup();
}

#[test]
fn agents_that_fork_without_end_are_killed_too() {
    let mut program = Program::start();
    let agent = program.new_guarded(0);
    program.run("fork_without_end");
    assert!(agent.all().len() > 3, "the agent has made cgroups");
    program.member.kill_it_alone();
    program.wait_for_cleanup();
}

#[test]
fn a_freed_or_destroyed_agent_is_no_longer_guarded() {
    let mut program = Program::start();
    let freed = program.new_guarded(1);
    program.run("free");
    let destroyed = program.new_guarded(1);
    program.run("destroy");
    assert!(!destroyed.exists());
    let guarded = program.new_guarded(1);
    let plain = Cgroup::at(program.request("new plain 1").as_bytes());
    // This holds even if the guard has not yet read the message when the program ends.
    let (late, guard) = (program.new_guarded(1), Pid::from_raw(program.guard()));
    kill(guard, Signal::SIGSTOP).expect("kill");
    program.run("free");
    program.member.kill_it_alone();
    kill(guard, Signal::SIGCONT).expect("kill");
    wait_until("the guarded one is gone", || !guarded.exists());
    wait_until("the guard is gone", || !program.guard_cgroup().exists());
    for left in [freed, plain, late] {
        assert_eq!(left.words("cgroup.procs").len(), 1, "{}", left.0.display());
    }
}

#[test]
fn successive_agents_have_the_same_guard() {
    let mut program = Program::start();
    program.new_guarded(0);
    let guard = program.guard();
    for end in ["free", "destroy"].repeat(5) {
        program.run(end);
        program.new_guarded(0);
        assert_eq!(program.guard(), guard, "{end}");
    }
    program.member.kill_it_alone();
    wait_until("the guard has ended", || !is_alive(guard));
}

#[test]
fn the_guard_ends_after_the_last_agent_and_leaves_nothing() {
    let mut program = Program::start();
    for end in ["free", "destroy"] {
        program.new_guarded(0);
        let (first, guard) = (program.new_guarded(0), program.guard());
        // A child with a copy of the socket does not keep the guard.
        let child = program.request("fork keep").parse().expect("a pid");
        program.run(end);
        assert!(is_alive(guard), "one agent is left: {end}");
        assert_eq!(program.request("guarded"), "true");
        program.run("destroy");
        wait_until("the guard has ended", || !is_alive(guard));
        assert!(!program.guard_cgroup().exists(), "{end}");
        if end == "free" {
            first.remove();
        }
        kill(Pid::from_raw(child), Signal::SIGKILL).expect("kill");
    }
    wait_until("the tree is gone", || !program.scratch.parent.join("synwire").exists());
}

#[test]
fn hangup_and_signals_to_the_process_group_do_not_end_the_guard() {
    let mut program = Program::start();
    program.run("lead");
    program.new_guarded(2);
    let guard = program.guard();
    for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM, Signal::SIGQUIT] {
        kill(Pid::from_raw(guard), signal).expect("kill");
    }
    killpg(Pid::from_raw(program.member.pid()), Signal::SIGKILL).expect("killpg");
    program.wait_for_cleanup();
}

#[test]
fn a_program_never_sees_the_guard_among_its_children() {
    let mut program = Program::start();
    program.new_guarded(0);
    assert_eq!(program.request("children"), "none");
    kill(Pid::from_raw(program.guard()), Signal::SIGKILL).expect("kill");
    wait_until("it is gone", || program.guard_cgroup().words("cgroup.procs").is_empty());
    assert_eq!(program.request("children"), "none");
}

#[test]
fn a_subreaper_has_no_zombie_of_the_guard_after_the_next_call() {
    let mut program = Program::start();
    program.run("adopt");
    program.new_guarded(0);
    let guard = program.guard();
    program.run("destroy");
    // The guard removes its cgroup before it ends. Linux 7.1 reaps the guard, older kernels leave a zombie.
    wait_until("the guard has ended", || matches!(state_of(guard), Some('Z') | None));
    assert!(!program.guard_cgroup().exists());
    program.request("new plain 0");
    assert!(!is_alive(guard));
    assert_eq!(program.request("children"), "none");
}

#[test]
fn a_killed_guard_is_reported_and_replaced() {
    let mut program = Program::start();
    program.new_guarded(0);
    let first = program.guard();
    assert_eq!(program.request("guarded"), "true");
    kill(Pid::from_raw(first), Signal::SIGKILL).expect("kill");
    wait_until("it is gone", || !is_alive(first));
    assert_eq!(program.request("guarded"), "false");
    let guarded = program.new_guarded(1);
    assert_ne!(program.guard(), first);
    assert_eq!(program.request("guarded"), "false true");
    program.member.kill_it_alone();
    wait_until("the one is gone", || !guarded.exists());
}

#[test]
fn a_forked_child_neither_ends_nor_prolongs_the_guarding() {
    for action in ["keep", "free", "destroy"] {
        let mut program = Program::start();
        let mine = program.new_guarded(1);
        program.new_guarded(0);
        let child: i32 = program.request(&format!("fork {action}")).parse().expect("a pid");
        assert_eq!(program.request("guarded"), if action == "destroy" { "true false" } else { "true true" });
        let guard = program.guard();
        program.member.kill_it_alone();
        wait_until("the agent is gone", || !mine.exists());
        wait_until("the guard is gone", || !is_alive(guard));
        assert!(is_alive(child), "{action}");
        kill(Pid::from_raw(child), Signal::SIGKILL).expect("kill");
        program.wait_for_cleanup();
    }
}

#[test]
fn a_forked_child_has_a_guard_of_its_own() {
    let mut program = Program::start();
    let mine = program.new_guarded(1);
    let child = program.request("fork new");
    let childs = Cgroup::at(program.member.receive().as_bytes());
    kill(Pid::from_raw(child.parse().expect("a pid")), Signal::SIGKILL).expect("kill");
    wait_until("the child's agent is gone", || !childs.exists());
    assert_eq!(mine.words("cgroup.procs").len(), 1);
    assert_eq!(program.request("guarded"), "true");
    program.member.kill_it_alone();
    program.wait_for_cleanup();
}

#[test]
fn a_thread_can_make_the_first_guarded_agent() {
    let mut program = Program::start();
    let agent = Cgroup::at(program.request("in a thread new guarded 3").as_bytes());
    assert_eq!(program.request("guarded"), "true");
    assert!(agent.exists());
    program.member.kill_it_alone();
    program.wait_for_cleanup();
}

/// The lab is some hundred times slower than a real machine: the time is only printed.
#[test]
fn a_hundred_agents_of_ten_processes_are_removed_each_time() {
    let rounds = std::env::var("AGENTCG_GUARD_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    for round in 0..rounds {
        let mut program = Program::start();
        for _ in 0..common::repetitions(100) {
            program.new_guarded(10);
        }
        let start = Instant::now();
        program.member.kill_it_alone();
        program.wait_for_cleanup();
        eprintln!("round {round}: all gone after {:?}", start.elapsed());
        assert!(start.elapsed() < TIMEOUT);
    }
    assert!(!lab::layout().is_empty());
}

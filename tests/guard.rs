// SPDX-License-Identifier: MIT OR Apache-2.0
//! Guarded agents: they end with the program that made them, however it ends; and the guard that sees to it
//! is in nobody's way.

#[macro_use]
mod common;
#[path = "guard/birth.rs"]
mod birth;
#[path = "guard/crippled.rs"]
mod crippled;
#[path = "guard/executable.rs"]
mod executable;
#[path = "guard/host.rs"]
mod host;
#[path = "guard/init.rs"]
mod init;
#[path = "guard/program.rs"]
mod program;
#[path = "guard/resources.rs"]
mod resources;
#[path = "guard/stopped.rs"]
mod stopped;

use agentcg::events::GONE;
use agentcg::{Agent, Deadline};
use common::cgroup::Cgroup;
use common::member::{Member, sleeper};
use common::{PATIENCE, lab, patience, state_of, wait_until};
use host::host;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{AccessFlags, Pid};
use program::Program;
use std::time::{Duration, Instant};

roles![sleeper, host, executable::asks_for_a_guard, init::beside_an_idle_init];

fn lives(pid: i32) -> bool {
    kill(Pid::from_raw(pid), None).is_ok()
}

#[test]
fn the_end_of_a_program_is_that_of_its_agents_however_it_comes() {
    for end in ["SIGKILL", "exit", "abort", "SIGSEGV", "a main thread that has ended"] {
        let mut program = Program::start();
        let agents = [program.guarded(3), program.guarded(0), program.guarded(1)];
        assert!(agents.iter().all(Cgroup::exists));
        let guard = program.guard();
        match end {
            "SIGKILL" => program.member.signal(Signal::SIGKILL),
            "SIGSEGV" => program.member.signal(Signal::SIGSEGV),
            "a main thread that has ended" => {
                program.member.say("end thread");
                program.member.hears("ended");
                program.member.signal(Signal::SIGKILL);
            }
            order => program.member.say(order),
        }
        program.wait_for_no_trace();
        wait_until(&format!("the guard has ended: {end}"), || !lives(guard));
    }
}

/// The freeze that the guard wakes them with, and the counts that it leaves, come before the removal.
#[test]
fn who_watches_an_agent_is_told_when_the_guard_removes_it() {
    let mut program = Program::start();
    let agent = program.guarded(0);
    let uuid = agent.0.file_name().unwrap().to_str().unwrap();
    let watcher = Agent::open(Some(&program.scratch.path()), uuid, false).unwrap();
    watcher.event_fd(GONE).unwrap();
    assert_eq!(watcher.next_events(Deadline::after(Duration::from_millis(200))).unwrap(), 0);
    program.member.kill_it_alone();
    assert_eq!(watcher.next_events(patience()).unwrap(), GONE);
    program.wait_for_no_trace();
}

/// It lives on as another program, which has no agents.
#[test]
fn a_program_that_becomes_another_has_ended() {
    let mut program = Program::start();
    let agent = program.guarded(0);
    let mut inside = Member::start("sleeper", &[]);
    agent.take(inside.pid());
    program.member.say("exec");
    inside.wait_dead();
    wait_until("the tree is gone", || !program.scratch.parent.join("synwire").exists());
}

/// Nobody can remove the cgroup that it is in itself. The program's own may be removed when the guard wants to go
/// there; systemd's is the next best, and else it is left for a reaper.
#[test]
fn a_guard_that_cannot_go_back_goes_elsewhere_or_is_cleared_up_after() {
    let mut program = Program::start();
    let home = program.scratch.outer.make("home");
    home.take(program.member.pid());
    let agent = program.guarded(1);
    let (guard, leaf) = (program.guard(), program.leaf());
    kill(Pid::from_raw(guard), Signal::SIGSTOP).expect("kill");
    program.member.kill_it_alone();
    for member in home.words("cgroup.procs") {
        kill(Pid::from_raw(member.parse().expect("a pid")), Signal::SIGKILL).expect("kill");
    }
    home.wait_for("cgroup.events", |text| text.contains("populated 0"));
    home.remove();
    assert!(agent.exists() && leaf.exists());
    kill(Pid::from_raw(guard), Signal::SIGCONT).expect("kill");
    wait_until("the guard has ended", || !lives(guard));
    assert!(!agent.exists());
    let refuge = home
        .0
        .ancestors()
        .any(|above| nix::unistd::access(&above.join("init.scope/cgroup.procs"), AccessFlags::W_OK).is_ok());
    assert_eq!(leaf.exists(), !refuge);
    if leaf.exists() {
        assert_eq!(agentcg::reap(Some(&program.scratch.path()), patience()), Ok(0));
    }
    program.wait_for_no_trace();
}

#[test]
fn agents_that_fight_end_as_well() {
    let mut program = Program::start();
    let agent = program.guarded(0);
    program.does("fighters");
    assert!(agent.all().len() > 3, "cgroups of its own");
    program.member.kill_it_alone();
    program.wait_for_no_trace();
}

#[test]
fn what_was_freed_or_destroyed_is_guarded_no_more() {
    let mut program = Program::start();
    let freed = program.guarded(1);
    program.does("free");
    let destroyed = program.guarded(1);
    program.does("destroy");
    assert!(!destroyed.exists());
    let guarded = program.guarded(1);
    let plain = Cgroup::at(program.asked("new plain 1").as_bytes());
    // Even where the guard has not come to hear of it when the program ends.
    let (late, guard) = (program.guarded(1), Pid::from_raw(program.guard()));
    kill(guard, Signal::SIGSTOP).expect("kill");
    program.does("free");
    program.member.kill_it_alone();
    kill(guard, Signal::SIGCONT).expect("kill");
    wait_until("the guarded one is gone", || !guarded.exists());
    wait_until("the guard is gone", || !program.leaf().exists());
    for left in [freed, plain, late] {
        assert_eq!(left.words("cgroup.procs").len(), 1, "{}", left.0.display());
    }
}

#[test]
fn agents_one_after_the_other_have_the_same_guard() {
    let mut program = Program::start();
    program.guarded(0);
    let guard = program.guard();
    for end in ["free", "destroy"].repeat(5) {
        program.does(end);
        program.guarded(0);
        assert_eq!(program.guard(), guard, "{end}");
    }
    program.member.kill_it_alone();
    wait_until("the guard has ended", || !lives(guard));
}

#[test]
fn the_guard_ends_after_the_last_agent_and_leaves_nothing() {
    let mut program = Program::start();
    for end in ["free", "destroy"] {
        program.guarded(0);
        let (first, guard) = (program.guarded(0), program.guard());
        // A child with a copy of the line does not keep it.
        let child = program.asked("fork keep").parse().expect("a pid");
        program.does(end);
        assert!(lives(guard), "there is one left: {end}");
        assert_eq!(program.asked("guarded"), "true");
        program.does("destroy");
        wait_until("the guard has ended", || !lives(guard));
        assert!(!program.leaf().exists(), "{end}");
        if end == "free" {
            first.remove();
        }
        kill(Pid::from_raw(child), Signal::SIGKILL).expect("kill");
    }
    wait_until("the tree is gone", || !program.scratch.parent.join("synwire").exists());
}

#[test]
fn hangup_and_signals_for_the_whole_group_do_not_reach_the_guard() {
    let mut program = Program::start();
    program.does("lead");
    program.guarded(2);
    let guard = program.guard();
    for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM, Signal::SIGQUIT] {
        kill(Pid::from_raw(guard), signal).expect("kill");
    }
    killpg(Pid::from_raw(program.member.pid()), Signal::SIGKILL).expect("killpg");
    program.wait_for_no_trace();
}

#[test]
fn a_program_never_sees_the_guard_among_its_children() {
    let mut program = Program::start();
    program.guarded(0);
    assert_eq!(program.asked("children"), "none");
    kill(Pid::from_raw(program.guard()), Signal::SIGKILL).expect("kill");
    wait_until("it is gone", || program.leaf().words("cgroup.procs").is_empty());
    assert_eq!(program.asked("children"), "none");
}

#[test]
fn one_that_adopts_orphans_has_no_zombie_of_it_after_the_next_call() {
    let mut program = Program::start();
    program.does("adopt");
    program.guarded(0);
    let guard = program.guard();
    program.does("destroy");
    // Before its end the guard removes its cgroup. Linux 7.1 reaps the guard, older kernels leave a zombie.
    wait_until("the guard has ended", || matches!(state_of(guard), Some('Z') | None));
    assert!(!program.leaf().exists());
    program.asked("new plain 0");
    assert!(!lives(guard));
    assert_eq!(program.asked("children"), "none");
}

#[test]
fn a_guard_that_was_killed_is_told_and_replaced() {
    let mut program = Program::start();
    program.guarded(0);
    let first = program.guard();
    assert_eq!(program.asked("guarded"), "true");
    kill(Pid::from_raw(first), Signal::SIGKILL).expect("kill");
    wait_until("it is gone", || !lives(first));
    assert_eq!(program.asked("guarded"), "false");
    let guarded = program.guarded(1);
    assert_ne!(program.guard(), first);
    assert_eq!(program.asked("guarded"), "false true");
    program.member.kill_it_alone();
    wait_until("the one is gone", || !guarded.exists());
}

#[test]
fn a_forked_child_neither_ends_the_guarding_nor_prolongs_it() {
    for way in ["keep", "free", "destroy"] {
        let mut program = Program::start();
        let mine = program.guarded(1);
        program.guarded(0);
        let child: i32 = program.asked(&format!("fork {way}")).parse().expect("a pid");
        assert_eq!(program.asked("guarded"), if way == "destroy" { "true false" } else { "true true" });
        let guard = program.guard();
        program.member.kill_it_alone();
        wait_until("the agent is gone", || !mine.exists());
        wait_until("the guard is gone", || !lives(guard));
        assert!(lives(child), "{way}");
        kill(Pid::from_raw(child), Signal::SIGKILL).expect("kill");
        program.wait_for_no_trace();
    }
}

#[test]
fn a_forked_child_has_a_guard_of_its_own() {
    let mut program = Program::start();
    let mine = program.guarded(1);
    let child = program.asked("fork new");
    let childs = Cgroup::at(program.member.hear().as_bytes());
    kill(Pid::from_raw(child.parse().expect("a pid")), Signal::SIGKILL).expect("kill");
    wait_until("the child's agent is gone", || !childs.exists());
    assert_eq!(mine.words("cgroup.procs").len(), 1);
    assert_eq!(program.asked("guarded"), "true");
    program.member.kill_it_alone();
    program.wait_for_no_trace();
}

#[test]
fn a_thread_can_be_the_first_to_ask() {
    let mut program = Program::start();
    let agent = Cgroup::at(program.asked("in a thread new guarded 3").as_bytes());
    assert_eq!(program.asked("guarded"), "true");
    assert!(agent.exists());
    program.member.kill_it_alone();
    program.wait_for_no_trace();
}

/// In the lab some hundred times slower than elsewhere: the time is only told.
#[test]
fn a_hundred_agents_of_ten_processes_are_gone_each_time() {
    let rounds = std::env::var("AGENTCG_GUARD_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    for round in 0..rounds {
        let mut program = Program::start();
        for _ in 0..common::of_many(100) {
            program.guarded(10);
        }
        let start = Instant::now();
        program.member.kill_it_alone();
        program.wait_for_no_trace();
        eprintln!("round {round}: all gone after {:?}", start.elapsed());
        assert!(start.elapsed() < PATIENCE);
    }
    assert!(!lab::layout().is_empty());
}

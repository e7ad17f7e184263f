// SPDX-License-Identifier: MIT OR Apache-2.0
//! A scope of the guest's systemd: what it contains, which process keeps it alive, and that nothing of it is
//! left when it is no longer needed.

mod programs;
mod starts;
mod stopped;

use crate::common::cgroup::Cgroup;
use crate::common::member::Member;
use crate::common::{TIMEOUT, deadline, lab, wait_until};
use agentcg::stats::{CPU, MEMORY_PEAK, PIDS_PEAK};
use agentcg::{Agent, Errno, Limits, PlaceKind, Reason, discover_parent, list, reap};
use nix::sys::signal::Signal;
use programs::{limits, only_systemd};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

roles![programs::host, programs::guarded_twice, programs::parent, starts::inside];

const LAYOUTS: [&str; 4] = ["systemd-session", "systemd-scope", "systemd-service", "systemd-system"];

/// The scope of an agent.
fn scope_of(agent: &Agent) -> Cgroup {
    scope_of_path(&Cgroup::at(agent.path()))
}

fn scope_of_path(group: &Cgroup) -> Cgroup {
    let agents = group.parent();
    assert!(agents.0.ends_with("synwire/agents"), "{}", group.0.display());
    agents.parent().parent()
}

fn uuid_of(group: &Cgroup) -> String {
    group.0.file_name().expect("a name").to_string_lossy().into_owned()
}

/// Returns the units and processes of the library.
fn traces() -> BTreeSet<String> {
    let mut systemctl = Command::new("systemctl");
    if !lab::is_root() {
        systemctl.arg("--user");
        systemctl.env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/run/user/1000/bus");
    }
    let units = systemctl
        .args(["list-units", "--all", "--plain", "--no-legend", "--type=scope,service,slice", "agentcg-*"])
        .output()
        .expect("systemctl");
    assert!(units.status.success(), "{}", String::from_utf8_lossy(&units.stderr));
    let units = String::from_utf8_lossy(&units.stdout).into_owned();
    let units = units.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned);
    let guards = std::fs::read_dir("/proc").expect("/proc").flatten().filter_map(|entry| {
        let name = std::fs::read_to_string(entry.path().join("comm")).ok()?;
        (name == "agentcg-guard\n").then(|| format!("process {:?}", entry.file_name()))
    });
    units.chain(guards).collect()
}

/// systemd learns of the end of a scope by an event.
fn wait_for_cleanup() {
    let start = Instant::now();
    while !traces().is_empty() {
        assert!(start.elapsed() < TIMEOUT, "left: {:?}", traces());
    }
}

/// This is one test, since a scope belongs to the whole program.
#[test]
fn a_scope_contains_the_agents_and_leaves_no_trace() {
    lab::needs(&LAYOUTS);
    assert_eq!(traces(), BTreeSet::new());
    let own = Cgroup::own();

    // A limit that is not available is refused before a scope is made, or the scope is removed again.
    let refused = Limits { io_weight: Some(100), ..limits() };
    let e = Agent::new_where(only_systemd(), None, &refused).expect_err("there is no io.weight");
    assert_eq!((e.errno(), e.reason()), (Errno::EOPNOTSUPP, Some(Reason::NoController)), "{e}");
    wait_for_cleanup();
    if lab::hides("cpu.idle") {
        let refused = Limits { cpu_idle: Some(true), ..limits() };
        let e = Agent::new_where(only_systemd(), None, &refused).expect_err("there is no cpu.idle");
        assert_eq!((e.errno(), e.reason()), (Errno::EOPNOTSUPP, Some(Reason::NoController)), "{e}");
        wait_for_cleanup();
    }

    // discover_parent() names the place without making a scope.
    let last_resort = lab::layout() == "systemd-session" || lab::layout() == "systemd-service";
    let parent = discover_parent().unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(traces(), BTreeSet::new());
    let agent = match last_resort {
        true => Agent::new(None, None, &limits()),
        false => Agent::new_where(only_systemd(), None, &limits()),
    };
    let agent = agent.unwrap_or_else(|e| panic!("{e}"));
    let scope = scope_of(&agent);
    assert!(!last_resort || Cgroup::at(parent.as_slice()) == scope, "{}", String::from_utf8_lossy(&parent));
    let info = agent.info().expect("info");
    assert_eq!(info.place, PlaceKind::Systemd);
    assert!(info.controllers.to_string().starts_with("memory"), "{}", info.controllers);
    let cgroup = Cgroup::at(agent.path());
    assert_eq!(
        (cgroup.read("memory.max"), cgroup.read("pids.max"), cgroup.read("cpu.max")),
        ("67108864".into(), "20".into(), "50000 100000".into())
    );
    assert_eq!(Cgroup::own(), own, "the test was moved");

    // The second agent is in the same scope.
    let second = Agent::new_where(only_systemd(), None, &limits()).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(scope_of(&second), scope);
    assert_eq!(discover_parent().map(|parent| !last_resort || Cgroup::at(parent) == scope), Ok(true));

    let mut member = Member::start("sleeper", &[]);
    if last_resort {
        let direct = cgroup.try_write("cgroup.procs", &member.pid().to_string());
        assert_eq!(direct.expect_err("a direct move").raw_os_error(), Some(libc::EACCES));
        assert_eq!(agent.move_self(), Err(Errno::EACCES));
    }
    agent.move_pid(member.pid()).unwrap_or_else(|e| panic!("{e}"));
    assert!(cgroup.lists(member.pid()));
    if !lab::is_root() {
        let e = agent.move_pid(1).expect_err("PID 1 was moved");
        assert_eq!((e.errno(), e.reason()), (Errno::EACCES, Some(Reason::SystemdRefused)), "{e}");
    }

    check_guard_uses_few_resources(&scope);
    agent.kill_all(deadline()).unwrap_or_else(|e| panic!("{e}"));
    member.wait_dead();
    for agent in [agent, second] {
        agent.destroy(false, deadline(), false).unwrap_or_else(|e| panic!("{e}"));
    }
    assert!(scope.exists(), "the scope stays until the end of the program");
}

fn check_guard_uses_few_resources(scope: &Cgroup) {
    let guards = scope.join("guard").words("cgroup.procs");
    assert!(scope.words("cgroup.procs").is_empty());
    assert_eq!(guards.len(), 1, "{guards:?}");
    let pid: i32 = guards.first().expect("one").parse().expect("a pid");
    let proc = Path::new("/proc").join(pid.to_string());
    let status = std::fs::read_to_string(proc.join("status")).expect("status");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("the field");
        line.trim_start_matches(':').trim().to_owned()
    };
    assert_ne!(field("PPid"), std::process::id().to_string(), "the guard is a child of the test");
    assert_eq!(field("NSsid"), pid.to_string(), "the guard has its own session");
    let fds = std::fs::read_dir(proc.join("fd")).expect("fd").count();
    // Three standard descriptors, the socket, the pidfd of the host, the scope and two cgroups to move to at
    // its end.
    assert!(fds <= 8, "the guard has {fds} descriptors");
    // SAFETY: the call waits for any child and stores nothing.
    #[allow(unsafe_code, reason = "nix has no __WALL for waitpid on every system")]
    let waited = unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG | libc::__WALL) };
    assert!(waited <= 0, "a child of the test has ended: {waited}");
}

/// The program is killed or ends in an orderly way. The guard notices it, and systemd removes the scope.
#[test]
fn a_scope_ends_with_the_program_and_its_last_process() {
    lab::needs(&LAYOUTS);
    for end in ["kill", "destroy", "leave", "hold"] {
        let mut program = Member::start("programs::host", &[]);
        let cgroup = Cgroup::at(program.receive().as_bytes());
        let scope = cgroup.parent().parent().parent();
        let guard = Cgroup(scope.join("guard").0);
        assert!(!guard.words("cgroup.procs").is_empty(), "{end}");
        let mut member = Member::start("sleeper", &[]);
        match end {
            "kill" => program.signal(Signal::SIGKILL),
            "hold" => {
                program.send(&format!("hold {}", member.pid()));
                program.expect_line("held");
                program.signal(Signal::SIGKILL);
            }
            word => program.send(word),
        }
        program.wait();
        if end == "hold" {
            wait_until("the guard is gone", || guard.words("cgroup.procs").is_empty());
            assert!(cgroup.lists(member.pid()), "{end}");
            // Another program finds the agent there, though it would make its own scope.
            let uuid = cgroup.0.file_name().expect("a name").to_string_lossy();
            let other = Agent::open(None, &uuid, false).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(other.info().expect("info").place, PlaceKind::Systemd);
            let entries = list(None).unwrap_or_else(|e| panic!("{e}"));
            assert!(entries.iter().any(|entry| entry.uuid == uuid && entry.orphan && entry.populated));
            assert_eq!(reap(None, deadline()), Ok(1));
            member.wait();
        }
        wait_until(&format!("the scope is gone: {end}"), || !scope.exists());
    }
}

/// One guard keeps the scope alive and guards the agents in it.
#[test]
fn guarded_agents_end_with_the_program_and_before_the_scope() {
    lab::needs(&LAYOUTS);
    let mut program = Member::start("programs::host", &["guarded"]);
    let cgroup = Cgroup::at(program.receive().as_bytes());
    let scope = cgroup.parent().parent().parent();
    assert_eq!(scope.join("guard").words("cgroup.procs").len(), 1);
    assert_eq!(scope.join("synwire").words("cgroup.procs").len(), 0);
    let mut member = Member::start("sleeper", &[]);
    program.send(&format!("hold {}", member.pid()));
    program.expect_line("held");
    program.kill_it_alone();
    member.wait_dead();
    wait_until("the scope is gone", || !scope.exists());
}

/// The guard has an agent in another place first. It then moves to the scope, and its old cgroup is removed.
#[test]
fn an_existing_guard_keeps_the_scope_alive() {
    lab::needs(&LAYOUTS);
    // In the other layouts there is no other place.
    if !matches!(lab::layout().as_str(), "systemd-scope" | "systemd-system") {
        return;
    }
    let mut program = Member::start("guarded_twice", &[]);
    let first = Cgroup::at(program.receive().as_bytes());
    let guard_cgroup = first.parent().parent().join(format!("guard-{}", program.pid()));
    let guard = guard_cgroup.words("cgroup.procs");
    assert_eq!(guard.len(), 1);
    program.send("go on");
    let second = Cgroup::at(program.receive().as_bytes());
    let scope = second.parent().parent().parent();
    assert_eq!(scope.join("guard").words("cgroup.procs"), guard);
    assert!(!guard_cgroup.exists());
    program.kill_it_alone();
    wait_until("both are gone", || !first.exists() && !second.exists());
    wait_until("the scope is gone", || !scope.exists());
}

/// The lock and the socket to the guard that a child inherits belong to its parent.
#[test]
fn a_forked_child_has_its_own_scope() {
    lab::needs(&LAYOUTS);
    let mut program = Member::start("parent", &[]);
    let mut scope = || Cgroup::at(program.receive().as_bytes()).parent().parent().parent();
    let (parents, childs) = (scope(), scope());
    assert_ne!(parents, childs);
    program.expect_line("the child has ended");
    wait_until("the child's scope is gone", || !childs.exists());
    assert!(!parents.join("guard").words("cgroup.procs").is_empty(), "the parent's scope stays");
    program.send("end");
    program.wait();
    wait_until("the parent's scope is gone", || !parents.exists());
}

/// systemd removes a scope, and with it the group, when its last process has ended.
#[test]
fn an_adopted_last_agent_of_a_scope_keeps_its_final_statistics() {
    lab::needs(&LAYOUTS);
    let (cgroup, mut member) = orphan_in_a_scope();
    let scope = scope_of_path(&cgroup);
    let adopted = Agent::open(None, &uuid_of(&cgroup), true).unwrap_or_else(|e| panic!("{e}"));
    member.kill_it_alone();
    member.wait_dead();
    adopted.wait_empty(deadline()).unwrap_or_else(|e| panic!("{e}"));
    wait_for_systemd();
    assert!(scope.exists());
    let last = adopted.destroy(false, deadline(), true).unwrap_or_else(|e| panic!("{e}"));
    let expected = CPU | MEMORY_PEAK | PIDS_PEAK;
    assert_eq!(last.mask & expected, expected, "{last:?}");
    // A tick of this kernel is longer than the life of the process.
    assert_eq!(last.pids_peak, 1, "{last:?}");
    drop(adopted);
    wait_until("the scope is gone", || !scope.exists());
}

/// The scope of two agents is kept by one process, as long as a handle of one of them is open.
#[test]
fn adopted_agents_of_one_scope_share_the_process_that_keeps_it() {
    lab::needs(&LAYOUTS);
    let mut program = Member::start("programs::host", &[]);
    let first = Cgroup::at(program.receive().as_bytes());
    program.send("again");
    let second = Cgroup::at(program.receive().as_bytes());
    let scope = scope_of_path(&first);
    assert_eq!(scope_of_path(&second), scope);
    let mut member = Member::start("sleeper", &[]);
    program.send(&format!("hold {}", member.pid()));
    program.expect_line("held");
    program.kill_it_alone();
    let guard = Cgroup(scope.join("guard").0);
    wait_until("the guard is gone", || guard.words("cgroup.procs").is_empty());
    let open = |cgroup: &Cgroup| Agent::open(None, &uuid_of(cgroup), true).unwrap_or_else(|e| panic!("{e}"));
    let (first, second) = (open(&first), open(&second));
    assert_eq!(guard.words("cgroup.procs").len(), 1);
    second.destroy(false, deadline(), false).unwrap_or_else(|e| panic!("{e}"));
    drop(second);
    first.kill_all(deadline()).unwrap_or_else(|e| panic!("{e}"));
    member.wait_dead();
    wait_for_systemd();
    assert_eq!(guard.words("cgroup.procs").len(), 1);
    drop(first);
    wait_until("the scope is gone", || !scope.exists());
}

/// Its program has ended, and its only process lives in the only agent of the scope.
fn orphan_in_a_scope() -> (Cgroup, Member) {
    let mut program = Member::start("programs::host", &[]);
    let cgroup = Cgroup::at(program.receive().as_bytes());
    let member = Member::start("sleeper", &[]);
    program.send(&format!("hold {}", member.pid()));
    program.expect_line("held");
    program.kill_it_alone();
    let guard = Cgroup(scope_of_path(&cgroup).join("guard").0);
    wait_until("the guard is gone", || guard.words("cgroup.procs").is_empty());
    (cgroup, member)
}

/// systemd has handled what happened before: it learns of the end of scopes in their order.
fn wait_for_systemd() {
    let mut program = Member::start("programs::host", &[]);
    let scope = scope_of_path(&Cgroup::at(program.receive().as_bytes()));
    program.send("destroy");
    program.wait();
    wait_until("a later scope is gone", || !scope.exists());
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! A scope is stopped or frozen while its program lives.

use crate::common::cgroup::Cgroup;
use crate::common::member::Member;
use crate::common::{deadline, lab, wait_until};
use std::process::Command;
use std::time::{Duration, Instant};

/// systemd waits up to 90 s for what it stops.
const QUICK: Duration = Duration::from_secs(30);

fn systemctl(args: &[&str]) -> Duration {
    let mut systemctl = Command::new("systemctl");
    if !lab::is_root() {
        systemctl.arg("--user");
        systemctl.env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/run/user/1000/bus");
    }
    let start = Instant::now();
    let done = systemctl.args(args).output().expect("systemctl");
    assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
    start.elapsed()
}

fn scope_of(path: &str) -> Cgroup {
    Cgroup::at(path.as_bytes()).parent().parent().parent()
}

/// Starts a role as root in a scope of the user manager of uid 1000.
fn in_user_manager(role: &str, args: &[&str]) -> Member {
    let program = std::env::current_exe().expect("a path");
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", "1000", "--regid", "1000", "--init-groups", "systemd-run", "--user", "--quiet"])
        .args(["--scope", "--"])
        .arg(&program)
        .env("XDG_RUNTIME_DIR", "/run/user/1000")
        .env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/run/user/1000/bus");
    let member = Member::start_by(&mut command, role, args);
    let exe = format!("/proc/{}/exe", member.pid());
    wait_until("the role runs", || std::fs::read_link(&exe).is_ok_and(|exe| exe == program));
    member
}

/// Each guard ends at once too, so systemd waits for no process, though the programs live on until then.
#[test]
fn a_user_manager_with_guarded_agents_is_restarted_at_once() {
    lab::needs(&super::LAYOUTS);
    // Only root can restart the user manager.
    if lab::layout() != "systemd-system" {
        return;
    }
    // The scope of this process lasts as long as the process.
    let before = super::traces();
    let mut program = in_user_manager("programs::host", &["guarded"]);
    let scope = scope_of(&program.receive());
    assert!(scope.0.to_string_lossy().contains("/user@1000.service/"), "{}", scope.0.display());
    let mut inside = in_user_manager("sleeper", &[]);
    program.send(&format!("hold {}", inside.pid()));
    program.expect_line("held");
    let took = systemctl(&["restart", "user@1000.service"]);
    assert!(took < QUICK, "{took:?}");
    inside.wait_dead();
    program.wait_dead();
    assert!(!scope.exists());
    wait_until("nothing is left", || super::traces().is_subset(&before));
}

/// A guard in it ends on SIGTERM, and the next agent gets a new scope.
#[test]
fn a_scope_is_stopped_at_once_and_replaced_by_another() {
    lab::needs(&super::LAYOUTS);
    for guarded in [true, false] {
        let args: &[&str] = if guarded { &["guarded"] } else { &[] };
        let mut program = Member::start("programs::host", args);
        let first = scope_of(&program.receive());
        let mut inside = Member::start("sleeper", &[]);
        program.send(&format!("hold {}", inside.pid()));
        program.expect_line("held");
        let unit = first.0.file_name().expect("a name").to_str().expect("UTF-8").to_owned();
        let took = systemctl(&["stop", &unit]);
        assert!(took < QUICK, "{took:?}");
        inside.wait_dead();
        wait_until("the scope is gone", || !first.exists());
        program.send("again");
        let second = scope_of(&program.receive());
        assert!(second != first && second.exists());
        program.kill_it_alone();
        // systemd removes the scope with an empty agent. A reaper removes an agent that is not guarded.
        wait_until("the second scope is gone", || {
            agentcg::reap(None, deadline()).unwrap_or_else(|e| panic!("{e}"));
            !second.exists()
        });
    }
}

#[test]
fn a_guarded_agent_in_a_frozen_scope_is_refused_at_once_as_frozen() {
    lab::needs(&super::LAYOUTS);
    let mut program = Member::start("programs::host", &["guarded"]);
    let scope = scope_of(&program.receive());
    scope.write("cgroup.freeze", "1");
    scope.wait_for("cgroup.events", |text| text.contains("frozen 1"));
    let start = Instant::now();
    program.send("retry");
    let answer = program.receive();
    assert!(answer.starts_with("EBUSY") && answer.contains("frozen"), "{answer}");
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    scope.write("cgroup.freeze", "0");
    program.send("again");
    assert_eq!(scope_of(&program.receive()), scope);
    program.kill_it_alone();
    wait_until("the scope is gone", || !scope.exists());
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Programs that start inside a scope. In a session only systemd can move processes there.

use super::programs::{limits, only_systemd};
use crate::common::cgroup::Cgroup;
use crate::common::program::{self, StartOptions};
use crate::common::{deadline, lab, seccomp};
use agentcg::{Agent, BeginTimeout, Command, Errno, Redirection, SpawnOptions};
use nix::sys::wait::WaitStatus;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

/// Exits with 0 if it is in this cgroup according to /proc/self/cgroup.
pub fn inside(args: &[String]) {
    let text = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    let own = text.lines().find_map(|line| line.strip_prefix("0::")).unwrap();
    assert!(own.ends_with(&args[0]), "{own}");
}

/// The program has what it is given, and a host that waits only for a time gets on.
fn check_options(agent: &Agent) {
    let script =
        c"umask; nice; cat /proc/$$/oom_score_adj; readlink /proc/$$/fd/40; read -r line && echo $line";
    let (reader, writer) = nix::unistd::pipe().unwrap();
    let (input, typed) = nix::unistd::pipe().unwrap();
    nix::unistd::write(&typed, b"word\n").unwrap();
    let null = std::fs::File::open("/dev/null").unwrap();
    let command = program::command(&[c"/bin/sh"], [c"sh", c"-c", script]);
    let command = Command {
        stdio: [input.as_raw_fd(), writer.as_raw_fd(), 2],
        descriptors: vec![Redirection { source: null.as_raw_fd(), target: 40 }],
        umask: Some(0o77),
        nice: Some(4),
        oom_score_adj: Some(700),
        begin: BeginTimeout::Within(Duration::from_secs(60)),
        ..command
    };
    let child = agent.spawn(&command, SpawnOptions::default()).unwrap_or_else(|e| panic!("{e}"));
    drop(writer);
    let mut output = String::new();
    std::fs::File::from(reader).read_to_string(&mut output).unwrap();
    assert_eq!(output, "0077\n4\n700\n/dev/null\nword\n");
    assert!(matches!(program::wait(&child), WaitStatus::Exited(_, 0)));

    // The child waits in execve(2). The filter applies to the thread that installs it, and to its children.
    std::thread::scope(|threads| {
        threads.spawn(|| {
            let _listener = seccomp::listen(libc::SYS_execve);
            let late = program::command(&[c"/bin/true"], [c"true"]);
            let late = Command { begin: BeginTimeout::Within(Duration::from_millis(1)), ..late };
            let e = agent.spawn(&late, SpawnOptions::default()).unwrap_err();
            assert_eq!(e.errno(), Errno::ETIMEDOUT, "{e}");
        });
    });
}

/// systemd moves the child of a start that is not waited for, too.
fn check_async(agent: &Agent) {
    for (path, started) in [(c"/bin/true", Ok(())), (c"/nowhere", Err(Errno::ENOENT))] {
        let child = agent.spawn_async(&program::command(&[path], [c"x"]), SpawnOptions::default()).unwrap();
        let result = || agent.spawn_result(child.pidfd.as_ref().unwrap().as_fd());
        let result = loop {
            match result() {
                Ok(false) => std::thread::yield_now(),
                other => break other.map(drop),
            }
        };
        assert_eq!(result.map_err(|e| e.errno()), started);
        if started.is_ok() {
            program::wait(&child);
        }
    }
    assert!(program::no_child_is_left());
}

#[test]
fn a_program_starts_inside_a_scope() {
    lab::needs(&super::LAYOUTS);
    let agent = Agent::new_where(only_systemd(), None, &limits()).unwrap_or_else(|e| panic!("{e}"));
    let tail = format!("/synwire/agents/{}", agent.uuid());
    for (contain, tail) in [(false, tail.as_str()), (true, "/")] {
        let spawn = SpawnOptions { contain, pidfd: true };
        let child = program::start(
            &agent,
            "inside",
            StartOptions { args: &[tail], spawn, ..StartOptions::default() },
        )
        .unwrap_or_else(|e| panic!("contained: {contain}: {e}"));
        let pidfd = child.pidfd.as_ref().unwrap();
        let info =
            std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_fd().as_raw_fd())).unwrap();
        assert!(info.contains(&format!("Pid:\t{}\n", child.pid)), "{info}");
        assert!(matches!(program::wait(&child), WaitStatus::Exited(_, 0)), "contained: {contain}");
    }

    check_async(&agent);
    check_options(&agent);

    let nowhere = program::command(&[c"/nowhere"], [c"nowhere"]);
    let e = agent.spawn(&nowhere, SpawnOptions::default()).unwrap_err();
    assert_eq!(e.errno(), Errno::ENOENT, "{e}");
    assert!(program::no_child_is_left());
    assert!(Cgroup::at(agent.path()).members().is_empty());
    agent.destroy(false, deadline(), false).unwrap();
}

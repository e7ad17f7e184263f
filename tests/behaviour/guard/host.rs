// SPDX-License-Identifier: MIT OR Apache-2.0
//! A program that uses agentcg and executes the commands of a test.

#![allow(unsafe_code, reason = "system calls that nix has not in the form needed; see SAFETY")]

use crate::common::cgroup::Cgroup;
use crate::common::deadline;
use crate::common::member::role;
use agentcg::{Agent, Errno, Limits, PlaceRequest};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::ffi::CString;
use std::process::Command;

/// The size of the memory that a large program has touched, in bytes.
const LARGE: usize = 128 << 20;

pub fn host(args: &[String]) {
    let parent = CString::new(args[0].as_str()).expect("a path");
    let mut agents: Vec<Agent> = Vec::new();
    let mut memory: Vec<u8> = Vec::new();
    loop {
        let command = role::receive();
        let words: Vec<&str> = command.split(' ').collect();
        match words.as_slice() {
            ["in", "a", "thread", rest @ ..] => {
                let made = std::thread::scope(|scope| scope.spawn(|| make(&parent, rest)).join());
                agents.push(made.expect("the thread"));
                send_path(&agents);
                continue;
            }
            ["new", ..] => {
                agents.push(make(&parent, &words));
                send_path(&agents);
                continue;
            }
            ["try"] => {
                match Agent::new_where(place_request(&parent), None, &Limits::default()) {
                    Ok(agent) => agents.push(agent),
                    Err(e) => {
                        role::send(&format!("{:?}", e.errno()));
                        continue;
                    }
                }
                role::send("made");
                continue;
            }
            ["guarded"] => {
                let guarded = |agent: &Agent| agent.info().is_ok_and(|info| info.guarded).to_string();
                role::send(&agents.iter().map(guarded).collect::<Vec<_>>().join(" "));
                continue;
            }
            ["free"] => drop(agents.pop()),
            ["destroy"] => destroy(agents.pop().as_ref().expect("an agent")),
            ["exit"] => role::exit(0),
            ["abort"] => std::process::abort(),
            ["exec"] => exec_another(),
            ["end", "thread"] => {
                std::thread::spawn(|| {
                    role::send("ended");
                    role::sleep()
                });
                role::end_thread();
            }
            ["lead"] => nix::unistd::setpgid(nix::unistd::Pid::from_raw(0), nix::unistd::Pid::from_raw(0))
                .expect("setpgid"),
            ["adopt"] => {
                // SAFETY: the call takes integers only.
                assert_eq!(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }, 0);
            }
            ["children"] => {
                role::send(children());
                continue;
            }
            ["fork", action] => {
                fork(action, &parent, &mut agents);
                continue;
            }
            ["fork_without_end"] => fork_without_end(agents.last().expect("an agent")),
            ["grow"] => memory = vec![1; LARGE],
            ["rewrite"] => memory.fill(2),
            ["short", "of", "descriptors"] => {
                role::send(&make_with_few_descriptors(&parent));
                continue;
            }
            _ => panic!("unknown command {command}"),
        }
        role::send("done");
    }
}

fn send_path(agents: &[Agent]) {
    role::send(&String::from_utf8_lossy(&agents.last().expect("one").path()));
}

fn place_request(parent: &CString) -> PlaceRequest<'_> {
    PlaceRequest { parent: Some(parent), guard: true, ..PlaceRequest::default() }
}

/// Makes an agent: `new guarded COUNT` or `new plain COUNT`.
fn make(parent: &CString, words: &[&str]) -> Agent {
    let ["new", kind, count] = words else { panic!("{words:?}") };
    let request = PlaceRequest { guard: *kind == "guarded", ..place_request(parent) };
    let agent = Agent::new_where(request, None, &Limits::default()).unwrap_or_else(|e| panic!("{e}"));
    for _ in 0..count.parse::<u32>().expect("a number") {
        if role::fork() {
            assert_eq!(agent.move_self(), Ok(()));
            role::sleep();
        }
    }
    let inside = Cgroup::at(agent.path());
    while inside.words("cgroup.procs").len() < count.parse().expect("a number") {
        std::thread::yield_now();
    }
    agent
}

fn destroy(agent: &Agent) {
    agent.destroy(false, deadline(), false).unwrap_or_else(|e| panic!("{e}"));
}

/// Executes another program, which holds the same pipe.
fn exec_another() -> ! {
    use std::os::unix::process::CommandExt;
    panic!("exec: {}", Command::new("cat").exec())
}

/// Returns "some" if a wait for any child finds one of any kind.
fn children() -> &'static str {
    for kind in [0, libc::__WALL, libc::__WCLONE] {
        // SAFETY: the call waits for any child and stores nothing.
        let waited = unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG | kind) };
        if waited != -1 || Errno::last() != Errno::ECHILD {
            return "some";
        }
    }
    "none"
}

fn fork(action: &str, parent: &CString, agents: &mut Vec<Agent>) {
    if !role::fork() {
        return;
    }
    let own = std::process::id().to_string();
    match action {
        "keep" => {}
        "free" => agents.clear(),
        "destroy" => {
            destroy(agents.last().expect("one"));
            agents.clear();
        }
        "new" => agents.push(make(parent, &["new", "guarded", "1"])),
        _ => panic!("unknown action {action}"),
    }
    role::send(&own);
    if action == "new" {
        send_path(agents);
    }
    role::sleep()
}

/// Starts members in nested cgroups that fork without end.
fn fork_without_end(agent: &Agent) {
    let inside = Cgroup::at(agent.path());
    for name in ["a", "a/b", "a/b/c", "d"] {
        let nested = inside.make(name);
        if role::fork() {
            role::enter(&nested);
            loop {
                // Forks as often as the limits allow.
                if role::try_fork() == Ok(true) {
                    std::thread::yield_now();
                    role::exit(0);
                }
                let _none_or_one = nix::sys::wait::wait();
            }
        }
        while nested.words("cgroup.procs").is_empty() {
            std::thread::yield_now();
        }
    }
}

/// Raises the limit of descriptors until the call succeeds. Returns the errors before that.
fn make_with_few_descriptors(parent: &CString) -> String {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("getrlimit");
    let mut errors = Vec::new();
    for most in 4.. {
        setrlimit(Resource::RLIMIT_NOFILE, most, hard).expect("setrlimit");
        match Agent::new_where(place_request(parent), None, &Limits::default()) {
            Ok(agent) => {
                setrlimit(Resource::RLIMIT_NOFILE, soft, hard).expect("setrlimit");
                destroy(&agent);
                break;
            }
            Err(e) if e.errno() == Errno::EMFILE => errors.push("EMFILE".to_owned()),
            Err(e) => errors.push(e.to_string()),
        }
    }
    errors.dedup();
    errors.join(", ")
}

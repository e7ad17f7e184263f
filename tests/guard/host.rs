// SPDX-License-Identifier: MIT OR Apache-2.0
//! A program that uses agentcg, and does as it is told.

#![allow(unsafe_code, reason = "system calls that nix has not in the form needed; see SAFETY")]

use crate::common::cgroup::Cgroup;
use crate::common::member::role;
use crate::common::patience;
use agentcg::{Agent, Errno, Limits, PlaceRequest};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::ffi::CString;
use std::process::Command;

/// What a large program has touched.
const LARGE: usize = 128 << 20;

pub fn host(args: &[String]) {
    let parent = CString::new(args[0].as_str()).expect("a path");
    let mut agents: Vec<Agent> = Vec::new();
    let mut memory: Vec<u8> = Vec::new();
    loop {
        let order = role::listen();
        let words: Vec<&str> = order.split(' ').collect();
        match words.as_slice() {
            ["in", "a", "thread", rest @ ..] => {
                let made = std::thread::scope(|scope| scope.spawn(|| make(&parent, rest)).join());
                agents.push(made.expect("the thread"));
                say_path(&agents);
                continue;
            }
            ["new", ..] => {
                agents.push(make(&parent, &words));
                say_path(&agents);
                continue;
            }
            ["try"] => {
                match Agent::new_where(place_request(&parent), None, &Limits::default()) {
                    Ok(agent) => agents.push(agent),
                    Err(e) => {
                        role::say(&format!("{:?}", e.errno()));
                        continue;
                    }
                }
                role::say("made");
                continue;
            }
            ["guarded"] => {
                let told = |agent: &Agent| agent.info().is_ok_and(|info| info.guarded).to_string();
                role::say(&agents.iter().map(told).collect::<Vec<_>>().join(" "));
                continue;
            }
            ["free"] => drop(agents.pop()),
            ["destroy"] => destroy(agents.pop().as_ref().expect("an agent")),
            ["exit"] => role::exit(0),
            ["abort"] => std::process::abort(),
            ["exec"] => become_another(),
            ["end", "thread"] => {
                std::thread::spawn(|| {
                    role::say("ended");
                    role::sleep()
                });
                role::end_thread();
            }
            ["lead"] => nix::unistd::setpgid(nix::unistd::Pid::from_raw(0), nix::unistd::Pid::from_raw(0))
                .expect("setpgid"),
            ["adopt"] => {
                // SAFETY: integers only.
                assert_eq!(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }, 0);
            }
            ["children"] => {
                role::say(children());
                continue;
            }
            ["fork", way] => {
                fork(way, &parent, &mut agents);
                continue;
            }
            ["fighters"] => fighters(agents.last().expect("an agent")),
            ["grow"] => memory = vec![1; LARGE],
            ["rewrite"] => memory.fill(2),
            ["short", "of", "descriptors"] => {
                role::say(&short_of_descriptors(&parent));
                continue;
            }
            _ => panic!("what is {order}?"),
        }
        role::say("done");
    }
}

fn say_path(agents: &[Agent]) {
    role::say(&String::from_utf8_lossy(agents.last().expect("one").path()));
}

fn place_request(parent: &CString) -> PlaceRequest<'_> {
    PlaceRequest { parent: Some(parent), guard: true, ..PlaceRequest::default() }
}

/// `new guarded COUNT` or `new plain COUNT`.
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
    agent.destroy(false, patience(), false).unwrap_or_else(|e| panic!("{e}"));
}

/// One that holds the same pipe.
fn become_another() -> ! {
    use std::os::unix::process::CommandExt;
    panic!("exec: {}", Command::new("cat").exec())
}

/// Whether a wait for any child finds one, of whatever kind.
fn children() -> &'static str {
    for kind in [0, libc::__WALL, libc::__WCLONE] {
        // SAFETY: waits for no particular child and stores nothing.
        let waited = unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG | kind) };
        if waited != -1 || Errno::last() != Errno::ECHILD {
            return "some";
        }
    }
    "none"
}

fn fork(way: &str, parent: &CString, agents: &mut Vec<Agent>) {
    if !role::fork() {
        return;
    }
    let own = std::process::id().to_string();
    match way {
        "keep" => {}
        "free" => agents.clear(),
        "destroy" => {
            destroy(agents.last().expect("one"));
            agents.clear();
        }
        "new" => agents.push(make(parent, &["new", "guarded", "1"])),
        _ => panic!("what is {way}?"),
    }
    role::say(&own);
    if way == "new" {
        say_path(agents);
    }
    role::sleep()
}

/// Members in cgroups of their own, which fork without end and catch what they can.
fn fighters(agent: &Agent) {
    let inside = Cgroup::at(agent.path());
    for name in ["a", "a/b", "a/b/c", "d"] {
        let nested = inside.make(name);
        if role::fork() {
            role::enter(&nested);
            loop {
                // As many as there may be.
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

/// Try it with ever more descriptors until it works; tells the errors in between.
fn short_of_descriptors(parent: &CString) -> String {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("getrlimit");
    let mut told = Vec::new();
    for most in 4.. {
        setrlimit(Resource::RLIMIT_NOFILE, most, hard).expect("setrlimit");
        match Agent::new_where(place_request(parent), None, &Limits::default()) {
            Ok(agent) => {
                setrlimit(Resource::RLIMIT_NOFILE, soft, hard).expect("setrlimit");
                destroy(&agent);
                break;
            }
            Err(e) if e.errno() == Errno::EMFILE => told.push("EMFILE".to_owned()),
            Err(e) => told.push(e.to_string()),
        }
    }
    told.dedup();
    told.join(", ")
}

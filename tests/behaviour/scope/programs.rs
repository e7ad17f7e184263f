// SPDX-License-Identifier: MIT OR Apache-2.0
//! Programs that use agentcg in a scope.

use crate::common::deadline;
use crate::common::member::role;
use agentcg::{Agent, CpuMax, Limits, PlaceRequest, Systemd};

/// Requests a systemd scope as the only place.
pub fn only_systemd() -> PlaceRequest<'static> {
    PlaceRequest { systemd: Systemd::Only, ..PlaceRequest::default() }
}

/// A limit of each available controller.
pub fn limits() -> Limits {
    Limits {
        memory_max: Some(64 << 20),
        pids_max: Some(20),
        cpu_max: Some(CpuMax { millicpu: 500, period_us: 0 }),
        ..Limits::default()
    }
}

/// A program that uses agentcg and executes the commands of a test. With an argument its agent is guarded.
pub fn host(args: &[String]) {
    use_agents(PlaceRequest { guard: !args.is_empty(), ..only_systemd() });
}

/// A program with a guarded agent beside it and another one in a scope.
pub fn guarded_twice(_: &[String]) {
    let elsewhere = PlaceRequest { systemd: Systemd::Never, ..only_systemd() };
    let made = [elsewhere, only_systemd()].map(|request| {
        let agent = Agent::new_where(PlaceRequest { guard: true, ..request }, None, &Limits::default());
        let agent = agent.unwrap_or_else(|e| panic!("{e}"));
        role::send(&String::from_utf8_lossy(&agent.path()));
        role::receive();
        agent
    });
    drop(made);
}

fn use_agents(request: PlaceRequest<'_>) {
    let agent = Agent::new_where(request, None, &limits()).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(agent.info().map(|info| info.guarded), Ok(request.guard));
    role::send(&String::from_utf8_lossy(&agent.path()));
    loop {
        let command = role::receive();
        match command.split_once(' ') {
            Some((_hold, pid)) => {
                agent.move_pid(pid.parse().expect("a pid")).unwrap_or_else(|e| panic!("{e}"));
                role::send("held");
            }
            None if command == "again" => {
                let again = Agent::new_where(request, None, &limits()).unwrap_or_else(|e| panic!("{e}"));
                role::send(&String::from_utf8_lossy(&again.path()));
                std::mem::forget(again);
            }
            None if command == "retry" => {
                let refused = Agent::new_where(request, None, &limits()).err();
                role::send(&refused.map_or("made".to_owned(), |e| format!("{:?} {e}", e.errno())));
            }
            None if command == "destroy" => {
                return agent.destroy(false, deadline(), false).map(drop).unwrap_or_else(|e| panic!("{e}"));
            }
            None => return,
        }
    }
}

/// A program with a child that uses agentcg too. Each of them sends the path of its agent.
pub fn parent(_: &[String]) {
    let send_path = |agent: &Agent| role::send(&String::from_utf8_lossy(&agent.path()));
    let own = Agent::new_where(only_systemd(), None, &limits()).unwrap_or_else(|e| panic!("{e}"));
    send_path(&own);
    if role::fork() {
        let childs = Agent::new_where(only_systemd(), None, &limits()).unwrap_or_else(|e| panic!("{e}"));
        send_path(&childs);
        role::exit(0);
    }
    nix::sys::wait::wait().expect("wait");
    role::send("the child has ended");
    role::receive();
}

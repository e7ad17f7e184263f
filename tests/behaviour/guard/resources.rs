// SPDX-License-Identifier: MIT OR Apache-2.0
//! The memory and the descriptors of the guard.

use super::program::Program;
use crate::common::cgroup::Cgroup;
use crate::common::wait_until;

/// Returns the sum of all lines of a file in /proc that begin with `key`.
fn sum_of_kib(file: &str, key: &str) -> u64 {
    let text = std::fs::read_to_string(file).expect(file);
    let values = text.lines().filter_map(|line| line.strip_prefix(key)?.trim().strip_suffix(" kB"));
    let sum = values.map(|kib| kib.trim().parse::<u64>().expect("a number")).sum();
    assert!(text.contains(key), "no {key} in {file}");
    sum
}

#[test]
fn the_guard_of_a_large_host_uses_little_memory() {
    for thread in ["", "in a thread "] {
        let mut program = Program::start();
        program.run("grow");
        program.request(&format!("{thread}new guarded 0"));
        let guard = program.guard();
        program.run("rewrite");
        let sum = |key| sum_of_kib(&format!("/proc/{guard}/smaps"), key);
        let tables = sum_of_kib(&format!("/proc/{guard}/status"), "VmPTE:");
        assert!(
            sum("Private_Dirty:") + tables < 1024 && sum("Anonymous:") < 1024,
            "its memory is under 1 MiB"
        );
        // Three standard descriptors, the socket, the pidfd of the host, the guard's cgroup, two cgroups to
        // move to at its end, and the file that shows its cgroup; for the agent its directory and two files.
        assert!(std::fs::read_dir(format!("/proc/{guard}/fd")).expect("fd").count() <= 12);
        program.member.kill_it_alone();
        program.wait_for_cleanup();
    }
}

#[test]
fn with_too_few_descriptors_no_part_of_an_agent_is_made() {
    let mut program = Program::start();
    let refusals = program.request("short of descriptors");
    assert!(refusals.starts_with("EMFILE"), "{refusals}");
    assert!(!program.scratch.parent.join("synwire").exists());
    let agents: Vec<Cgroup> = (0..20).map(|_| program.new_guarded(0)).collect();
    assert!(agents.iter().all(Cgroup::exists));
    program.member.kill_it_alone();
    program.wait_for_cleanup();
}

#[test]
fn a_guard_short_of_descriptors_refuses_more_agents_and_keeps_its_own() {
    let mut program = Program::start();
    let first = program.new_guarded(1);
    let few = libc::rlimit { rlim_cur: 24, rlim_max: 24 };
    // SAFETY: the kernel reads the struct and writes nothing.
    #[allow(unsafe_code, reason = "nix has no prlimit")]
    let set =
        unsafe { libc::prlimit(program.guard(), libc::RLIMIT_NOFILE, &raw const few, std::ptr::null_mut()) };
    assert_eq!(set, 0);
    let made = (0..20).take_while(|_| program.request("try") == "made").count();
    assert!((1..20).contains(&made), "{made}");
    assert_eq!(program.request("try"), "EMFILE");
    assert_eq!(first.parent().all().len(), 2 + made, "nothing of a refused agent is left");
    program.run("free");
    assert_eq!(program.request("try"), "made");
    program.member.kill_it_alone();
    wait_until("the guarded one is gone", || !first.exists());
}

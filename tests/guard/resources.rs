// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the guard takes: memory and descriptors.

use crate::common::cgroup::Cgroup;
use crate::common::wait_until;
use crate::program::Program;

/// All the lines of a file in /proc that begin so.
fn sum_of_kib(file: &str, key: &str) -> u64 {
    let text = std::fs::read_to_string(file).expect(file);
    let values = text.lines().filter_map(|line| line.strip_prefix(key)?.trim().strip_suffix(" kB"));
    let sum = values.map(|kib| kib.trim().parse::<u64>().expect("a number")).sum();
    assert!(text.contains(key), "no {key} in {file}");
    sum
}

#[test]
fn the_guard_holds_little_of_a_large_host() {
    for thread in ["", "in a thread "] {
        let mut program = Program::start();
        program.does("grow");
        program.asked(&format!("{thread}new guarded 0"));
        let guard = program.guard();
        program.does("rewrite");
        let sum = |key| sum_of_kib(&format!("/proc/{guard}/smaps"), key);
        let tables = sum_of_kib(&format!("/proc/{guard}/status"), "VmPTE:");
        assert!(sum("Private_Dirty:") + tables < 1024 && sum("Anonymous:") < 1024, "it holds little");
        // Three standard ones, the socket, the host, its cgroup and two ways out of that, the file that says where it is; of
        // the agent its directory and two files.
        assert!(std::fs::read_dir(format!("/proc/{guard}/fd")).expect("fd").count() <= 12);
        program.member.kill_it_alone();
        program.wait_for_no_trace();
    }
}

#[test]
fn where_descriptors_are_short_it_is_all_or_nothing() {
    let mut program = Program::start();
    let refusals = program.asked("short of descriptors");
    assert!(refusals.starts_with("EMFILE"), "{refusals}");
    assert!(!program.scratch.parent.join("synwire").exists());
    let agents: Vec<Cgroup> = (0..20).map(|_| program.guarded(0)).collect();
    assert!(agents.iter().all(Cgroup::exists));
    program.member.kill_it_alone();
    program.wait_for_no_trace();
}

#[test]
fn a_guard_that_is_short_of_descriptors_says_so_and_keeps_what_it_has() {
    let mut program = Program::start();
    let first = program.guarded(1);
    let few = libc::rlimit { rlim_cur: 24, rlim_max: 24 };
    // SAFETY: a struct of ours, read; nothing is written.
    #[allow(unsafe_code, reason = "nix has no prlimit")]
    let set =
        unsafe { libc::prlimit(program.guard(), libc::RLIMIT_NOFILE, &raw const few, std::ptr::null_mut()) };
    assert_eq!(set, 0);
    let made = (0..20).take_while(|_| program.asked("try") == "made").count();
    assert!((1..20).contains(&made), "{made}");
    assert_eq!(program.asked("try"), "EMFILE");
    assert_eq!(first.parent().all().len(), 2 + made, "of the refused ones nothing is left");
    program.does("free");
    assert_eq!(program.asked("try"), "made");
    program.member.kill_it_alone();
    wait_until("the guarded one is gone", || !first.exists());
}

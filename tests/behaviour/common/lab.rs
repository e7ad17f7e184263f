// SPDX-License-Identifier: MIT OR Apache-2.0
//! The environment of the tests: a cgroup layout that `tests/lab/run` has made. Without it the tests fail.

use std::{env, fs};

/// Returns the name of the layout.
pub fn layout() -> String {
    env::var("LAB_LAYOUT").unwrap_or_else(|_| {
        let program = env::args().next().unwrap_or_default();
        panic!(
            "this is not the lab, so nothing was tested: run all by tests/lab/behaviour, \
             or this program by tests/lab/run --layout user -- {program}"
        )
    })
}

/// Fails in all layouts except these.
pub fn needs(layouts: &[&str]) {
    let layout = layout();
    assert!(
        layouts.contains(&layout.as_str()),
        "made for {}, not for {layout}: run it by tests/lab/run --layout {} -- ...",
        layouts.join(" and "),
        layouts[0]
    );
}

/// Returns true if `--hide` hides this interface file.
pub fn hides(file: &str) -> bool {
    env::var("LAB_HIDE").is_ok_and(|list| list.split(' ').any(|hidden| hidden == file))
}

/// Returns true if `--boot` gave the kernel this parameter.
pub fn booted_with(parameter: &str) -> bool {
    let line = fs::read_to_string("/proc/cmdline").expect("/proc is mounted");
    line.split_whitespace().any(|word| word == parameter)
}

/// Returns true if the library does not find this file of the kernel: it is hidden, disabled at boot, or
/// newer than the kernel of `--kernel 5.10`.
pub fn lacks(file: &str) -> bool {
    let old = env::var("LAB_KERNEL").is_ok_and(|kernel| kernel == "5.10");
    let of_later = ["cgroup.kill", "memory.peak", "memory.reclaim", "pids.peak"].contains(&file);
    // Linux 6.1 ignores the parameter.
    let of_swap = file.starts_with("memory.swap.") && booted_with("swapaccount=0");
    let of_pressure = file.ends_with(".pressure") && booted_with("cgroup_disable=pressure");
    hides(file) || of_pressure || (old && (of_later || of_swap))
}

/// Returns true if the test runs as root.
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

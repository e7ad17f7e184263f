// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the tests run: in a cgroup layout that `tests/lab/run` has made, or they fail.

use std::env;

/// The layout's name.
pub fn layout() -> String {
    env::var("LAB_LAYOUT").unwrap_or_else(|_| {
        let program = env::args().next().unwrap_or_default();
        panic!(
            "no lab around us, so nothing was tested: run all by tests/lab/behaviour, \
             or this program by tests/lab/run --layout user -- {program}"
        )
    })
}

/// Fails in any layout but these.
pub fn needs(layouts: &[&str]) {
    let layout = layout();
    assert!(
        layouts.contains(&layout.as_str()),
        "made for {}, not for {layout}: run it by tests/lab/run --layout {} -- ...",
        layouts.join(" and "),
        layouts[0]
    );
}

/// Whether `--hide` makes this interface file look absent.
pub fn hides(file: &str) -> bool {
    env::var("LAB_HIDE").is_ok_and(|list| list.split(' ').any(|hidden| hidden == file))
}

/// Whether the library finds no such file of the kernel's: hidden, or not yet there in `--kernel 5.10`.
pub fn lacks(file: &str) -> bool {
    let old = env::var("LAB_KERNEL").is_ok_and(|kernel| kernel == "5.10");
    hides(file) || (old && ["cgroup.kill", "memory.peak", "memory.reclaim", "pids.peak"].contains(&file))
}

/// Whether we are root.
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

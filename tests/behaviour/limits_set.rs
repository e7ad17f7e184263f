// SPDX-License-Identifier: MIT OR Apache-2.0
//! The limits of a new group are in its files as they were requested, or no group is made.

use crate::common::cgroup::Scratch;
use crate::common::group::Group;
use crate::common::lab;
use agentcg::{Agent, CpuMax, Errno, Limits, Reason, UNLIMITED};

const MIB: u64 = 1 << 20;

fn none() -> Limits {
    Limits::default()
}

fn cpu(millicpu: u64, period_us: u64) -> Limits {
    Limits { cpu_max: Some(CpuMax { millicpu, period_us }), ..none() }
}

/// Sets every field for which this kernel has a file, none of them to its default.
fn all_but_io() -> Limits {
    Limits {
        memory_max: Some(64 * MIB),
        memory_high: Some(48 * MIB),
        memory_low: Some(4 * MIB),
        memory_min: Some(2 * MIB),
        swap_max: Some(0),
        oom_group: Some(true),
        cpu_max: Some(CpuMax { millicpu: 500, period_us: 0 }),
        cpu_burst_us: Some(10_000),
        cpu_weight: Some(200),
        cpu_idle: Some(false),
        pids_max: Some(33),
        io_weight: None,
        max_depth: Some(3),
        max_descendants: Some(7),
    }
}

#[track_caller]
fn check_files(limits: &Limits, files: &[(&str, &str)]) {
    let group = Group::new(limits);
    for (file, value) in files {
        assert_eq!(group.cgroup.read(file), *value, "{file}");
    }
    group.destroy();
}

/// Checks that the new group is refused because of this file, and that nothing of the attempt is left.
#[track_caller]
fn check_refused(limits: &Limits, errno: Errno, reason: Option<Reason>, file: &str) -> String {
    let scratch = Scratch::new();
    let before = scratch.parent.snapshot();
    let Err(e) = Agent::new(Some(&scratch.path()), None, limits) else { panic!("{limits:?} is accepted") };
    assert_eq!((e.errno(), e.reason(), e.file()), (errno, reason, file), "{limits:?}: {e}");
    assert_eq!(scratch.parent.snapshot(), before, "{limits:?} left something behind");
    e.message().to_owned()
}

#[test]
fn all_limits_at_once_are_in_their_files() {
    check_files(
        &all_but_io(),
        &[
            ("memory.max", "67108864"),
            ("memory.high", "50331648"),
            ("memory.low", "4194304"),
            ("memory.min", "2097152"),
            ("memory.oom.group", "1"),
            ("cpu.max", "50000 100000"),
            ("cpu.max.burst", "10000"),
            ("cpu.weight", "200"),
            ("cpu.idle", "0"),
            ("pids.max", "33"),
            ("cgroup.max.depth", "3"),
            ("cgroup.max.descendants", "7"),
        ],
    );
}

#[test]
fn a_limit_without_a_file_is_refused_and_no_group_is_made() {
    let limits = Limits { io_weight: Some(300), ..all_but_io() };
    if Group::plain().cgroup.has("io.weight") {
        return check_files(&limits, &[("io.weight", "default 300"), ("pids.max", "33")]);
    }
    let message = check_refused(&limits, Errno::EOPNOTSUPP, Some(Reason::NoController), "io.weight");
    let why = if Group::plain().cgroup.words("cgroup.controllers").contains("io") {
        "this kernel has no such file"
    } else {
        "must enable it in its cgroup.subtree_control"
    };
    assert!(message.ends_with(why), "{message}");
}

#[test]
fn memory_limits_are_rounded_down_to_whole_pages() {
    let bytes = Some(100 * MIB + 1);
    check_files(&Limits { memory_max: bytes, ..none() }, &[("memory.max", "104857600")]);
    check_files(&Limits { memory_high: Some(1_000_000), ..none() }, &[("memory.high", "999424")]);
    check_files(&Limits { memory_high: Some(0), ..none() }, &[("memory.high", "0")]);
}

#[test]
fn unlimited_removes_a_limit() {
    let max = Some(UNLIMITED);
    check_files(
        &Limits {
            memory_max: max,
            memory_high: max,
            memory_low: max,
            memory_min: max,
            pids_max: max,
            max_depth: max,
            max_descendants: max,
            ..cpu(UNLIMITED, 0)
        },
        &[
            ("memory.max", "max"),
            ("memory.high", "max"),
            ("memory.low", "max"),
            ("memory.min", "max"),
            ("pids.max", "max"),
            ("cgroup.max.depth", "max"),
            ("cgroup.max.descendants", "max"),
            ("cpu.max", "max 100000"),
        ],
    );
    // More memory than any machine has: the kernel stores it as no limit.
    check_files(&Limits { memory_max: Some(u64::MAX - 1), ..none() }, &[("memory.max", "max")]);
    check_files(&Limits { memory_max: Some(1 << 63), ..none() }, &[("memory.max", "max")]);
}

#[test]
fn a_part_of_a_cpu_is_a_quota_in_a_period() {
    check_files(&cpu(200, 0), &[("cpu.max", "20000 100000")]);
    check_files(&cpu(2_000, 0), &[("cpu.max", "200000 100000")]);
    check_files(&cpu(250, 50_000), &[("cpu.max", "12500 50000")]);
    check_files(&cpu(UNLIMITED, 50_000), &[("cpu.max", "max 50000")]);
}

#[test]
fn a_small_part_of_a_cpu_makes_the_period_longer() {
    check_files(&cpu(10, 0), &[("cpu.max", "1000 100000")]);
    check_files(&cpu(9, 0), &[("cpu.max", "1000 111112")]);
    check_files(&cpu(5, 0), &[("cpu.max", "1000 200000")]);
    check_files(&cpu(1, 0), &[("cpu.max", "1000 1000000")]);
}

#[test]
fn the_largest_int_is_the_maximum_of_the_kernel() {
    let most = Some(2_147_483_647);
    check_files(&Limits { max_depth: most, max_descendants: most, ..none() }, &[("cgroup.max.depth", "max")]);
}

#[test]
fn cpu_idle_makes_a_group_idle() {
    check_files(&Limits { cpu_idle: Some(true), ..none() }, &[("cpu.idle", "1")]);
}

#[test]
fn the_smallest_and_the_largest_values_are_accepted() {
    check_files(
        &Limits { cpu_weight: Some(1), pids_max: Some(0), ..none() },
        &[("cpu.weight", "1"), ("pids.max", "0")],
    );
    let most = Limits {
        cpu_weight: Some(10_000),
        pids_max: Some(4_194_304),
        max_depth: Some(0),
        max_descendants: Some(2_147_483_646),
        memory_max: Some(4096),
        ..none()
    };
    check_files(
        &most,
        &[
            ("cpu.weight", "10000"),
            ("pids.max", "4194304"),
            ("cgroup.max.depth", "0"),
            ("cgroup.max.descendants", "2147483646"),
            ("memory.max", "4096"),
        ],
    );
}

#[test]
fn no_swap_is_accepted_even_without_a_swap_limit() {
    let limits = |bytes| Limits { swap_max: Some(bytes), ..none() };
    let group = Group::new(&limits(0));
    if group.cgroup.has("memory.swap.max") {
        assert_eq!(group.cgroup.read("memory.swap.max"), "0");
        check_files(&limits(MIB), &[("memory.swap.max", "1048576")]);
        check_files(&limits(UNLIMITED), &[("memory.swap.max", "max")]);
    } else {
        assert!(lab::lacks("memory.swap.max"));
        check_refused(&limits(MIB), Errno::EOPNOTSUPP, Some(Reason::NoController), "memory.swap.max");
    }
}

#[test]
fn a_value_out_of_range_is_refused_and_no_group_is_made() {
    let page = 4096;
    let table = [
        (Limits { memory_max: Some(0), ..none() }, "memory.max"),
        (Limits { memory_max: Some(page - 1), ..none() }, "memory.max"),
        (cpu(0, 0), "cpu.max"),
        (cpu(500, 999), "cpu.max"),
        (cpu(500, 1_000_001), "cpu.max"),
        (cpu(1, 100_000), "cpu.max"),
        (cpu(1, 999_999), "cpu.max"),
        (cpu(u64::MAX - 1, 0), "cpu.max"),
        (cpu(1 << 40, 1_000_000), "cpu.max"),
        (Limits { cpu_burst_us: Some(50_001), ..cpu(500, 0) }, "cpu.max.burst"),
        (Limits { cpu_burst_us: Some(u64::MAX), ..none() }, "cpu.max.burst"),
        (Limits { cpu_weight: Some(0), ..none() }, "cpu.weight"),
        (Limits { cpu_weight: Some(10_001), ..none() }, "cpu.weight"),
        (Limits { cpu_weight: Some(UNLIMITED), ..none() }, "cpu.weight"),
        (Limits { pids_max: Some(4_194_305), ..none() }, "pids.max"),
        (Limits { io_weight: Some(0), ..none() }, "io.weight"),
        (Limits { io_weight: Some(10_001), ..none() }, "io.weight"),
        (Limits { max_depth: Some(1 << 31), ..none() }, "cgroup.max.depth"),
        (Limits { max_descendants: Some(1 << 31), ..none() }, "cgroup.max.descendants"),
    ];
    for (limits, file) in table {
        // The other limit would be valid.
        let limits = Limits { oom_group: Some(true), ..limits };
        check_refused(&limits, Errno::ERANGE, None, file);
    }
}

#[test]
fn cpu_idle_with_a_weight_is_refused() {
    let limits = Limits { cpu_idle: Some(true), cpu_weight: Some(100), ..none() };
    check_refused(&limits, Errno::EINVAL, None, "cpu.idle");
}

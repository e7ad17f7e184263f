// SPDX-License-Identifier: MIT OR Apache-2.0
//! The limits of a living agent change all together or not at all, and are returned as the kernel stores
//! them.

mod cpu_time;
mod rollback;
mod usage;

use crate::common::cgroup::Scratch;
use crate::common::group::Group;
use crate::common::lab;
use agentcg::{CpuMax, Errno, Limits, Reason, UNLIMITED};

roles![rollback::sets_limits, usage::forks_on_request];

const MIB: u64 = 1 << 20;

fn none() -> Limits {
    Limits::default()
}

fn cpu(millicpu: u64, period_us: u64) -> Limits {
    Limits { cpu_max: Some(CpuMax { millicpu, period_us }), ..none() }
}

fn burst(millicpu: u64, cpu_burst_us: u64) -> Limits {
    Limits { cpu_burst_us: Some(cpu_burst_us), ..cpu(millicpu, 0) }
}

/// Returns true if this kernel has cpu.max.burst (5.14) and cpu.idle (5.15).
fn has_new_files() -> bool {
    !lab::lacks("cgroup.kill")
}

/// Sets every limit that is available here, none of them to its default.
fn first() -> Limits {
    Limits {
        memory_max: Some(64 * MIB),
        memory_high: Some(48 * MIB),
        memory_low: Some(4 * MIB),
        memory_min: Some(2 * MIB),
        swap_max: Some(8 * MIB),
        oom_group: Some(true),
        cpu_max: Some(CpuMax { millicpu: 500, period_us: 100_000 }),
        cpu_burst_us: has_new_files().then_some(10_000),
        cpu_weight: Some(200),
        cpu_idle: has_new_files().then_some(false),
        pids_max: Some(33),
        io_weight: None,
        max_depth: Some(3),
        max_descendants: Some(7),
    }
}

/// Sets the same limits to other values.
fn second() -> Limits {
    Limits {
        memory_max: Some(128 * MIB),
        memory_high: Some(96 * MIB),
        memory_low: Some(8 * MIB),
        memory_min: Some(4 * MIB),
        swap_max: Some(16 * MIB),
        oom_group: Some(false),
        cpu_max: Some(CpuMax { millicpu: 1_500, period_us: 50_000 }),
        cpu_burst_us: has_new_files().then_some(60_000),
        cpu_weight: Some(300),
        cpu_idle: has_new_files().then_some(false),
        pids_max: Some(44),
        io_weight: None,
        max_depth: Some(4),
        max_descendants: Some(8),
    }
}

const FILES: [&str; 13] = [
    "cgroup.max.depth",
    "cgroup.max.descendants",
    "cpu.idle",
    "cpu.max",
    "cpu.max.burst",
    "cpu.weight",
    "memory.high",
    "memory.low",
    "memory.max",
    "memory.min",
    "memory.oom.group",
    "memory.swap.max",
    "pids.max",
];

/// Returns the content of all files.
fn snapshot(group: &Group) -> Vec<String> {
    FILES.iter().map(|file| format!("{file} {:?}", group.cgroup.try_read(file).ok())).collect()
}

#[track_caller]
fn set(group: &Group, limits: &Limits) {
    group.set_limits(limits, false).unwrap_or_else(|e| panic!("{limits:?}: {e}"));
}

/// Checks that the change is refused because of this file, with a complete message, and that nothing has
/// changed.
#[track_caller]
fn check_refused(group: &Group, limits: &Limits, errno: Errno, reason: Option<Reason>, file: &str) -> String {
    let before = snapshot(group);
    let e = group.set_limits(limits, false).expect_err("it is refused");
    assert_eq!((e.errno(), e.reason(), e.file()), (errno, reason, file), "{limits:?}: {e}");
    assert_eq!(snapshot(group), before, "{limits:?}");
    assert!(e.message().len() <= 183 && !e.message().contains("half set"), "{e}");
    e.message().to_owned()
}

#[test]
fn limits_are_returned_as_they_were_set() {
    let group = Group::new(&first());
    let mut member = group.start("sleeper", &[]);
    member.expect_line("ready");
    assert_eq!(group.limits().unwrap(), first());
    for limits in [second(), first(), second()] {
        set(&group, &limits);
        assert_eq!(group.limits().unwrap(), limits);
    }
    assert_eq!(group.cgroup.read("cpu.max"), "75000 50000");
    assert_eq!(group.cgroup.read("memory.max"), (128 * MIB).to_string());
    group.destroy();
    assert!(member.is_dead());
}

#[test]
fn a_limit_without_a_new_value_stays() {
    let group = Group::new(&first());
    set(&group, &Limits { pids_max: Some(5), ..none() });
    assert_eq!(group.limits().unwrap(), Limits { pids_max: Some(5), ..first() });
    set(&group, &none());
    assert_eq!(group.limits().unwrap(), Limits { pids_max: Some(5), ..first() });
    group.destroy();
}

#[test]
fn each_limit_alone_is_set_and_removed() {
    let group = Group::plain();
    let before = group.limits().unwrap();
    let max = Some(UNLIMITED);
    let cases = [
        (Limits { memory_max: Some(64 * MIB), ..none() }, Limits { memory_max: max, ..none() }),
        (Limits { memory_high: Some(0), ..none() }, Limits { memory_high: max, ..none() }),
        (Limits { memory_low: max, ..none() }, Limits { memory_low: Some(0), ..none() }),
        (Limits { memory_min: Some(MIB), ..none() }, Limits { memory_min: Some(0), ..none() }),
        (Limits { swap_max: Some(0), ..none() }, Limits { swap_max: max, ..none() }),
        (Limits { oom_group: Some(true), ..none() }, Limits { oom_group: Some(false), ..none() }),
        (cpu(1, 1_000_000), cpu(UNLIMITED, 100_000)),
        (Limits { cpu_weight: Some(1), ..none() }, Limits { cpu_weight: Some(100), ..none() }),
        (Limits { pids_max: Some(0), ..none() }, Limits { pids_max: max, ..none() }),
        (Limits { max_depth: Some(0), ..none() }, Limits { max_depth: max, ..none() }),
        (Limits { max_descendants: Some(1), ..none() }, Limits { max_descendants: max, ..none() }),
    ];
    for (limits, unset) in cases {
        let before_change = snapshot(&group);
        set(&group, &limits);
        let changed =
            snapshot(&group).iter().zip(&before_change).filter(|(now, before)| now != before).count();
        assert_eq!(changed, 1, "{limits:?}");
        set(&group, &unset);
        assert_eq!(snapshot(&group), before_change, "{unset:?}");
    }
    if has_new_files() {
        set(&group, &Limits { cpu_burst_us: Some(5_000), ..none() });
        assert_eq!(group.cgroup.read("cpu.max.burst"), "5000");
        set(&group, &Limits { cpu_burst_us: Some(0), ..none() });
    }
    assert_eq!(group.limits().unwrap(), before);
    group.destroy();
}

#[test]
fn memory_limits_are_returned_in_whole_pages() {
    let group = Group::plain();
    set(&group, &Limits { memory_max: Some(64 * MIB + 5_000), memory_high: Some(1), ..none() });
    let limits = group.limits().unwrap();
    assert_eq!((limits.memory_max, limits.memory_high), (Some(64 * MIB + 4096), Some(0)));
    group.destroy();
}

#[test]
fn a_value_out_of_range_changes_nothing() {
    let group = Group::new(&first());
    let table = [
        (Limits { memory_max: Some(4095), ..none() }, "memory.max"),
        (cpu(0, 0), "cpu.max"),
        (cpu(500, 999), "cpu.max"),
        (cpu(1, 100_000), "cpu.max"),
        (burst(500, 50_001), "cpu.max.burst"),
        (Limits { cpu_weight: Some(0), ..none() }, "cpu.weight"),
        (Limits { cpu_weight: Some(10_001), ..none() }, "cpu.weight"),
        (Limits { pids_max: Some(4_194_305), ..none() }, "pids.max"),
        (Limits { io_weight: Some(0), ..none() }, "io.weight"),
        (Limits { max_depth: Some(1 << 31), ..none() }, "cgroup.max.depth"),
        (Limits { max_descendants: Some(1 << 31), ..none() }, "cgroup.max.descendants"),
    ];
    for (limits, file) in table {
        check_refused(&group, &Limits { oom_group: Some(false), ..limits }, Errno::ERANGE, None, file);
    }
    group.destroy();
}

#[test]
fn a_limit_without_its_controller_is_refused_with_all_others() {
    let scratch = Scratch::with_controllers(&["cpu", "pids"]);
    let group = Group::under(&scratch, &none());
    for limits in [
        Limits { memory_max: Some(64 * MIB), ..none() },
        Limits { memory_high: Some(64 * MIB), ..none() },
        Limits { memory_low: Some(MIB), ..none() },
        Limits { memory_min: Some(MIB), ..none() },
        Limits { oom_group: Some(true), ..none() },
    ] {
        let e = group.set_limits(&Limits { pids_max: Some(9), ..limits }, false).unwrap_err();
        assert_eq!((e.errno(), e.reason()), (Errno::EOPNOTSUPP, Some(Reason::NoController)), "{e}");
        assert_eq!(group.cgroup.read("pids.max"), "max");
    }
    let limits = group.limits().unwrap();
    assert_eq!((limits.memory_max, limits.oom_group, limits.swap_max), (None, None, None));
    assert_eq!((limits.pids_max, limits.cpu_weight), (Some(UNLIMITED), Some(100)));
    group.destroy();

    let scratch = Scratch::with_controllers(&["memory"]);
    let group = Group::under(&scratch, &none());
    for limits in [
        cpu(500, 0),
        Limits { cpu_weight: Some(10), ..none() },
        Limits { cpu_burst_us: Some(0), ..none() },
        Limits { cpu_idle: Some(true), ..none() },
        Limits { pids_max: Some(9), ..none() },
    ] {
        let e = group.set_limits(&Limits { memory_max: Some(64 * MIB), ..limits }, false).unwrap_err();
        assert_eq!((e.errno(), e.reason()), (Errno::EOPNOTSUPP, Some(Reason::NoController)), "{e}");
        assert_eq!(group.cgroup.read("memory.max"), "max");
    }
    group.destroy();
}

#[test]
fn a_limit_without_a_file_is_refused_and_not_returned() {
    let group = Group::new(&first());
    let absent = |file| if group.cgroup.has(file) { None } else { Some(file) };
    for (limits, file) in [
        (Limits { io_weight: Some(10), ..none() }, absent("io.weight")),
        (Limits { cpu_burst_us: Some(10), ..none() }, absent("cpu.max.burst")),
        (Limits { cpu_idle: Some(true), ..none() }, absent("cpu.idle")),
    ] {
        let limits = Limits { pids_max: Some(9), ..limits };
        if let Some(file) = file {
            check_refused(&group, &limits, Errno::EOPNOTSUPP, Some(Reason::NoController), file);
        } else {
            set(&group, &limits);
        }
    }
    let limits = group.limits().unwrap();
    assert_eq!(limits.io_weight.is_none(), absent("io.weight").is_some());
    assert_eq!(limits.cpu_burst_us.is_none(), absent("cpu.max.burst").is_some());
    assert_eq!(limits.cpu_idle.is_none(), absent("cpu.idle").is_some());
    assert_eq!(absent("cpu.idle").is_none(), has_new_files());
    group.destroy();
}

#[test]
fn a_removed_group_has_no_limits() {
    let group = Group::plain();
    group.cgroup.remove();
    for e in [group.set_limits(&first(), false).unwrap_err(), group.limits().unwrap_err()] {
        assert_eq!((e.errno(), e.reason()), (Errno::ENODEV, Some(Reason::Gone)), "{e}");
    }
}

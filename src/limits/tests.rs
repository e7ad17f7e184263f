// SPDX-License-Identifier: MIT OR Apache-2.0
use super::*;

fn texts(limits: Limits) -> Vec<(&'static str, String)> {
    limits.settings().unwrap().iter().map(|s| (name(s.file), s.value.text())).collect()
}

fn cpu(millicpu: u64, period_us: u64) -> Result<Vec<(&'static str, String)>> {
    let limits = Limits { cpu_max: Some(CpuMax { millicpu, period_us }), ..Limits::default() };
    limits.check().map(|()| texts(limits))
}

#[test]
fn what_is_not_asked_for_is_not_written() {
    assert!(texts(Limits::default()).is_empty());
}

#[test]
fn each_field_goes_to_its_file() {
    let all = Limits {
        memory_max: Some(64 << 20),
        memory_high: Some(UNLIMITED),
        memory_low: Some(0),
        memory_min: Some(4096),
        swap_max: Some(0),
        oom_group: Some(true),
        cpu_max: Some(CpuMax { millicpu: 500, period_us: 0 }),
        cpu_burst_us: Some(1000),
        cpu_weight: Some(50),
        cpu_idle: Some(false),
        pids_max: Some(32),
        io_weight: Some(10),
        max_depth: Some(UNLIMITED),
        max_descendants: Some(0),
    };
    let expected = [
        ("cpu.idle", "0"),
        ("cpu.weight", "50"),
        ("cpu.max", "50000 100000"),
        ("cpu.max.burst", "1000"),
        ("pids.max", "32"),
        ("io.weight", "10"),
        ("cgroup.max.depth", "max"),
        ("cgroup.max.descendants", "0"),
        ("memory.oom.group", "1"),
        ("memory.min", "4096"),
        ("memory.low", "0"),
        ("memory.swap.max", "0"),
        ("memory.high", "max"),
        ("memory.max", "67108864"),
    ];
    assert_eq!(texts(all), expected.map(|(file, text)| (file, text.to_owned())));
}

#[test]
fn a_small_share_of_a_cpu_gets_a_longer_period() {
    assert_eq!(cpu(5, 0).unwrap(), [("cpu.max", "1000 200000".to_owned())]);
    assert_eq!(cpu(1, 0).unwrap(), [("cpu.max", "1000 1000000".to_owned())]);
    assert_eq!(cpu(3, 0).unwrap(), [("cpu.max", "1000 333334".to_owned())]);
    assert_eq!(cpu(2000, 0).unwrap(), [("cpu.max", "200000 100000".to_owned())]);
    assert_eq!(cpu(UNLIMITED, 0).unwrap(), [("cpu.max", "max 100000".to_owned())]);
}

#[test]
fn a_period_that_the_caller_chose_is_kept_or_refused() {
    assert_eq!(cpu(500, 20_000).unwrap(), [("cpu.max", "10000 20000".to_owned())]);
    for (millicpu, period_us) in [(5, 100_000), (500, 999), (500, 1_000_001), (0, 0), (u64::MAX - 1, 0)] {
        let e = cpu(millicpu, period_us).unwrap_err();
        assert_eq!((e.errno(), e.file()), (Errno::ERANGE, "cpu.max"), "{millicpu} {period_us}");
    }
}

#[test]
fn values_out_of_range_are_refused_with_their_file() {
    let cases: [(Limits, &str); 9] = [
        (Limits { memory_max: Some(4095), ..Limits::default() }, "memory.max"),
        (Limits { memory_max: Some(0), ..Limits::default() }, "memory.max"),
        (Limits { cpu_weight: Some(0), ..Limits::default() }, "cpu.weight"),
        (Limits { cpu_weight: Some(10_001), ..Limits::default() }, "cpu.weight"),
        (Limits { cpu_weight: Some(UNLIMITED), ..Limits::default() }, "cpu.weight"),
        (Limits { pids_max: Some(4_194_305), ..Limits::default() }, "pids.max"),
        (Limits { io_weight: Some(0), ..Limits::default() }, "io.weight"),
        (Limits { max_depth: Some(1 << 31), ..Limits::default() }, "cgroup.max.depth"),
        (Limits { cpu_burst_us: Some(u64::MAX), ..Limits::default() }, "cpu.max.burst"),
    ];
    for (limits, file) in cases {
        let e = limits.check().unwrap_err();
        assert_eq!((e.errno(), e.file()), (Errno::ERANGE, file));
    }
}

#[test]
fn an_idle_group_has_no_weight() {
    let both = Limits { cpu_idle: Some(true), cpu_weight: Some(100), ..Limits::default() };
    assert_eq!(both.check().unwrap_err().errno(), Errno::EINVAL);
}

#[test]
fn memory_reads_back_in_whole_pages() {
    assert!(Value::Bytes(1_000_000).is(b"999424\n"));
    assert!(!Value::Bytes(1_000_000).is(b"1000000\n"));
    assert!(Value::Bytes(UNLIMITED).is(b"max\n"));
    assert!(Value::Bytes(u64::MAX - 1).is(b"max\n"));
}

#[test]
fn a_value_that_the_kernel_changed_is_noticed() {
    assert!(Value::Count(5).is(b"5\n") && !Value::Count(5).is(b"6\n") && !Value::Count(5).is(b""));
    assert!(Value::Count(7).is(b"default 7\n"), "io.weight");
    assert!(Value::Count(7).is(b"default 7\n8:0 100\n"), "io.weight with a device");
    let half = Value::CpuMax { quota_us: 50_000, period_us: 100_000 };
    assert!(half.is(b"50000 100000\n") && !half.is(b"50000 200000\n"));
}

#[test]
fn every_number_of_thousandths_that_was_set_is_told() {
    let periods = [0, 1_000, 1_001, 33_333, 99_991, 100_000, 999_999, 1_000_000];
    for (millicpu, period_us) in (1..=3_000).flat_map(|millicpu| periods.map(|period| (millicpu, period))) {
        let Ok(Value::CpuMax { quota_us, period_us: period }) = (CpuMax { millicpu, period_us }).quota()
        else {
            continue;
        };
        assert_eq!(CpuMax::of(quota_us, period).millicpu, millicpu, "{quota_us} {period}");
    }
    assert_eq!(CpuMax::of(UNLIMITED, 50_000), CpuMax { millicpu: UNLIMITED, period_us: 50_000 });
    assert_eq!(CpuMax::of(1_000, 1_000_000).millicpu, 1);
    assert_eq!(CpuMax::of(1 << 60, 0).millicpu, u64::MAX, "nothing that a kernel says");
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Weights of io, on a kernel that has them.

use super::{none, set};
use crate::common::cgroup::{Cgroup, Scratch};
use crate::common::device::Loop;
use crate::common::group::Group;
use crate::common::measured::stats_from_files;
use crate::common::wait_until;
use agentcg::{Errno, Limits};

fn weight(io_weight: u64) -> Limits {
    Limits { io_weight: Some(io_weight), ..none() }
}

/// A device of 40 reads a second, which the kernel deals out by weight: so few that all readers wait for their turn, on a
/// busy machine too.
fn dealt_out() -> Loop {
    let device = Loop::of_memory(4);
    let (root, numbers) = (Cgroup::own(), device.numbers());
    root.write("io.cost.qos", format!("{numbers} enable=1 ctrl=user rpct=0 wpct=0 min=100 max=100"));
    let rates: String =
        ["r", "w"].map(|way| format!(" {way}bps=1000000000 {way}seqiops=40 {way}randiops=40")).concat();
    root.write("io.cost.model", format!("{numbers} ctrl=user model=linear{rates}"));
    device
}

/// How many reads each gets, while none of them gets less than so many.
fn reads(groups: &[Group; 2], least: u64) -> [u64; 2] {
    let now = || groups.each_ref().map(|group| stats_from_files(&group.cgroup).io_reads);
    let before = now();
    let mut got = [0; 2];
    wait_until("both have read", || {
        got = [0, 1].map(|at| now()[at] - before[at]);
        got.iter().all(|&reads| reads >= least)
    });
    got
}

#[test]
fn io_weight_deals_out_a_device_and_does_so_anew_when_it_changes() {
    let device = dealt_out();
    let scratch = Scratch::new();
    let groups = [1_000, 100].map(|io_weight| Group::under(&scratch, &weight(io_weight)));
    // Four that wait in each: what is left of a share while nobody asks for it goes to the others.
    let members: Vec<_> = (0..8).map(|at| groups[at % 2].start("reads_on", &[&device.0])).collect();
    for heavy in [0, 1] {
        let light = 1 - heavy;
        set(&groups[heavy], &weight(1_000));
        set(&groups[light], &weight(100));
        // Of what both have read by the kernel's count. What was dealt out before is used up first, and while the machine
        // lets one of them not ask there is nothing to deal out.
        let mut all = Vec::new();
        let is_dealt_out = (0..8).any(|_| {
            let got = reads(&groups, 8);
            all.push(got);
            (4.0..=25.0).contains(&(got[heavy] as f64 / got[light] as f64))
        });
        assert!(is_dealt_out, "{all:?}");
    }
    for group in &groups {
        group.destroy();
    }
    drop(members);
}

#[test]
fn io_weight_is_told_as_it_was_set_and_leaves_that_of_a_single_device() {
    let device = dealt_out();
    let scratch = Scratch::new();
    let group = Group::under(&scratch, &weight(500));
    assert_eq!(group.cgroup.read("io.weight"), "default 500");
    let of_one = format!("{} 20", device.numbers());
    group.cgroup.write("io.weight", &of_one);
    for io_weight in [1, 10_000, 100] {
        set(&group, &weight(io_weight));
        assert_eq!(group.cgroup.read("io.weight"), format!("default {io_weight}\n{of_one}"));
        assert_eq!(group.limits().unwrap().io_weight, Some(io_weight));
    }
    for io_weight in [0, 10_001, u64::MAX] {
        let e = group.set_limits(&weight(io_weight), false).unwrap_err();
        assert_eq!((e.errno(), e.file()), (Errno::ERANGE, "io.weight"), "{e}");
        assert_eq!(group.cgroup.read("io.weight"), format!("default 100\n{of_one}"));
    }
    group.destroy();
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Weights of I/O, on a kernel that has them.

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

/// A device of 40 reads per second, which the kernel divides by weight. The rate is so low that all readers wait, even on a
/// busy machine.
struct RateLimited(Loop);

impl RateLimited {
    fn new() -> Self {
        let device = Self(Loop::of_memory(4));
        device.set_qos("enable=1 ctrl=user rpct=0 wpct=0 min=100 max=100").expect("io.cost.qos");
        let rates: String = ["r", "w"]
            .map(|direction| {
                format!(" {direction}bps=1000000000 {direction}seqiops=40 {direction}randiops=40")
            })
            .concat();
        Cgroup::own().write("io.cost.model", format!("{} ctrl=user model=linear{rates}", device.0.numbers()));
        device
    }

    fn set_qos(&self, settings: &str) -> std::io::Result<()> {
        std::fs::write(Cgroup::own().0.join("io.cost.qos"), format!("{} {settings}", self.0.numbers()))
    }
}

/// The limit stays with the number of the device, which the next test gets.
impl Drop for RateLimited {
    fn drop(&mut self) {
        if let Err(e) = self.set_qos("enable=0") {
            eprintln!("{} keeps its limit: {e}", self.0.0);
        }
    }
}

/// Returns the number of reads of each group, after each has made at least `least`.
fn reads(groups: &[Group; 2], least: u64) -> [u64; 2] {
    let now = || groups.each_ref().map(|group| stats_from_files(&group.cgroup).io_reads);
    let before = now();
    let mut counts = [0; 2];
    wait_until("both have read", || {
        counts = [0, 1].map(|at| now()[at] - before[at]);
        counts.iter().all(|&reads| reads >= least)
    });
    counts
}

#[test]
fn io_weight_divides_a_device_and_a_change_divides_it_again() {
    let device = RateLimited::new();
    let scratch = Scratch::new();
    let groups = [1_000, 100].map(|io_weight| Group::under(&scratch, &weight(io_weight)));
    // Four readers in each group: an unused part of one share goes to the other group.
    let members: Vec<_> = (0..8).map(|at| groups[at % 2].start("reads_on", &[&device.0.0])).collect();
    for heavy in [0, 1] {
        let light = 1 - heavy;
        set(&groups[heavy], &weight(1_000));
        set(&groups[light], &weight(100));
        // The reads as the kernel counts them. Reads that were granted before a change are used up first, and
        // while the machine does not run one of the readers, there is nothing to divide.
        let mut all = Vec::new();
        let is_divided = (0..8).any(|_| {
            let counts = reads(&groups, 8);
            all.push(counts);
            (4.0..=25.0).contains(&(counts[heavy] as f64 / counts[light] as f64))
        });
        assert!(is_divided, "{all:?}");
    }
    for group in &groups {
        group.destroy();
    }
    drop(members);
}

#[test]
fn io_weight_is_returned_as_it_was_set_and_keeps_the_weight_of_a_single_device() {
    let device = RateLimited::new();
    let scratch = Scratch::new();
    let group = Group::under(&scratch, &weight(500));
    assert_eq!(group.cgroup.read("io.weight"), "default 500");
    let device_weight = format!("{} 20", device.0.numbers());
    group.cgroup.write("io.weight", &device_weight);
    for io_weight in [1, 10_000, 100] {
        set(&group, &weight(io_weight));
        assert_eq!(group.cgroup.read("io.weight"), format!("default {io_weight}\n{device_weight}"));
        assert_eq!(group.limits().unwrap().io_weight, Some(io_weight));
    }
    for io_weight in [0, 10_001, u64::MAX] {
        let e = group.set_limits(&weight(io_weight), false).unwrap_err();
        assert_eq!((e.errno(), e.file()), (Errno::ERANGE, "io.weight"), "{e}");
        assert_eq!(group.cgroup.read("io.weight"), format!("default 100\n{device_weight}"));
    }
    group.destroy();
}

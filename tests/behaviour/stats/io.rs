// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads from and writes to devices, memory in the page cache and in swap, and unusual files.

use super::{MIB, memory_max};
use crate::common::cgroup::Scratch;
use crate::common::device::{BLOCK, Loop, Swap, direct};
use crate::common::group::Group;
use crate::common::measured::{ALL, check_stats};
use crate::common::member::role;
use crate::common::{lab, wait_until};
use agentcg::stats::{IO, MEMORY_DETAIL, SWAP};
use agentcg::{Errno, Limits, Reason};
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;

#[test]
fn reads_and_writes_are_counted_to_the_byte() {
    let scratch = Scratch::new();
    let group = Group::under(&scratch, &Limits::default());
    assert_eq!(check_stats(&group).mask & IO, IO);
    let devices = [Loop::of_memory(4), Loop::of_memory(4)];
    for device in &devices {
        let mut member = group.start("reads_and_writes", &[&device.0]);
        member.expect_line("done");
    }
    let stats = check_stats(&group);
    let block = BLOCK as u64;
    assert_eq!((stats.io_reads, stats.io_read_bytes), (2 * 5, 2 * 5 * block), "{stats:?}");
    assert_eq!((stats.io_writes, stats.io_write_bytes), (2 * 3, 2 * 3 * block), "{stats:?}");
    group.destroy();
}

/// A role that reads five blocks and writes three with direct I/O.
pub fn reads_and_writes(args: &[String]) {
    role::receive();
    let (device, block) = direct(&args[0]);
    for at in 0..5 {
        device.read_exact_at(block, (at * BLOCK) as u64).expect("read");
    }
    for at in 0..3 {
        device.write_all_at(block, (at * BLOCK) as u64).expect("write");
    }
    role::send("done");
    role::exit(0);
}

/// The data is on a device: a file in memory would also count as shared memory.
#[test]
fn data_in_the_page_cache_is_counted_as_file_memory_only() {
    let scratch = Scratch::new();
    let group = Group::under(&scratch, &Limits::default());
    let device = Loop::of_memory(8);
    let mut member = group.start("caches", &[&device.0]);
    member.expect_line("open");
    let detail = || group.read_stats(MEMORY_DETAIL).unwrap();
    let before = check_stats(&group);
    member.send("read");
    member.expect_line("read");
    // memory.stat may be two seconds late.
    wait_until("it is counted", || detail().memory_file_bytes >= before.memory_file_bytes + 8 * MIB);
    let full = check_stats(&group);
    assert!(full.memory_file_bytes < before.memory_file_bytes + 9 * MIB, "{before:?} {full:?}");
    assert!(full.memory_current_bytes >= before.memory_current_bytes + 8 * MIB, "{before:?} {full:?}");
    assert!(full.memory_anon_bytes < before.memory_anon_bytes + MIB, "{before:?} {full:?}");
    assert_eq!((before.memory_shmem_bytes, full.memory_shmem_bytes), (0, 0));
    member.send("drop");
    member.expect_line("dropped");
    wait_until("it is no longer counted", || detail().memory_file_bytes < before.memory_file_bytes + MIB);
    check_stats(&group);
    group.destroy();
}

/// A role that reads a device through the page cache and then drops it from there.
pub fn caches(args: &[String]) {
    role::receive();
    let mut device = File::open(&args[0]).expect("open");
    let mut sink = std::io::sink();
    role::send("open");
    role::receive();
    assert_eq!(std::io::copy(&mut device, &mut sink).expect("read"), 8 * MIB);
    role::send("read");
    role::receive();
    posix_fadvise(&device, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).expect("posix_fadvise");
    role::send("dropped");
    role::sleep();
}

#[test]
fn swapped_memory_is_counted() {
    let _swap = Swap::on();
    let group = Group::new(&Limits { swap_max: None, ..memory_max(16 * MIB) });
    let mut member = group.start("holds_each_kind", &[]);
    member.expect_line("held");
    wait_until("half of it is swapped out", || group.read_stats(SWAP).unwrap().swap_current_bytes >= 8 * MIB);
    let stats = check_stats(&group);
    assert!(stats.swap_current_bytes < 64 * MIB && stats.memory_current_bytes <= 16 * MIB, "{stats:?}");
    // Since Linux 6.5.
    let least = if group.cgroup.has("memory.swap.peak") { stats.swap_current_bytes } else { 0 };
    assert!((least..64 * MIB).contains(&stats.swap_peak_bytes), "{stats:?}");
    group.destroy();
}

/// Replaces a file of the kernel with one that has this text.
fn with_file_replaced(file: &str, text: &str, look: impl FnOnce(&Group)) {
    lab::needs(&["unified"]);
    let group = Group::plain();
    let replacement = std::env::temp_dir().join(format!("instead-of-{file}"));
    fs::write(&replacement, text).expect("write");
    let original = group.cgroup.join(file).0;
    mount(Some(&replacement), &original, None::<&str>, MsFlags::MS_BIND, None::<&str>).expect("mount");
    look(&group);
    // The library keeps a descriptor of it open.
    umount2(&original, MntFlags::MNT_DETACH).expect("umount");
}

#[test]
fn two_hundred_devices_are_all_summed() {
    let line = |n| format!("{n}:0 rbytes=4096 wbytes=512 rios=3 wios=2 dbytes=0 dios=0\n");
    let text: String = (1..=200).map(line).collect();
    with_file_replaced("io.stat", &text, |group| {
        for _ in 0..2 {
            let s = group.read_stats(ALL).unwrap();
            let stats = (s.io_read_bytes, s.io_write_bytes, s.io_reads, s.io_writes);
            assert_eq!(stats, (200 * 4096, 200 * 512, 600, 400));
        }
        assert_eq!(group.read_file(c"io.stat").unwrap(), text.as_bytes());
    });
}

#[test]
fn a_sum_of_more_than_64_bits_is_the_largest_64_bit_number() {
    let max = u64::MAX;
    with_file_replaced(
        "io.stat",
        &format!("1:0 rbytes={max} wbytes=1\n2:0 rbytes={max} wbytes=1\n"),
        |group| {
            let s = group.read_stats(IO).unwrap();
            assert_eq!((s.io_read_bytes, s.io_write_bytes), (max, 2));
        },
    );
    with_file_replaced("cpu.stat", &format!("usage_usec {max}\nuser_usec 1\n"), |group| {
        let s = group.read_stats(ALL).unwrap();
        assert_eq!((s.cpu_usage_ns, s.cpu_user_ns), (max, 1_000));
    });
}

#[test]
fn a_file_of_100_kilobytes_is_returned_completely() {
    let lines: Vec<String> = (0..20_000).map(|n| n.to_string()).collect();
    let text = lines.join("\n");
    with_file_replaced("memory.stat", &text, |group| {
        assert_eq!(group.read_file(c"memory.stat").unwrap(), text.as_bytes());
    });
}

#[test]
fn a_limit_for_a_missing_device_is_not_reported_as_a_missing_group() {
    lab::needs(&["unified"]);
    let scratch = Scratch::new();
    let group = Group::under(&scratch, &Limits::default());
    let e = group.write_file(c"io.max", b"250:250 rbps=1").unwrap_err();
    assert_eq!((e.errno(), e.reason(), e.file()), (Errno::ENODEV, None, "io.max"), "{e}");
    group.cgroup.remove();
    let e = group.write_file(c"io.max", b"250:250 rbps=1").unwrap_err();
    assert_eq!((e.errno(), e.reason(), e.file()), (Errno::ENODEV, Some(Reason::Gone), "io.max"), "{e}");
}

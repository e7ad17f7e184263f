// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is read from and written to devices.

use crate::common::cgroup::Scratch;
use crate::common::device::{BLOCK, Loop, Swap, direct};
use crate::common::group::Group;
use crate::common::measured::{ALL, check_stats};
use crate::common::member::role;
use crate::common::{lab, wait_until};
use crate::{MIB, memory_max};
use agentcg::stats::{IO, MEMORY_DETAIL, SWAP};
use agentcg::{Errno, Limits, Reason};
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;

#[test]
fn what_is_read_and_written_is_told_to_the_byte() {
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

/// Five blocks read, three written, past the page cache.
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

/// Not of a file in memory, which is told as shared memory, too.
#[test]
fn what_is_read_stays_in_the_page_cache_and_is_told_as_that_alone() {
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
    wait_until("it is told", || detail().memory_file_bytes >= before.memory_file_bytes + 8 * MIB);
    let full = check_stats(&group);
    assert!(full.memory_file_bytes < before.memory_file_bytes + 9 * MIB, "{before:?} {full:?}");
    assert!(full.memory_current_bytes >= before.memory_current_bytes + 8 * MIB, "{before:?} {full:?}");
    assert!(full.memory_anon_bytes < before.memory_anon_bytes + MIB, "{before:?} {full:?}");
    assert_eq!((before.memory_shmem_bytes, full.memory_shmem_bytes), (0, 0));
    member.send("drop");
    member.expect_line("dropped");
    wait_until("it is told", || detail().memory_file_bytes < before.memory_file_bytes + MIB);
    check_stats(&group);
    group.destroy();
}

/// Reads a device through the page cache, and has it dropped from there.
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
fn what_is_swapped_out_is_told() {
    let _swap = Swap::on();
    let group = Group::new(&Limits { swap_max: None, ..memory_max(16 * MIB) });
    let mut member = group.start("holds_each_kind", &[]);
    member.expect_line("held");
    wait_until("half of it is swapped out", || group.read_stats(SWAP).unwrap().swap_current_bytes >= 8 * MIB);
    let stats = check_stats(&group);
    assert!(stats.swap_current_bytes < 64 * MIB && stats.memory_current_bytes <= 16 * MIB, "{stats:?}");
    // From Linux 6.5 on.
    let least = if group.cgroup.has("memory.swap.peak") { stats.swap_current_bytes } else { 0 };
    assert!((least..64 * MIB).contains(&stats.swap_peak_bytes), "{stats:?}");
    group.destroy();
}

/// With a file of ours in the place of the kernel's.
fn with_instead(file: &str, text: &str, look: impl FnOnce(&Group)) {
    lab::needs(&["unified"]);
    let group = Group::plain();
    let ours = std::env::temp_dir().join(format!("instead-of-{file}"));
    fs::write(&ours, text).expect("write");
    let theirs = group.cgroup.join(file).0;
    mount(Some(&ours), &theirs, None::<&str>, MsFlags::MS_BIND, None::<&str>).expect("mount");
    look(&group);
    // The library keeps a descriptor on it.
    umount2(&theirs, MntFlags::MNT_DETACH).expect("umount");
}

#[test]
fn two_hundred_devices_are_all_summed() {
    let line = |n| format!("{n}:0 rbytes=4096 wbytes=512 rios=3 wios=2 dbytes=0 dios=0\n");
    let text: String = (1..=200).map(line).collect();
    with_instead("io.stat", &text, |group| {
        for _ in 0..2 {
            let s = group.read_stats(ALL).unwrap();
            let told = (s.io_read_bytes, s.io_write_bytes, s.io_reads, s.io_writes);
            assert_eq!(told, (200 * 4096, 200 * 512, 600, 400));
        }
        assert_eq!(group.read_file(c"io.stat").unwrap(), text.as_bytes());
    });
}

#[test]
fn more_than_64_bits_hold_is_the_most_that_they_do() {
    let max = u64::MAX;
    with_instead("io.stat", &format!("1:0 rbytes={max} wbytes=1\n2:0 rbytes={max} wbytes=1\n"), |group| {
        let s = group.read_stats(IO).unwrap();
        assert_eq!((s.io_read_bytes, s.io_write_bytes), (max, 2));
    });
    with_instead("cpu.stat", &format!("usage_usec {max}\nuser_usec 1\n"), |group| {
        let s = group.read_stats(ALL).unwrap();
        assert_eq!((s.cpu_usage_ns, s.cpu_user_ns), (max, 1_000));
    });
}

#[test]
fn a_file_of_100_kilobytes_is_given_whole() {
    let lines: Vec<String> = (0..20_000).map(|n| n.to_string()).collect();
    let text = lines.join("\n");
    with_instead("memory.stat", &text, |group| {
        assert_eq!(group.read_file(c"memory.stat").unwrap(), text.as_bytes());
    });
}

#[test]
fn a_limit_for_a_device_that_is_not_there_is_no_group_that_is_gone() {
    lab::needs(&["unified"]);
    let scratch = Scratch::new();
    let group = Group::under(&scratch, &Limits::default());
    let e = group.write_file(c"io.max", b"250:250 rbps=1").unwrap_err();
    assert_eq!((e.errno(), e.reason(), e.file()), (Errno::ENODEV, None, "io.max"), "{e}");
    group.cgroup.remove();
    let e = group.write_file(c"io.max", b"250:250 rbps=1").unwrap_err();
    assert_eq!((e.errno(), e.reason(), e.file()), (Errno::ENODEV, Some(Reason::Gone), "io.max"), "{e}");
}

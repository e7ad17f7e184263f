// SPDX-License-Identifier: MIT OR Apache-2.0
//! A tracer lets each write of a change fail in turn: all files are restored.

use super::{FILES, first, has_new_files, second, snapshot};
use crate::common::group::Group;
use crate::common::member::{Member, role};
use crate::common::ptrace::{self, Fault};
use agentcg::{Agent, Limits, discover_parent};
use nix::fcntl::OFlag;
use std::ffi::CString;

/// A role that changes the limits of a group under a tracer and sends the result.
pub fn sets_limits(args: &[String]) {
    let parent = CString::new(discover_parent().expect("discover")).expect("no NUL");
    let agent = Agent::open(Some(&parent), &args[0], false).unwrap_or_else(|e| panic!("open: {e}"));
    let limits = match args[1].as_str() {
        "first" => first(),
        "second" => second(),
        "idle" => Limits { cpu_weight: None, cpu_idle: Some(true), ..second() },
        other => panic!("no limits {other}"),
    };
    ptrace::wait_for_tracer();
    match agent.set_limits(&limits, args.get(2).is_some_and(|args| args == "force")) {
        Ok(()) => role::send("set"),
        Err(e) => role::send(&format!("{:?} {} {}", e.errno(), e.file(), e.message())),
    }
}

/// Returns the result and the files that were written.
fn changes(group: &Group, limits: &str, mut fault: impl FnMut(&str) -> Fault) -> (String, Vec<String>) {
    traced(group, &[limits], |name, _| fault(name))
}

fn traced(group: &Group, args: &[&str], fault: impl FnMut(&str, OFlag) -> Fault) -> (String, Vec<String>) {
    let mut member = Member::start("sets_limits", &[&[group.uuid()], args].concat());
    let written = ptrace::inject_write_faults(member.pid(), fault);
    let answer = member.receive();
    assert!(member.wait().success());
    (answer, written)
}

fn files() -> impl Iterator<Item = &'static str> {
    FILES.into_iter().filter(|file| has_new_files() || !["cpu.idle", "cpu.max.burst"].contains(file))
}

#[test]
fn whichever_write_fails_all_files_are_restored() {
    // Between low and high values in both directions: raised limits are written in another order than lowered
    // ones.
    for (from, to) in [(first(), "second"), (second(), "first")] {
        let group = Group::new(&from);
        let before = snapshot(&group);
        for file in files() {
            let (answer, written) =
                changes(&group, to, |name| if name == file { Fault::Fails } else { Fault::None });
            assert!(answer.starts_with(&format!("EBADF {file} cannot set {file} to ")), "{answer}");
            assert!(answer.contains("/agents: ") && !answer.contains("half set"), "{answer}");
            assert_eq!(snapshot(&group), before, "{to}, {file}");
            check_restored_in_reverse(written, file);
        }
        let (answer, written) = changes(&group, to, |_| Fault::None);
        assert_eq!((answer.as_str(), written.len()), ("set", files().count()), "{written:?}");
        group.destroy();
    }
}

#[track_caller]
fn check_restored_in_reverse(mut written: Vec<String>, failed: &str) {
    let at = written.iter().position(|name| name == failed).expect("it was tried");
    let restored = written.split_off(at + 1);
    written.pop();
    written.reverse();
    // cpu.idle is the same before and after.
    written.retain(|name| name != "cpu.idle");
    assert_eq!(restored, written, "{failed}");
}

/// The kernel does not remember the weight of a group that becomes idle.
#[test]
fn a_group_that_fails_to_become_idle_has_its_old_weight() {
    if !has_new_files() {
        return;
    }
    let group = Group::new(&first());
    let before = snapshot(&group);
    for file in files().filter(|file| *file != "cpu.weight") {
        let (answer, _) =
            changes(&group, "idle", |name| if name == file { Fault::Fails } else { Fault::None });
        assert!(answer.starts_with(&format!("EBADF {file} ")), "{answer}");
        assert_eq!(snapshot(&group), before, "{file}");
    }
    assert_eq!(changes(&group, "idle", |_| Fault::None).0, "set");
    assert_eq!(group.cgroup.read("cpu.idle"), "1");
    group.destroy();
}

#[test]
fn a_value_that_the_kernel_changes_once_is_set_again() {
    let group = Group::new(&first());
    for file in ["pids.max", "memory.max", "cgroup.max.depth"] {
        group.set_limits(&first(), false).unwrap();
        let mut once = true;
        let (answer, written) = changes(&group, "second", |name| {
            let now = name == file && std::mem::take(&mut once);
            if now { Fault::OtherDigit } else { Fault::None }
        });
        assert_eq!((answer.as_str(), written.len()), ("set", files().count() + 1), "{file}");
        assert_eq!(group.limits().unwrap(), second(), "{file}");
    }
    group.destroy();
}

#[test]
fn a_value_that_the_kernel_does_not_keep_undoes_the_change() {
    let group = Group::new(&first());
    let before = snapshot(&group);
    for file in ["pids.max", "memory.max", "memory.high", "cpu.weight", "cgroup.max.depth"] {
        let mut twice = 2;
        let (answer, _) = changes(&group, "second", |name| {
            let now = name == file && twice > 0;
            twice -= i32::from(now);
            if now { Fault::OtherDigit } else { Fault::None }
        });
        assert!(answer.starts_with(&format!("ERANGE {file} cannot set {file} to ")), "{answer}");
        assert!(answer.contains(": the kernel made \"") && answer.ends_with("\" of it"), "{answer}");
        assert_eq!(snapshot(&group), before, "{file}");
    }
    group.destroy();
}

#[test]
fn a_file_that_cannot_be_restored_is_reported() {
    let group = Group::new(&first());
    let before = snapshot(&group);
    let mut count = 0;
    let (answer, _) = changes(&group, "second", |name| {
        count += i32::from(name == "pids.max");
        match name {
            "memory.max" => Fault::Fails,
            "pids.max" if count > 1 => Fault::Fails,
            _ => Fault::None,
        }
    });
    let expected = "EBADF memory.max memory.max failed (Bad file number), and pids.max could not be put back: the limits are half set";
    assert_eq!(answer, expected);
    let kept = |file: &str| file == "pids.max";
    for ((file, now), before) in FILES.iter().zip(snapshot(&group)).zip(before) {
        assert_eq!(now != before, kept(file), "{file}");
    }

    group.set_limits(&first(), false).unwrap();
    let mut fails = false;
    let (answer, _) = changes(&group, "second", |name| {
        fails |= name == "memory.max";
        if fails { Fault::Fails } else { Fault::None }
    });
    assert!(answer.contains(" more could not be put back: the limits are half set"), "{answer}");
    group.destroy();
}

/// Before Linux 6.10 a cpu.max that is restored reduces the burst that was restored before it.
#[test]
fn a_failed_restore_is_tried_again() {
    let group = Group::new(&first());
    let before = snapshot(&group);
    let mut count = 0;
    let (answer, _) = changes(&group, "second", |name| {
        count += i32::from(name == "pids.max");
        match name {
            "cgroup.max.descendants" => Fault::Fails,
            "pids.max" if count == 2 => Fault::Fails,
            _ => Fault::None,
        }
    });
    assert!(answer.starts_with("EBADF cgroup.max.descendants cannot set "), "{answer}");
    assert_eq!(snapshot(&group), before);
    group.destroy();
}

/// With O_NONBLOCK the kernel sets memory.max and memory.high without reclaim, from Linux 6.16 on. The flag
/// is visible on every kernel.
#[test]
fn a_write_reclaims_only_if_it_is_forced_and_never_in_a_restore() {
    let group = Group::new(&first());
    for (args, waits) in [(&["second"][..], false), (&["second", "force"], true)] {
        let mut seen = Vec::new();
        let (answer, _) = traced(&group, args, |name, flags| {
            if ["memory.max", "memory.high"].contains(&name) {
                seen.push((name.to_owned(), !flags.contains(OFlag::O_NONBLOCK)));
            }
            if name == "memory.swap.max" { Fault::Fails } else { Fault::None }
        });
        assert!(answer.starts_with("EBADF memory.swap.max "), "{answer}");
        let expected =
            [("memory.max", waits), ("memory.high", waits), ("memory.high", false), ("memory.max", false)];
        assert_eq!(seen, expected.map(|(name, waits)| (name.to_owned(), waits)), "{args:?}");
    }
    group.destroy();
}

/// The group is raised to `second` and lowered to `first`.
#[test]
fn raised_limits_are_written_in_the_reverse_order_of_lowered_ones() {
    let group = Group::new(&first());
    let order = |to, some: [&str; 3]| {
        let (answer, mut written) = changes(&group, to, |_| Fault::None);
        assert_eq!(answer, "set");
        written.retain(|file| some.contains(&file.as_str()));
        written
    };
    let memory = ["memory.max", "memory.high", "memory.swap.max"];
    assert_eq!(order("second", memory), memory);
    assert_eq!(order("first", memory), ["memory.swap.max", "memory.high", "memory.max"]);
    if has_new_files() {
        let cpu = ["cpu.max", "cpu.max.burst", "cpu.idle"];
        assert_eq!(order("second", cpu), ["cpu.idle", "cpu.max", "cpu.max.burst"]);
        // A burst of 60000 us exceeds the new quota of 50000 us.
        assert_eq!(order("first", cpu), ["cpu.idle", "cpu.max.burst", "cpu.max"]);
    }
    group.destroy();
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Each write of a change is made to fail in turn, by a tracer: all files are then as they were.

use super::{FILES, first, is_new, picture, second};
use crate::common::group::Group;
use crate::common::member::{Member, role};
use crate::common::ptrace::{self, Fault};
use agentcg::{Agent, Limits, discover_parent};
use nix::fcntl::OFlag;
use std::ffi::CString;

/// Changes the limits of a group under the tracer's eyes, and tells what came of it.
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
    match agent.set_limits(&limits, args.get(2).is_some_and(|how| how == "force")) {
        Ok(()) => role::send("set"),
        Err(e) => role::send(&format!("{:?} {} {}", e.errno(), e.file(), e.message())),
    }
}

/// What it says, and which files it has written.
fn changes(group: &Group, limits: &str, mut fault: impl FnMut(&str) -> Fault) -> (String, Vec<String>) {
    traced(group, &[limits], |name, _| fault(name))
}

fn traced(group: &Group, how: &[&str], fault: impl FnMut(&str, OFlag) -> Fault) -> (String, Vec<String>) {
    let mut member = Member::start("sets_limits", &[&[group.uuid()], how].concat());
    let written = ptrace::inject_write_faults(member.pid(), fault);
    let answer = member.receive();
    assert!(member.wait().success());
    (answer, written)
}

fn files() -> impl Iterator<Item = &'static str> {
    FILES.into_iter().filter(|file| is_new() || !["cpu.idle", "cpu.max.burst"].contains(file))
}

#[test]
fn whichever_write_fails_all_files_are_as_before() {
    // From low to high and back: what is raised is written in another order than what is lowered.
    for (from, to) in [(first(), "second"), (second(), "first")] {
        let group = Group::new(&from);
        let before = picture(&group);
        for file in files() {
            let (answer, written) =
                changes(&group, to, |name| if name == file { Fault::Fails } else { Fault::None });
            assert!(answer.starts_with(&format!("EBADF {file} cannot set {file} to ")), "{answer}");
            assert!(answer.contains("/agents: ") && !answer.contains("half set"), "{answer}");
            assert_eq!(picture(&group), before, "{to}, {file}");
            is_put_back_in_reverse(written, file);
        }
        let (answer, written) = changes(&group, to, |_| Fault::None);
        assert_eq!((answer.as_str(), written.len()), ("set", files().count()), "{written:?}");
        group.destroy();
    }
}

#[track_caller]
fn is_put_back_in_reverse(mut written: Vec<String>, failed: &str) {
    let at = written.iter().position(|name| name == failed).expect("it was tried");
    let put_back = written.split_off(at + 1);
    written.pop();
    written.reverse();
    // It is the same before and after.
    written.retain(|name| name != "cpu.idle");
    assert_eq!(put_back, written, "{failed}");
}

/// The kernel forgets the weight of a group that it makes idle.
#[test]
fn where_a_group_does_not_come_to_be_idle_it_has_its_old_weight_again() {
    if !is_new() {
        return;
    }
    let group = Group::new(&first());
    let before = picture(&group);
    for file in files().filter(|file| *file != "cpu.weight") {
        let (answer, _) =
            changes(&group, "idle", |name| if name == file { Fault::Fails } else { Fault::None });
        assert!(answer.starts_with(&format!("EBADF {file} ")), "{answer}");
        assert_eq!(picture(&group), before, "{file}");
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
fn a_value_that_the_kernel_does_not_keep_undoes_all() {
    let group = Group::new(&first());
    let before = picture(&group);
    for file in ["pids.max", "memory.max", "memory.high", "cpu.weight", "cgroup.max.depth"] {
        let mut twice = 2;
        let (answer, _) = changes(&group, "second", |name| {
            let now = name == file && twice > 0;
            twice -= i32::from(now);
            if now { Fault::OtherDigit } else { Fault::None }
        });
        assert!(answer.starts_with(&format!("ERANGE {file} cannot set {file} to ")), "{answer}");
        assert!(answer.contains(": the kernel made \"") && answer.ends_with("\" of it"), "{answer}");
        assert_eq!(picture(&group), before, "{file}");
    }
    group.destroy();
}

#[test]
fn what_cannot_be_put_back_is_told() {
    let group = Group::new(&first());
    let before = picture(&group);
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
    for ((file, now), before) in FILES.iter().zip(picture(&group)).zip(before) {
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

/// Before Linux 6.10 a cpu.max that is put back cuts the burst that was put back just before.
#[test]
fn what_is_not_put_back_at_once_is_tried_again() {
    let group = Group::new(&first());
    let before = picture(&group);
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
    assert_eq!(picture(&group), before);
    group.destroy();
}

/// With O_NONBLOCK the kernel only sets memory.max and memory.high, from Linux 6.16 on; it is there to be seen on any.
#[test]
fn only_where_it_is_forced_a_write_reclaims_and_never_to_put_back() {
    let group = Group::new(&first());
    for (how, waits) in [(&["second"][..], false), (&["second", "force"], true)] {
        let mut seen = Vec::new();
        let (answer, _) = traced(&group, how, |name, flags| {
            if ["memory.max", "memory.high"].contains(&name) {
                seen.push((name.to_owned(), !flags.contains(OFlag::O_NONBLOCK)));
            }
            if name == "memory.swap.max" { Fault::Fails } else { Fault::None }
        });
        assert!(answer.starts_with("EBADF memory.swap.max "), "{answer}");
        let expected =
            [("memory.max", waits), ("memory.high", waits), ("memory.high", false), ("memory.max", false)];
        assert_eq!(seen, expected.map(|(name, waits)| (name.to_owned(), waits)), "{how:?}");
    }
    group.destroy();
}

/// As the group is raised to `second` and lowered to `first`.
#[test]
fn what_is_raised_comes_before_what_it_makes_room_for_and_what_is_lowered_after() {
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
    if is_new() {
        let cpu = ["cpu.max", "cpu.max.burst", "cpu.idle"];
        assert_eq!(order("second", cpu), ["cpu.idle", "cpu.max", "cpu.max.burst"]);
        // 60000 us of burst are more than the 50000 that the quota comes down to.
        assert_eq!(order("first", cpu), ["cpu.idle", "cpu.max.burst", "cpu.max"]);
    }
    group.destroy();
}

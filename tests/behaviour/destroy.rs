// SPDX-License-Identifier: MIT OR Apache-2.0
//! `destroy` leaves no process and no directory of an agent, and nothing else is removed.

use crate::common::cgroup::{Cgroup, Scratch};
use crate::common::group::Group;
use crate::common::member::{Member, role};
use crate::common::{self, deadline, lab};
use agentcg::stats::{CPU, Stats};
use agentcg::{Agent, Deadline, Errno, Limits, Reason};
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::Pid;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

roles![sleeps_below];

fn no_limits() -> Limits {
    Limits::default()
}

#[test]
fn two_hundred_rounds_leave_no_directory() {
    let scratch = Scratch::new();
    let other = Group::under(&scratch, &no_limits());
    let before = scratch.parent.snapshot();
    for round in 0..common::repetitions(200) {
        let group = Group::under(&scratch, &no_limits());
        // Every other group has members, and cgroups that they have made.
        if round % 2 == 0 {
            let mut member = group.start("sleeps_below", &[&group.cgroup.0.to_string_lossy()]);
            member.expect_line("ready");
            group.destroy();
            assert!(member.is_dead(), "round {round}");
        } else {
            group.destroy();
        }
        assert_eq!(scratch.parent.snapshot(), before, "round {round}");
    }
    other.destroy();
}

fn sleeps_below(args: &[String]) {
    role::receive();
    let own = Cgroup(args[0].clone().into());
    if role::fork() {
        role::enter(&own.make("below").make("further below"));
        role::send("ready");
    }
    role::sleep();
}

#[test]
fn cgroups_nested_deeper_than_a_path_can_name_are_removed() {
    let group = Group::plain();
    let name = "n".repeat(250);
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut dir: OwnedFd = openat(AT_FDCWD, &group.cgroup.0, flags, Mode::empty()).unwrap();
    for _ in 0..50 {
        mkdirat(&dir, name.as_str(), Mode::from_bits_truncate(0o755)).unwrap();
        dir = openat(&dir, name.as_str(), flags, Mode::empty()).unwrap();
    }
    assert_eq!(group.cgroup.value("cgroup.stat", "nr_descendants"), 50);
    group.destroy();
}

#[test]
fn cgroups_side_by_side_are_removed() {
    let group = Group::plain();
    for outer in 0..12 {
        let outer = group.cgroup.make(format!("outer {outer}"));
        for inner in 0..8 {
            outer.make(format!("inner-{inner}"));
        }
    }
    group.destroy();
}

#[test]
fn cgroups_with_strange_names_are_removed() {
    let group = Group::plain();
    for name in [&b" "[..], b"..x", b"...", b"a:b", b"\xff\xfe\x01", b"(deleted)", "caf\u{e9}".as_bytes()] {
        group.cgroup.make(OsStr::from_bytes(name)).make("below");
    }
    group.destroy();
}

#[test]
fn cgroups_with_enabled_controllers_are_removed() {
    let group = Group::plain();
    let inner = group.cgroup.make("inner");
    inner.make("innermost");
    for cgroup in [&group.cgroup, &inner] {
        for controller in cgroup.words("cgroup.controllers") {
            cgroup.write("cgroup.subtree_control", format!("+{controller}"));
        }
    }
    group.destroy();
}

#[test]
fn the_last_stats_are_read_after_the_last_member_is_dead() {
    let group = Group::plain();
    let mut member = group.start("burner", &[]);
    member.expect_line("ready");
    common::wait_until("it has used 20 ms", || group.cgroup.value("cpu.stat", "usage_usec") > 20_000);
    let before = group.read_stats(u64::MAX).unwrap();
    let last = group.destroy();
    assert_eq!(last.mask, before.mask);
    assert!(last.cpu_usage_ns >= before.cpu_usage_ns && last.time_ns > before.time_ns);
    assert_eq!(last.populated, 0);
}

#[test]
fn stats_that_are_not_requested_are_not_read() {
    let group = Group::plain();
    assert_eq!(group.agent().destroy(false, deadline(), false).unwrap(), Stats::default());
    assert!(!group.cgroup.exists());
}

#[test]
fn with_if_empty_a_group_with_members_stays() {
    let group = Group::plain();
    let mut member = group.start("sleeps_below", &[&group.cgroup.0.to_string_lossy()]);
    member.expect_line("ready");
    let before = group.cgroup.snapshot();
    let e = group.agent().destroy(true, deadline(), true).unwrap_err();
    assert_eq!((e.errno(), e.reason(), e.file()), (Errno::EBUSY, None, "cgroup.events"));
    assert_eq!(group.cgroup.snapshot(), before);
    assert!(!member.is_dead());
    assert_eq!(group.read_stats(CPU).unwrap().mask, CPU, "the handle still works");
    group.kill_all(deadline()).unwrap();
    group.agent().destroy(true, deadline(), true).unwrap();
    assert!(!group.cgroup.exists());
}

#[test]
fn with_if_empty_a_group_stays_if_only_a_nested_cgroup_has_a_member() {
    let group = Group::plain();
    let below = group.cgroup.make("below");
    let mut member = Member::start("sleeper", &[]);
    below.move_in(member.pid());
    member.send("go");
    member.expect_line("ready");
    let e = group.agent().destroy(true, deadline(), false).unwrap_err();
    assert_eq!(e.errno(), Errno::EBUSY, "{e}");
    assert!(below.lists(member.pid()) && !member.is_dead());
    group.destroy();
}

#[test]
fn with_if_empty_nested_cgroups_are_removed() {
    let group = Group::plain();
    group.cgroup.make("one").make("two");
    group.agent().destroy(true, Deadline::after(Duration::ZERO), false).unwrap();
    assert!(!group.cgroup.exists());
}

#[test]
fn a_removed_group_counts_as_destroyed() {
    let group = Group::plain();
    group.cgroup.remove();
    for if_empty in [false, true] {
        // No file is left from which stats could be read.
        assert_eq!(group.agent().destroy(if_empty, deadline(), true).unwrap().mask, 0);
    }
}

#[test]
fn a_group_made_again_under_the_same_name_is_not_touched() {
    let group = Group::plain();
    group.cgroup.remove();
    let again = group.cgroup.parent().make(group.uuid());
    let below = again.make("below");
    let mut member = Member::start("sleeper", &[]);
    below.move_in(member.pid());
    member.send("go");
    member.expect_line("ready");
    for if_empty in [false, true] {
        group.agent().destroy(if_empty, deadline(), true).unwrap();
    }
    assert!(below.exists() && below.lists(member.pid()) && !member.is_dead());
    again.kill_and_remove();
}

#[test]
fn a_destroyed_group_is_reported_as_gone() {
    let group = Group::plain();
    group.destroy();
    group.agent().destroy(false, deadline(), true).unwrap();
    let e = group.wait_empty(deadline()).unwrap_err();
    assert_eq!((e.errno(), e.reason()), (Errno::ENODEV, Some(Reason::Gone)));
}

#[test]
fn wait_empty_waits_for_the_last_process() {
    let group = Group::plain();
    group.wait_empty(Deadline::after(Duration::ZERO)).unwrap();
    let mut member = group.start("sleeps_below", &[&group.cgroup.0.to_string_lossy()]);
    member.expect_line("ready");
    let e = group.wait_empty(Deadline::after(Duration::from_millis(30))).unwrap_err();
    assert_eq!((e.errno(), e.reason(), e.file()), (Errno::ETIMEDOUT, None, "cgroup.events"));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| group.wait_empty(deadline()));
        for pid in group.cgroup.members() {
            kill(Pid::from_raw(pid.parse().unwrap()), Signal::SIGKILL).unwrap();
        }
        waiting.join().unwrap().unwrap();
    });
    assert!(member.is_dead());
    group.destroy();
}

#[test]
fn a_dropped_handle_leaves_the_group_and_its_members() {
    lab::layout();
    let agent = Agent::new(None, None, &no_limits()).unwrap();
    let cgroup = Cgroup::at(agent.path());
    let mut member = Member::start("sleeper", &[]);
    agent.move_pid(member.pid()).unwrap();
    member.send("go");
    member.expect_line("ready");
    drop(agent);
    assert!(cgroup.lists(member.pid()) && !member.is_dead());
    cgroup.kill_and_remove();
}

#[test]
fn an_existing_uuid_is_refused_and_unharmed() {
    let group = Group::new(&Limits { pids_max: Some(12), ..no_limits() });
    let mut member = group.start("sleeper", &[]);
    member.expect_line("ready");
    let agents = group.cgroup.parent();
    let before = agents.snapshot();
    let limits = Limits { pids_max: Some(1), ..no_limits() };
    let e = Agent::new(None, Some(group.uuid()), &limits).unwrap_err();
    assert_eq!((e.errno(), e.reason()), (Errno::EEXIST, None), "{e}");
    assert!(e.message().ends_with("choose another uuid, or open it") && e.message().len() <= 183, "{e}");
    assert_eq!(agents.snapshot(), before);
    assert_eq!(group.cgroup.read("pids.max"), "12");
    assert!(group.cgroup.lists(member.pid()) && !member.is_dead());
    group.destroy();
}

#[test]
fn an_existing_directory_without_an_owner_is_refused_and_unharmed() {
    let group = Group::plain();
    let uuid = "3f2504e0-4f89-41d3-9a0c-0305e82c3301";
    let existing = group.cgroup.parent().make(uuid);
    let before = existing.read("cgroup.max.depth");
    let limits = Limits { max_depth: Some(1), ..no_limits() };
    assert_eq!(Agent::new(None, Some(uuid), &limits).unwrap_err().errno(), Errno::EEXIST);
    assert_eq!(existing.read("cgroup.max.depth"), before);
    existing.remove();
    group.destroy();
}

#[test]
fn a_uuid_names_the_directory() {
    lab::layout();
    let text = "01234567-89ab-4def-8123-456789abcdef";
    let agent = Agent::new(None, Some(text), &no_limits()).unwrap();
    assert_eq!(agent.uuid(), text);
    assert!(agent.path().ends_with(format!("/synwire/agents/{text}").as_bytes()));
    agent.destroy(false, deadline(), false).unwrap();
    // The uuid is free again, and its case does not matter.
    let agent = Agent::new(None, Some(&text.to_uppercase()), &no_limits()).unwrap();
    assert_eq!(agent.uuid(), text);
    agent.destroy(false, deadline(), false).unwrap();
    for bad in [
        "",
        "x",
        "../../../../../../../../../../../tmp",
        "0123456789ab4def8123456789abcdef",
        "{01234567-89ab-4def-8123-456789abcdef}",
    ] {
        assert_eq!(Agent::new(None, Some(bad), &no_limits()).unwrap_err().errno(), Errno::EINVAL, "{bad}");
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The limits of a place bound all its agents together, and last longer than any agent.

use crate::common::cgroup::{Cgroup, Scratch};
use crate::common::group::Group;
use crate::common::member::{Member, role};
use crate::common::program::{self, StartOptions};
use crate::common::{deadline, hierarchy_snapshot, lab, lock_place, ptrace};
use agentcg::verdict::cause;
use agentcg::{
    Agent, CpuMax, Errno, Limits, Reason, UNLIMITED, discover_parent, find, get_place_limits, list, reap,
    set_place_limits,
};
use nix::fcntl::{Flock, FlockArg};
use std::ffi::CString;
use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::slice::from_ref;
use std::sync::atomic::{AtomicBool, Ordering};

roles![touches_64_mib, sets_pids_max, reads_pids_max, sets_three, lifts_three];

const MIB: u64 = 1 << 20;

fn none() -> Limits {
    Limits::default()
}

fn pids(most: u64) -> Limits {
    Limits { pids_max: Some(most), ..none() }
}

fn memory(mib: u64) -> Limits {
    Limits { memory_max: Some(mib * MIB), swap_max: Some(0), ..none() }
}

fn three() -> Limits {
    let cpu_max = Some(CpuMax { millicpu: 500, period_us: 0 });
    Limits { cpu_max, cpu_weight: Some(50), pids_max: Some(20), ..none() }
}

fn three_lifted() -> Limits {
    let cpu_max = Some(CpuMax { millicpu: UNLIMITED, period_us: 0 });
    Limits { cpu_max, cpu_weight: Some(100), pids_max: Some(UNLIMITED), ..none() }
}

#[track_caller]
fn set(scratch: &Scratch, limits: &Limits) {
    set_place_limits(Some(&scratch.path()), limits, false).unwrap_or_else(|e| panic!("{limits:?}: {e}"));
}

#[track_caller]
fn get(scratch: &Scratch) -> Limits {
    get_place_limits(Some(&scratch.path())).unwrap_or_else(|e| panic!("{e}"))
}

fn agents(scratch: &Scratch) -> Cgroup {
    scratch.parent.join("synwire/agents")
}

fn marker(scratch: &Scratch) -> Cgroup {
    agents(scratch).join("limits")
}

fn parent_of(args: &[String]) -> CString {
    CString::new(args[0].as_str()).expect("no NUL")
}

#[test]
fn agents_that_fit_alone_are_killed_if_they_are_over_the_memory_limit_together() {
    let scratch = Scratch::new();
    let _alone = lock_place();
    set(&scratch, &memory(80));
    let group = || Group::under(&scratch, &none());
    let hog = StartOptions { args: &[], ..StartOptions::default() };
    let alone = group();
    let child = program::start(&alone, "touches_64_mib", hog).unwrap();
    assert_eq!(
        program::wait(&child),
        nix::sys::wait::WaitStatus::Exited(nix::unistd::Pid::from_raw(child.pid), 0)
    );
    alone.destroy();

    let (first, second) = (group(), group());
    let mut holds = first.start("member::hog", &["24"]);
    holds.expect_line("it fits");
    let child = program::start(&second, "touches_64_mib", hog).unwrap();
    let mut status = 0;
    // SAFETY: the status is a local variable.
    #[allow(unsafe_code, reason = "nix decodes the status")]
    let waited = unsafe { libc::waitpid(child.pid, &raw mut status, 0) };
    assert_eq!((waited, status), (child.pid, libc::SIGKILL));
    assert!(agents(&scratch).value("memory.events.local", "oom") > 0);
    for group in [&first, &second] {
        assert_eq!(group.cgroup.value("memory.events.local", "oom"), 0);
    }
    let verdict = second.explain(Some(status)).unwrap();
    assert!(verdict.candidates & cause::MEMORY_LIMIT_ABOVE != 0, "{verdict:?}");
    if !lab::lacks("pids.peak") {
        assert_eq!(verdict.levels_up, 1);
        assert_eq!(verdict.cause, cause::MEMORY_LIMIT_ABOVE, "{verdict:?}");
        let sentence = verdict.sentence(&second.path());
        let told = format!("the memory limit of {};", agents(&scratch).0.display());
        assert!(sentence.contains(&told), "{sentence}");
    }
    assert!(!holds.is_dead());
}

/// A role that needs more than half of the memory of the place.
fn touches_64_mib(_: &[String]) {
    let mut memory = vec![0u8; 64 << 20];
    memory.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
    std::hint::black_box(&memory);
    role::exit(0);
}

#[test]
fn threads_of_all_agents_count_for_the_limit_of_the_place() {
    let scratch = Scratch::new();
    set(&scratch, &pids(3));
    let (first, second) = (Group::under(&scratch, &none()), Group::under(&scratch, &pids(100)));
    let mut sleepers = ["one", "two"].map(|_| first.start("member::sleeper", &[]));
    sleepers.iter_mut().for_each(|sleeper| sleeper.expect_line("ready"));
    let mut forks = second.start("forks_on_request", &[]);
    forks.send("fork");
    forks.expect_line("EAGAIN");
    set(&scratch, &pids(4));
    forks.send("fork");
    forks.expect_line("forked");
}

#[test]
fn limits_outlive_the_last_agent_and_a_reap_and_bound_the_next_one() {
    let scratch = Scratch::new();
    set(&scratch, &memory(64));
    let group = Group::under(&scratch, &none());
    let member = group.start("member::sleeper", &[]);
    group.destroy();
    assert_eq!(reap(Some(&scratch.path()), deadline()), Ok(0));
    assert_eq!(list(Some(&scratch.path())), Ok(Vec::new()));
    assert_eq!(get(&scratch).memory_max, Some(64 * MIB));
    drop(member);
    let next = Group::under(&scratch, &none());
    let mut hog = next.start("member::hog", &["128"]);
    assert_eq!(hog.wait().signal(), Some(libc::SIGKILL));
}

#[test]
fn what_keeps_the_limits_is_no_agent() {
    let scratch = Scratch::new();
    set(&scratch, &pids(50));
    let group = Group::under(&scratch, &none());
    let entries = list(Some(&scratch.path())).unwrap();
    assert_eq!(entries.iter().map(|entry| entry.uuid.as_str()).collect::<Vec<_>>(), [group.uuid()]);
    let mut stray = Member::start("member::sleeper", &[]);
    marker(&scratch).move_in(stray.pid());
    assert_eq!(find(stray.pid()).unwrap_err().errno(), Errno::ENOENT);
    assert_eq!(reap(Some(&scratch.path()), deadline()), Ok(0));
    assert!(!stray.is_dead());
    assert_eq!(get(&scratch).pids_max, Some(50));
}

#[test]
fn without_an_agent_the_tree_goes_with_the_last_limit() {
    let scratch = Scratch::new();
    let before = scratch.parent.snapshot();
    set(&scratch, &three());
    set(&scratch, &Limits { pids_max: Some(UNLIMITED), cpu_weight: Some(100), ..none() });
    assert!(marker(&scratch).exists(), "there is a limit left");
    assert_eq!(get(&scratch).cpu_max, Some(CpuMax { millicpu: 500, period_us: 100_000 }));
    set(&scratch, &three_lifted());
    assert_eq!(scratch.parent.all(), from_ref(&scratch.parent));
    // As after the last agent, the controllers stay enabled. A call that makes the tree itself leaves nothing.
    for controller in scratch.parent.words("cgroup.subtree_control") {
        scratch.parent.write("cgroup.subtree_control", format!("-{controller}"));
    }
    set(&scratch, &three_lifted());
    assert_eq!(scratch.parent.snapshot(), before);
}

#[test]
fn with_an_agent_the_tree_goes_with_that_agent_after_the_last_limit() {
    let scratch = Scratch::new();
    let group = Group::under(&scratch, &none());
    set(&scratch, &three());
    assert_eq!(agents(&scratch).read("pids.max"), "20");
    set(&scratch, &three_lifted());
    assert!(!marker(&scratch).exists() && group.cgroup.exists());
    assert_eq!(get(&scratch).pids_max, Some(UNLIMITED));
    group.destroy();
    assert_eq!(scratch.parent.all(), from_ref(&scratch.parent));
}

#[test]
fn two_hosts_have_one_set_of_limits_and_the_last_one_counts() {
    let scratch = Scratch::new();
    let parent = scratch.parent.0.to_string_lossy();
    set(&scratch, &Limits { memory_max: Some(64 * MIB), pids_max: Some(10), ..none() });
    let mut other = Member::start("sets_pids_max", &[&parent, "20"]);
    assert!(other.wait().success());
    let limits = get(&scratch);
    assert_eq!((limits.memory_max, limits.pids_max), (Some(64 * MIB), Some(20)));
    set(&scratch, &pids(30));
    let mut other = Member::start("reads_pids_max", &[&parent]);
    other.expect_line("30");
    assert!(other.wait().success());
}

fn sets_pids_max(args: &[String]) {
    set_place_limits(Some(&parent_of(args)), &pids(args[1].parse().expect("a number")), false)
        .unwrap_or_else(|e| panic!("{e}"));
}

fn reads_pids_max(args: &[String]) {
    let limits = get_place_limits(Some(&parent_of(args))).unwrap_or_else(|e| panic!("{e}"));
    role::send(&limits.pids_max.expect("pids.max exists").to_string());
}

#[test]
fn a_place_without_agents_and_limits_has_nothing_to_read() {
    let scratch = Scratch::new();
    let e = get_place_limits(Some(&scratch.path())).unwrap_err();
    assert_eq!((e.errno(), e.reason()), (Errno::ENOENT, None), "{e}");
    assert!(e.message().contains("has no agents and no limits"), "{e}");
    assert!(e.message().len() <= 183, "{e}");
    let e = get_place_limits(Some(c"/sys/fs/cgroup/no-such-place")).unwrap_err();
    assert_eq!(e.errno(), Errno::ENOENT, "{e}");
    let e = set_place_limits(Some(c"/sys/fs/cgroup/no-such-place"), &pids(5), false).unwrap_err();
    assert_eq!(e.errno(), Errno::ENOENT, "{e}");
    let e = get_place_limits(Some(c"/proc")).unwrap_err();
    assert_eq!((e.errno(), e.reason()), (Errno::ENODEV, Some(Reason::NoCgroup2)), "{e}");
    let _group = Group::under(&scratch, &none());
    assert_eq!(get(&scratch).pids_max, Some(UNLIMITED));
}

/// The kernel of the lab has no io.weight.
#[test]
fn a_refused_call_leaves_nothing() {
    let scratch = Scratch::with_controllers(&["cpu", "pids"]);
    let refused = |limits: &Limits, errno| {
        let e = set_place_limits(Some(&scratch.path()), limits, false).unwrap_err();
        assert_eq!(e.errno(), errno, "{e}");
        assert!(e.message().len() <= 183, "{e}");
    };
    let all = |limits: &Limits| {
        let before = scratch.parent.snapshot();
        refused(&Limits { memory_max: Some(64 * MIB), ..*limits }, Errno::EOPNOTSUPP);
        refused(&Limits { cpu_weight: Some(7), cpu_idle: Some(true), ..*limits }, Errno::EINVAL);
        refused(&Limits { cpu_weight: Some(0), ..*limits }, Errno::ERANGE);
        refused(&Limits { io_weight: Some(100), ..*limits }, Errno::EOPNOTSUPP);
        assert_eq!(scratch.parent.snapshot(), before);
    };
    all(&pids(8));
    set(&scratch, &pids(5));
    all(&pids(8));
    assert_eq!(get(&scratch).pids_max, Some(5));
}

#[test]
fn memory_in_use_is_killed_only_by_force_and_a_refusal_changes_no_level() {
    let scratch = Scratch::new();
    let group = Group::under(&scratch, &none());
    let mut hog = group.start("member::hog", &["64"]);
    hog.expect_line("it fits");
    let limits = Limits { cpu_weight: Some(7), memory_low: Some(MIB), ..memory(16) };
    let e = set_place_limits(Some(&scratch.path()), &limits, false).unwrap_err();
    assert_eq!((e.errno(), e.file()), (Errno::EBUSY, "memory.max"), "{e}");
    for level in [scratch.parent.join("synwire"), agents(&scratch)] {
        assert_eq!((level.read("cpu.weight"), level.read("memory.low")), ("100".into(), "0".into()));
    }
    assert!(!marker(&scratch).exists() && !hog.is_dead());
    set_place_limits(Some(&scratch.path()), &limits, true).unwrap();
    assert_eq!(hog.wait().signal(), Some(libc::SIGKILL));
}

/// `synwire/agents` has no sibling that it could be compared with, and the kernel protects no more of a cgroup than of its parent.
#[test]
fn shares_and_protection_are_set_at_both_levels() {
    let scratch = Scratch::new();
    let both = |file: &str, value: &str| {
        for level in [scratch.parent.join("synwire"), agents(&scratch)] {
            assert_eq!(level.read(file), value, "{}/{file}", level.0.display());
        }
    };
    let of = |low, min, weight| Limits {
        memory_low: Some(low),
        memory_min: Some(min),
        cpu_weight: Some(weight),
        ..none()
    };
    let _group = Group::under(&scratch, &none());
    set(&scratch, &of(8 * MIB, 4 * MIB, 50));
    both("memory.low", "8388608");
    both("memory.min", "4194304");
    both("cpu.weight", "50");
    set(&scratch, &of(0, 0, 100));
    both("memory.low", "0");
    both("cpu.weight", "100");
    assert!(!marker(&scratch).exists());
    let has_idle = agents(&scratch).has("cpu.idle");
    if has_idle {
        set(&scratch, &Limits { cpu_idle: Some(true), ..none() });
        both("cpu.idle", "1");
        assert!(marker(&scratch).exists());
        set(&scratch, &Limits { cpu_idle: Some(false), ..none() });
        both("cpu.idle", "0");
    }
    assert!(!marker(&scratch).exists());
}

#[test]
fn the_number_of_agents_is_bounded_by_max_descendants() {
    let scratch = Scratch::new();
    // The cgroup that keeps the limits is one of them.
    set(&scratch, &Limits { max_descendants: Some(3), max_depth: Some(1), ..none() });
    let _two = [Group::under(&scratch, &none()), Group::under(&scratch, &none())];
    let e = Agent::new(Some(&scratch.path()), None, &none()).unwrap_err();
    assert_eq!((e.errno(), e.reason()), (Errno::EAGAIN, Some(Reason::NestingLimit)), "{e}");
    set(&scratch, &Limits { max_descendants: Some(UNLIMITED), max_depth: Some(0), ..none() });
    let e = Agent::new(Some(&scratch.path()), None, &none()).unwrap_err();
    assert_eq!((e.errno(), e.reason()), (Errno::EAGAIN, Some(Reason::NestingLimit)), "{e}");
    set(&scratch, &Limits { max_depth: Some(UNLIMITED), ..none() });
    assert!(!marker(&scratch).exists());
}

#[test]
fn without_a_parent_the_place_of_agents_is_meant() {
    let _alone = lock_place();
    let before = hierarchy_snapshot();
    let place = Cgroup::at(discover_parent().unwrap());
    assert_eq!(get_place_limits(None).unwrap_err().errno(), Errno::ENOENT);
    assert_eq!(hierarchy_snapshot(), before, "to read changes nothing");
    set_place_limits(None, &pids(77), false).unwrap();
    assert_eq!(place.join("synwire/agents").read("pids.max"), "77");
    assert_eq!(get_place_limits(None).unwrap().pids_max, Some(77));
    let group = Group::plain();
    assert_eq!(group.cgroup.parent(), place.join("synwire/agents"));
    assert_eq!(get_place_limits(None).unwrap().pids_max, Some(77));
    group.destroy();
    assert_eq!(get_place_limits(None).unwrap().pids_max, Some(77));
    set_place_limits(None, &pids(UNLIMITED), false).unwrap();
    assert!(!place.join("synwire").exists());
}

#[test]
fn another_call_that_does_not_end_is_waited_for_and_reported() {
    let scratch = Scratch::new();
    set(&scratch, &pids(9));
    let directory = File::open(marker(&scratch).0).unwrap();
    let lock = Flock::lock(directory, FlockArg::LockExclusiveNonblock).unwrap();
    let e = set_place_limits(Some(&scratch.path()), &pids(10), false).unwrap_err();
    assert_eq!(e.errno(), Errno::EBUSY, "{e}");
    assert!(e.message().contains("is setting the limits"), "{e}");
    assert_eq!(get(&scratch).pids_max, Some(9));
    drop(lock);
    set(&scratch, &pids(10));
}

/// A call that finds only defaults removes what keeps the tree. It must not do that to the limit of another call.
#[test]
fn a_limit_that_was_set_stays_whatever_other_hosts_set_and_remove() {
    let scratch = Scratch::new();
    let parent = scratch.path();
    let done = AtomicBool::new(false);
    let until_done = |work: &dyn Fn()| {
        let _end = EndsOthers(&done);
        while !done.load(Ordering::Relaxed) {
            work();
        }
    };
    let set =
        |limits: &Limits| set_place_limits(Some(&parent), limits, false).unwrap_or_else(|e| panic!("{e}"));
    std::thread::scope(|scope| {
        scope.spawn(|| until_done(&|| set(&three_lifted())));
        scope.spawn(|| {
            until_done(&|| {
                set(&Limits { max_depth: Some(5), ..none() });
                set(&Limits { max_depth: Some(UNLIMITED), ..none() });
            });
        });
        scope.spawn(|| {
            until_done(&|| {
                let agent = Agent::new(Some(&parent), None, &none()).unwrap_or_else(|e| panic!("{e}"));
                agent.destroy(false, deadline(), false).unwrap_or_else(|e| panic!("{e}"));
            });
        });
        let _end = EndsOthers(&done);
        for round in 0..ROUNDS {
            set(&Limits { max_descendants: Some(90), ..none() });
            let kept = marker(&scratch).exists();
            let value = agents(&scratch).try_read("cgroup.max.descendants");
            assert!(kept && value.as_deref().ok() == Some("90"), "round {round}: {kept}, {value:?}");
            set(&Limits { max_descendants: Some(UNLIMITED), ..none() });
        }
    });
    set(&Limits { max_depth: Some(UNLIMITED), ..none() });
    assert_eq!(scratch.parent.all(), from_ref(&scratch.parent));
}

const ROUNDS: u32 = 300;

/// Ends the loops of the other threads, also if this thread panics.
struct EndsOthers<'a>(&'a AtomicBool);

impl Drop for EndsOthers<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A process may be killed between any two system calls. A limit then has what keeps it, and the next call mends the rest.
#[test]
fn a_call_that_is_interrupted_leaves_at_most_what_the_next_one_removes() {
    for (role, begins_with) in [("sets_three", three_lifted()), ("lifts_three", three())] {
        let scratch = Scratch::new();
        let parent = scratch.parent.0.to_string_lossy();
        let mut left = 0;
        for stop in (1..).step_by(ptrace::stride() as usize) {
            set(&scratch, &begins_with);
            let mut member = Member::start(role, &[&parent]);
            if !ptrace::run_to_stop(member.pid(), stop) {
                assert!(member.wait().success());
                assert!(stop > 40, "{role} has fewer stops than expected");
                break;
            }
            member.kill_it_alone();
            match get_place_limits(Some(&scratch.path())) {
                Err(e) => assert_eq!(e.errno(), Errno::ENOENT, "{role}, stop {stop}: {e}"),
                Ok(limits) => {
                    let is_lifted = limits.pids_max == Some(UNLIMITED)
                        && limits.cpu_max.is_none_or(|max| max.millicpu == UNLIMITED)
                        && limits.cpu_weight == Some(100);
                    let kept = marker(&scratch).exists();
                    assert!(is_lifted || kept, "{role}, stop {stop}: {limits:?} would be lost");
                    left += u32::from(is_lifted && kept);
                }
            }
            set(&scratch, &three_lifted());
            assert_eq!(scratch.parent.all(), from_ref(&scratch.parent), "{role}, stop {stop}");
        }
        println!("{role}: {left} times only what keeps the limits was left");
    }
}

fn sets_three(args: &[String]) {
    ptrace::wait_for_tracer();
    set_place_limits(Some(&parent_of(args)), &three(), false).unwrap_or_else(|e| panic!("{e}"));
}

fn lifts_three(args: &[String]) {
    ptrace::wait_for_tracer();
    set_place_limits(Some(&parent_of(args)), &three_lifted(), false).unwrap_or_else(|e| panic!("{e}"));
}

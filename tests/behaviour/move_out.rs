// SPDX-License-Identifier: MIT OR Apache-2.0
//! `move_out` moves a process of the agent to the caller's own cgroup, or no process at all.

use crate::common::cgroup::{Cgroup, Scratch};
use crate::common::group::{Group, own_pid};
use crate::common::member::{Member, role};
use crate::common::pids::{FewPids, pidfd_of, process_with_pid};
use crate::common::program::{self, command};
use crate::common::{self, deadline, lab, ptrace, wait_until};
use agentcg::{Agent, Deadline, Errno, Limits, Reason, SpawnOptions, events};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid, geteuid, seteuid};
use std::fs::{self, Permissions};
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::time::Duration;

roles![
    answers,
    moves_out,
    moves_out_without_rights,
    is_inside,
    moves_out_without_proc,
    enters_a_pid_namespace,
    enters_a_cgroup_namespace,
    moves_out_by_pidfd,
];

/// Returns the errno and the reason. The file is always cgroup.procs. Both functions refuse it in the same way.
#[track_caller]
fn refusal(agent: &Agent, pid: i32) -> (Errno, Option<Reason>) {
    let e = agent.move_out(pid).expect_err("it was moved");
    assert_eq!(e.file(), "cgroup.procs", "{e}");
    assert!(e.message().len() <= 183, "{e}");
    let by_pidfd = agent.move_out_pidfd(pidfd_of(pid).as_fd()).expect_err("it was moved");
    assert_eq!(by_pidfd, e);
    (e.errno(), e.reason())
}

/// Checks that the process is refused, and stays where it is.
#[track_caller]
fn check_not_in(agent: &Agent, pid: i32) {
    let before = Cgroup::of(pid);
    assert_eq!(refusal(agent, pid), (Errno::ESRCH, None));
    assert_eq!(Cgroup::of(pid), before);
}

fn threads_of(pid: i32) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks.map(|task| task.unwrap().file_name().into_string().unwrap()).collect()
}

fn end(member: &mut Member) {
    member.signal(Signal::SIGKILL);
    member.wait_dead();
    wait_until("it is a zombie", || common::state_of(member.pid()) == Some('Z'));
}

/// Sends back each line that it receives.
fn answers(_: &[String]) {
    loop {
        role::send(&role::receive());
    }
}

#[test]
fn a_process_is_moved_with_all_its_threads_to_the_cgroup_of_the_caller() {
    let group = Group::plain();
    let mut member = group.start("with_threads", &[]);
    member.expect_line("ready");
    group.move_out(member.pid()).unwrap();
    assert!(group.cgroup.members().is_empty());
    assert_eq!(Cgroup::of(member.pid()).unwrap(), Cgroup::own());
    let threads = threads_of(member.pid());
    assert_eq!(threads.len(), 4);
    let inside = Cgroup::own().words("cgroup.threads");
    assert!(threads.iter().all(|thread| inside.contains(thread)));
    assert!(!group.contains(member.pid()).unwrap());
    group.destroy();
    assert!(!member.is_dead());
}

#[test]
fn a_process_is_moved_out_by_its_pidfd() {
    let group = Group::plain();
    let member = group.start("sleeper", &[]);
    let pidfd = pidfd_of(member.pid());
    group.move_out_pidfd(pidfd.as_fd()).unwrap();
    assert_eq!(Cgroup::of(member.pid()).unwrap(), Cgroup::own());
    // Now it is not in the group.
    assert_eq!(group.move_out_pidfd(pidfd.as_fd()).unwrap_err().errno(), Errno::ESRCH);
    let file = fs::File::open("/proc/self/stat").unwrap();
    let e = group.move_out_pidfd(file.as_fd()).unwrap_err();
    assert_eq!((e.errno(), e.file()), (Errno::EBADF, "cgroup.procs"), "{e}");
}

#[test]
fn a_process_in_a_cgroup_below_the_group_is_moved_out() {
    let group = Group::plain();
    let member = group.start("sleeper", &[]);
    group.cgroup.make("inner").make("inmost").move_in(member.pid());
    group.move_out(member.pid()).unwrap();
    assert_eq!(Cgroup::of(member.pid()).unwrap(), Cgroup::own());
    assert!(group.cgroup.members().is_empty());
}

#[test]
fn a_process_whose_threads_are_in_threaded_cgroups_below_the_group_is_moved_out() {
    let group = Group::plain();
    let mut member = group.start("with_threads", &[]);
    member.expect_line("ready");
    let inner = group.cgroup.make("inner");
    inner.write("cgroup.type", "threaded");
    let threads = threads_of(member.pid());
    inner.write("cgroup.threads", &threads[1]);
    inner.write("cgroup.threads", &threads[2]);
    group.move_out(member.pid()).unwrap();
    assert!(group.cgroup.members().is_empty());
    let inside = Cgroup::own().words("cgroup.threads");
    assert!(threads.iter().all(|thread| inside.contains(thread)));
}

#[test]
fn a_process_whose_main_thread_had_ended_before_it_was_moved_in_is_moved_out() {
    let group = Group::plain();
    let mut member = Member::start("migrate::without_main_thread", &[]);
    member.send("go");
    member.expect_line("ready");
    group.move_pid(member.pid()).unwrap();
    assert!(!group.cgroup.members().is_empty());
    group.move_out(member.pid()).unwrap();
    assert!(group.cgroup.members().is_empty());
    check_not_in(&group, member.pid());
}

#[test]
fn a_process_that_is_not_in_the_group_stays_where_it_is() {
    let (group, other) = (Group::plain(), Group::plain());
    let inside = group.start("sleeper", &[]);
    let outside = Member::start("sleeper", &[]);
    let elsewhere = other.start("sleeper", &[]);
    for pid in [outside.pid(), elsewhere.pid(), own_pid(), 1] {
        check_not_in(&group, pid);
    }
    // The name of the group does not count.
    let same_name = other.cgroup.make("synwire").make("agents").make(group.uuid());
    same_name.move_in(elsewhere.pid());
    check_not_in(&group, elsewhere.pid());
    assert!(group.cgroup.lists(inside.pid()));
}

#[test]
fn pids_of_nothing_and_kernel_threads_are_refused() {
    let group = Group::plain();
    let errno = |pid| {
        let e = group.move_out(pid).expect_err("it was moved");
        assert_eq!(e.file(), "cgroup.procs", "{e}");
        e.errno()
    };
    for pid in [0, -1, i32::MIN] {
        assert_eq!(errno(pid), Errno::EINVAL);
    }
    // /proc/sys/kernel/pid_max is always lower.
    assert_eq!(errno(i32::MAX), Errno::ESRCH);
    assert_eq!(fs::read_to_string("/proc/2/comm").unwrap(), "kthreadd\n");
    assert_eq!(errno(2), Errno::EINVAL);
}

#[test]
fn a_process_that_has_ended_is_refused() {
    let group = Group::plain();
    let mut member = group.start("sleeper", &[]);
    let pidfd = pidfd_of(member.pid());
    end(&mut member);
    assert_eq!(refusal(&group, member.pid()), (Errno::ESRCH, None));
    member.wait();
    assert_eq!(group.move_out(member.pid()).unwrap_err().errno(), Errno::ESRCH);
    assert_eq!(group.move_out_pidfd(pidfd.as_fd()).unwrap_err().errno(), Errno::ESRCH);
}

#[test]
fn from_a_removed_group_no_process_is_moved() {
    let group = Group::plain();
    let member = Member::start("sleeper", &[]);
    group.cgroup.remove();
    let before = Cgroup::of(member.pid());
    assert_eq!(refusal(&group, member.pid()), (Errno::ENODEV, Some(Reason::Gone)));
    assert_eq!(Cgroup::of(member.pid()), before);
}

#[test]
fn a_session_moves_out_its_own_processes_and_those_of_its_children() {
    let session = Group::new(&Limits { pids_max: Some(50), ..Limits::default() });
    let own = session.start("sleeper", &[]);
    let child = session.new_in(None, &Limits::default(), None, None, false).unwrap();
    let of_child = Member::start("sleeper", &[]);
    child.move_pid(of_child.pid()).unwrap();
    assert_eq!(Cgroup::of(own.pid()).unwrap(), session.cgroup.join("own"));
    // The session's own processes are in no child.
    check_not_in(&child, own.pid());
    for pid in [own.pid(), of_child.pid()] {
        session.move_out(pid).unwrap();
        assert_eq!(Cgroup::of(pid).unwrap(), Cgroup::own());
    }
    assert!(session.cgroup.members().is_empty());
    child.destroy(true, deadline(), false).unwrap();
    session.destroy();
}

#[test]
fn a_frozen_process_thaws_when_it_is_moved_out() {
    let group = Group::plain();
    let mut member = Member::start("move_out::answers", &[]);
    let stays = group.start("sleeper", &[]);
    group.move_pid(member.pid()).unwrap();
    group.freeze(deadline()).unwrap();
    member.send("a line");
    group.move_out(member.pid()).unwrap();
    member.expect_line("a line");
    assert_eq!(group.cgroup.value("cgroup.events", "frozen"), 1);
    assert!(group.cgroup.lists(stays.pid()));
    group.thaw(deadline()).unwrap();
}

#[test]
fn a_stopped_process_is_moved_out() {
    let group = Group::plain();
    let member = group.start("sleeper", &[]);
    member.signal(Signal::SIGSTOP);
    group.move_out(member.pid()).unwrap();
    assert_eq!(Cgroup::of(member.pid()).unwrap(), Cgroup::own());
}

#[test]
fn the_group_is_reported_empty_when_the_last_process_leaves() {
    let group = Group::plain();
    let (first, last) = (group.start("sleeper", &[]), group.start("sleeper", &[]));
    group.event_fd(events::EMPTY).unwrap();
    group.move_out(first.pid()).unwrap();
    assert_eq!(group.next_events(Deadline::after(Duration::ZERO)).unwrap(), 0);
    group.move_out(last.pid()).unwrap();
    assert_eq!(group.next_events(deadline()).unwrap(), events::EMPTY);
    group.wait_empty(deadline()).unwrap();
    group.destroy();
    assert!([first, last].iter_mut().all(|member| !member.is_dead()));
}

#[test]
fn memory_stays_charged_to_the_group_and_limits_of_the_group_end() {
    let mib = 1 << 20;
    let group = Group::new(&Limits { memory_max: Some(64 * mib), ..Limits::default() });
    let mut member = group.start("member::hog", &["32"]);
    member.expect_line("it fits");
    group.move_out(member.pid()).unwrap();
    assert!(group.cgroup.number("memory.current") > 30 * mib);
    // This is more than the limit of the group.
    member.send("64");
    member.expect_line("it fits");
    end(&mut member);
    group.destroy();
}

#[test]
fn a_kill_of_the_agent_does_not_reach_a_process_that_was_moved_out() {
    let group = Group::plain();
    let mut member = Member::start("move_out::answers", &[]);
    group.move_pid(member.pid()).unwrap();
    let mut stays = group.start("sleeper", &[]);
    group.move_out(member.pid()).unwrap();
    group.kill_all(deadline()).unwrap();
    assert!(stays.is_dead());
    group.destroy();
    member.send("alive");
    member.expect_line("alive");
}

#[test]
fn a_contained_program_is_moved_out_by_its_host() {
    lab::needs(&["user", "unified"]);
    let group = Group::plain();
    let sleep = command(&[c"/bin/sleep"], [c"sleep", c"1000"]);
    let child = group.spawn(&sleep, SpawnOptions { contain: true, ..SpawnOptions::default() }).unwrap();
    group.move_out(child.pid).unwrap();
    assert!(group.cgroup.members().is_empty());
    assert_eq!(Cgroup::of(child.pid).unwrap(), Cgroup::own());
    kill(Pid::from_raw(child.pid), Signal::SIGKILL).unwrap();
    program::wait(&child);
}

/// A cgroup with room for a caller, beside a place.
struct CallerCgroup {
    scratch: Scratch,
    cgroup: Cgroup,
}

impl CallerCgroup {
    fn new() -> Self {
        let scratch = Scratch::new();
        let cgroup = scratch.outer.make("caller");
        Self { scratch, cgroup }
    }

    /// Starts a role in the cgroup. It gets the place.
    fn start(&self, role: &str, more: &[&str]) -> Member {
        let parent = self.scratch.parent.0.to_str().unwrap().to_owned();
        let member = Member::start(role, &[&[parent.as_str()], more].concat());
        self.cgroup.move_in(member.pid());
        member
    }

    /// Lets a role make an agent and move a process out of it, and returns what it sends.
    fn result_of(&self, member: &mut Member) -> String {
        member.send("go");
        let answer = member.receive();
        assert!(member.wait().success());
        answer
    }
}

/// Makes an agent in the place, and moves a process into it.
fn agent_with_a_process(place: &str) -> (Agent, Member) {
    let place = std::ffi::CString::new(place).expect("a path");
    let agent = Agent::new(Some(&place), None, &Limits::default()).expect("new");
    let member = Member::start("sleeper", &[]);
    agent.move_pid(member.pid()).expect("move_pid");
    (agent, member)
}

/// Moves the process out, and returns the error, or the cgroup to which it was moved. A process that was refused must stay.
fn attempt(agent: &Agent, member: &Member) -> String {
    match agent.move_out(member.pid()) {
        Ok(()) => format!("moved to {}", Cgroup::of(member.pid()).expect("its cgroup").0.display()),
        Err(e) => {
            assert!(agent.contains(member.pid()).expect("contains"), "{e}, but it was moved");
            assert!(e.message().len() <= 183, "{e}");
            format!("{:?} {:?}: {e}", e.errno(), e.reason())
        }
    }
}

fn finish(agent: &Agent, mut member: Member) {
    member.signal(Signal::SIGKILL);
    member.wait();
    agent.destroy(false, deadline(), false).expect("destroy");
}

fn moves_out(args: &[String]) {
    role::receive();
    let (agent, member) = agent_with_a_process(&args[0]);
    role::send(&attempt(&agent, &member));
    finish(&agent, member);
}

#[test]
fn a_process_is_moved_to_where_the_caller_is_when_it_calls() {
    let caller = CallerCgroup::new();
    let mut member = caller.start("moves_out", &[]);
    assert_eq!(caller.result_of(&mut member), format!("moved to {}", caller.cgroup.0.display()));
}

/// The kernel allows processes in a cgroup with controllers for its children if all of them are for threads.
#[test]
fn a_process_is_moved_to_a_caller_whose_cgroup_has_controllers_for_threads() {
    let caller = CallerCgroup::new();
    let mut member = caller.start("moves_out", &[]);
    caller.cgroup.write("cgroup.subtree_control", "+pids");
    assert_eq!(caller.result_of(&mut member), format!("moved to {}", caller.cgroup.0.display()));
}

#[test]
fn a_caller_in_a_threaded_cgroup_is_eopnotsupp() {
    let mut caller = CallerCgroup::new();
    let threaded = caller.cgroup.make("threaded");
    threaded.write("cgroup.type", "threaded");
    caller.cgroup = threaded;
    let mut member = caller.start("moves_out", &[]);
    let answer = caller.result_of(&mut member);
    assert!(answer.starts_with("EOPNOTSUPP Some(Threaded): the caller's cgroup is threaded"), "{answer}");
}

/// The kernel demands the right to write `cgroup.procs` of the nearest cgroup that contains both.
#[test]
fn without_rights_in_the_cgroup_around_both_no_process_is_moved_and_the_error_names_it() {
    let caller = CallerCgroup::new();
    chown(caller.cgroup.0.join("cgroup.procs"), Some(1000), None).unwrap();
    let around = caller.scratch.outer.0.to_str().unwrap();
    let mut member = caller.start("moves_out_without_rights", &[around]);
    let answer = caller.result_of(&mut member);
    assert!(answer.starts_with("EACCES Some(NotDelegated): no right to move process "), "{answer}");
    assert!(answer.contains(&format!("cgroup.procs of the cgroup {}", end_of(around))), "{answer}");
}

#[test]
fn without_rights_in_the_cgroup_of_the_caller_no_process_is_moved_and_the_error_names_it() {
    let caller = CallerCgroup::new();
    let own = caller.cgroup.0.to_str().unwrap();
    let mut member = caller.start("moves_out_without_rights", &[own]);
    let answer = caller.result_of(&mut member);
    assert!(answer.starts_with("EACCES Some(NotDelegated): "), "{answer}");
    assert!(answer.contains(&format!("{}, whose cgroup.procs is not writable", end_of(own))), "{answer}");
}

/// Returns a path as messages show it.
fn end_of(path: &str) -> String {
    if path.len() <= 64 { path.to_owned() } else { format!("...{}", &path[path.len() - 61..]) }
}

/// Moves out without the right to write `cgroup.procs` of the cgroup that is its second argument.
fn moves_out_without_rights(args: &[String]) {
    role::receive();
    let (agent, member) = agent_with_a_process(&args[0]);
    let procs = Cgroup(args[1].clone().into()).0.join("cgroup.procs");
    let set = |mode| fs::set_permissions(&procs, Permissions::from_mode(mode)).expect("chmod");
    let uid = geteuid();
    set(0o444);
    if uid.is_root() {
        seteuid(Uid::from_raw(1000)).expect("seteuid");
    }
    let answer = attempt(&agent, &member);
    seteuid(uid).expect("seteuid");
    set(0o644);
    role::send(&answer);
    finish(&agent, member);
}

#[test]
fn a_caller_in_the_group_is_refused() {
    let caller = CallerCgroup::new();
    let mut member = caller.start("is_inside", &[]);
    let answer = caller.result_of(&mut member);
    assert!(answer.starts_with("EDEADLK Some(CallerInside): "), "{answer}");
}

fn is_inside(args: &[String]) {
    role::receive();
    let before = Cgroup::own();
    let (agent, member) = agent_with_a_process(&args[0]);
    agent.move_self().expect("move_self");
    assert_eq!(agent.move_out(own_pid()).expect_err("it was moved").errno(), Errno::EDEADLK);
    let answer = attempt(&agent, &member);
    // From a cgroup below it, too.
    role::enter(&Cgroup::at(agent.path()).make("below"));
    assert_eq!(attempt(&agent, &member), answer);
    role::enter(&before);
    role::send(&answer);
    finish(&agent, member);
}

#[test]
fn without_proc_no_process_is_moved() {
    lab::needs(&["unified"]);
    let caller = CallerCgroup::new();
    let mut member = caller.start("moves_out_without_proc", &[]);
    let answer = caller.result_of(&mut member);
    assert!(answer.starts_with("EACCES: /proc is not mounted"), "{answer}");
}

fn moves_out_without_proc(args: &[String]) {
    role::receive();
    let (agent, member) = agent_with_a_process(&args[0]);
    common::mounts::enter_mount_namespace();
    mount(Some("tmpfs"), "/proc", Some("tmpfs"), MsFlags::empty(), None::<&str>).expect("mount");
    let e = agent.move_out(member.pid()).expect_err("it was moved");
    assert!(Cgroup::at(agent.path()).lists(member.pid()), "{e}, but it was moved");
    role::send(&format!("{:?}: {e}", e.errno()));
    finish(&agent, member);
}

/// The pid is that of a process of the agent in the caller's pid namespace, and of another one in /proc.
#[test]
fn a_caller_with_the_proc_of_another_pid_namespace_moves_no_process() {
    lab::needs(&["unified"]);
    let caller = CallerCgroup::new();
    let mut member = caller.start("move_out::enters_a_pid_namespace", &[]);
    let answer = caller.result_of(&mut member);
    assert!(answer.starts_with("EACCES: /proc is not mounted, or belongs to another"), "{answer}");
}

fn enters_a_pid_namespace(args: &[String]) {
    role::receive();
    unshare(CloneFlags::CLONE_NEWPID).expect("unshare");
    if role::fork() {
        let place = std::ffi::CString::new(args[0].as_str()).expect("a path");
        let agent = Agent::new(Some(&place), None, &Limits::default()).expect("new");
        let member = Member::start("sleeper", &[]);
        assert_eq!(member.pid(), 2);
        Cgroup::at(agent.path()).move_in(member.pid());
        let e = agent.move_out(member.pid()).expect_err("it was moved");
        assert!(Cgroup::at(agent.path()).lists(member.pid()), "{e}, but it was moved");
        role::send(&format!("{:?}: {e}", e.errno()));
        finish(&agent, member);
    } else {
        nix::sys::wait::wait().expect("wait");
    }
}

#[test]
fn a_process_outside_of_the_cgroup_namespace_of_the_caller_is_not_moved() {
    lab::needs(&["unified"]);
    let caller = CallerCgroup::new();
    let mut member = caller.start("move_out::enters_a_cgroup_namespace", &[]);
    member.send("go");
    let answer = member.receive();
    assert!(answer.starts_with("ENODEV Some(NoCgroup2): "), "{answer}");
    let answer = member.receive();
    assert!(answer.starts_with("EACCES Some(OutsideNamespace): "), "{answer}");
    assert!(member.wait().success());
}

fn enters_a_cgroup_namespace(args: &[String]) {
    role::receive();
    let (agent, member) = agent_with_a_process(&args[0]);
    unshare(CloneFlags::CLONE_NEWCGROUP).expect("unshare");
    // The mount shows the hierarchy from outside: the caller's cgroup is not found.
    role::send(&attempt(&agent, &member));
    common::mounts::enter_mount_namespace();
    nix::mount::umount2(common::mounts::TOP, nix::mount::MntFlags::MNT_DETACH).expect("umount");
    mount(Some("cgroup2"), common::mounts::TOP, Some("cgroup2"), MsFlags::empty(), None::<&str>)
        .expect("mount");
    role::send(&attempt(&agent, &member));
    finish(&agent, member);
}

/// The caller is stopped between any two of its system calls, while the process ends and another one gets its pid.
#[test]
fn a_process_that_reuses_the_pid_is_not_moved_unless_the_error_says_so() {
    lab::needs(&["unified"]);
    let _few = FewPids::new();
    let (group, other) = (Group::plain(), Group::plain());
    let mut moved = 0;
    for stop in (0..).step_by(ptrace::stride() as usize) {
        let mut member = group.start("sleeper", &[]);
        while member.pid() < FewPids::FIRST + 10 {
            // There are too few ids before this one.
            member = group.start("sleeper", &[]);
        }
        let mut caller = Member::start("moves_out_by_pidfd", &[group.uuid(), &member.pid().to_string()]);
        if !ptrace::run_to_stop(caller.pid(), stop) {
            assert!(stop > 40, "the call made {stop} stops");
            break;
        }
        end(&mut member);
        member.wait();
        let reuses = process_with_pid(member.pid());
        other.move_pid(reuses.pid()).unwrap();
        ptrace::detach(caller.pid());
        let answer = caller.receive();
        if other.cgroup.lists(reuses.pid()) {
            assert!(answer == "moved" || answer.starts_with("ESRCH: "), "stop {stop}: {answer}");
            assert!(!answer.contains("may have been moved"), "stop {stop}: {answer}");
        } else {
            assert!(
                answer.contains("a new process with its pid may have been moved"),
                "stop {stop}: {answer}"
            );
            moved += 1;
        }
    }
    // The stops between the last look at the process and the write.
    assert!(moved <= 2, "{moved} processes that reuse a pid were moved");
}

fn moves_out_by_pidfd(args: &[String]) {
    let agent = Agent::open(None, &args[0], false).expect("open");
    let pidfd = pidfd_of(args[1].parse().expect("a pid"));
    ptrace::wait_for_tracer();
    role::send(&match agent.move_out_pidfd(pidfd.as_fd()) {
        Ok(()) => "moved".to_owned(),
        Err(e) => format!("{:?}: {e}", e.errno()),
    });
}

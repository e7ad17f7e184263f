// SPDX-License-Identifier: MIT OR Apache-2.0
//! `find` and `find_pidfd` return the agent of a process, or say that they cannot, and never another agent.

#![allow(unsafe_code, reason = "nix has no SO_PEERPIDFD; see SAFETY")]

use crate::common::cgroup::{Cgroup, Scratch};
use crate::common::group::{Group, own_pid};
use crate::common::member::{Member, role};
use crate::common::pids::{FewPids, pidfd_of, process_with_pid};
use crate::common::{self, lab, ptrace, wait_until};
use agentcg::{Agent, Errno, Found, Limits, Reason, find, find_pidfd};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use std::fs;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

roles![
    finds_processes,
    finds_by_pidfd,
    enters_a_cgroup_namespace,
    enters_a_pid_namespace,
    without_main_thread,
    connects,
    finds_without_proc,
];

/// Returns what `find` and `find_pidfd` both return.
#[track_caller]
fn found(pid: i32) -> agentcg::Result<Found> {
    let (by_pid, by_pidfd) = (find(pid), find_pidfd(pidfd_of(pid).as_fd()));
    assert_eq!(by_pid, by_pidfd);
    by_pid
}

#[track_caller]
fn check_found(found: agentcg::Result<Found>, agent: &Agent, below: bool) {
    let found = found.unwrap_or_else(|e| panic!("{e}"));
    assert_eq!((found.uuid.as_str(), found.below), (agent.uuid(), below));
    let path = [found.place.as_slice(), b"/synwire/agents/", agent.uuid().as_bytes()].concat();
    assert_eq!(String::from_utf8_lossy(&path), String::from_utf8_lossy(&agent.path()));
    let has_attributes = kernel_is_at_least(5, 7);
    assert_eq!(found.owner.pid, if has_attributes { std::process::id() } else { 0 });
    assert_eq!(found.owner.created_unix_ns != 0, has_attributes);
}

#[track_caller]
fn errno_of(found: agentcg::Result<Found>) -> Errno {
    found.expect_err("it was found").errno()
}

fn kernel_is_at_least(version: u32, patch_level: u32) -> bool {
    let release = nix::sys::utsname::uname().unwrap().release().to_string_lossy().into_owned();
    let mut numbers = release.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap(), numbers.next().unwrap()) >= (version, patch_level)
}

/// Kills a process, and waits until it is a zombie.
fn end(member: &mut Member) {
    member.signal(Signal::SIGKILL);
    member.wait_dead();
    wait_until("it is a zombie", || common::state_of(member.pid()) == Some('Z'));
}

#[test]
fn the_agent_of_a_process_is_found() {
    let (group, other) = (Group::plain(), Group::plain());
    let member = group.start("sleeper", &[]);
    check_found(found(member.pid()), &group, false);
    other.move_pid(member.pid()).unwrap();
    check_found(found(member.pid()), &other, false);
}

#[test]
fn a_process_in_a_cgroup_below_a_group_is_in_its_agent() {
    let group = Group::plain();
    let member = group.start("sleeper", &[]);
    let inner = group.cgroup.make("inner").make("inmost");
    inner.move_in(member.pid());
    check_found(found(member.pid()), &group, true);
}

#[test]
fn a_process_in_no_agent_is_enoent() {
    let group = Group::plain();
    assert_eq!(errno_of(found(own_pid())), Errno::ENOENT);
    let member = Member::start("sleeper", &[]);
    let e = found(member.pid()).unwrap_err();
    assert_eq!((e.errno(), e.reason()), (Errno::ENOENT, None), "{e}");
    // A directory of the agents that has no uuid as its name is no agent.
    let other = group.cgroup.parent().make("other");
    other.move_in(member.pid());
    assert_eq!(errno_of(found(member.pid())), Errno::ENOENT);
    drop(member);
    other.kill_and_remove();
}

#[test]
fn the_agents_of_a_place_that_the_caller_names_are_found() {
    let scratch = Scratch::new();
    let group = Group::under(&scratch, &Limits::default());
    let member = group.start("sleeper", &[]);
    check_found(found(member.pid()), &group, false);
}

/// As a user it finds processes of root and of the kernel.
#[test]
fn every_process_of_the_system_is_in_an_agent_or_in_none() {
    let group = Group::plain();
    let member = group.start("sleeper", &[]);
    let mut in_agents = 0;
    for entry in fs::read_dir("/proc").unwrap() {
        let Ok(pid) = entry.unwrap().file_name().to_str().unwrap().parse() else { continue };
        match find(pid) {
            Ok(found) => in_agents += u32::from(found.uuid == group.uuid()),
            // It has ended.
            Err(e) if e.errno() == Errno::ESRCH => {}
            Err(e) => assert_eq!(e.errno(), Errno::ENOENT, "{e}"),
        }
    }
    assert_eq!(in_agents, 1);
    drop(member);
}

#[test]
fn a_zombie_is_in_the_agent_in_which_it_ended() {
    let group = Group::plain();
    let mut member = group.start("sleeper", &[]);
    end(&mut member);
    check_found(found(member.pid()), &group, false);
}

#[test]
fn a_zombie_whose_group_was_removed_is_enodev() {
    let group = Group::plain();
    let mut member = group.start("sleeper", &[]);
    end(&mut member);
    // From Linux 6.19 on, a group can be removed only when its dead processes were waited for.
    if group.cgroup.0.exists() && fs::remove_dir(&group.cgroup.0).is_err() {
        assert!(kernel_is_at_least(6, 19));
        return;
    }
    let e = found(member.pid()).unwrap_err();
    assert_eq!((e.errno(), e.reason()), (Errno::ENODEV, Some(Reason::Gone)), "{e}");
}

#[test]
fn a_process_that_was_waited_for_is_found_only_where_the_kernel_tells_its_cgroup() {
    let group = Group::plain();
    for below in [false, true] {
        let mut member = group.start("sleeper", &[]);
        if below {
            group.cgroup.make("inner").make("inmost").move_in(member.pid());
        }
        let pidfd = pidfd_of(member.pid());
        end(&mut member);
        member.wait();
        if kernel_is_at_least(6, 15) {
            check_found(find_pidfd(pidfd.as_fd()), &group, below);
        } else {
            assert_eq!(errno_of(find_pidfd(pidfd.as_fd())), Errno::ESRCH);
        }
        assert_eq!(errno_of(find(member.pid())), Errno::ESRCH);
    }
}

#[test]
fn a_process_that_was_waited_for_in_no_agent_or_in_a_removed_one_is_esrch() {
    let group = Group::plain();
    let mut outside = Member::start("sleeper", &[]);
    let mut inside = group.start("sleeper", &[]);
    let pidfds = [&outside, &inside].map(|member| pidfd_of(member.pid()));
    for member in [&mut outside, &mut inside] {
        end(member);
        member.wait();
    }
    group.destroy();
    // Another agent exists.
    let _other = Group::plain();
    for pidfd in &pidfds {
        assert_eq!(errno_of(find_pidfd(pidfd.as_fd())), Errno::ESRCH);
    }
}

#[test]
fn pids_and_descriptors_of_nothing_are_refused() {
    for pid in [0, -1, i32::MIN] {
        assert_eq!(errno_of(find(pid)), Errno::EINVAL);
    }
    // /proc/sys/kernel/pid_max is always lower.
    assert_eq!(errno_of(find(i32::MAX)), Errno::ESRCH);
    let file = fs::File::open("/proc/self/stat").unwrap();
    assert_eq!(errno_of(find_pidfd(file.as_fd())), Errno::EBADF);
}

#[test]
fn a_process_whose_main_thread_had_ended_before_it_was_moved_is_found() {
    let (group, other) = (Group::plain(), Group::plain());
    let mut member = group.start("find::without_main_thread", &[]);
    member.expect_line("ready");
    check_found(found(member.pid()), &group, false);
    other.move_pid(member.pid()).unwrap();
    assert_eq!(Cgroup::of(member.pid()).unwrap(), group.cgroup, "the main thread was moved");
    check_found(found(member.pid()), &other, false);
}

fn without_main_thread(_: &[String]) {
    role::receive();
    std::thread::spawn(move || {
        wait_until("zombie", || common::state_of(own_pid()) == Some('Z'));
        role::send("ready");
        role::sleep()
    });
    role::end_thread()
}

/// Returns a cgroup inside the first group, with the name of the second group.
fn with_the_name_of(group: &Group, other: &Group) -> Cgroup {
    group.cgroup.make("synwire").make("agents").make(other.uuid())
}

#[test]
fn an_agent_cannot_pass_for_another_by_the_names_of_its_cgroups() {
    let (group, other) = (Group::plain(), Group::plain());
    let member = group.start("sleeper", &[]);
    with_the_name_of(&group, &other).move_in(member.pid());
    check_found(found(member.pid()), &group, true);
}

#[test]
fn inside_an_agent_its_own_agents_are_found() {
    let (outer, inner) = (Group::plain(), Group::plain());
    let inside = with_the_name_of(&outer, &inner);
    let host = outer.cgroup.make("host");
    let member = outer.start("sleeper", &[]);
    let mut caller = outer.start("finds_processes", &[]);
    let caller_pid = caller.pid();
    let mut ask = |pid: i32| {
        caller.send(&pid.to_string());
        caller.receive()
    };
    // The caller and the process are in the outer agent, and the process in the inner one.
    inside.move_in(member.pid());
    assert_eq!(ask(member.pid()), inner.uuid());
    // Both are in the outer one.
    host.move_in(member.pid());
    assert_eq!(ask(member.pid()), outer.uuid());
    // Both are in both.
    inside.move_in(member.pid());
    inside.move_in(caller_pid);
    assert_eq!(ask(member.pid()), inner.uuid());
}

/// Finds the processes whose pids it receives. The first line that it receives starts it.
fn finds_processes(_: &[String]) {
    role::receive();
    loop {
        let pid = role::receive().parse().expect("a pid");
        role::send(&answer(find(pid)));
    }
}

fn answer(found: agentcg::Result<Found>) -> String {
    found.map_or_else(|e| format!("{:?} {:?}", e.errno(), e.reason()), |found| found.uuid)
}

#[test]
fn the_process_at_the_other_end_of_a_socket_is_found() {
    let group = Group::plain();
    let name = format!("agentcg-find-{}", own_pid());
    let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let mut member = group.start("connects", &[&name]);
    let (socket, _) = listener.accept().unwrap();
    let pidfd = peer_of(&socket);
    check_found(find_pidfd(pidfd.as_fd()), &group, false);
    end(&mut member);
    check_found(find_pidfd(pidfd.as_fd()), &group, false);
}

fn connects(args: &[String]) {
    role::receive();
    let _socket = UnixStream::connect_addr(&SocketAddr::from_abstract_name(&args[0]).unwrap()).unwrap();
    role::sleep()
}

/// Returns a pidfd of the process at the other end. Before Linux 6.5 the kernel reports only the pid.
fn peer_of(socket: &UnixStream) -> OwnedFd {
    const SO_PEERPIDFD: i32 = 77;
    let pidfd = option_of(socket, SO_PEERPIDFD, -1);
    assert_eq!(pidfd.is_some(), kernel_is_at_least(6, 5));
    match pidfd {
        // SAFETY: the kernel has made the descriptor for this call.
        Some(fd) => unsafe { OwnedFd::from_raw_fd(fd) },
        None => {
            let nobody = libc::ucred { pid: 0, uid: 0, gid: 0 };
            pidfd_of(option_of(socket, libc::SO_PEERCRED, nobody).expect("SO_PEERCRED").pid)
        }
    }
}

fn option_of<T>(socket: &UnixStream, option: i32, mut value: T) -> Option<T> {
    let mut size = libc::socklen_t::try_from(size_of::<T>()).unwrap();
    // SAFETY: the kernel writes at most the size of the value, which has only integers.
    let result = unsafe {
        let value = (&raw mut value).cast();
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, value, &raw mut size)
    };
    (result == 0).then_some(value)
}

#[test]
fn a_process_outside_of_the_cgroup_namespace_of_the_caller_is_in_no_agent() {
    lab::needs(&["unified"]);
    let (group, own) = (Group::plain(), Group::plain());
    let member = group.start("sleeper", &[]);
    let mut caller = own.start("find::enters_a_cgroup_namespace", &[&member.pid().to_string()]);
    assert_eq!(caller.receive(), "ENOENT Some(OutsideNamespace)");
    // What is inside its namespace is found, although the mounts show the hierarchy from outside.
    let below = own.cgroup.make("synwire").make("agents").make(group.uuid());
    below.move_in(member.pid());
    caller.send("go");
    assert_eq!(caller.receive(), group.uuid());
    // The caller's namespace is not that of this process.
    check_found(found(member.pid()), &own, true);
}

fn enters_a_cgroup_namespace(args: &[String]) {
    role::receive();
    unshare(CloneFlags::CLONE_NEWCGROUP).expect("unshare");
    let pid = args[0].parse().expect("a pid");
    role::send(&answer(find(pid)));
    role::receive();
    let found = find(pid);
    assert!(found.as_ref().is_ok_and(|found| found.place.is_empty()), "{found:?}");
    role::send(&answer(found));
    role::sleep()
}

#[test]
fn a_caller_with_the_proc_of_another_pid_namespace_finds_its_own_processes() {
    lab::needs(&["unified"]);
    let group = Group::plain();
    let mut caller = group.start("find::enters_a_pid_namespace", &[]);
    // The pid of its child is 2 in the namespace of the child, and that of a kernel thread in /proc.
    assert_eq!(caller.receive(), group.uuid());
}

fn enters_a_pid_namespace(_: &[String]) {
    role::receive();
    unshare(CloneFlags::CLONE_NEWPID).expect("unshare");
    if role::fork() {
        // The first process of the namespace.
        let child = Member::start("sleeper", &[]);
        assert_eq!(child.pid(), 2);
        role::send(&answer(find(child.pid())));
    }
    role::sleep()
}

#[test]
fn without_proc_no_process_is_found() {
    lab::needs(&["unified"]);
    let group = Group::plain();
    let mut member = group.start("finds_without_proc", &[]);
    assert_eq!(member.receive(), "EACCES None");
    assert_eq!(member.receive(), "EACCES None");
}

fn finds_without_proc(_: &[String]) {
    role::receive();
    let pidfd = pidfd_of(own_pid());
    common::mounts::enter_mount_namespace();
    mount(Some("tmpfs"), "/proc", Some("tmpfs"), MsFlags::empty(), None::<&str>).expect("mount");
    role::send(&answer(find(own_pid())));
    role::send(&answer(find_pidfd(pidfd.as_fd())));
}

#[test]
fn a_process_that_reuses_the_pid_is_never_taken_for_that_of_the_pidfd() {
    lab::needs(&["unified"]);
    let _few = FewPids::new();
    let (group, other) = (Group::plain(), Group::plain());
    for stop in (0..).step_by(ptrace::stride() as usize) {
        let mut member = group.start("sleeper", &[]);
        while member.pid() < FewPids::FIRST + 10 {
            // There are too few ids before this one.
            member = group.start("sleeper", &[]);
        }
        let mut caller = Member::start("finds_by_pidfd", &[&member.pid().to_string()]);
        // Here the caller has the pidfd, and is between two of its system calls.
        if !ptrace::run_to_stop(caller.pid(), stop) {
            assert!(stop > 20, "the call made {stop} stops");
            return;
        }
        end(&mut member);
        member.wait();
        let reuses = process_with_pid(member.pid());
        other.move_pid(reuses.pid()).unwrap();
        assert_eq!(find(member.pid()).unwrap().uuid, other.uuid());
        ptrace::detach(caller.pid());
        let found = caller.receive();
        let right = found == group.uuid() || (found.starts_with("ESRCH") && !kernel_is_at_least(6, 15));
        assert!(right, "stop {stop}: {found}, not {}", group.uuid());
    }
}

fn finds_by_pidfd(args: &[String]) {
    let pidfd = pidfd_of(args[0].parse().expect("a pid"));
    ptrace::wait_for_tracer();
    role::send(&answer(find_pidfd(pidfd.as_fd())));
}

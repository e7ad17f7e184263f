// SPDX-License-Identifier: MIT OR Apache-2.0
//! A parent that the caller names is used as it is, or refused and left unharmed.

use crate::common::cgroup::{Cgroup, Scratch};
use crate::common::group::Group;
use crate::common::member::{Member, role};
use crate::common::{deadline, lab, wait_until};
use agentcg::{Agent, Errno, Limits, PlaceKind, Reason};
use nix::sched::{CloneFlags, unshare};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;

roles![leaves_an_unreaped_init, makes_an_agent_with_umask_0777];

fn no_limits() -> Limits {
    Limits::default()
}

fn c(path: impl AsRef<Path>) -> CString {
    CString::new(path.as_ref().as_os_str().as_bytes()).unwrap()
}

/// Checks that an agent under `named` is made under `parent`, and that nothing of it is left after it is
/// destroyed.
#[track_caller]
fn check_parent(named: impl AsRef<Path>, parent: &Cgroup) {
    let named = c(named);
    let agent = Agent::new(Some(&named), None, &no_limits()).unwrap_or_else(|e| panic!("{named:?}: {e}"));
    let expected = parent.join("synwire/agents").join(agent.uuid());
    assert_eq!(Cgroup::at(agent.path()), expected, "{named:?}");
    assert_eq!(agent.info().unwrap().place, PlaceKind::Given);
    assert!(expected.exists());
    agent.destroy(false, deadline(), false).unwrap();
    assert!(!expected.exists());
}

/// Returns the errno and the reason with which a parent is refused. Checks that the message is complete.
#[track_caller]
fn refusal(named: impl AsRef<Path>) -> (Errno, Option<Reason>) {
    let named = c(named);
    let Err(e) = Agent::new(Some(&named), None, &no_limits()) else { panic!("{named:?} is accepted") };
    assert!(e.message().len() <= 183 && !e.message().contains(char::is_control), "{e}");
    (e.errno(), e.reason())
}

#[test]
fn a_parent_can_be_named_by_any_path() {
    let scratch = Scratch::new();
    let (parent, path) = (&scratch.parent, &scratch.parent.0);
    check_parent(path, parent);
    check_parent(format!("{}/", path.display()), parent);
    check_parent(path.join("../parent/."), parent);
    check_parent(format!("/{}//", path.display()), parent);

    let link = std::env::temp_dir().join(format!("parent-{}", std::process::id()));
    symlink(path, &link).unwrap();
    check_parent(&link, parent);
    check_parent(link.join("."), parent);
    std::fs::remove_file(&link).unwrap();

    // A path relative to the working directory: the parent of the root is the root.
    let up = "../".repeat(std::env::current_dir().unwrap().components().count());
    check_parent(format!("{up}{}", path.strip_prefix("/").unwrap().display()), parent);
}

#[test]
fn a_nested_parent_is_accepted() {
    let scratch = Scratch::new();
    scratch.parent.write("cgroup.subtree_control", "+memory");
    let below = scratch.parent.make("a b").make("..c");
    below.parent().write("cgroup.subtree_control", "+memory");
    check_parent(&below.0, &below);
}

#[test]
fn a_path_outside_of_cgroup2_is_refused() {
    let no_cgroup2 = (Errno::ENODEV, Some(Reason::NoCgroup2));
    let scratch = Scratch::new();
    for path in ["/", "/proc", "/tmp", "/dev/null"] {
        assert_eq!(refusal(path), no_cgroup2, "{path:?}");
    }
    assert_eq!(refusal(scratch.parent.0.join("cgroup.procs")), no_cgroup2);
    assert_eq!(refusal("/x".repeat(3000)), no_cgroup2);
    assert_eq!(refusal(format!("/tmp/{}\n{}", "x".repeat(200), "\u{e9}".repeat(200))), no_cgroup2);
}

#[test]
fn a_missing_parent_is_refused_with_enoent() {
    let scratch = Scratch::new();
    for path in ["/nowhere", "", "relative"] {
        assert_eq!(refusal(path), (Errno::ENOENT, None), "{path:?}");
    }
    assert_eq!(refusal(scratch.parent.0.join("nothing")), (Errno::ENOENT, None));
}

#[test]
fn a_umask_of_0777_does_not_prevent_an_agent() {
    let scratch = Scratch::new();
    let mut maker = Member::start("makes_an_agent_with_umask_0777", &[&scratch.parent.0.to_string_lossy()]);
    maker.send("go");
    assert!(maker.wait().success());
    assert_eq!(scratch.parent.all().len(), 1, "something is left");
}

fn makes_an_agent_with_umask_0777(args: &[String]) {
    role::receive();
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o777));
    let agent = Agent::new(Some(&c(&args[0])), None, &no_limits()).unwrap_or_else(|e| panic!("{e}"));
    agent.destroy(false, deadline(), true).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn a_parent_with_processes_is_refused_and_unharmed() {
    // With threaded controllers only, the kernel would enable them in spite of the processes.
    for controllers in [&["cpu", "io", "memory", "pids"][..], &["cpu", "pids"], &["pids"], &["memory"]] {
        let scratch = Scratch::with_controllers(controllers);
        let parent = &scratch.parent;
        let mut member = Member::start("sleeper", &[]);
        parent.move_in(member.pid());
        member.send("go");
        member.expect_line("ready");
        let before = parent.snapshot();
        assert_eq!(refusal(&parent.0), (Errno::EBUSY, Some(Reason::Populated)), "{controllers:?}");
        assert_eq!(parent.snapshot(), before, "{controllers:?}");
        assert_eq!(parent.read("cgroup.type"), "domain");
        // Processes can be moved in and out as before.
        let own = Cgroup::own();
        let mut other = Member::start("sleeper", &[]);
        parent.move_in(other.pid());
        own.move_in(other.pid());
        own.move_in(member.pid());
        parent.move_in(other.pid());
        other.send("go");
        other.expect_line("ready");
        assert!(parent.lists(other.pid()) && !parent.lists(member.pid()));
        // The empty parent is accepted.
        own.move_in(other.pid());
        check_parent(&parent.0, parent);
    }
}

#[test]
fn the_message_says_what_to_do_about_the_processes() {
    let scratch = Scratch::new();
    let member = Member::start("sleeper", &[]);
    scratch.parent.move_in(member.pid());
    let e = Agent::new(Some(&scratch.path()), None, &no_limits()).unwrap_err();
    assert!(e.message().ends_with("move them into a child of it, or name another parent"), "{e}");
    assert_eq!(e.file(), "cgroup.procs");
}

/// A role with two processes of a pid namespace in the cgroup. After a kill, the first one waits until the
/// zombie of the second is reaped, which the role does when the test sends "reap".
fn leaves_an_unreaped_init(args: &[String]) {
    role::receive();
    let own_user = if lab::is_root() { CloneFlags::empty() } else { CloneFlags::CLONE_NEWUSER };
    unshare(own_user | CloneFlags::CLONE_NEWPID).expect("unshare");
    for _ in 0..2 {
        if role::fork() {
            role::enter(&Cgroup::at(args[0].as_bytes()));
            role::send("ready");
            role::sleep();
        }
    }
    assert_eq!(role::receive(), "reap");
    for _ in 0..2 {
        waitpid(Pid::from_raw(-1), None).expect("waitpid");
    }
}

/// From Linux 6.19 on, processes that have ended prevent controllers in a cgroup for a moment longer than any
/// file shows them.
#[test]
fn new_waits_for_a_parent_whose_processes_are_leaving() {
    let scratch = Scratch::new();
    let parent = &scratch.parent;
    let mut member = Member::start("leaves_an_unreaped_init", &[parent.0.to_str().unwrap()]);
    member.send("begin");
    member.expect_line("ready");
    member.expect_line("ready");
    for pid in parent.words("cgroup.procs") {
        kill(Pid::from_raw(pid.parse().unwrap()), Signal::SIGKILL).unwrap();
    }
    wait_until("no process is listed", || parent.words("cgroup.procs").is_empty());

    if parent.value("cgroup.events", "populated") == 1 {
        let e = Agent::new(Some(&c(&parent.0)), None, &no_limits()).unwrap_err();
        assert_eq!((e.errno(), e.reason()), (Errno::EBUSY, Some(Reason::Populated)), "{e}");
        assert!(e.message().ends_with("reap it, or name another parent"), "{e}");
    }

    // The zombie is reaped when the kernel has refused the first controller.
    let refused = Inotify::init(InitFlags::IN_CLOEXEC).unwrap();
    let file = parent.join("cgroup.subtree_control");
    refused.add_watch(&file.0, AddWatchFlags::IN_CLOSE_WRITE).unwrap();
    let reaped = std::thread::spawn(move || {
        refused.read_events().unwrap();
        member.send("reap");
        member
    });
    check_parent(&parent.0, parent);
    assert!(reaped.join().unwrap().wait().success());
}

#[test]
fn a_threaded_parent_is_refused_and_unharmed() {
    let threaded = (Errno::EOPNOTSUPP, Some(Reason::Threaded));
    let scratch = Scratch::with_controllers(&["cpu", "pids"]);
    let child = scratch.parent.make("child");
    child.write("cgroup.type", "threaded");
    let beside = scratch.parent.make("beside");
    assert_eq!(scratch.parent.read("cgroup.type"), "domain threaded");
    assert_eq!(beside.read("cgroup.type"), "domain invalid");
    let before = scratch.parent.snapshot();
    for parent in [&scratch.parent, &child, &beside] {
        assert_eq!(refusal(&parent.0), threaded, "{}", parent.read("cgroup.type"));
    }
    assert_eq!(scratch.parent.snapshot(), before);
}

#[test]
fn a_parent_at_its_nesting_limit_is_refused_and_unharmed() {
    let nesting = (Errno::EAGAIN, Some(Reason::NestingLimit));
    // The limits allow nothing, only synwire, or only synwire/agents without an agent in it.
    for (file, limit) in [
        ("cgroup.max.descendants", "0"),
        ("cgroup.max.descendants", "1"),
        ("cgroup.max.descendants", "2"),
        ("cgroup.max.depth", "0"),
        ("cgroup.max.depth", "1"),
        ("cgroup.max.depth", "2"),
    ] {
        let scratch = Scratch::new();
        let before = scratch.parent.snapshot();
        scratch.parent.write(file, limit);
        assert_eq!(refusal(&scratch.parent.0), nesting, "{file} {limit}");
        assert_eq!(scratch.parent.snapshot(), before, "{file} {limit}");
        scratch.parent.write(file, "3");
        check_parent(&scratch.parent.0, &scratch.parent);
    }
}

#[test]
fn a_parent_with_agents_cannot_be_removed_and_a_removed_one_is_refused() {
    let scratch = Scratch::new();
    let group = Group::under(&scratch, &no_limits());
    let refused = std::fs::remove_dir(&scratch.parent.0).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EBUSY));
    group.destroy();
    for cgroup in scratch.parent.all().iter().rev() {
        cgroup.remove();
    }
    assert_eq!(refusal(&scratch.parent.0), (Errno::ENOENT, None));
}

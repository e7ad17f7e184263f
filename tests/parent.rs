// SPDX-License-Identifier: MIT OR Apache-2.0
//! A parent that the caller names is taken as it is, or refused and left unharmed.

#[macro_use]
mod common;

use agentcg::{Agent, Errno, Limits, PlaceKind, Reason};
use common::cgroup::{Cgroup, Scratch};
use common::group::Group;
use common::member::{Member, role, sleeper};
use common::{deadline, lab, wait_until};
use nix::sched::{CloneFlags, unshare};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;

roles![parks_an_init, makes_one_under_a_umask_of_0777, sleeper];

fn plain() -> Limits {
    Limits::default()
}

fn c(path: impl AsRef<Path>) -> CString {
    CString::new(path.as_ref().as_os_str().as_bytes()).unwrap()
}

/// New under `named` makes an agent under `parent`, and leaves nothing of it when it is destroyed.
#[track_caller]
fn names(named: impl AsRef<Path>, parent: &Cgroup) {
    let named = c(named);
    let agent = Agent::new(Some(&named), None, &plain()).unwrap_or_else(|e| panic!("{named:?}: {e}"));
    let expected = parent.join("synwire/agents").join(agent.uuid());
    assert_eq!(Cgroup::at(agent.path()), expected, "{named:?}");
    assert_eq!(agent.info().unwrap().place, PlaceKind::Given);
    assert!(expected.exists());
    agent.destroy(false, deadline(), false).unwrap();
    assert!(!expected.exists());
}

/// Errno and reason with which a parent is refused; the message is whole.
#[track_caller]
fn refusal(named: impl AsRef<Path>) -> (Errno, Option<Reason>) {
    let named = c(named);
    let Err(e) = Agent::new(Some(&named), None, &plain()) else { panic!("{named:?} is taken") };
    assert!(e.message().len() <= 183 && !e.message().contains(char::is_control), "{e}");
    (e.errno(), e.reason())
}

#[test]
fn a_parent_may_be_named_in_any_way() {
    let scratch = Scratch::new();
    let (parent, path) = (&scratch.parent, &scratch.parent.0);
    names(path, parent);
    names(format!("{}/", path.display()), parent);
    names(path.join("../parent/."), parent);
    names(format!("/{}//", path.display()), parent);

    let link = std::env::temp_dir().join(format!("parent-{}", std::process::id()));
    symlink(path, &link).unwrap();
    names(&link, parent);
    names(link.join("."), parent);
    std::fs::remove_file(&link).unwrap();

    // From where we stand: the root's parent is the root.
    let up = "../".repeat(std::env::current_dir().unwrap().components().count());
    names(format!("{up}{}", path.strip_prefix("/").unwrap().display()), parent);
}

#[test]
fn a_parent_below_a_parent_is_as_good() {
    let scratch = Scratch::new();
    scratch.parent.write("cgroup.subtree_control", "+memory");
    let below = scratch.parent.make("a b").make("..c");
    below.parent().write("cgroup.subtree_control", "+memory");
    names(&below.0, &below);
}

#[test]
fn what_is_no_cgroup2_directory_is_refused() {
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
fn a_parent_that_does_not_exist_is_refused_as_that() {
    let scratch = Scratch::new();
    for path in ["/nowhere", "", "relative"] {
        assert_eq!(refusal(path), (Errno::ENOENT, None), "{path:?}");
    }
    assert_eq!(refusal(scratch.parent.0.join("nothing")), (Errno::ENOENT, None));
}

#[test]
fn a_umask_that_takes_the_owners_own_rights_is_no_hindrance() {
    let scratch = Scratch::new();
    let mut maker = Member::start("makes_one_under_a_umask_of_0777", &[&scratch.parent.0.to_string_lossy()]);
    maker.send("go");
    assert!(maker.wait().success());
    assert_eq!(scratch.parent.all().len(), 1, "nothing is left");
}

fn makes_one_under_a_umask_of_0777(args: &[String]) {
    role::receive();
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o777));
    let agent = Agent::new(Some(&c(&args[0])), None, &plain()).unwrap_or_else(|e| panic!("{e}"));
    agent.destroy(false, deadline(), true).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn a_parent_that_holds_processes_is_refused_and_unharmed() {
    // Threaded controllers alone are the trap: the kernel would enable those.
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
        let home = Cgroup::own();
        let mut other = Member::start("sleeper", &[]);
        parent.move_in(other.pid());
        home.move_in(other.pid());
        home.move_in(member.pid());
        parent.move_in(other.pid());
        other.send("go");
        other.expect_line("ready");
        assert!(parent.lists(other.pid()) && !parent.lists(member.pid()));
        // Empty it is taken.
        home.move_in(other.pid());
        names(&parent.0, parent);
    }
}

#[test]
fn the_message_says_what_to_do_about_the_processes() {
    let scratch = Scratch::new();
    let member = Member::start("sleeper", &[]);
    scratch.parent.move_in(member.pid());
    let e = Agent::new(Some(&scratch.path()), None, &plain()).unwrap_err();
    assert!(e.message().ends_with("move them into a child of it, or name another parent"), "{e}");
    assert_eq!(e.file(), "cgroup.procs");
}

/// Two processes of a pid namespace enter the cgroup. The first one waits, once it is killed, until the other's zombie is
/// reaped, which is done when the test says so.
fn parks_an_init(args: &[String]) {
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

/// From Linux 6.19 on those that have ended keep a cgroup from getting controllers for a moment longer than anything
/// shows them.
#[test]
fn a_parent_that_processes_are_leaving_is_waited_for() {
    let scratch = Scratch::new();
    let parent = &scratch.parent;
    let mut member = Member::start("parks_an_init", &[parent.0.to_str().unwrap()]);
    member.send("begin");
    member.expect_line("ready");
    member.expect_line("ready");
    for pid in parent.words("cgroup.procs") {
        kill(Pid::from_raw(pid.parse().unwrap()), Signal::SIGKILL).unwrap();
    }
    wait_until("nobody is listed", || parent.words("cgroup.procs").is_empty());

    if parent.value("cgroup.events", "populated") == 1 {
        let e = Agent::new(Some(&c(&parent.0)), None, &plain()).unwrap_err();
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
    names(&parent.0, parent);
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
fn a_parent_that_may_have_no_more_below_it_is_refused_and_unharmed() {
    let nesting = (Errno::EAGAIN, Some(Reason::NestingLimit));
    // Room for nothing, for synwire alone, for synwire/agents but no agent in it.
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
        names(&scratch.parent.0, &scratch.parent);
    }
}

#[test]
fn a_parent_that_is_removed_meanwhile_takes_the_agents_with_it_or_stays() {
    let scratch = Scratch::new();
    let group = Group::under(&scratch, &plain());
    let refused = std::fs::remove_dir(&scratch.parent.0).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EBUSY));
    group.destroy();
    for cgroup in scratch.parent.all().iter().rev() {
        cgroup.remove();
    }
    assert_eq!(refusal(&scratch.parent.0), (Errno::ENOENT, None));
}

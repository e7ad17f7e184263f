// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a contained agent can still do to others of its uid, and what it cannot.

use super::stage::Stage;
use crate::common::lab;
use crate::common::member::role;
use crate::common::mounts::{self, TOP};
use crate::common::program::How;
use agentcg::Errno;
use nix::mount::{MsFlags, mount};
use nix::sys::signal::kill;
use nix::unistd::Pid;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::process::Command;

/// As a child of its own, which ends at once.
pub fn is_born_in(cgroup: RawFd) -> io::Result<()> {
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    // struct clone_args: flags first, the exit signal fifth, the cgroup's descriptor eleventh.
    let mut args = [0u64; 11];
    (args[0], args[4], args[10]) = (CLONE_INTO_CGROUP, libc::SIGCHLD as u64, cgroup as u64);
    // SAFETY: this process has one thread, and without CLONE_VM the child has a copy of everything.
    #[allow(unsafe_code, reason = "clone3")]
    let pid = unsafe { libc::syscall(libc::SYS_clone3, args.as_ptr(), size_of_val(&args)) };
    match pid {
        0 => crate::common::member::role::exit(0),
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// As a debugger would.
pub fn traces(pid: i32) -> io::Result<()> {
    // SAFETY: it reads and writes no memory.
    #[allow(unsafe_code, reason = "ptrace")]
    let done = unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, 0, 0) };
    Errno::result(done).map(drop).map_err(io::Error::from)
}

/// With a signal that is none, which asks for the same right.
pub fn signals(pid: i32) -> io::Result<()> {
    kill(Pid::from_raw(pid), None).map_err(io::Error::from)
}

#[test]
fn it_does_not_trace_its_host() {
    let stage = Stage::new();
    assert_eq!(stage.play("traces the host", &[], true, How::default()), Err(Errno::EPERM));
    assert_eq!(stage.play("traces the host", &[], false, How::default()), Ok(()));
}

#[test]
fn it_still_signals_its_host() {
    let stage = Stage::new();
    assert_eq!(stage.play("signals the host", &[], true, How::default()), Ok(()));
}

/// Whoever gives one away gives what is below it, and above.
#[test]
fn it_still_gets_out_by_a_directory_that_is_open_in_its_hosts_mounts() {
    let stage = Stage::new();
    let dir = File::open("/tmp").unwrap();
    let how = How { stdio: [dir.as_raw_fd(), 1, 2], ..How::default() };
    assert_eq!(stage.play("climbs from descriptor 0", &[], true, how), Ok(()));
}

/// memory.oom.group is a limit for us, but not for the kernel: /sys/kernel/cgroup/delegate names it.
#[test]
fn it_still_switches_memory_oom_group() {
    let stage = Stage::new();
    let more = ["memory.oom.group", "1"];
    assert_eq!(stage.play("writes to its own file", &more, true, How::default()), Ok(()));
    assert_eq!(stage.agent.cgroup.read("memory.oom.group"), "1");
}

#[test]
fn root_that_is_contained_still_writes_roots_files() {
    lab::needs(&["unified"]);
    let stage = Stage::new();
    assert_eq!(stage.play("writes a setting of the kernel's", &[], true, How::default()), Ok(()));
}

#[test]
fn it_still_has_the_users_manager_start_programs_outside() {
    lab::needs(&["systemd-scope"]);
    let stage = Stage::new();
    let made = "/tmp/by-a-unit";
    assert_eq!(stage.play("has a unit started", &[made], true, How::default()), Ok(()));
    assert!(fs::read_to_string(made).unwrap().contains("/app.slice/run-"));
}

/// The unit's cgroup, written by itself.
pub fn has_a_unit_started(file: &str) -> io::Result<()> {
    let status = Command::new("/usr/bin/systemd-run")
        .args(["--user", "--quiet", "--wait", "/bin/sh", "-c", &format!("cat /proc/self/cgroup >{file}")])
        .env("XDG_RUNTIME_DIR", "/run/user/1000")
        .status()?;
    if status.success() { Ok(()) } else { Err(Errno::ENOTCONN.into()) }
}

/// All of them are hidden that are there when it starts, directories and single files.
#[test]
fn it_finds_the_hierarchy_where_it_is_mounted_after_its_start_alone() {
    mounts::plays("mounts_elsewhere", &[]);
}

pub fn mounts_elsewhere(_: &[String]) {
    mounts::own_mounts();
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SHARED, none).unwrap();
    let stage = Stage::new();
    let [dir, file, later] = ["dir", "file", "later"].map(|name| format!("/tmp/elsewhere-{name}"));
    let limit = stage.sibling.cgroup.0.join("memory.max");
    fs::create_dir(&dir).unwrap();
    fs::create_dir(&later).unwrap();
    fs::write(&file, "").unwrap();
    mount(Some(TOP), dir.as_str(), none, MsFlags::MS_BIND, none).unwrap();
    mount(Some(&limit), file.as_str(), none, MsFlags::MS_BIND, none).unwrap();
    let play = |act, point: &str, contain| stage.play(act, &[point], contain, How::default());
    for (act, point) in [("goes by another mount", &dir), ("writes by another mount", &file)] {
        stage.sibling.cgroup.write("memory.max", 64 << 20);
        let _null_takes_all = play(act, point, true);
        assert_eq!(stage.sibling.cgroup.number("memory.max"), 64 << 20, "{act}");
        assert_eq!(play(act, point, false), Ok(()));
        assert_eq!(stage.sibling.cgroup.read("memory.max"), "max");
    }
    role::say("as it should be");
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a program has by the options of its command, on each spawn path.

use super::entries::{SpawnPath, on_each_spawn_path};
use crate::common::group::Group;
use crate::common::member::{Member, role};
use crate::common::program;
use agentcg::{BeginTimeout, Command, Errno, Reason, Redirection, ResourceLimit, SpawnOptions};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::wait::WaitStatus;
use nix::unistd::{getegid, geteuid, getpgrp, getsid};
use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

/// The numbers of the descriptors of this process.
fn descriptors() -> String {
    let listed: Vec<_> = fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap().path()).collect();
    // The directory itself is closed again.
    let open = listed.iter().filter(|path| path.read_link().is_ok());
    let mut numbers: Vec<i32> =
        open.map(|path| path.file_name().unwrap().to_str().unwrap().parse().unwrap()).collect();
    numbers.sort_unstable();
    format!("{numbers:?}")
}

/// The niceness of this process.
fn niceness() -> i32 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    // The 19th field; the second one, in brackets, may have spaces.
    stat.rsplit_once(')').unwrap().1.split_whitespace().nth(16).unwrap().parse().unwrap()
}

/// The foreground process group of the controlling terminal of this process, or 0 without a terminal.
fn foreground_group() -> i32 {
    let terminal = File::open("/dev/tty");
    terminal.map_or(0, |terminal| nix::unistd::tcgetpgrp(terminal).unwrap().as_raw())
}

/// A role that sends what it has: in each line a name and its value.
pub fn reports(_: &[String]) {
    let mut lines = format!("fds {}", descriptors());
    for number in [3, 4, 5, 40] {
        if let Ok(name) = fs::read_link(format!("/proc/self/fd/{number}")) {
            lines += &format!("\nfd{number} {}", name.display());
        }
    }
    for line in fs::read_to_string("/proc/self/status").unwrap().lines() {
        let (name, value) = line.split_once(':').unwrap();
        if ["Uid", "Gid", "Groups", "Umask", "NoNewPrivs", "SigIgn", "SigBlk"].contains(&name) {
            lines += &format!("\n{name} {}", value.split_whitespace().collect::<Vec<_>>().join(" "));
        }
    }
    lines += &format!("\noom {}", fs::read_to_string("/proc/self/oom_score_adj").unwrap().trim_end());
    lines += &format!("\nnice {}", niceness());
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    lines += &format!("\nnofile {soft} {hard}");
    let (soft, hard) = getrlimit(Resource::RLIMIT_CORE).unwrap();
    lines += &format!("\ncore {soft} {hard}");
    lines += &format!("\njob pgid {} sid {} pid {}", getpgrp(), getsid(None).unwrap(), nix::unistd::getpid());
    lines += &format!("\nforeground {}", foreground_group());
    let death = nix::sys::prctl::get_pdeathsig().unwrap();
    lines += &format!("\ndeath {}", death.map_or(0, |signal| signal as i32));
    role::send(&lines);
}

type Report = BTreeMap<String, String>;

/// The command that plays this role.
fn player<'a>(role: &'static CStr) -> Command<'a> {
    program::command(&[c"/proc/self/exe"], [c"role", c"--play", role])
}

/// Starts the role with these options and returns what it reports.
fn report_with<'a>(group: &Group, contain: bool, change: impl FnOnce(&mut Command<'a>)) -> Report {
    let mut command = player(c"reports");
    change(&mut command);
    let (reader, writer) = nix::unistd::pipe().unwrap();
    command.stdio[1] = writer.as_raw_fd();
    let child =
        group.spawn(&command, SpawnOptions { contain, pidfd: false }).unwrap_or_else(|e| panic!("{e}"));
    drop(writer);
    let mut text = String::new();
    File::from(reader).read_to_string(&mut text).unwrap();
    assert!(matches!(program::wait(&child), WaitStatus::Exited(_, 0)));
    let split = |line: &str| line.split_once(' ').map(|(name, value)| (name.to_owned(), value.to_owned()));
    text.lines().filter_map(split).collect()
}

fn file_named(name: &str) -> File {
    let name = CString::new(name).unwrap();
    File::from(nix::sys::memfd::memfd_create(&*name, nix::sys::memfd::MFdFlags::MFD_CLOEXEC).unwrap())
}

#[test]
fn a_program_has_exactly_the_descriptors_that_it_is_given_on_each_spawn_path() {
    on_each_spawn_path(|_, group| {
        let (a, b) = (file_named("a"), file_named("b"));
        let _other = file_named("other");
        for contain in [false, true] {
            let report = report_with(group, contain, |command| {
                let pair = |file: &File, target| Redirection { source: file.as_raw_fd(), target };
                command.descriptors = vec![pair(&b, 40), pair(&a, b.as_raw_fd()), pair(&b, a.as_raw_fd())];
            });
            let mut numbers = vec![0, 1, 2, a.as_raw_fd(), b.as_raw_fd(), 40];
            numbers.sort_unstable();
            assert_eq!(report["fds"], format!("{numbers:?}"));
            assert_eq!(report["fd40"], "/memfd:b (deleted)");
        }
    });
}

/// Without options the program has what its host has.
#[test]
fn a_program_has_the_attributes_that_it_is_given_on_each_spawn_path() {
    on_each_spawn_path(|path, group| {
        let of_the_host = || {
            let mut report = report_with(group, false, |_| {});
            report.remove("job");
            report
        };
        let before = of_the_host();
        for contain in [false, true] {
            let own = report_with(group, contain, |_| {});
            assert_eq!((own["oom"].as_str(), own["death"].as_str()), ("0", "0"));
            // A filter needs no_new_privs.
            let no_new_privs = if path == SpawnPath::Clone3Refused { "1" } else { "0" };
            assert_eq!(own["NoNewPrivs"], no_new_privs);
            let report = report_with(group, contain, |command| {
                command.umask = Some(0o137);
                command.nice = Some(7);
                command.oom_score_adj = Some(321);
                // The limit is below the numbers that the steps before use.
                command.resource_limits = vec![
                    ResourceLimit { resource: libc::RLIMIT_NOFILE as i32, soft: 5, hard: 6 },
                    ResourceLimit { resource: libc::RLIMIT_CORE as i32, soft: 0, hard: 4096 },
                ];
                command.parent_death_signal = Some(libc::SIGUSR1);
                command.no_new_privs = true;
            });
            let expected = [
                ("Umask", "0137"),
                ("nice", "7"),
                ("oom", "321"),
                ("nofile", "5 6"),
                ("core", "0 4096"),
                ("death", "10"),
                ("NoNewPrivs", "1"),
                ("Uid", &own["Uid"]),
                ("Groups", &own["Groups"]),
                ("fds", "[0, 1, 2]"),
            ];
            for (name, value) in expected {
                assert_eq!(report[name], value, "{name}, contained: {contain}");
            }
        }
        assert_eq!(of_the_host(), before);
    });
}

fn is_dumpable() -> bool {
    nix::sys::prctl::get_dumpable().unwrap()
}

/// A change of the ids makes a process not dumpable. The host must not share that.
#[test]
fn a_program_has_the_ids_that_it_is_given_and_its_host_stays_dumpable_on_each_spawn_path() {
    on_each_spawn_path(|_, group| {
        assert!(is_dumpable());
        let is_root = geteuid().is_root();
        let (uid, gid) = if is_root { (1234, 2345) } else { (geteuid().as_raw(), getegid().as_raw()) };
        let report = report_with(group, false, |command| {
            (command.uid, command.gid) = (Some(uid), Some(gid));
            command.groups = is_root.then(|| vec![77, 78]);
            command.parent_death_signal = Some(libc::SIGUSR2);
        });
        assert_eq!(report["Uid"], format!("{uid} {uid} {uid} {uid}"));
        assert_eq!(report["Gid"], format!("{gid} {gid} {gid} {gid}"));
        assert_eq!(report["death"], "12", "it is set after the ids");
        if is_root {
            assert_eq!(report["Groups"], "77 78");
            let report = report_with(group, false, |command| command.groups = Some(vec![]));
            assert_eq!((report["Groups"].as_str(), report["Uid"].as_str()), ("", "0 0 0 0"));
        }
        assert!(is_dumpable());
    });
}

/// The three ids of a report: process group, session and process.
fn job(report: &Report) -> [i32; 3] {
    let words: Vec<&str> = report["job"].split(' ').collect();
    [words[1], words[3], words[5]].map(|id| id.parse().unwrap())
}

#[test]
fn a_program_has_the_process_group_that_it_is_given_on_each_spawn_path() {
    on_each_spawn_path(|_, group| {
        let own = [getpgrp(), getsid(None).unwrap()].map(nix::unistd::Pid::as_raw);
        let [pgid, sid, _] = job(&report_with(group, false, |_| {}));
        assert_eq!([pgid, sid], own);
        let [pgid, sid, pid] = job(&report_with(group, false, |command| command.process_group = Some(0)));
        assert_eq!([pgid, sid], [pid, own[1]]);
        let [pgid, sid, pid] = job(&report_with(group, false, |command| command.new_session = true));
        assert_eq!([pgid, sid], [pid, pid]);
        // A member of the group of another program that has begun.
        let mut leader = player(c"sleeps");
        leader.process_group = Some(0);
        let leader = group.spawn(&leader, SpawnOptions::default()).unwrap();
        let [pgid, sid, _] =
            job(&report_with(group, false, |command| command.process_group = Some(leader.pid)));
        assert_eq!([pgid, sid], [leader.pid, own[1]]);
        group.kill_all(crate::common::deadline()).unwrap();
        program::wait(&leader);
        check_failure(group, Errno::EPERM, "pgroup", |command| command.process_group = Some(1));
    });
}

#[test]
fn a_program_has_the_controlling_terminal_that_it_is_given_on_each_spawn_path() {
    on_each_spawn_path(|path, group| {
        for contain in [false, true] {
            let pty = nix::pty::openpty(None, None).unwrap();
            let report = report_with(group, contain, |command| {
                command.new_session = true;
                command.controlling_terminal = Some(pty.slave.as_fd());
                command.foreground_of = Some(pty.slave.as_fd());
                command.stdio = [pty.slave.as_raw_fd(); 3];
            });
            let [pgid, sid, pid] = job(&report);
            assert_eq!([pgid, sid], [pid, pid]);
            assert_eq!(report["foreground"], pid.to_string(), "{path:?}, contained: {contain}");
        }
        let null = File::open("/dev/null").unwrap();
        check_failure(group, Errno::ENOTTY, "terminal_fd", |command| {
            command.new_session = true;
            command.controlling_terminal = Some(null.as_fd());
        });
        let pty = nix::pty::openpty(None, None).unwrap();
        check_failure(group, Errno::ENOTTY, "terminal_fd", |command| {
            command.process_group = Some(0);
            command.foreground_of = Some(pty.slave.as_fd());
        });
    });
}

/// A role with a controlling terminal, as a shell has it.
#[allow(unsafe_code, reason = "TIOCSCTTY")]
pub fn host_with_a_terminal(args: &[String]) {
    let path = SpawnPath::named(&args[0]);
    let pty = nix::pty::openpty(None, None).unwrap();
    nix::unistd::setsid().unwrap();
    // SAFETY: the request takes an integer.
    assert_eq!(unsafe { libc::ioctl(pty.slave.as_raw_fd(), libc::TIOCSCTTY, 0) }, 0);
    assert_eq!(foreground_group(), getpgrp().as_raw());
    let group = Group::plain();
    path.close(&group);
    let report = report_with(&group, false, |command| {
        command.process_group = Some(0);
        command.foreground_of = Some(pty.slave.as_fd());
    });
    let [pgid, sid, pid] = job(&report);
    assert_eq!([pgid, sid], [pid, getpgrp().as_raw()]);
    assert_eq!(report["foreground"], pid.to_string());
    group.destroy();
    role::send("ok");
}

#[test]
fn a_program_is_in_the_foreground_of_the_terminal_of_its_host_on_each_spawn_path() {
    for path in SpawnPath::ALL {
        let mut host = Member::start("host_with_a_terminal", &[&format!("{path:?}")]);
        host.expect_line("ok");
    }
}

fn bit(signal: libc::c_int) -> u64 {
    1 << (signal - 1)
}

#[test]
fn a_program_has_only_those_signals_ignored_and_blocked_that_it_is_given_on_each_spawn_path() {
    on_each_spawn_path(|_, group| {
        // std ignores it in the role.
        let pipe = bit(libc::SIGPIPE);
        let (ignored, blocked) = (bit(libc::SIGHUP) | bit(64), bit(libc::SIGUSR1) | bit(33) | bit(1));
        for (ignored, blocked) in [(0, 0), (ignored, blocked)] {
            let report = report_with(group, false, |command| {
                (command.ignored_signals, command.blocked_signals) = (ignored, blocked);
            });
            let mask = |name: &str| u64::from_str_radix(&report[name], 16).unwrap();
            assert_eq!(mask("SigIgn") & !pipe, ignored);
            assert_eq!(mask("SigBlk"), blocked);
        }
    });
}

#[test]
fn a_program_is_executed_by_a_descriptor_on_each_spawn_path() {
    on_each_spawn_path(|_, group| {
        let file = File::open("/proc/self/exe").unwrap();
        let (a, other) = (file_named("a"), file_named("other"));
        for contain in [false, true] {
            let report = report_with(group, contain, |command| {
                command.program = agentcg::Strings::new([]).unwrap();
                command.file = Some(file.as_fd());
                // The number of the file is a target.
                command.descriptors = vec![Redirection { source: a.as_raw_fd(), target: file.as_raw_fd() }];
            });
            assert_eq!(report["fds"], format!("[0, 1, 2, {}]", file.as_raw_fd()));
        }
        // A script cannot be opened by its interpreter.
        std::io::Write::write_all(&mut &other, b"#!/bin/sh\n").unwrap();
        nix::sys::stat::fchmod(&other, nix::sys::stat::Mode::S_IRWXU).unwrap();
        check_failure(group, Errno::ENOENT, "cannot start the file of file_fd", |command| {
            command.file = Some(other.as_fd());
        });
        let directory = File::open("/").unwrap();
        check_failure(group, Errno::EACCES, "cannot start the file of file_fd", |command| {
            command.file = Some(directory.as_fd());
        });
    });
}

/// Each failure has the name of its option, and nothing is left.
fn check_failure<'a>(group: &Group, errno: Errno, name: &str, change: impl FnOnce(&mut Command<'a>)) {
    let mut command = player(c"reports");
    change(&mut command);
    let e = group.spawn(&command, SpawnOptions::default()).unwrap_err();
    let reason = name.starts_with("cannot start").then_some(Reason::NotExecuted);
    assert_eq!((e.errno(), e.reason()), (errno, reason), "{name}: {e}");
    assert!(e.message().starts_with(name), "{name}: {e}");
    assert!(program::no_child_is_left() && group.cgroup.members().is_empty());
}

#[test]
fn each_attribute_that_cannot_be_set_is_named_on_each_spawn_path() {
    on_each_spawn_path(|_, group| {
        let limit = |soft, hard| vec![ResourceLimit { resource: libc::RLIMIT_NPROC as i32, soft, hard }];
        check_failure(group, Errno::EINVAL, "rlimits", |command| command.resource_limits = limit(2, 1));
        check_failure(group, Errno::EINVAL, "oom_score_adj", |command| command.oom_score_adj = Some(1001));
        if geteuid().is_root() {
            return;
        }
        check_failure(group, Errno::EACCES, "nice", |command| command.nice = Some(-1));
        check_failure(group, Errno::EACCES, "oom_score_adj", |command| command.oom_score_adj = Some(-1));
        check_failure(group, Errno::EPERM, "groups", |command| command.groups = Some(vec![]));
        check_failure(group, Errno::EPERM, "gid", |command| command.gid = Some(0));
        check_failure(group, Errno::EPERM, "uid", |command| command.uid = Some(0));
    });
}

#[test]
fn all_options_work_together_on_each_spawn_path() {
    on_each_spawn_path(|_, group| {
        let program = File::open("/proc/self/exe").unwrap();
        let pty = nix::pty::openpty(None, None).unwrap();
        for contain in [false, true] {
            // A contained program keeps the ids of its host.
            let ids = (geteuid().is_root() && !contain).then_some((1234, 2345));
            let all = |command: &mut Command<'_>| {
                command.program = agentcg::Strings::new([]).unwrap();
                command.new_session = true;
                command.stdio = [agentcg::DEVNULL; 3];
                command.descriptors = vec![Redirection { source: pty.slave.as_raw_fd(), target: 40 }];
                command.umask = Some(0o22);
                command.nice = Some(5);
                command.oom_score_adj = Some(600);
                command.resource_limits =
                    vec![ResourceLimit { resource: libc::RLIMIT_CORE as i32, soft: 0, hard: 0 }];
                command.groups = ids.map(|_| vec![9]);
                (command.uid, command.gid) = ids.unzip();
                command.parent_death_signal = Some(libc::SIGTERM);
                command.no_new_privs = true;
                (command.ignored_signals, command.blocked_signals) = (bit(libc::SIGHUP), bit(libc::SIGUSR1));
                command.begin = BeginTimeout::Within(Duration::from_secs(60));
            };
            let report = report_with(group, contain, |command| {
                all(command);
                command.file = Some(program.as_fd());
                command.controlling_terminal = Some(pty.slave.as_fd());
                command.foreground_of = Some(pty.slave.as_fd());
            });
            let uid = ids.map_or(geteuid().as_raw(), |(uid, _)| uid);
            let [_, _, pid] = job(&report);
            let expected = [
                ("fds", "[0, 1, 2, 40]"),
                ("Umask", "0022"),
                ("nice", "5"),
                ("oom", "600"),
                ("core", "0 0"),
                ("death", "15"),
                ("NoNewPrivs", "1"),
                ("SigBlk", "0000000000000200"),
                ("foreground", &pid.to_string()),
                ("Uid", &format!("{uid} {uid} {uid} {uid}")),
            ];
            for (name, value) in expected {
                assert_eq!(report[name], value, "{name}, contained: {contain}");
            }
        }
    });
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a program has by the options of its command, on each spawn path.

use super::entries::{SpawnPath, on_each_spawn_path};
use crate::common::group::Group;
use crate::common::member::role;
use crate::common::program;
use agentcg::{Command, Errno, Redirection, ResourceLimit, SpawnOptions};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::wait::WaitStatus;
use nix::unistd::{getegid, geteuid};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::AsRawFd;

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
        if ["Uid", "Gid", "Groups", "Umask", "NoNewPrivs"].contains(&name) {
            lines += &format!("\n{name} {}", value.split_whitespace().collect::<Vec<_>>().join(" "));
        }
    }
    lines += &format!("\noom {}", fs::read_to_string("/proc/self/oom_score_adj").unwrap().trim_end());
    lines += &format!("\nnice {}", niceness());
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    lines += &format!("\nnofile {soft} {hard}");
    let (soft, hard) = getrlimit(Resource::RLIMIT_CORE).unwrap();
    lines += &format!("\ncore {soft} {hard}");
    let death = nix::sys::prctl::get_pdeathsig().unwrap();
    lines += &format!("\ndeath {}", death.map_or(0, |signal| signal as i32));
    role::send(&lines);
}

type Report = BTreeMap<String, String>;

/// The command that plays the role `reports`.
fn reporter<'a>(words: &'a [CString]) -> Command<'a> {
    program::command(&[c"/proc/self/exe"], words.iter().map(CString::as_c_str))
}

fn words() -> Vec<CString> {
    ["role", "--play", "reports"].map(|word| CString::new(word).unwrap()).into()
}

/// Starts the role with these options and returns what it reports.
fn report_with(group: &Group, contain: bool, change: impl FnOnce(&mut Command<'_>)) -> Report {
    let words = words();
    let mut command = reporter(&words);
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
        assert_eq!(
            report_with(group, false, |_| {}),
            report_with(group, false, |_| {}),
            "the host is as before"
        );
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

/// Each failure has the name of its option, and nothing is left.
fn check_failure(group: &Group, errno: Errno, name: &str, change: impl FnOnce(&mut Command<'_>)) {
    let words = words();
    let mut command = reporter(&words);
    change(&mut command);
    let e = group.spawn(&command, SpawnOptions::default()).unwrap_err();
    assert_eq!((e.errno(), e.reason()), (errno, None), "{name}: {e}");
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

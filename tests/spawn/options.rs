// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a program has by the options of its command, on each spawn path.

use super::entries::on_each_spawn_path;
use crate::common::group::Group;
use crate::common::member::role;
use crate::common::program;
use agentcg::{Command, Redirection, SpawnOptions};
use nix::sys::wait::WaitStatus;
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

/// A role that sends what it has: in each line a name and its value.
pub fn reports(_: &[String]) {
    let mut lines = format!("fds {}", descriptors());
    for number in [3, 4, 5, 40] {
        if let Ok(name) = fs::read_link(format!("/proc/self/fd/{number}")) {
            lines += &format!("\nfd{number} {}", name.display());
        }
    }
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

// SPDX-License-Identifier: MIT OR Apache-2.0
//! A cgroup by its path, read and written as a person would do it in a shell.

use super::group::own_pid;
use super::{PATIENCE, lab};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

/// One cgroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cgroup(pub PathBuf);

impl Cgroup {
    /// By its absolute path.
    pub fn at(path: &[u8]) -> Self {
        Self(PathBuf::from(OsString::from_vec(path.to_vec())))
    }

    /// Our own.
    pub fn own() -> Self {
        Self::of("self").expect("our own cgroup is under the mount")
    }

    /// That of a process, if it lies under the mount.
    pub fn of(pid: impl ToString) -> Option<Self> {
        let text = fs::read(format!("/proc/{}/cgroup", pid.to_string())).ok()?;
        let path = text.split(|&b| b == b'\n').find_map(|line| line.strip_prefix(b"0::/"))?;
        if path.starts_with(b"..") {
            return None;
        }
        let mut whole = mount_point();
        if !path.is_empty() {
            whole.push(std::ffi::OsStr::from_bytes(path));
        }
        Some(Self(whole))
    }

    /// The cgroup that this one is in.
    pub fn parent(&self) -> Self {
        Self(self.0.parent().expect("no parent of /").to_owned())
    }

    /// One below, whether it is there or not.
    pub fn join(&self, name: impl AsRef<Path>) -> Self {
        Self(self.0.join(name))
    }

    /// Make one below.
    pub fn make(&self, name: impl AsRef<Path>) -> Self {
        let new = self.join(name);
        fs::create_dir(&new.0).unwrap_or_else(|e| panic!("mkdir {}: {e}", new.0.display()));
        new
    }

    /// rmdir.
    pub fn remove(&self) {
        fs::remove_dir(&self.0).unwrap_or_else(|e| panic!("rmdir {}: {e}", self.0.display()));
    }

    /// Whether it is there.
    pub fn exists(&self) -> bool {
        self.0.is_dir()
    }

    /// Whether it has such a file.
    pub fn has(&self, file: &str) -> bool {
        self.0.join(file).exists()
    }

    /// A file's content without the newline at its end.
    pub fn read(&self, file: &str) -> String {
        self.try_read(file).unwrap_or_else(|e| panic!("read {}/{file}: {e}", self.0.display()))
    }

    /// The same where it may fail.
    pub fn try_read(&self, file: &str) -> io::Result<String> {
        fs::read_to_string(self.0.join(file)).map(|text| text.trim_end().to_owned())
    }

    /// Write a value.
    pub fn write(&self, file: &str, value: impl ToString) {
        let value = value.to_string();
        self.try_write(file, &value)
            .unwrap_or_else(|e| panic!("write {value:?} to {}/{file}: {e}", self.0.display()));
    }

    /// The same where it may fail. Not fs::write: its O_CREAT turns "no such file" into EACCES.
    pub fn try_write(&self, file: &str, value: &str) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).open(self.0.join(file))?;
        file.write_all(value.as_bytes())
    }

    /// Write to a file even where `--hide` hides it: by a name that is not on the list.
    pub fn write_hidden(&self, file: &str, value: &str) {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let alias = std::env::temp_dir().join(format!("alias-{}-{count}", std::process::id()));
        std::os::unix::fs::symlink(self.0.join(file), &alias).expect("symlink");
        let written =
            OpenOptions::new().write(true).open(&alias).and_then(|mut f| f.write_all(value.as_bytes()));
        fs::remove_file(&alias).expect("unlink");
        written.unwrap_or_else(|e| panic!("write {value:?} to {}/{file}: {e}", self.0.display()));
    }

    /// A file that holds one number.
    pub fn number(&self, file: &str) -> u64 {
        let text = self.read(file);
        text.parse().unwrap_or_else(|_| panic!("{file} is {text:?}"))
    }

    /// The value of one key of a flat-keyed file.
    pub fn value(&self, file: &str, key: &str) -> u64 {
        let text = self.read(file);
        value_in(&text, key).unwrap_or_else(|| panic!("no {key} in {file}: {text:?}"))
    }

    /// The words of a list: controllers, pids.
    pub fn words(&self, file: &str) -> BTreeSet<String> {
        self.read(file).split_whitespace().map(str::to_owned).collect()
    }

    /// Whether `cgroup.procs` lists the process.
    pub fn lists(&self, pid: i32) -> bool {
        self.words("cgroup.procs").contains(&pid.to_string())
    }

    /// Move a process in.
    pub fn take(&self, pid: i32) {
        self.write("cgroup.procs", pid);
    }

    /// It and all below it, those above first.
    pub fn all(&self) -> Vec<Self> {
        let mut found = vec![self.clone()];
        let mut at = 0;
        while at < found.len() {
            // One that goes while we look is not there.
            for entry in fs::read_dir(&found[at].0).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    found.push(Self(entry.path()));
                }
            }
            at += 1;
        }
        found
    }

    /// Every process and thread in it and below it, zombies too.
    pub fn members(&self) -> BTreeSet<String> {
        let lists = |file| {
            move |one: Self| {
                let text = match one.try_read(file) {
                    Ok(text) => text,
                    // A threaded cgroup's processes stand in the domain above it.
                    Err(e) if file == "cgroup.procs" && e.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                        String::new()
                    }
                    Err(e) => panic!("read {}/{file}: {e}", one.0.display()),
                };
                text.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
            }
        };
        let all = self.all();
        let procs = all.iter().cloned().flat_map(lists("cgroup.procs"));
        procs.chain(all.iter().cloned().flat_map(lists("cgroup.threads"))).collect()
    }

    /// Wait until a file that notifies (`*.events`) says it.
    pub fn wait_for(&self, file: &str, enough: impl Fn(&str) -> bool) {
        let opened = File::open(self.0.join(file)).unwrap_or_else(|e| panic!("open {file}: {e}"));
        let start = Instant::now();
        loop {
            let mut buf = [0; 4096];
            let length = opened.read_at(&mut buf, 0).unwrap_or_else(|e| panic!("read {file}: {e}"));
            let text = String::from_utf8_lossy(&buf[..length]);
            if enough(&text) {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "{file} of {} stays {text:?}", self.0.display());
            let mut fds = [PollFd::new(opened.as_fd(), PollFlags::POLLPRI)];
            poll(&mut fds, PollTimeout::from(50u8)).expect("poll");
        }
    }

    /// Wait until one key of such a file is at least so much.
    pub fn wait_for_value(&self, file: &str, key: &str, least: u64) {
        self.wait_for(file, |text| value_in(text, key).is_some_and(|value| value >= least));
    }

    /// Everything that an attempt could leave behind: each cgroup, what it has switched on, its type.
    pub fn picture(&self) -> BTreeMap<PathBuf, (String, String)> {
        let told = |one: &Self, file| one.try_read(file).unwrap_or_default();
        self.all()
            .into_iter()
            .map(|one| {
                let facts = (told(&one, "cgroup.subtree_control"), told(&one, "cgroup.type"));
                (one.0, facts)
            })
            .collect()
    }

    /// Kill and remove it and all below it. For cleaning up, with whatever it takes.
    pub fn clear(&self) {
        let start = Instant::now();
        while self.exists() && start.elapsed() < PATIENCE {
            for one in self.all().iter().rev() {
                let _hidden_or_old = one.try_write("cgroup.freeze", "0");
                for file in ["cgroup.procs", "cgroup.threads"] {
                    for id in one.try_read(file).unwrap_or_default().split_whitespace() {
                        match id.parse() {
                            Ok(id @ 1..) if id != own_pid() => {
                                let _gone = kill(Pid::from_raw(id), Signal::SIGKILL);
                            }
                            _ => {}
                        }
                    }
                }
                let _busy = fs::remove_dir(&one.0);
            }
        }
    }
}

/// The value of one key in the text of a flat-keyed file.
pub fn value_in(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.parse().ok())
}

/// Where cgroup2 is mounted.
fn mount_point() -> PathBuf {
    let mounts = fs::read_to_string("/proc/self/mounts").expect("/proc is mounted");
    let point = mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let point = fields.next()?;
        (fields.next()? == "cgroup2").then_some(point)
    });
    point.expect("cgroup2 is mounted").into()
}

/// A parent for agents that is a test's own, so that what is done to it disturbs no other test. It is
/// removed in the end, with all in it.
pub struct Scratch {
    /// What holds it.
    pub outer: Cgroup,
    /// Give this to the library.
    pub parent: Cgroup,
}

impl Scratch {
    /// With all the controllers that are to be had here.
    pub fn new() -> Self {
        Self::having(&["cpu", "io", "memory", "pids"])
    }

    /// With these in its `cgroup.controllers`, of those that are to be had here.
    pub fn having(controllers: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        lab::layout();
        let own = Cgroup::own();
        let beside = if own.0 == mount_point() { own } else { own.parent() };
        let name = format!("scratch-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let had = beside.words("cgroup.controllers");
        for controller in ["cpu", "io", "memory", "pids"].iter().filter(|one| had.contains(**one)) {
            beside.write("cgroup.subtree_control", format!("+{controller}"));
        }
        let outer = beside.make(name);
        for controller in controllers.iter().filter(|one| had.contains(**one)) {
            outer.write("cgroup.subtree_control", format!("+{controller}"));
        }
        let parent = outer.make("parent");
        Self { outer, parent }
    }

    /// For the library.
    pub fn path(&self) -> std::ffi::CString {
        std::ffi::CString::new(self.parent.0.as_os_str().as_bytes()).expect("no NUL in a path")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.outer.clear();
    }
}

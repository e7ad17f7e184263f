// SPDX-License-Identifier: MIT OR Apache-2.0
//! A cgroup by its path, read and written as in a shell, without the library.

use super::group::own_pid;
use super::{TIMEOUT, lab};
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

/// One cgroup, by its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cgroup(pub PathBuf);

impl Cgroup {
    /// From its absolute path.
    pub fn at(path: impl Into<Vec<u8>>) -> Self {
        Self(PathBuf::from(OsString::from_vec(path.into())))
    }

    /// Returns the cgroup of this process.
    pub fn own() -> Self {
        Self::of("self").expect("the cgroup of this process is below the mount point")
    }

    /// Returns the cgroup of a process, if it is below the mount point.
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

    /// Returns the parent cgroup.
    pub fn parent(&self) -> Self {
        Self(self.0.parent().expect("no parent of /").to_owned())
    }

    /// Returns the child with this name, which need not exist.
    pub fn join(&self, name: impl AsRef<Path>) -> Self {
        Self(self.0.join(name))
    }

    /// Creates a child.
    pub fn make(&self, name: impl AsRef<Path>) -> Self {
        let new = self.join(name);
        fs::create_dir(&new.0).unwrap_or_else(|e| panic!("mkdir {}: {e}", new.0.display()));
        new
    }

    /// Removes the cgroup with rmdir(2).
    pub fn remove(&self) {
        fs::remove_dir(&self.0).unwrap_or_else(|e| panic!("rmdir {}: {e}", self.0.display()));
    }

    /// Returns true if the cgroup exists.
    pub fn exists(&self) -> bool {
        self.0.is_dir()
    }

    /// Returns true if the cgroup has such a file.
    pub fn has(&self, file: &str) -> bool {
        self.0.join(file).exists()
    }

    /// Returns the content of a file, without the newline at its end.
    pub fn read(&self, file: &str) -> String {
        self.try_read(file).unwrap_or_else(|e| panic!("read {}/{file}: {e}", self.0.display()))
    }

    /// Returns the content of a file, or the error.
    pub fn try_read(&self, file: &str) -> io::Result<String> {
        fs::read_to_string(self.0.join(file)).map(|text| text.trim_end().to_owned())
    }

    /// Writes a value.
    pub fn write(&self, file: &str, value: impl ToString) {
        let value = value.to_string();
        self.try_write(file, &value)
            .unwrap_or_else(|e| panic!("write {value:?} to {}/{file}: {e}", self.0.display()));
    }

    /// Writes a value, or returns the error. fs::write would not do: its O_CREAT turns "no such file" into
    /// EACCES.
    pub fn try_write(&self, file: &str, value: &str) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).open(self.0.join(file))?;
        file.write_all(value.as_bytes())
    }

    /// Writes to a file even if `--hide` hides it: by a symbolic link, whose name is not on the list.
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

    /// Returns the number in a file that holds only one.
    pub fn number(&self, file: &str) -> u64 {
        let text = self.read(file);
        text.parse().unwrap_or_else(|_| panic!("{file} is {text:?}"))
    }

    /// Returns the value of a key in a flat-keyed file.
    pub fn value(&self, file: &str, key: &str) -> u64 {
        let text = self.read(file);
        value_in(&text, key).unwrap_or_else(|| panic!("no {key} in {file}: {text:?}"))
    }

    /// Returns the words of a list, such as controllers or pids.
    pub fn words(&self, file: &str) -> BTreeSet<String> {
        self.read(file).split_whitespace().map(str::to_owned).collect()
    }

    /// Returns true if `cgroup.procs` lists the process.
    pub fn lists(&self, pid: i32) -> bool {
        self.words("cgroup.procs").contains(&pid.to_string())
    }

    /// Moves a process into the cgroup.
    pub fn move_in(&self, pid: i32) {
        self.write("cgroup.procs", pid);
    }

    /// Returns the cgroup and its descendants, each parent before its children.
    pub fn all(&self) -> Vec<Self> {
        let mut found = vec![self.clone()];
        let mut at = 0;
        while at < found.len() {
            // A cgroup that is removed meanwhile is left out.
            for entry in fs::read_dir(&found[at].0).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    found.push(Self(entry.path()));
                }
            }
            at += 1;
        }
        found
    }

    /// Returns every process and thread in the cgroup and its descendants, zombies included.
    pub fn members(&self) -> BTreeSet<String> {
        let lists = |file| {
            move |one: Self| {
                let text = match one.try_read(file) {
                    Ok(text) => text,
                    // The processes of a threaded cgroup are listed in its threaded domain.
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

    /// Waits until a file with notifications (`*.events`) has the expected content.
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
            assert!(start.elapsed() < TIMEOUT, "{file} of {} stays {text:?}", self.0.display());
            let mut fds = [PollFd::new(opened.as_fd(), PollFlags::POLLPRI)];
            poll(&mut fds, PollTimeout::from(50u8)).expect("poll");
        }
    }

    /// Waits until a key of such a file is at least `least`.
    pub fn wait_for_value(&self, file: &str, key: &str, least: u64) {
        self.wait_for(file, |text| value_in(text, key).is_some_and(|value| value >= least));
    }

    /// Returns what a failed attempt could leave behind: each cgroup, its subtree_control and its type.
    pub fn snapshot(&self) -> BTreeMap<PathBuf, (String, String)> {
        let read = |one: &Self, file| one.try_read(file).unwrap_or_default();
        self.all()
            .into_iter()
            .map(|one| {
                let facts = (read(&one, "cgroup.subtree_control"), read(&one, "cgroup.type"));
                (one.0, facts)
            })
            .collect()
    }

    /// Kills all processes in the cgroup and its descendants and removes them. For cleanup, by every means.
    pub fn kill_and_remove(&self) {
        let start = Instant::now();
        while self.exists() && start.elapsed() < TIMEOUT {
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

/// Returns the value of a key in the text of a flat-keyed file.
pub fn value_in(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.parse().ok())
}

/// Returns the mount point of cgroup2.
fn mount_point() -> PathBuf {
    let mounts = fs::read_to_string("/proc/self/mounts").expect("/proc is mounted");
    let point = mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let point = fields.next()?;
        (fields.next()? == "cgroup2").then_some(point)
    });
    point.expect("cgroup2 is mounted").into()
}

/// A parent directory for the agents of one test, so that no other test is affected. It is removed with all
/// its content at the end of the test.
pub struct Scratch {
    /// The cgroup around the parent.
    pub outer: Cgroup,
    /// The parent to pass to the library.
    pub parent: Cgroup,
}

impl Scratch {
    /// With all available controllers.
    pub fn new() -> Self {
        Self::with_controllers(&["cpu", "io", "memory", "pids"])
    }

    /// With those of the given controllers in its `cgroup.controllers` that are available.
    pub fn with_controllers(controllers: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        lab::layout();
        let own = Cgroup::own();
        let beside = if own.0 == mount_point() { own } else { own.parent() };
        let name = format!("scratch-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let available = beside.words("cgroup.controllers");
        for controller in ["cpu", "io", "memory", "pids"].iter().filter(|one| available.contains(**one)) {
            beside.write("cgroup.subtree_control", format!("+{controller}"));
        }
        let outer = beside.make(name);
        for controller in controllers.iter().filter(|one| available.contains(**one)) {
            outer.write("cgroup.subtree_control", format!("+{controller}"));
        }
        let parent = outer.make("parent");
        Self { outer, parent }
    }

    /// Returns the parent's path as the library takes it.
    pub fn path(&self) -> std::ffi::CString {
        std::ffi::CString::new(self.parent.0.as_os_str().as_bytes()).expect("no NUL in a path")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.outer.kill_and_remove();
    }
}

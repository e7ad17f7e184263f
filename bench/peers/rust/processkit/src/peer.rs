// SPDX-License-Identifier: MIT OR Apache-2.0
//! The adapter of the crate processkit.

use std::cell::{OnceCell, RefCell};
use std::collections::HashSet;
use std::ffi::c_int;
use std::path::{Path, PathBuf};

use adapter::{Answer, Setting, because};
use processkit::{Mechanism, ProcessGroup};
use tokio::process::Command;
use tokio::runtime::{Builder, Runtime};

/// The state of the adapter.
pub struct Peer {
    runtime: Runtime,
    /// The adapter's own cgroup: the library makes its groups there.
    groups: PathBuf,
    limits: bool,
    claimed: RefCell<HashSet<PathBuf>>,
}

/// A group, and its directory, which the library does not return.
pub struct Group {
    group: ProcessGroup,
    path: OnceCell<PathBuf>,
}

impl Peer {
    /// Returns the oldest directory that no group has yet. The driver asks for the paths in the order of creation.
    fn next_directory(&self) -> PathBuf {
        let mut claimed = self.claimed.borrow_mut();
        let entries = std::fs::read_dir(&self.groups).into_iter().flatten().flatten();
        let number =
            |path: &PathBuf| path.to_string_lossy().rsplit('-').next().and_then(|n| n.parse::<u64>().ok());
        let oldest = entries
            .map(|entry| entry.path())
            .filter(|path| path.is_dir() && !claimed.contains(path))
            .min_by_key(number)
            .expect("the group's directory");
        claimed.insert(oldest.clone());
        oldest
    }
}

impl adapter::Library for Peer {
    type Group = Group;

    fn start(setting: &Setting) -> Peer {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        Peer { runtime, groups: setting.groups.clone(), limits: setting.limits, claimed: RefCell::default() }
    }

    fn make(&mut self) -> Answer<Group> {
        if self.limits {
            return Err("it sets limits only for a process in the root cgroup".to_owned());
        }
        let group = ProcessGroup::new().map_err(because)?;
        if group.mechanism() != Mechanism::CgroupV2 {
            return Err("it made no cgroup".to_owned());
        }
        Ok(Group { group, path: OnceCell::new() })
    }

    fn path(&self, group: &Group) -> PathBuf {
        group.path.get_or_init(|| self.next_directory()).clone()
    }

    fn read(&self, group: &Group) -> Answer<u64> {
        let stats = group.group.stats().map_err(because)?;
        let time = stats.total_cpu_time.ok_or("no CPU time")?;
        Ok(time.as_nanos() as u64)
    }

    fn migrate(&self, group: &Group, pid: c_int) -> Answer<()> {
        group.group.adopt_external(pid as u32).map_err(because)
    }

    fn spawn(&self, group: &Group, program: &Path) -> Answer<()> {
        self.runtime.block_on(async {
            let mut command = Command::new(program);
            command.env_clear();
            let mut child = group.group.spawn(command).map_err(because)?;
            let status = child.wait().await.map_err(because)?;
            status.success().then_some(()).ok_or("the program failed".to_owned())
        })
    }

    fn kill(&self, group: &Group) -> Answer<()> {
        group.group.kill_all().map_err(because)?;
        adapter::wait_until_empty(group.path.get().ok_or("the path is not known")?)
    }

    fn remove(&self, group: Group) -> Answer<()> {
        drop(group);
        Ok(())
    }
}

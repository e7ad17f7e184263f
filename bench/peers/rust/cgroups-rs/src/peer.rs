// SPDX-License-Identifier: MIT OR Apache-2.0
//! The adapter of the crate cgroups-rs.

use std::ffi::c_int;
use std::path::{Path, PathBuf};

use adapter::{Answer, Setting, because};
use cgroups_rs::CgroupPid;
use cgroups_rs::fs::cpu::CpuController;
use cgroups_rs::fs::hierarchies::V2;
use cgroups_rs::fs::memory::MemController;
use cgroups_rs::fs::pid::PidController;
use cgroups_rs::fs::{Cgroup, MaxValue};

const MOUNT: &str = "/sys/fs/cgroup";

/// The state of the adapter.
pub struct Peer {
    /// The path of the cgroup, relative to the mount point, which the library finds by itself.
    groups: PathBuf,
    limits: bool,
    made: u32,
}

/// A group, and the controller that reads cpu.stat.
pub struct Group {
    cgroup: Cgroup,
    cpu: CpuController,
}

impl adapter::Library for Peer {
    type Group = Group;

    fn start(setting: &Setting) -> Peer {
        let groups = setting.groups.strip_prefix(MOUNT).expect("cgroup2 is mounted at /sys/fs/cgroup");
        Peer { groups: groups.to_owned(), limits: setting.limits, made: 0 }
    }

    fn make(&mut self) -> Answer<Group> {
        self.made += 1;
        let path = self.groups.join(self.made.to_string());
        let root = Box::new(V2::new());
        // No list of controllers means all controllers that the root has.
        let needed = if self.limits { vec!["cpu", "memory", "pids"] } else { vec![] };
        let needed = needed.into_iter().map(str::to_owned).collect();
        let mut cgroup =
            Cgroup::new_with_specified_controllers(root, &path, Some(needed)).map_err(because)?;
        if self.limits {
            let cpu: &CpuController = cgroup.controller_of().ok_or("no cpu controller")?;
            cpu.set_cfs_quota_and_period(Some(adapter::CPU_MAX_US), Some(adapter::CPU_PERIOD_US))
                .map_err(because)?;
            let memory: &MemController = cgroup.controller_of().ok_or("no memory controller")?;
            memory.set_limit(adapter::MEMORY_MAX_BYTES as i64).map_err(because)?;
            let pids: &PidController = cgroup.controller_of().ok_or("no pids controller")?;
            pids.set_pid_max(MaxValue::Value(adapter::PIDS_MAX.into())).map_err(because)?;
        } else {
            // To move a process it needs a subsystem, of which an empty list has none.
            cgroup = Cgroup::load_with_specified_controllers(
                Box::new(V2::new()),
                &path,
                vec!["freezer".to_owned()],
            );
        }
        // cpu.stat exists without the cpu controller, for which the library has no subsystem then.
        let cpu = CpuController::new(Path::new(MOUNT).join(&path), PathBuf::new(), true);
        Ok(Group { cgroup, cpu })
    }

    fn path(&self, group: &Group) -> PathBuf {
        Path::new(MOUNT).join(group.cgroup.path())
    }

    fn read(&self, group: &Group) -> Answer<u64> {
        let text = group.cpu.cpu().stat;
        if self.limits {
            let memory: &MemController = group.cgroup.controller_of().ok_or("no memory controller")?;
            std::hint::black_box(memory.memory_stat());
        }
        // It returns the text of cpu.stat.
        let mut usage_us = None;
        for line in text.lines() {
            let (key, value) = line.split_once(' ').unwrap_or((line, ""));
            let value = std::hint::black_box(value.parse::<u64>().map_err(because)?);
            if key == "usage_usec" {
                usage_us = Some(value);
            }
        }
        usage_us.map(|us| us * 1000).ok_or("no usage_usec".to_owned())
    }

    fn migrate(&self, group: &Group, pid: c_int) -> Answer<()> {
        group.cgroup.add_task_by_tgid(CgroupPid::from(pid as u64)).map_err(because)
    }

    fn spawn(&self, group: &Group, program: &Path) -> Answer<()> {
        adapter::fork_and_enter(program, || self.migrate(group, std::process::id() as c_int))
    }

    fn kill(&self, group: &Group) -> Answer<()> {
        group.cgroup.kill().map_err(because)?;
        adapter::wait_until_empty(&self.path(group))
    }

    fn remove(&self, group: Group) -> Answer<()> {
        group.cgroup.delete().map_err(because)
    }
}

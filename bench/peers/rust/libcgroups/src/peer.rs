// SPDX-License-Identifier: MIT OR Apache-2.0
//! The adapter of youki's crate libcgroups.

use std::cell::Cell;
use std::ffi::c_int;
use std::path::{Path, PathBuf};

use adapter::{Answer, Setting, because};
use libcgroups::common::{CgroupManager, ControllerOpt};
use libcgroups::v2::manager::Manager;
use nix::unistd::Pid;
use oci_spec::runtime::{
    LinuxCpuBuilder, LinuxMemoryBuilder, LinuxPidsBuilder, LinuxResources, LinuxResourcesBuilder,
};

/// The state of the adapter.
pub struct Peer {
    root: PathBuf,
    limits: Option<LinuxResources>,
    made: u32,
}

/// A group, and its directory, which the library does not return.
pub struct Group {
    manager: Manager,
    path: PathBuf,
    killed: Cell<bool>,
}

fn limits() -> LinuxResources {
    let cpu = LinuxCpuBuilder::default().quota(adapter::CPU_MAX_US).period(adapter::CPU_PERIOD_US);
    let memory = LinuxMemoryBuilder::default().limit(adapter::MEMORY_MAX_BYTES as i64);
    let pids = LinuxPidsBuilder::default().limit(i64::from(adapter::PIDS_MAX));
    LinuxResourcesBuilder::default()
        .cpu(cpu.build().expect("complete"))
        .memory(memory.build().expect("complete"))
        .pids(pids.build().expect("complete"))
        .build()
        .expect("complete")
}

impl adapter::Library for Peer {
    type Group = Group;

    fn start(setting: &Setting) -> Peer {
        Peer { root: setting.groups.clone(), limits: setting.limits.then(limits), made: 0 }
    }

    fn make(&mut self) -> Answer<Group> {
        self.made += 1;
        let name = self.made.to_string();
        let path = self.root.join(&name);
        // The root is the directory of the groups: the library enables the controllers from its root on.
        let manager = Manager::new(self.root.clone(), name.into()).map_err(because)?;
        // It makes a group only to move a process into it. The kernel refuses this pid.
        let _ = manager.add_task(Pid::from_raw(-1));
        if let Some(resources) = &self.limits {
            let options = ControllerOpt {
                resources,
                disable_oom_killer: false,
                oom_score_adj: None,
                freezer_state: None,
            };
            manager.apply(&options).map_err(because)?;
        }
        Ok(Group { manager, path, killed: Cell::new(false) })
    }

    fn path(&self, group: &Group) -> PathBuf {
        group.path.clone()
    }

    fn read(&self, group: &Group) -> Answer<u64> {
        let stats = group.manager.stats().map_err(because)?;
        Ok(stats.cpu.usage.usage_total * 1000)
    }

    fn migrate(&self, group: &Group, pid: c_int) -> Answer<()> {
        group.manager.add_task(Pid::from_raw(pid)).map_err(because)
    }

    fn spawn(&self, group: &Group, program: &Path) -> Answer<()> {
        adapter::fork_and_enter(program, || self.migrate(group, std::process::id() as c_int))
    }

    fn kill(&self, group: &Group) -> Answer<()> {
        // It kills only to remove the group, which is empty then.
        group.killed.set(true);
        group.manager.remove().map_err(because)
    }

    fn remove(&self, group: Group) -> Answer<()> {
        if group.killed.get() {
            return Err("its kill also removes the group".to_owned());
        }
        group.manager.remove().map_err(because)
    }
}

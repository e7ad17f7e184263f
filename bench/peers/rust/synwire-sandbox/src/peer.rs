// SPDX-License-Identifier: MIT OR Apache-2.0
//! The adapter of the crate synwire-sandbox.

use std::ffi::c_int;
use std::path::{Path, PathBuf};

use adapter::{Answer, Setting, because};
use synwire_core::agents::sandbox::ResourceLimits;
use synwire_sandbox::platform::linux::CgroupV2Manager;
use tokio::runtime::{Builder, Runtime};
use uuid::Uuid;

/// The state of the adapter.
pub struct Peer {
    runtime: Runtime,
    limits: Option<ResourceLimits>,
}

impl adapter::Library for Peer {
    type Group = CgroupV2Manager;

    fn start(setting: &Setting) -> Peer {
        let limits = setting.limits.then(|| {
            let mut limits = ResourceLimits::none();
            limits.memory_bytes = Some(adapter::MEMORY_MAX_BYTES);
            limits.cpu_quota = Some(adapter::CPU_MAX_US as f32 / adapter::CPU_PERIOD_US as f32);
            limits.max_pids = Some(adapter::PIDS_MAX);
            limits
        });
        Peer { runtime: Builder::new_current_thread().build().expect("a runtime"), limits }
    }

    fn make(&mut self) -> Answer<CgroupV2Manager> {
        let new = CgroupV2Manager::new(Uuid::new_v4(), self.limits.as_ref());
        self.runtime.block_on(new).map_err(because)
    }

    fn path(&self, group: &CgroupV2Manager) -> PathBuf {
        group.base_path().to_owned()
    }

    fn read(&self, group: &CgroupV2Manager) -> Answer<u64> {
        let stats = self.runtime.block_on(group.read_stats());
        stats
            .map(|stats| stats.cpu_usage_ns)
            .ok_or("read_stats returns nothing without memory.current".to_owned())
    }

    fn migrate(&self, group: &CgroupV2Manager, pid: c_int) -> Answer<()> {
        self.runtime.block_on(group.move_pid(pid as u32)).map_err(because)
    }

    fn spawn(&self, group: &CgroupV2Manager, program: &Path) -> Answer<()> {
        adapter::fork_and_migrate(program, |pid| self.migrate(group, pid))
    }

    fn kill(&self, group: &CgroupV2Manager) -> Answer<()> {
        self.runtime.block_on(group.kill_all()).map_err(because)?;
        adapter::wait_until_empty(group.base_path())
    }

    fn remove(&self, group: CgroupV2Manager) -> Answer<()> {
        // drop() alone is faster than destroy(), after which drop() still follows.
        drop(group);
        Ok(())
    }
}

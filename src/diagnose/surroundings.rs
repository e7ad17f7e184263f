// SPDX-License-Identifier: MIT OR Apache-2.0
//! The facts of a machine on which it depends what a person has to do, read once.

use crate::cgroupfs::controllers::Controllers;
use crate::error::{Error, Reason};
use crate::place::self_cgroup::SelfCgroup;
use crate::place::{Outcome, Survey};
use crate::procfs;
use crate::systemd::NEEDS_LIBRARY;
use nix::unistd::geteuid;
use std::path::Path;

/// Who runs the container that we are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runtime {
    Docker,
    Podman,
    Kubernetes,
    Unknown,
}

/// The unit of systemd's that we are in, by our own cgroup's path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    pub name: String,
    /// One of the user manager's.
    pub of_user: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surroundings {
    pub uid: u32,
    /// `/proc` is there.
    pub proc: bool,
    /// As /proc/self/cgroup has it.
    pub own_cgroup: Option<Vec<u8>>,
    /// Where it is mounted, with everything above it.
    pub mount_point: Option<String>,
    pub nsdelegate: bool,
    pub read_only: bool,
    /// What is mounted is the root of a cgroup namespace, or of a part of the hierarchy.
    pub namespace_root: bool,
    pub unit: Option<Unit>,
    /// PID 1 is systemd.
    pub systemd: bool,
    /// A manager that would serve us was reached.
    pub manager_reached: bool,
    /// A manager took us, but libsystemd is not installed.
    pub library_missing: bool,
    /// There is a directory /run/user/UID.
    pub runtime_dir: bool,
    pub runtime: Option<Runtime>,
    pub wsl: bool,
    /// v1 hierarchies hold controllers.
    pub v1: bool,
    /// The kernel's command line switches memory off.
    pub memory_disabled: bool,
    /// There is a place.
    pub place: bool,
    pub obstacle: Option<Reason>,
    /// A place was turned down since others' processes are in it.
    pub populated: bool,
    pub missing: Controllers,
}

impl Surroundings {
    pub fn read<T>(
        own: Option<&SelfCgroup>,
        survey: &Survey<T>,
        missing: Controllers,
        manager_reached: bool,
    ) -> Self {
        let own_cgroup = procfs::cgroup_of("self").ok().flatten();
        let uid = geteuid().as_raw();
        let populated = survey.links.iter().any(
            |link| matches!(&link.outcome, Outcome::Refused(e) if e.reason() == Some(Reason::Populated)),
        );
        let library_missing = survey
            .links
            .iter()
            .any(|link| matches!(&link.outcome, Outcome::Refused(e) if e.message().contains(NEEDS_LIBRARY)));
        let top = own.is_some_and(|own| own.name.is_none() || own.depth == 0);
        Self {
            uid,
            proc: Path::new("/proc/self").exists(),
            unit: own_cgroup.as_deref().and_then(unit),
            own_cgroup,
            mount_point: own.map(|own| String::from_utf8_lossy(&own.mount.point).into_owned()),
            nsdelegate: own.is_some_and(|own| own.mount.nsdelegate),
            read_only: own.is_some_and(|own| own.mount.read_only),
            namespace_root: top && own.is_some_and(|own| own.dir.has(c"cgroup.type")),
            systemd: Path::new("/run/systemd/system").exists(),
            manager_reached,
            library_missing,
            runtime_dir: Path::new(&format!("/run/user/{uid}")).exists(),
            runtime: runtime(),
            wsl: procfs::text_of("/proc/sys/kernel/osrelease").to_ascii_lowercase().contains("microsoft"),
            v1: procfs::v1_holds_controllers(),
            memory_disabled: procfs::text_of("/proc/cmdline").contains("cgroup_disable=memory"),
            place: survey.verdict.is_ok(),
            obstacle: survey.verdict.as_ref().err().and_then(Error::reason),
            populated,
            missing,
        }
    }

    /// A container or what looks like one to us. The mark alone may have come with copied files.
    pub fn contained(&self) -> bool {
        self.namespace_root || (self.runtime.is_some() && self.unit.is_none())
    }

    /// In `session-N.scope`: a login by ssh, or on a console.
    pub fn in_session(&self) -> bool {
        let unit = self.unit.as_ref();
        unit.is_some_and(|unit| unit.name.starts_with("session-") && unit.name.ends_with(".scope"))
    }
}

/// Each of them leaves a mark for what runs inside.
fn runtime() -> Option<Runtime> {
    let marks = [
        ("/var/run/secrets/kubernetes.io", Runtime::Kubernetes),
        ("/run/.containerenv", Runtime::Podman),
        ("/.dockerenv", Runtime::Docker),
        ("/run/systemd/container", Runtime::Unknown),
    ];
    marks.into_iter().find(|(path, _)| Path::new(path).exists()).map(|(_, runtime)| runtime)
}

/// The innermost component that is named as units are. What the manager itself runs in is not meant.
pub fn unit(path: &[u8]) -> Option<Unit> {
    let names: Vec<_> = path.split(|&b| b == b'/').map(String::from_utf8_lossy).collect();
    let is_unit = |name: &str| name.ends_with(".service") || name.ends_with(".scope");
    let is_manager = |name: &str| name.starts_with("user@") && name.ends_with(".service");
    let name = names.iter().rev().find(|name| is_unit(name)).filter(|name| !is_manager(name))?;
    Some(Unit { name: name.to_string(), of_user: names.iter().any(|name| is_manager(name)) })
}

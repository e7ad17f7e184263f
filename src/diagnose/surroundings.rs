// SPDX-License-Identifier: MIT OR Apache-2.0
//! The facts of the system that decide which remedies apply. They are read once.

use crate::cgroupfs::controllers::Controllers;
use crate::error::{Error, Reason};
use crate::parse;
use crate::place::self_cgroup::SelfCgroup;
use crate::place::{Kind, Outcome, Survey};
use crate::procfs;
use crate::systemd::{Manager, NEEDS_LIBRARY};
use nix::unistd::geteuid;
use std::path::Path;

/// The program that runs the container of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runtime {
    /// A container of Docker.
    Docker,
    /// A container of Podman.
    Podman,
    /// Kubernetes, with any container runtime.
    Kubernetes,
    /// A container whose runtime is not known.
    Unknown,
}

/// The systemd unit of this process, by the path of its cgroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// The name with its suffix, such as `agent.service`.
    pub name: String,
    /// It is a unit of the user manager.
    pub of_user: bool,
}

/// The unit of this process cannot be started again while one of its agents lives: systemd leaves the agents alive, and
/// starts the service in the cgroup of the unit, in which controllers are enabled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedRestart {
    /// `KillMode=` of the unit.
    pub kill_mode: String,
    /// systemd has `DelegateSubgroup=` (254).
    pub has_subgroups: bool,
}

/// The facts of the system and of this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surroundings {
    /// The effective uid.
    pub uid: u32,
    /// `/proc` is mounted.
    pub proc: bool,
    /// The path of the cgroup of this process in /proc/self/cgroup.
    pub own_cgroup: Option<Vec<u8>>,
    /// The mount point of the hierarchy, with its whole path.
    pub mount_point: Option<String>,
    /// The hierarchy is mounted with the option nsdelegate.
    pub nsdelegate: bool,
    /// The mount is read-only.
    pub read_only: bool,
    /// The mount shows the root of a cgroup namespace, or of a part of the hierarchy.
    pub namespace_root: bool,
    /// The systemd unit of this process.
    pub unit: Option<Unit>,
    /// The unit of this process cannot be started again while one of its agents lives.
    pub refused_restart: Option<RefusedRestart>,
    /// Process 1 is systemd.
    pub systemd: bool,
    /// A systemd manager that would make a scope answers.
    pub manager_reached: bool,
    /// A systemd manager accepts connections, but libsystemd is not installed.
    pub library_missing: bool,
    /// The directory /run/user/UID exists.
    pub runtime_dir: bool,
    /// The runtime of the container, if this process is in one.
    pub runtime: Option<Runtime>,
    /// The kernel is that of the Windows Subsystem for Linux.
    pub wsl: bool,
    /// v1 hierarchies hold controllers.
    pub v1: bool,
    /// The command line of the kernel disables the memory controller.
    pub memory_disabled: bool,
    /// A place can be used.
    pub place: bool,
    /// Why no place can be used.
    pub obstacle: Option<Reason>,
    /// A place was refused because other processes are in it.
    pub populated: bool,
    /// Those of cpu, memory and pids whose limits would not work.
    pub missing: Controllers,
}

impl Surroundings {
    /// Read the facts. `own` is the self cgroup, if it was found.
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
        let unit = own_cgroup.as_deref().and_then(unit);
        let refused_restart = unit.as_ref().and_then(|unit| refused_restart(unit, survey));
        let top = own.is_some_and(|own| own.name.is_none() || own.depth == 0);
        Self {
            uid,
            proc: Path::new("/proc/self").exists(),
            unit,
            refused_restart,
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

    /// Returns true if this process appears to be in a container. The mark of a runtime alone is no proof: it may have
    /// been copied with other files.
    pub fn contained(&self) -> bool {
        self.namespace_root || (self.runtime.is_some() && self.unit.is_none())
    }

    /// Returns true in a `session-N.scope`: a login by ssh or on a console.
    pub fn in_session(&self) -> bool {
        let unit = self.unit.as_ref();
        unit.is_some_and(|unit| unit.name.starts_with("session-") && unit.name.ends_with(".scope"))
    }
}

/// Asks systemd about the service in whose cgroup the agents would be. An unreachable systemd is no obstacle to agents.
fn refused_restart<T>(unit: &Unit, survey: &Survey<T>) -> Option<RefusedRestart> {
    let (number, _) = survey.verdict.as_ref().ok()?;
    let place = survey.usable(*number).filter(|place| place.kind() == Kind::Delegated)?;
    if !unit.name.ends_with(".service") || parse::split_last(place.path()).1 != unit.name.as_bytes() {
        return None;
    }
    let manager = Manager::connect_to_ask(unit.of_user).ok()?;
    let property = |name| manager.property_of_service(unit.name.as_bytes(), name).ok();
    let kill_mode = String::from_utf8_lossy(&property(c"KillMode")??).into_owned();
    let subgroup = property(c"DelegateSubgroup")?;
    let keeps_agents = matches!(kill_mode.as_str(), "process" | "none");
    let starts_inside = subgroup.as_ref().is_none_or(Vec::is_empty);
    (keeps_agents && starts_inside).then(|| RefusedRestart { kill_mode, has_subgroups: subgroup.is_some() })
}

/// The runtime by the mark that each leaves in its containers.
fn runtime() -> Option<Runtime> {
    let marks = [
        ("/var/run/secrets/kubernetes.io", Runtime::Kubernetes),
        ("/run/.containerenv", Runtime::Podman),
        ("/.dockerenv", Runtime::Docker),
        ("/run/systemd/container", Runtime::Unknown),
    ];
    marks.into_iter().find(|(path, _)| Path::new(path).exists()).map(|(_, runtime)| runtime)
}

/// The unit of a cgroup: the innermost component that is named like one. The service of a user manager is not counted.
pub fn unit(path: &[u8]) -> Option<Unit> {
    let names: Vec<_> = path.split(|&b| b == b'/').map(String::from_utf8_lossy).collect();
    let is_unit = |name: &str| name.ends_with(".service") || name.ends_with(".scope");
    let is_manager = |name: &str| name.starts_with("user@") && name.ends_with(".service");
    let name = names.iter().rev().find(|name| is_unit(name)).filter(|name| !is_manager(name))?;
    Some(Unit { name: name.to_string(), of_user: names.iter().any(|name| is_manager(name)) })
}

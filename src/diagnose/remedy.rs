// SPDX-License-Identifier: MIT OR Apache-2.0
//! The remedies: from the facts of a system to commands for that system. Pure.

use super::surroundings::{Runtime, Surroundings};
use crate::cgroupfs::controllers::Controllers;
use crate::error::Reason;

/// What to do about an obstacle.
#[derive(Debug, PartialEq, Eq)]
pub struct Remedy {
    /// What it achieves, and where the lines belong.
    pub what: String,
    /// The commands, or the lines of a file, as they are typed.
    pub lines: Vec<String>,
}

/// All remedies that apply, the best first. If limits on cpu, memory and pids work, only a restart may need one.
pub fn remedies(here: &Surroundings) -> Vec<Remedy> {
    let rules = [
        exhaustion,
        no_proc,
        wsl_systemd,
        v1,
        unmounted,
        populated_root,
        container,
        outer_namespace,
        give_to_uid,
        unit,
        library,
        manager,
        session,
        user_manager,
        memory,
    ];
    if here.place && here.missing.is_empty() {
        return restart(here).into_iter().collect();
    }
    let mut all: Vec<_> = rules.iter().filter_map(|rule| rule(here)).collect();
    if all.is_empty() {
        all.extend(if here.read_only { read_only(here) } else { by_hand(here) });
    }
    all.extend(restart(here));
    all
}

fn remedy(what: impl Into<String>, lines: &[&str]) -> Option<Remedy> {
    Some(Remedy { what: what.into(), lines: lines.iter().map(|&line| line.to_owned()).collect() })
}

/// The cause is not cgroups.
fn exhaustion(here: &Surroundings) -> Option<Remedy> {
    if here.place || here.obstacle.is_some() {
        return None;
    }
    remedy(
        "This program has run out of descriptors or memory. These commands show its limits and its open descriptors:",
        &["ulimit -n", "ls /proc/PID/fd"],
    )
}

fn no_proc(here: &Surroundings) -> Option<Remedy> {
    if here.proc {
        return None;
    }
    remedy(
        "The library finds the cgroup of a process in /proc, which is not mounted. As root:",
        &["mount -t proc proc /proc"],
    )
}

fn wsl_systemd(here: &Surroundings) -> Option<Remedy> {
    if !here.wsl || here.systemd {
        return None;
    }
    remedy(
        "Have WSL start systemd: put this into /etc/wsl.conf, and then run `wsl --shutdown` in Windows:",
        &["[boot]", "systemd=true"],
    )
}

/// A controller is either in a v1 hierarchy or in the v2 hierarchy.
fn v1(here: &Surroundings) -> Option<Remedy> {
    if !here.v1 {
        return None;
    }
    if here.wsl {
        return remedy(
            "Controllers are in v1 hierarchies. Put this into %UserProfile%\\.wslconfig, and then run `wsl --shutdown` in Windows:",
            &["[wsl2]", "kernelCommandLine = cgroup_no_v1=all"],
        );
    }
    let host = if here.contained() { " of the host" } else { "" };
    let what = format!(
        "Controllers are in v1 hierarchies (legacy or hybrid cgroups). Add this to the kernel's command line{host} \
         (GRUB_CMDLINE_LINUX in /etc/default/grub, then update-grub), and boot again:"
    );
    let by_systemd = "systemd.unified_cgroup_hierarchy=1";
    // systemd may be process 1 outside of the container.
    let by_kernel = "cgroup_no_v1=all systemd.unified_cgroup_hierarchy=1";
    remedy(what, &[if here.systemd { by_systemd } else { by_kernel }])
}

fn unmounted(here: &Surroundings) -> Option<Remedy> {
    if here.obstacle != Some(Reason::NoCgroup2) || here.v1 || !here.proc {
        return None;
    }
    remedy(
        "No cgroup2 mount shows the cgroup of this process. As root:",
        &["mkdir -p /sys/fs/cgroup", "mount -t cgroup2 -o nsdelegate cgroup2 /sys/fs/cgroup"],
    )
}

/// Other processes are in the root of the namespace, too.
fn populated_root(here: &Surroundings) -> Option<Remedy> {
    if !here.namespace_root || here.read_only || !here.populated {
        return None;
    }
    let top = here.mount_point.as_deref()?;
    remedy(
        "The processes of the container are in its root cgroup, so its children get no controllers. Move them to a \
         child before anything else, for example in the entry point:",
        &[
            &format!("mkdir -p {top}/init"),
            &format!("xargs -rn1 <{top}/cgroup.procs >{top}/init/cgroup.procs || :"),
        ],
    )
}

fn container(here: &Surroundings) -> Option<Remedy> {
    let closed =
        matches!(here.obstacle, Some(Reason::ReadOnly | Reason::OutsideNamespace | Reason::NoCgroup2));
    if !(here.namespace_root || here.runtime.is_some()) || !closed || here.v1 || !here.proc {
        return None;
    }
    let docker: &[&str] = &[
        "docker run --cgroupns=private --security-opt writable-cgroups=true ...   # Docker 28 or later",
        "docker run --cgroupns=private --privileged ...   # before",
    ];
    let podman: &[&str] = &["podman run --cgroupns=private --security-opt unmask=/sys/fs/cgroup ..."];
    let kubernetes: &[&str] = &[
        "[plugins.\"io.containerd.cri.v1.runtime\".containerd.runtimes.runc]   # containerd 2.1 or later:",
        "cgroup_writable = true                                           # config.toml of the node",
        "io.kubernetes.cri-o.cgroup2-mount-hierarchy-rw: \"true\"   # CRI-O: an annotation, where allowed",
        "securityContext: {privileged: true}   # any runtime: of the container",
    ];
    let mut lines = match here.runtime {
        Some(Runtime::Docker) => docker.to_vec(),
        Some(Runtime::Podman) => podman.to_vec(),
        Some(Runtime::Kubernetes) => kubernetes.to_vec(),
        Some(Runtime::Unknown) | None => [docker, podman, kubernetes].concat(),
    };
    let point = here.mount_point.as_deref().unwrap_or("/sys/fs/cgroup");
    let remount = format!("mount -o remount,rw {point}   # or, as a root that may mount, inside");
    if here.obstacle == Some(Reason::ReadOnly) && here.uid == 0 {
        lines.push(&remount);
    }
    let runtime = match here.runtime {
        Some(Runtime::Docker) => "Docker",
        Some(Runtime::Podman) => "Podman",
        Some(Runtime::Kubernetes) => "Kubernetes",
        Some(Runtime::Unknown) | None => "the container's runtime",
    };
    remedy(format!("Have {runtime} give the container a cgroup namespace and a writable cgroupfs:"), &lines)
}

/// No container runtime has made the namespace.
fn outer_namespace(here: &Surroundings) -> Option<Remedy> {
    let is_outside = here.obstacle == Some(Reason::OutsideNamespace);
    if !is_outside || here.namespace_root || here.runtime.is_some() || here.v1 || !here.proc {
        return None;
    }
    remedy(
        "This process was moved out of its cgroup namespace. Start the program in the namespace that contains its cgroup, as root:",
        &["nsenter --target 1 --cgroup PROGRAM"],
    )
}

/// The cgroupfs is writable, but only for root.
fn give_to_uid(here: &Surroundings) -> Option<Remedy> {
    if !here.namespace_root || here.obstacle != Some(Reason::NotDelegated) || here.uid == 0 {
        return None;
    }
    let top = here.mount_point.as_deref()?;
    let uid = here.uid;
    remedy(
        format!(
            "The cgroup of the container belongs to root. Have root give it to uid {uid}, for example in the entry point:"
        ),
        &[&format!("chown {uid} {top} {top}/cgroup.procs {top}/cgroup.threads {top}/cgroup.subtree_control")],
    )
}

/// A service that its manager must delegate, or must start in a child of its cgroup.
fn unit(here: &Surroundings) -> Option<Remedy> {
    let unit = here.unit.as_ref().filter(|unit| unit.name.ends_with(".service"))?;
    let usable = here.place && !here.populated;
    if here.v1 || usable || (here.read_only && here.namespace_root) {
        return None;
    }
    let (systemctl, dir) = if unit.of_user {
        ("systemctl --user", "~/.config/systemd/user")
    } else {
        ("systemctl", "/etc/systemd/system")
    };
    let name = &unit.name;
    let as_root = if unit.of_user { "" } else { " As root:" };
    remedy(
        format!(
            "Have systemd delegate {name} to this program, and start it in a child cgroup (systemd before 254 has no \
             DelegateSubgroup=: omit that line, and start no other process in the unit).{as_root} `{systemctl} edit {name}`, \
             or put this into {dir}/{name}.d/delegate.conf:"
        ),
        &[
            "[Service]",
            "Delegate=yes",
            "DelegateSubgroup=supervisor",
            // ProtectControlGroups=yes, which hardened services have, mounts cgroupfs read-only.
            if here.read_only { "ProtectControlGroups=no\n" } else { "" },
            &format!("{systemctl} daemon-reload && {systemctl} restart {name}"),
        ],
    )
}

/// A service whose agents outlive it: docs/restart.md.
fn restart(here: &Surroundings) -> Option<Remedy> {
    let (unit, refused) = (here.unit.as_ref()?, here.refused_restart.as_ref()?);
    let (name, kill_mode, uid) = (&unit.name, &refused.kill_mode, here.uid);
    let (systemctl, as_root) =
        if unit.of_user { ("systemctl --user", "") } else { ("systemctl", " As root:") };
    let problem = format!(
        "{name} has Delegate=yes and KillMode={kill_mode}: its agents live on when it stops, and while one lives systemd cannot \
         start it again, because controllers are enabled in its cgroup."
    );
    let (what, setting) = if refused.has_subgroups {
        ("Have systemd start it in a child cgroup.", "DelegateSubgroup=supervisor\n")
    } else {
        (
            "systemd before 254 has no DelegateSubgroup=: do not delegate it, so that its agents are outside of it.",
            "Delegate=no\n",
        )
    };
    let linger = format!("loginctl enable-linger {uid}");
    let edit = format!("{systemctl} daemon-reload");
    let mut lines = vec!["[Service]", setting, edit.as_str()];
    if !refused.has_subgroups && uid != 0 && !unit.of_user {
        lines.push(&linger);
    }
    remedy(format!("{problem} {what}{as_root} `{systemctl} edit {name}`:"), &lines)
}

/// A process of a login session enters the cgroups of the user manager by systemd-run.
fn session(here: &Surroundings) -> Option<Remedy> {
    if !here.in_session() || here.v1 || here.place || here.read_only {
        return None;
    }
    remedy(
        "Run the program below your user manager, in a scope of its own:",
        &["systemd-run --user --scope -p Delegate=yes PROGRAM"],
    )
}

/// systemd would serve, but the library to call it is missing.
fn library(here: &Surroundings) -> Option<Remedy> {
    if !here.library_missing || here.place || here.read_only {
        return None;
    }
    remedy(
        "systemd would make a scope, but libsystemd.so.0, which is needed to ask for it, is not installed. As root:",
        &["apt-get install libsystemd0   # Fedora: dnf install systemd-libs"],
    )
}

/// A user manager would make scopes.
fn manager(here: &Surroundings) -> Option<Remedy> {
    let of_system = here.in_session() || here.unit.as_ref().is_some_and(|unit| !unit.of_user);
    if here.uid == 0 || here.v1 || here.place || here.read_only || !of_system {
        return None;
    }
    if here.manager_reached || here.library_missing {
        return None;
    }
    let uid = here.uid;
    let why = if here.runtime_dir { "does not answer" } else { "does not run (no /run/user/UID)" };
    remedy(
        format!("The user manager of uid {uid} {why}. Have it run without a login. As root:"),
        &[&format!("loginctl enable-linger {uid}"), &format!("systemctl restart user@{uid}.service")],
    )
}

/// systemd before 252 delegates memory and pids alone to user managers, and no version delegates io.
fn user_manager(here: &Surroundings) -> Option<Remedy> {
    let own = here.own_cgroup.as_deref().map(String::from_utf8_lossy);
    let below = own.is_some_and(|own| own.contains("/user@")) || here.manager_reached;
    if here.uid == 0 || here.v1 || !below || !here.place || here.missing.is_empty() || here.populated {
        return None;
    }
    remedy(
        format!(
            "The user manager lacks these controllers: {}. As root, put this into \
             /etc/systemd/system/user@.service.d/delegate.conf, run the command below it, and log in again:",
            here.missing.to_string().replace(' ', ", ")
        ),
        &["[Service]", "Delegate=cpu cpuset io memory pids", "", "systemctl daemon-reload"],
    )
}

fn memory(here: &Surroundings) -> Option<Remedy> {
    if !here.memory_disabled || !here.missing.contains(Controllers::MEMORY) {
        return None;
    }
    remedy(
        "The kernel was booted with cgroup_disable=memory. Remove that from its command line, or on a Raspberry Pi add this to \
         /boot/firmware/cmdline.txt, and boot again:",
        &["cgroup_enable=memory"],
    )
}

/// Containers and services have their own remedies. Another sandbox has made the mount read-only.
fn read_only(here: &Surroundings) -> Option<Remedy> {
    let top = here.mount_point.as_deref()?;
    remedy(
        "A sandbox has mounted cgroupfs read-only for this program. Start the program without that, or, as root in its \
         mount namespace:",
        &[&format!("mount -o remount,bind,rw {top}")],
    )
}

/// No manager of cgroups runs, or no other remedy applies: root gives a part of the hierarchy to the caller.
fn by_hand(here: &Surroundings) -> Option<Remedy> {
    let top = here.mount_point.as_deref()?;
    let uid = here.uid;
    remedy(
        "Have root make a cgroup for this program and start it there:",
        &[
            &format!("echo +cpu +memory +pids >{top}/cgroup.subtree_control"),
            &format!("mkdir -p {top}/agents.{uid}/main"),
            &format!("chown -R {uid} {top}/agents.{uid}"),
            &format!(
                "echo $$ >{top}/agents.{uid}/main/cgroup.procs   # then, in this shell, become uid {uid}"
            ),
        ],
    )
}

#[cfg(test)]
#[path = "remedy/tests.rs"]
mod tests;

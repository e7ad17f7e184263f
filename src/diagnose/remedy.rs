// SPDX-License-Identifier: MIT OR Apache-2.0
//! What mends it: from the facts of a machine to commands for that machine. Pure.

use super::surroundings::{Runtime, Surroundings};
use crate::cgroupfs::controllers::Controllers;
use crate::error::Reason;

/// One way out.
#[derive(Debug, PartialEq, Eq)]
pub struct Remedy {
    /// What for, and where.
    pub what: String,
    /// Commands, or lines of a file, as they are to be typed.
    pub lines: Vec<String>,
}

/// All that apply, the best first; none if limits on cpu, memory and pids work.
pub fn remedies(here: &Surroundings) -> Vec<Remedy> {
    let rules = [
        exhaustion,
        no_proc,
        wsl_systemd,
        v1,
        unmounted,
        room,
        container,
        handed_over,
        unit,
        library,
        manager,
        session,
        user_manager,
        memory,
    ];
    if here.place && here.missing.is_empty() {
        return Vec::new();
    }
    let mut all: Vec<_> = rules.iter().filter_map(|rule| rule(here)).collect();
    if all.is_empty() {
        all.extend(if here.read_only { read_only(here) } else { by_hand(here) });
    }
    all
}

fn remedy(what: impl Into<String>, lines: &[&str]) -> Option<Remedy> {
    Some(Remedy { what: what.into(), lines: lines.iter().map(|&line| line.to_owned()).collect() })
}

/// No place at all is to blame.
fn exhaustion(here: &Surroundings) -> Option<Remedy> {
    if here.place || here.obstacle.is_some() {
        return None;
    }
    remedy(
        "This program has run out of descriptors or memory. Its limits, and what it has open:",
        &["ulimit -n", "ls /proc/PID/fd"],
    )
}

fn no_proc(here: &Surroundings) -> Option<Remedy> {
    if here.proc {
        return None;
    }
    remedy("/proc tells where we are, and is not mounted. As root:", &["mount -t proc proc /proc"])
}

fn wsl_systemd(here: &Surroundings) -> Option<Remedy> {
    if !here.wsl || here.systemd {
        return None;
    }
    remedy(
        "Let WSL start systemd: put this into /etc/wsl.conf, and then run `wsl --shutdown` in Windows:",
        &["[boot]", "systemd=true"],
    )
}

/// A controller is in one hierarchy only.
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
    // systemd may be PID 1 where we do not see it, as outside of our container.
    let by_kernel = "cgroup_no_v1=all systemd.unified_cgroup_hierarchy=1";
    remedy(what, &[if here.systemd { by_systemd } else { by_kernel }])
}

fn unmounted(here: &Surroundings) -> Option<Remedy> {
    if here.obstacle != Some(Reason::NoCgroup2) || here.v1 || !here.proc {
        return None;
    }
    remedy(
        "Our own cgroup is in no cgroup2 mount. As root:",
        &["mkdir -p /sys/fs/cgroup", "mount -t cgroup2 -o nsdelegate cgroup2 /sys/fs/cgroup"],
    )
}

/// Others are in the root of the namespace beside us.
fn room(here: &Surroundings) -> Option<Remedy> {
    if !here.namespace_root || here.read_only || !here.populated {
        return None;
    }
    let top = here.mount_point.as_deref()?;
    remedy(
        "The container's processes are in its root cgroup, which bars controllers for children. Move them to a \
         child before anything else, say in the entry point:",
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
    let who = match here.runtime {
        Some(Runtime::Docker) => "Docker",
        Some(Runtime::Podman) => "Podman",
        Some(Runtime::Kubernetes) => "Kubernetes",
        Some(Runtime::Unknown) | None => "the container's runtime",
    };
    remedy(format!("Have {who} give the container a cgroup namespace and a writable cgroupfs:"), &lines)
}

/// The cgroupfs is writable, but for root alone.
fn handed_over(here: &Surroundings) -> Option<Remedy> {
    if !here.namespace_root || here.obstacle != Some(Reason::NotDelegated) || here.uid == 0 {
        return None;
    }
    let top = here.mount_point.as_deref()?;
    let uid = here.uid;
    remedy(
        format!(
            "The container's cgroup is root's. Have its root give it to uid {uid}, say in the entry point:"
        ),
        &[&format!("chown {uid} {top} {top}/cgroup.procs {top}/cgroup.threads {top}/cgroup.subtree_control")],
    )
}

/// A service that its manager has to delegate, or to start in a leaf.
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
    let who = if unit.of_user { "" } else { " As root:" };
    remedy(
        format!(
            "Have systemd delegate {name} to this program, and start it in a leaf (systemd before 254 knows no \
             DelegateSubgroup=: leave that line out, and have nothing else in the unit).{who} `{systemctl} edit {name}`, \
             or put this into {dir}/{name}.d/delegate.conf:"
        ),
        &[
            "[Service]",
            "Delegate=yes",
            "DelegateSubgroup=supervisor",
            // Among what hardens services; it mounts cgroupfs read-only for them.
            if here.read_only { "ProtectControlGroups=no\n" } else { "" },
            &format!("{systemctl} daemon-reload && {systemctl} restart {name}"),
        ],
    )
}

/// From a login one comes into the user manager's tree by its own means.
fn session(here: &Surroundings) -> Option<Remedy> {
    if !here.in_session() || here.v1 || here.place || here.read_only {
        return None;
    }
    remedy(
        "Run the program below your user manager, in a scope of its own:",
        &["systemd-run --user --scope -p Delegate=yes PROGRAM"],
    )
}

/// All that is missing is the way to say it.
fn library(here: &Surroundings) -> Option<Remedy> {
    if !here.library_missing || here.place || here.read_only {
        return None;
    }
    remedy(
        "systemd would make a scope for us if libsystemd.so.0 were there to ask by. As root:",
        &["apt-get install libsystemd0   # Fedora: dnf install systemd-libs"],
    )
}

/// A user manager would serve us with scopes.
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
        format!("The user manager of uid {uid} {why}: have it run without a login. As root:"),
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
            "The user manager was not given: {}. As root, put this into \
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
        "The kernel was booted with cgroup_disable=memory. Take that off its command line; on a Raspberry Pi add this to \
         /boot/firmware/cmdline.txt, and boot again:",
        &["cgroup_enable=memory"],
    )
}

/// Neither a container nor a service, whose managers mount it so: a sandbox has.
fn read_only(here: &Surroundings) -> Option<Remedy> {
    let top = here.mount_point.as_deref()?;
    remedy(
        "Something has mounted cgroupfs read-only for this program. Start it without that, or as root, in its mount \
         namespace:",
        &[&format!("mount -o remount,bind,rw {top}")],
    )
}

/// Nobody manages cgroups here, or none of the above is the case: root hands a part of the tree over.
fn by_hand(here: &Surroundings) -> Option<Remedy> {
    let top = here.mount_point.as_deref()?;
    let uid = here.uid;
    remedy(
        "Have root make a cgroup for this program, and start it there:",
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

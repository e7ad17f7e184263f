// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an agent may try. Each act is the same in one that is contained and in one that is not, and ends with 0 or with
//! the errno that stopped it.

use crate::common::cgroup::Cgroup;
use crate::common::member::role;
use crate::common::mounts::TOP;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Uid, getgid, getuid};
use std::fs;
use std::io::{self, Write};

/// Who is around.
struct Scene {
    /// The group beside ours, by the host's path.
    sibling: Cgroup,
    /// Where our host lives.
    host: Cgroup,
    /// Its pid.
    pid: i32,
    /// What the act is told beside.
    more: Vec<String>,
}

/// The role: the act's name, the sibling, the host's cgroup and pid.
pub fn act(args: &[String]) {
    let [name, sibling, host, pid, more @ ..] = args else { panic!("an act and its scene") };
    let pid = pid.parse().expect("a pid");
    let scene =
        Scene { sibling: Cgroup(sibling.into()), host: Cgroup(host.into()), pid, more: more.to_vec() };
    let errno = scene.play(name).err().map_or(0, |e| e.raw_os_error().expect("an error of the kernel's"));
    role::exit(errno);
}

impl Scene {
    fn play(&self, name: &str) -> io::Result<()> {
        match name {
            "moves to the host's cgroup" => self.host.try_write("cgroup.procs", "0"),
            "moves to its sibling" => self.sibling.try_write("cgroup.procs", "0"),
            "makes a sibling and moves there" => {
                let new = self.sibling.parent().join("made-by-it");
                fs::create_dir(&new.0)?;
                new.try_write("cgroup.procs", "0")
            }
            "writes to its own file" => Cgroup::own().try_write(&self.more[0], &self.more[1]),
            "reads its sibling's memory.max" => self.sibling.try_read("memory.max").map(drop),
            "writes its sibling's memory.max" => self.reaches_sibling(),
            "kills its sibling" => self.sibling.try_write(&self.more[0], "1"),
            "takes pids from all" => self.sibling.parent().try_write("cgroup.subtree_control", "-pids"),
            "goes by the host's root" => self.reaches_under(&format!("/proc/{}/root", self.pid), "/"),
            "goes by the host's descriptor" => {
                let fd = format!("/proc/{}/fd/{}", self.pid, self.more[0]);
                Cgroup(fd.into()).try_write("memory.max", "max")
            }
            "climbs from its directory" => self.reaches_under(&"../".repeat(20), "/"),
            "climbs from descriptor 0" => {
                self.reaches_under(&format!("/proc/self/fd/0/{}", "../".repeat(20)), "/")
            }
            "goes by another mount" => self.reaches_under(&self.more[0], TOP),
            "goes by a mount of later" => {
                role::send("begun");
                role::receive();
                self.reaches_under(&self.more[0], TOP)
            }
            "writes by another mount" => {
                fs::OpenOptions::new().write(true).open(&self.more[0])?.write_all(b"max")
            }
            "writes a setting of the kernel's" => {
                let file = "/proc/sys/kernel/core_pattern";
                fs::read(file).and_then(|text| fs::write(file, text))
            }
            "has a unit started" => super::systemd::has_a_unit_started(&self.more[0]),
            "unmounts what is on top" => self.unmounting(),
            "unmounts in namespaces of its own" => {
                own_namespaces(CloneFlags::empty());
                self.unmounting()
            }
            "mounts cgroup2 in namespaces of its own" => {
                own_namespaces(CloneFlags::empty());
                self.reaches_sibling().or_else(|e| self.mounting().map_err(|_| e))
            }
            "mounts cgroup2 in a cgroup namespace of its own" => {
                own_namespaces(CloneFlags::CLONE_NEWCGROUP);
                self.reaches_sibling().or_else(|e| self.mounting().map_err(|_| e))
            }
            "binds all of what it sees elsewhere" => {
                own_namespaces(CloneFlags::empty());
                self.reaches_sibling().or_else(|e| self.binding().map_err(|_| e))
            }
            "is born in its sibling by descriptor 0" => super::remaining_access::is_born_in(0),
            "moves to its sibling by descriptor 0" => {
                Cgroup("/proc/self/fd/0".into()).try_write("cgroup.procs", "0")
            }
            "has a session of its own" => super::remaining_access::has_a_session_of_its_own(),
            "has the host's keyring" => super::remaining_access::has_keyring(&self.more[0]),
            "types into terminal 0" => super::remaining_access::types(),
            "signals by pid" => super::remaining_access::signals(self.more[0].parse().expect("a pid")),
            "changes the host's limits" => super::remaining_access::changes_limits(self.pid),
            "has the host killed first" => fs::write(format!("/proc/{}/oom_score_adj", self.pid), "1000"),
            "writes to its sibling by descriptor 0" => {
                Cgroup("/proc/self/fd/0".into()).try_write("memory.max", "max")
            }
            "signals its own" => super::remaining_access::signals_its_own(),
            "traces the host" => super::remaining_access::traces(self.pid),
            "signals the host" => super::remaining_access::signals(self.pid),
            other => panic!("{other}?"),
        }
    }

    fn reaches_sibling(&self) -> io::Result<()> {
        self.sibling.try_write("memory.max", "max")
    }

    /// Before and after each try to take away what may hide it.
    fn unmounting(&self) -> io::Result<()> {
        let mut done = self.reaches_sibling();
        for _ in 0..4 {
            if done.is_err() {
                let _refused = umount2(TOP, MntFlags::MNT_DETACH);
                done = self.reaches_sibling();
            }
        }
        done
    }

    /// A mount of the hierarchy that nothing hides.
    fn mounting(&self) -> io::Result<()> {
        let point = format!("/tmp/mounted-{}", std::process::id());
        fs::create_dir(&point)?;
        let none = None::<&str>;
        mount(Some("tmpfs"), point.as_str(), Some("tmpfs"), MsFlags::empty(), none)?;
        mount(Some("cgroup2"), point.as_str(), Some("cgroup2"), MsFlags::empty(), none)?;
        self.reaches_under(&point, TOP)
    }

    /// A copy of all mounts, of which each could show what another hides.
    fn binding(&self) -> io::Result<()> {
        let point = format!("/tmp/bound-{}", std::process::id());
        fs::create_dir(&point)?;
        let none = None::<&str>;
        let root = format!("{point}{TOP}");
        for flags in [MsFlags::MS_BIND, MsFlags::MS_BIND | MsFlags::MS_REC] {
            if mount(Some("/"), point.as_str(), none, flags, none).is_ok() {
                for _ in 0..4 {
                    let _refused = umount2(root.as_str(), MntFlags::MNT_DETACH);
                    if self.reaches_under(&root, TOP).is_ok() {
                        return Ok(());
                    }
                }
            }
        }
        Err(io::ErrorKind::NotFound.into())
    }

    /// By the path from `top` on.
    fn reaches_under(&self, point: &str, top: &str) -> io::Result<()> {
        let path = self.sibling.0.strip_prefix(top).expect("it lies there");
        Cgroup(point.into()).join(path).try_write("memory.max", "max")
    }
}

/// With all capabilities in them. Uid and gid are what they are.
fn own_namespaces(more: CloneFlags) {
    let (uid, gid): (Uid, Gid) = (getuid(), getgid());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS | more).expect("namespaces of its own");
    for (file, text) in [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("{uid} {uid} 1")),
        ("gid_map", format!("{gid} {gid} 1")),
    ] {
        // From Linux 5.12 on root without capabilities maps nobody, and needs to map nobody to be who it is.
        let done = fs::write(format!("/proc/self/{file}"), text);
        assert!(done.is_ok() || uid.is_root(), "{file}: {done:?}");
    }
}

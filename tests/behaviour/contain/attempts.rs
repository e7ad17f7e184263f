// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an agent may attempt. An attempt is the same with and without containment. It ends with 0 or with the
//! errno that prevented it.

use crate::common::cgroup::Cgroup;
use crate::common::member::role;
use crate::common::mounts::TOP;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Uid, getgid, getuid};
use std::ffi::CString;
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;

/// What an attempt can refer to.
struct Arguments {
    /// The group beside the agent's own, by the path in the host's mounts.
    sibling: Cgroup,
    /// The cgroup of the host.
    host: Cgroup,
    /// The pid of the host.
    pid: i32,
    /// Further arguments of the attempt.
    more: Vec<String>,
}

/// A role that makes one attempt. Its arguments are the name of the attempt, the sibling, and the cgroup and
/// pid of the host.
pub fn attempt(args: &[String]) {
    let [name, sibling, host, pid, more @ ..] = args else {
        panic!("the name of an attempt and its arguments")
    };
    let pid = pid.parse().expect("a pid");
    let arguments =
        Arguments { sibling: Cgroup(sibling.into()), host: Cgroup(host.into()), pid, more: more.to_vec() };
    let errno =
        arguments.attempt(name).err().map_or(0, |e| e.raw_os_error().expect("an error of the kernel's"));
    role::exit(errno);
}

impl Arguments {
    fn attempt(&self, name: &str) -> io::Result<()> {
        match name {
            "moves to the cgroup of the host" => self.host.try_write("cgroup.procs", "0"),
            "moves to its sibling" => self.sibling.try_write("cgroup.procs", "0"),
            "makes a sibling and moves there" => {
                let new = self.sibling.parent().join("made-by-it");
                fs::create_dir(&new.0)?;
                new.try_write("cgroup.procs", "0")
            }
            "writes to its own file" => Cgroup::own().try_write(&self.more[0], &self.more[1]),
            "changes its tag" => change_tag(&Cgroup::own()),
            "reads memory.max of its sibling" => self.sibling.try_read("memory.max").map(drop),
            "writes memory.max of its sibling" => self.write_sibling(),
            "lifts the limit of all agents" => self.sibling.parent().try_write("memory.max", "max"),
            "kills its sibling" => self.sibling.try_write(&self.more[0], "1"),
            "disables pids for all agents" => {
                self.sibling.parent().try_write("cgroup.subtree_control", "-pids")
            }
            "uses the root of the host" => self.write_sibling_under(&format!("/proc/{}/root", self.pid), "/"),
            "uses a descriptor of the host" => {
                let fd = format!("/proc/{}/fd/{}", self.pid, self.more[0]);
                Cgroup(fd.into()).try_write("memory.max", "max")
            }
            "climbs from its directory" => self.write_sibling_under(&"../".repeat(20), "/"),
            "climbs from descriptor 0" => {
                self.write_sibling_under(&format!("/proc/self/fd/0/{}", "../".repeat(20)), "/")
            }
            "uses another mount" => self.write_sibling_under(&self.more[0], TOP),
            "uses a later mount" => {
                role::send("begun");
                role::receive();
                self.write_sibling_under(&self.more[0], TOP)
            }
            "writes through another mount" => {
                fs::OpenOptions::new().write(true).open(&self.more[0])?.write_all(b"max")
            }
            "writes a setting of the kernel" => {
                let file = "/proc/sys/kernel/core_pattern";
                fs::read(file).and_then(|text| fs::write(file, text))
            }
            "starts a unit" => super::systemd::starts_a_unit(&self.more[0]),
            "unmounts the top mount" => self.try_unmount(),
            "unmounts in its own namespaces" => {
                enter_own_namespaces(CloneFlags::empty());
                self.try_unmount()
            }
            "mounts cgroup2 in its own namespaces" => {
                enter_own_namespaces(CloneFlags::empty());
                self.write_sibling().or_else(|e| self.try_mount().map_err(|_| e))
            }
            "mounts cgroup2 in its own cgroup namespace" => {
                enter_own_namespaces(CloneFlags::CLONE_NEWCGROUP);
                self.write_sibling().or_else(|e| self.try_mount().map_err(|_| e))
            }
            "binds all mounts elsewhere" => {
                enter_own_namespaces(CloneFlags::empty());
                self.write_sibling().or_else(|e| self.try_bind().map_err(|_| e))
            }
            "is created in its sibling through descriptor 0" => super::remaining_access::is_created_in(0),
            "moves to its sibling through descriptor 0" => {
                Cgroup("/proc/self/fd/0".into()).try_write("cgroup.procs", "0")
            }
            "has its own session" => super::remaining_access::has_its_own_session(),
            "has the keyring of the host" => super::remaining_access::has_keyring(&self.more[0]),
            "types into terminal 0" => super::remaining_access::types_into_terminal(),
            "signals by pid" => super::remaining_access::signals(self.more[0].parse().expect("a pid")),
            "changes the limits of the host" => super::remaining_access::changes_limits(self.pid),
            "raises the OOM score of the host" => {
                fs::write(format!("/proc/{}/oom_score_adj", self.pid), "1000")
            }
            "writes to its sibling through descriptor 0" => {
                Cgroup("/proc/self/fd/0".into()).try_write("memory.max", "max")
            }
            "signals its own processes" => super::remaining_access::signals_its_own_processes(),
            "traces the host" => super::remaining_access::traces(self.pid),
            "signals the host" => super::remaining_access::signals(self.pid),
            other => panic!("unknown attempt {other}"),
        }
    }

    fn write_sibling(&self) -> io::Result<()> {
        self.sibling.try_write("memory.max", "max")
    }

    /// Tries to reach the sibling before and after each attempt to unmount what may hide it.
    fn try_unmount(&self) -> io::Result<()> {
        let mut done = self.write_sibling();
        for _ in 0..4 {
            if done.is_err() {
                let _refused = umount2(TOP, MntFlags::MNT_DETACH);
                done = self.write_sibling();
            }
        }
        done
    }

    /// Mounts the hierarchy where nothing hides it.
    fn try_mount(&self) -> io::Result<()> {
        let point = format!("/tmp/mounted-{}", std::process::id());
        fs::create_dir(&point)?;
        let none = None::<&str>;
        mount(Some("tmpfs"), point.as_str(), Some("tmpfs"), MsFlags::empty(), none)?;
        mount(Some("cgroup2"), point.as_str(), Some("cgroup2"), MsFlags::empty(), none)?;
        self.write_sibling_under(&point, TOP)
    }

    /// Copies all mounts. Each copy could show what another mount hides.
    fn try_bind(&self) -> io::Result<()> {
        let point = format!("/tmp/bound-{}", std::process::id());
        fs::create_dir(&point)?;
        let none = None::<&str>;
        let root = format!("{point}{TOP}");
        for flags in [MsFlags::MS_BIND, MsFlags::MS_BIND | MsFlags::MS_REC] {
            if mount(Some("/"), point.as_str(), none, flags, none).is_ok() {
                for _ in 0..4 {
                    let _refused = umount2(root.as_str(), MntFlags::MNT_DETACH);
                    if self.write_sibling_under(&root, TOP).is_ok() {
                        return Ok(());
                    }
                }
            }
        }
        Err(io::ErrorKind::NotFound.into())
    }

    /// Reaches the sibling by its path below `top`.
    fn write_sibling_under(&self, point: &str, top: &str) -> io::Result<()> {
        let path = self.sibling.0.strip_prefix(top).expect("the sibling is below it");
        Cgroup(point.into()).join(path).try_write("memory.max", "max")
    }
}

/// Enters namespaces with all capabilities in them. The uid and gid stay the same.
fn enter_own_namespaces(more: CloneFlags) {
    let (uid, gid): (Uid, Gid) = (getuid(), getgid());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS | more).expect("unshare");
    for (file, text) in [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("{uid} {uid} 1")),
        ("gid_map", format!("{gid} {gid} 1")),
    ] {
        // From Linux 5.12 on, root without capabilities cannot map its uid; it keeps its uid without a
        // mapping.
        let done = fs::write(format!("/proc/self/{file}"), text);
        assert!(done.is_ok() || uid.is_root(), "{file}: {done:?}");
    }
}

/// Writes the attribute in which the library keeps the tag.
#[allow(unsafe_code, reason = "nix has no attributes; see SAFETY")]
fn change_tag(cgroup: &Cgroup) -> io::Result<()> {
    let path = CString::new(cgroup.0.as_os_str().as_bytes()).expect("no NUL");
    let (name, note) = (c"user.agentcg.owner", c"pid=1 tag=other");
    let length = note.count_bytes();
    // SAFETY: the strings end with NUL, and the length is that of the value.
    let done = unsafe { libc::setxattr(path.as_ptr(), name.as_ptr(), note.as_ptr().cast(), length, 0) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

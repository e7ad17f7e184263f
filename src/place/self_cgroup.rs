// SPDX-License-Identifier: MIT OR Apache-2.0
//! The self cgroup: the cgroup of the calling process, from which the chain starts. It is found by the files of the
//! kernel, never by a usual path, and used only if its cgroup.procs lists the process.

use super::refusal::is_shortage;
use crate::cgroupfs::Dir;
use crate::error::{Error, Message, Reason, Result, shown, words};
use crate::parse::{self, Mount};
use crate::procfs;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// The cgroup of a process.
pub struct SelfCgroup {
    /// The parent of the self cgroup; at the top of the mount the self cgroup itself.
    pub dir: Arc<Dir>,
    /// The absolute path of `dir`, as mounted here.
    pub path: Vec<u8>,
    /// The name of the self cgroup in `dir`. `None` at the top of the mount, above which no cgroup can be reached.
    pub name: Option<CString>,
    /// The number of levels from the top of the mount to `dir`.
    pub depth: usize,
    /// The mount in which the self cgroup was found.
    pub mount: Mount,
    /// The self cgroup, as /proc shows it.
    pub in_proc: Vec<u8>,
}

impl SelfCgroup {
    /// The paths of the self cgroup and of those above it, up to the top of the mount.
    pub fn upwards(&self) -> impl Iterator<Item = Vec<u8>> {
        let itself = self.name.as_ref().map(|name| [self.path.as_slice(), name.to_bytes()].join(&b'/'));
        let above =
            std::iter::successors(Some(self.path.clone()), |path| Some(parse::split_last(path).0.to_vec()));
        itself.into_iter().chain(above.take(self.depth + 1))
    }

    /// Open the cgroup of this number in [`Self::upwards`].
    pub fn open(&self, number: usize) -> nix::Result<Arc<Dir>> {
        match (&self.name, number) {
            (Some(name), 0) => Ok(Arc::new(self.dir.child(name)?)),
            (Some(_), 1) | (None, _) => Ok(Arc::clone(&self.dir)),
            (Some(_), further) => {
                let up = CString::new(vec![".."; further - 1].join("/")).unwrap_or_default();
                Ok(Arc::new(self.dir.child(&up)?))
            }
        }
    }
}

/// Find the cgroup of the calling process.
pub fn find() -> Result<SelfCgroup> {
    // /proc may belong to another pid namespace. "self" is the calling process in each.
    find_of("self", std::process::id())
}

/// Find the cgroup of the process with this pid. `name` is its directory in /proc. Another process or thread may move
/// it during the search.
pub fn find_of(name: &str, pid: u32) -> Result<SelfCgroup> {
    let mut path = path_of(name)?;
    for _ in 0..MOVES {
        let found = find_at(&path, pid);
        if found.is_ok() {
            return found;
        }
        let now = path_of(name)?;
        if now == path {
            return found;
        }
        path = now;
    }
    find_at(&path, pid)
}

/// After how many moves during the search it is given up.
const MOVES: usize = 10;

fn path_of(process: &str) -> Result<Vec<u8>> {
    procfs::cgroup_of(process).map_err(no_proc)?.ok_or_else(|| {
        no_cgroup2("this system has no cgroup2 hierarchy (legacy cgroups?): boot with systemd.unified_cgroup_hierarchy=1")
    })
}

/// Find the cgroup in the mounts of the hierarchy. A mount may be covered by another, show only a part of the
/// hierarchy, or be left over from another namespace. The right one is the first whose `cgroup.procs` lists the process.
/// A writable mount is preferred to a read-only one.
fn find_at(own_path: &[u8], pid: u32) -> Result<SelfCgroup> {
    if parse::leads_out(own_path) {
        let path = shown(own_path);
        return Err(Error::new(
            Errno::ENODEV,
            format_args!("the cgroup {path} of this process is outside of its cgroup namespace: enter the namespace that holds it, or name a parent"),
        )
        .because(Reason::OutsideNamespace));
    }
    let mut threaded = false;
    let mut read_only = None;
    let mut failed = None;
    let writable = procfs::find_mount(|line| match open(parse::cgroup2_mount(line)?, own_path, pid) {
        Ok(own) if own.mount.read_only => {
            read_only = read_only.take().or(Some(own));
            None
        }
        Ok(own) => Some(own),
        Err(e) => {
            threaded |= e == Errno::EOPNOTSUPP;
            failed = failed.or((!is_elsewhere(e)).then_some(e));
            None
        }
    })
    .map_err(no_proc)?;
    writable.or(read_only).ok_or_else(|| {
        let path = shown(own_path);
        if let Some(e) = failed {
            let error = Error::new(e, format_args!("cannot open the cgroup {path} of this process: {}", words(e)));
            if e == Errno::EACCES { error.because(Reason::NotDelegated) } else { error }
        } else if threaded {
            Error::new(
                Errno::EOPNOTSUPP,
                format_args!("the cgroup {path} of this process is threaded, and agents beside threads can have no limits: start it in a domain cgroup"),
            )
            .because(Reason::Threaded)
            .on("cgroup.procs")
        } else {
            no_cgroup2(format_args!("the cgroup {path} of this process is not found in any cgroup2 mount: mount cgroup2 at /sys/fs/cgroup"))
        }
    })
}

/// Open the cgroup in one mount and check that it lists the process.
fn open(mount: Mount, own_path: &[u8], pid: u32) -> nix::Result<SelfCgroup> {
    if parse::leads_out(&mount.root) {
        return Err(Errno::ENOENT);
    }
    let below = parse::below(&mount.root, own_path).ok_or(Errno::ENOENT)?;
    let (above, name) = parse::split_last(below);
    let path =
        if above.is_empty() { mount.point.clone() } else { [mount.point.as_slice(), above].join(&b'/') };
    let dir = Dir::open(&cstring(&path)?)?;
    let procs = if name.is_empty() {
        c"cgroup.procs".to_owned()
    } else {
        cstring(&[name, b"cgroup.procs"].join(&b'/'))?
    };
    let pid = i32::try_from(pid).map_err(|_| Errno::ESRCH)?;
    if !dir.lists(&procs, pid)? {
        return Err(Errno::ESRCH);
    }
    let depth = above.split(|&b| b == b'/').filter(|part| !part.is_empty()).count();
    let name = if name.is_empty() { None } else { Some(cstring(name)?) };
    Ok(SelfCgroup { dir: Arc::new(dir), path, name, depth, mount, in_proc: own_path.to_vec() })
}

fn cstring(bytes: &[u8]) -> nix::Result<CString> {
    CString::new(bytes).map_err(|_| Errno::ENOENT)
}

fn no_cgroup2(message: impl Message) -> Error {
    Error::new(Errno::ENODEV, message).because(Reason::NoCgroup2)
}

/// Returns true for an errno that says that a cgroup is not in a mount. Others, such as a lack of descriptors or memory,
/// say nothing about cgroups.
fn is_elsewhere(errno: Errno) -> bool {
    use Errno::*;
    matches!(errno, ENODEV | ENOENT | ENOTDIR | ENOTTY | ESRCH | EOPNOTSUPP)
}

fn no_proc(errno: Errno) -> Error {
    let why = words(errno);
    if !is_elsewhere(errno) {
        return Error::new(errno, format_args!("cannot read /proc/self: {why}"));
    }
    no_cgroup2(format_args!(
        "cannot read /proc/self: {why}; the library finds the cgroup of this process there: mount proc at /proc"
    ))
}

/// Open the exit cgroups: cgroup.procs files to which the guard writes "0" when its work is done, since no process can
/// remove its own cgroup. The first is that of the self cgroup, which may no longer exist then. The second is that of
/// the cgroup of systemd itself, `init.scope`, the nearest above that the caller may write. A lack of descriptors or
/// memory is an error: without these files the cgroup of the guard would be left behind.
pub fn exit_cgroups() -> nix::Result<Vec<OwnedFd>> {
    let own = match find() {
        Ok(own) => own,
        Err(e) if e.reason().is_none() => return Err(e.errno()),
        Err(_) => return Ok(Vec::new()),
    };
    let open = |number: usize, file: &CStr| {
        let opened = own.open(number).and_then(|dir| dir.open_file(file, OFlag::O_WRONLY));
        match opened {
            Err(e) if is_shortage(e) => Err(e),
            opened => Ok(opened.ok()),
        }
    };
    let mut files: Vec<OwnedFd> = open(0, c"cgroup.procs")?.into_iter().collect();
    for number in 0..own.upwards().count() {
        if let Some(file) = open(number, c"init.scope/cgroup.procs")? {
            files.push(file);
            break;
        }
    }
    Ok(files)
}

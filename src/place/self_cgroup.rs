// SPDX-License-Identifier: MIT OR Apache-2.0
//! Our own cgroup: the place from which the chain looks around. Found by what the kernel says, never
//! by a usual path, and believed only when it lists us.

use crate::cgroupfs::Dir;
use crate::error::{Error, Reason, Result, shown, words};
use crate::parse::{self, Mount};
use crate::procfs;
use nix::errno::Errno;
use std::borrow::Cow;
use std::ffi::CString;
use std::rc::Rc;

/// Where we are.
pub struct SelfCgroup {
    /// The directory in which our own cgroup is a child; at the top of the mount our own cgroup.
    pub dir: Rc<Dir>,
    /// Its path, absolute, as mounted here.
    pub path: Vec<u8>,
    /// Our own cgroup's name in there; nothing at the top of the mount, above which nothing is in reach.
    pub name: Option<CString>,
    /// How many levels `dir` is below the top.
    pub depth: usize,
    /// By which all this was found.
    pub mount: Mount,
}

impl SelfCgroup {
    /// The paths of our own cgroup and of those above it, up to the top of the mount.
    pub fn upwards(&self) -> impl Iterator<Item = Vec<u8>> {
        let itself = self.name.as_ref().map(|name| [self.path.as_slice(), name.to_bytes()].join(&b'/'));
        let above =
            std::iter::successors(Some(self.path.clone()), |path| Some(parse::split_last(path).0.to_vec()));
        itself.into_iter().chain(above.take(self.depth + 1))
    }

    /// Open one of them, by its number.
    pub fn open(&self, number: usize) -> nix::Result<Rc<Dir>> {
        match (&self.name, number) {
            (Some(name), 0) => Ok(Rc::new(self.dir.child(name)?)),
            (Some(_), 1) | (None, _) => Ok(Rc::clone(&self.dir)),
            (Some(_), further) => {
                let up = CString::new(vec![".."; further - 1].join("/")).unwrap_or_default();
                Ok(Rc::new(self.dir.child(&up)?))
            }
        }
    }
}

/// Find our own cgroup.
pub fn find() -> Result<SelfCgroup> {
    // /proc may be that of another pid namespace, but "self" is us in any.
    find_of("self", std::process::id())
}

/// Find the cgroup of a process of ours, `name` in /proc, and call it our own. Somebody, be it another
/// thread of ours, may move it while we look.
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

/// How often we may be moved while we look.
const MOVES: usize = 10;

fn path_of(process: &str) -> Result<Vec<u8>> {
    procfs::cgroup_of(process).map_err(no_proc)?.ok_or_else(|| {
        no_cgroup2("this system has no cgroup2 hierarchy (legacy cgroups?): boot with systemd.unified_cgroup_hierarchy=1")
    })
}

/// In the mounts of the hierarchy. A mount may be covered by another, shown under a part of the tree
/// only, or left over from another namespace: the first where our own pid stands in `cgroup.procs` is
/// right, and a writable one is better than a read-only one.
fn find_at(own_path: &[u8], pid: u32) -> Result<SelfCgroup> {
    if parse::leads_out(own_path) {
        let path = shown(own_path);
        return Err(Error::new(
            Errno::ENODEV,
            format!("our own cgroup {path} is outside of our cgroup namespace: enter the namespace that holds it, or name a parent"),
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
            let error = Error::new(e, format!("cannot open our own cgroup {path}: {}", words(e)));
            if e == Errno::EACCES { error.because(Reason::NotDelegated) } else { error }
        } else if threaded {
            Error::new(
                Errno::EOPNOTSUPP,
                format!("our own cgroup {path} is threaded, and limits on agents beside threads do not work: start us in a domain cgroup"),
            )
            .because(Reason::Threaded)
            .on("cgroup.procs")
        } else {
            no_cgroup2(format!("our own cgroup {path} is not found in any cgroup2 mount: mount cgroup2 at /sys/fs/cgroup"))
        }
    })
}

/// Open our own cgroup by one mount and see that we are in it.
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
    Ok(SelfCgroup { dir: Rc::new(dir), path, name, depth, mount })
}

fn cstring(bytes: &[u8]) -> nix::Result<CString> {
    CString::new(bytes).map_err(|_| Errno::ENOENT)
}

fn no_cgroup2(message: impl Into<Cow<'static, str>>) -> Error {
    Error::new(Errno::ENODEV, message).because(Reason::NoCgroup2)
}

/// Errors that say that a cgroup is not in a mount. Others say nothing about cgroups, such as the caller's want of
/// descriptors or memory.
fn is_elsewhere(errno: Errno) -> bool {
    use Errno::*;
    matches!(errno, ENODEV | ENOENT | ENOTDIR | ENOTTY | ESRCH | EOPNOTSUPP)
}

fn no_proc(errno: Errno) -> Error {
    let why = words(errno);
    if !is_elsewhere(errno) {
        return Error::new(errno, format!("cannot read /proc/self: {why}"));
    }
    no_cgroup2(format!(
        "cannot read /proc/self: {why}; the library finds its own cgroup there: mount proc at /proc"
    ))
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! From the path of a cgroup, as /proc shows it, to the agent that contains it, and to the directory of that agent.

use super::types::AGENTS;
use crate::cgroupfs::{AgentName, OWN};
use crate::parse;
use crate::procfs;
use crate::sys::fork_mutex::ForkMutex;
use crate::sys::statx;
use crate::sys::try_alloc;
use nix::errno::Errno;
use std::ffi::CString;

/// An agent in the path of a cgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AgentInPath<'p> {
    /// The path of the group in the hierarchy, as /proc shows it.
    pub group: &'p [u8],
    /// The path of the place in the hierarchy.
    pub place: &'p [u8],
    /// The name of the agent.
    pub name: AgentName,
    /// The cgroup is below the group: neither the group itself, nor that of a session's own processes.
    pub below: bool,
    /// The name of the child that has the cgroup, if the agent is a session.
    pub child: Option<AgentName>,
}

/// What the kernel appends to the path of a removed cgroup.
const DELETED: &[u8] = b" (deleted)";

/// Where an agent is in the path of a cgroup. It is small, unlike the agent with its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    /// The length of the path of the place.
    place: usize,
    /// The length of the path of the group.
    group: usize,
}

impl Span {
    fn agent(self, path: &[u8]) -> Option<AgentInPath<'_>> {
        let (group, inside) = path.split_at_checked(self.group)?;
        Some(AgentInPath {
            group,
            place: path.get(..self.place)?,
            name: AgentName::of_directory(parse::split_last(group).1)?,
            below: !inside.is_empty() && inside.strip_prefix(b"/") != Some(OWN.to_bytes()),
            child: first_component(inside).and_then(AgentName::of_directory),
        })
    }
}

/// Finds the agents whose groups contain the cgroup at `path`, the outermost first.
fn spans_in(path: &[u8]) -> impl Iterator<Item = Span> {
    let mut last = None;
    let at_slashes = path.iter().enumerate().filter(|&(_, &byte)| byte == b'/').map(|(at, _)| at);
    at_slashes.filter_map(move |place| {
        let rest = path.get(place..)?;
        let named = |below| first_component(below).filter(|name| AgentName::is_of_directory(name));
        // A child of a session is directly in the group of the session.
        let child = if last == Some(place) { named(rest) } else { None };
        let name = match child {
            Some(name) => name,
            None => named(rest.get(1..)?.strip_prefix(AGENTS.to_bytes())?)?,
        };
        let agents = if child.is_some() { 0 } else { 1 + AGENTS.to_bytes().len() };
        let group = place + agents + 1 + name.len();
        last = Some(group);
        Some(Span { place, group })
    })
}

/// Returns the first component of a path that begins with a slash.
fn first_component(path: &[u8]) -> Option<&[u8]> {
    path.strip_prefix(b"/")?.split(|&byte| byte == b'/').next()
}

/// Returns the place of the outermost agent in the path of a cgroup, and the path from there.
pub fn outermost_place(path: &[u8]) -> Option<(&[u8], &[u8])> {
    path.split_at_checked(spans_in(path).next()?.place)
}

/// Returns the path without the mark that the kernel appends if the cgroup was removed, and true if it was. A living cgroup
/// whose name ends like the mark is taken for a removed one.
pub fn without_mark(path: &[u8]) -> (&[u8], bool) {
    match path.strip_suffix(DELETED) {
        Some(path) => (path, true),
        None => (path, false),
    }
}

/// Returns the agent that has the process, as the calling process sees it: the outermost agent that contains the process and
/// not the caller. An agent can make cgroups with the names of other agents in its own group, and deceives nobody outside by
/// it. If all agents contain the caller, too, it is the innermost.
pub fn agent_of(path: &[u8]) -> nix::Result<Option<AgentInPath<'_>>> {
    let mut spans = spans_in(path);
    let Some(outermost) = spans.next() else { return Ok(None) };
    let Some(innermost) = spans.last() else { return Ok(outermost.agent(path)) };
    let foreign = procfs::with_own_cgroup(|own| {
        let own = without_mark(own).0;
        let has_caller =
            |span: &Span| path.get(..span.group).is_some_and(|group| parse::below(group, own).is_some());
        spans_in(path).find(|span| !has_caller(span))
    })?;
    Ok(foreign.flatten().unwrap_or(innermost).agent(path))
}

/// Where the hierarchy is mounted.
#[derive(Debug, Clone, Copy)]
struct MountPoint {
    /// The path of the cgroup that is mounted, and the path at which it is mounted.
    text: [u8; KEPT_MAX],
    root: usize,
    point: usize,
}

/// The longest paths of a mount that are kept, both together.
const KEPT_MAX: usize = 256;

/// The mount that was found last. To read the mounts takes ten times as long as all else.
static LAST: ForkMutex<Option<MountPoint>> = ForkMutex::new();

impl MountPoint {
    fn of(mount: &parse::Mount) -> Option<Self> {
        let mut text = [0; KEPT_MAX];
        let (root, point) = (mount.root.len(), mount.point.len());
        text.get_mut(..root)?.copy_from_slice(&mount.root);
        text.get_mut(root..root + point)?.copy_from_slice(&mount.point);
        Some(Self { text, root, point })
    }

    fn root(&self) -> &[u8] {
        self.text.get(..self.root).unwrap_or_default()
    }

    fn point(&self) -> &[u8] {
        self.text.get(self.root..self.root + self.point).unwrap_or_default()
    }
}

/// Returns the path at which a cgroup is mounted, if it is below `root`, which is mounted at `point`.
fn mounted(root: &[u8], point: &[u8], path: &[u8]) -> nix::Result<Option<CString>> {
    let Some(below) = parse::below(root, path) else { return Ok(None) };
    let point = point.strip_suffix(b"/").unwrap_or(point);
    let mut mounted = try_alloc::with_capacity(point.len() + below.len() + 2)?;
    mounted.extend_from_slice(point);
    if !below.is_empty() || point.is_empty() {
        mounted.push(b'/');
    }
    mounted.extend_from_slice(below);
    // Neither part contains a NUL byte, so this cannot fail.
    CString::new(mounted).map(Some).map_err(|_| Errno::ENOENT)
}

/// Returns the path of a cgroup in the mount that was found last, or none if the cgroup is not below its root. The mount may
/// no longer exist.
pub fn in_last_mount(path: &[u8]) -> nix::Result<Option<CString>> {
    let last = *LAST.lock();
    last.map_or(Ok(None), |mount| mounted(mount.root(), mount.point(), path))
}

/// Returns the path of a cgroup in the first mount that shows it, or none if no mount does. The mount is remembered.
pub fn in_any_mount(path: &[u8]) -> nix::Result<Option<CString>> {
    let mut failed = None;
    let found = procfs::find_mount(|line| {
        let mount = parse::cgroup2_mount(line).filter(|mount| !parse::leads_out(&mount.root))?;
        let there = mounted(&mount.root, &mount.point, path).and_then(|mounted| {
            let Some(path) = mounted else { return Ok(None) };
            Ok(is_in_mount(&path, line)?.then_some(path))
        });
        match there {
            Ok(path) => path.map(|path| (path, mount)),
            Err(e) => {
                failed = Some(e);
                None
            }
        }
    })?;
    match (found, failed) {
        (Some((path, mount)), _) => {
            *LAST.lock() = MountPoint::of(&mount);
            Ok(Some(path))
        }
        (None, Some(e)) => Err(e),
        (None, None) => Ok(None),
    }
}

/// Returns true if the directory is in the mount that the line of mountinfo describes, and not in one that covers it. Before
/// Linux 5.8 the kernel does not report it, and a directory that exists is taken for the right one.
fn is_in_mount(path: &CString, line: &[u8]) -> nix::Result<bool> {
    match statx::mount_of_path(path) {
        Ok(id) => Ok(parse::mount_root(line, id).is_some()),
        Err(Errno::ENOSYS) => Ok(true),
        Err(e @ (Errno::ENOMEM | Errno::EIO)) => Err(e),
        Err(_) => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "01234567-89ab-cdef-0123-456789abcdef";
    const TWO: &str = "fedcba98-7654-3210-fedc-ba9876543210";

    fn found(path: &str) -> Vec<(String, String, bool)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        spans_in(path.as_bytes())
            .map(|span| span.agent(path.as_bytes()).unwrap())
            .map(|agent| (text(agent.place), agent.name.to_string(), agent.below))
            .collect()
    }

    #[test]
    fn the_agents_in_a_path_are_found_from_outside_to_inside() {
        assert_eq!(found(&format!("/synwire/agents/{ONE}")), [(String::new(), ONE.into(), false)]);
        assert_eq!(found(&format!("/a/synwire/agents/{ONE}/x")), [("/a".into(), ONE.into(), true)]);
        let outer = format!("/a/synwire/agents/{ONE}");
        assert_eq!(
            found(&format!("{outer}/synwire/agents/{TWO}")),
            [("/a".into(), ONE.into(), true), (outer, TWO.into(), false)]
        );
    }

    #[test]
    fn the_children_of_a_session_in_a_path_are_agents_in_its_group() {
        let session = format!("/a/synwire/agents/{ONE}");
        let path = format!("{session}/{TWO}/x");
        assert_eq!(found(&path), [("/a".into(), ONE.into(), true), (session.clone(), TWO.into(), true)]);
        let child =
            |path: &str| spans_in(path.as_bytes()).next().unwrap().agent(path.as_bytes()).unwrap().child;
        assert_eq!(child(&path), AgentName::parse(TWO));
        assert_eq!(child(&session), None);
        let own = format!("{session}/own");
        assert_eq!((found(&own), child(&own)), (vec![("/a".into(), ONE.into(), false)], None));
        let below_own = format!("{own}/{TWO}");
        assert_eq!((found(&below_own), child(&below_own)), (vec![("/a".into(), ONE.into(), true)], None));
    }

    #[test]
    fn what_only_looks_like_an_agent_is_none() {
        let upper = ONE.to_uppercase();
        for path in [
            "/",
            "",
            "/synwire/agents",
            "/synwire/agents/",
            "/synwire/agents/x",
            &format!("/synwire/agents/{upper}"),
            &format!("/synwire/agents/{ONE}x"),
            &format!("/synwire/agents/x{ONE}"),
            &format!("/synwire/agents/{}", ONE.replace('f', "g")),
            &format!("/synwire/agents/{}", ONE.replace('-', "0")),
            &format!("/xsynwire/agents/{ONE}"),
            &format!("/synwire/agentsx/{ONE}"),
            &format!("/synwire/{ONE}"),
        ] {
            assert_eq!(found(path), [], "{path}");
        }
    }

    #[test]
    fn the_mark_of_a_removed_cgroup_is_not_a_part_of_its_path() {
        assert_eq!(without_mark(b"/a (deleted)"), (&b"/a"[..], true));
        assert_eq!(without_mark(b"/a"), (&b"/a"[..], false));
    }

    #[test]
    fn the_path_in_a_mount_follows_its_root_and_its_point() {
        let path = |root: &str, point: &str, path: &str| {
            let found = mounted(root.as_bytes(), point.as_bytes(), path.as_bytes()).unwrap();
            found.map(|path| path.into_string().unwrap())
        };
        assert_eq!(path("/", "/sys/fs/cgroup", "/a/b").as_deref(), Some("/sys/fs/cgroup/a/b"));
        assert_eq!(path("/a", "/mnt", "/a/b").as_deref(), Some("/mnt/b"));
        assert_eq!(path("/a", "/mnt", "/a").as_deref(), Some("/mnt"));
        assert_eq!(path("/a", "/", "/a/b").as_deref(), Some("/b"));
        assert_eq!(path("/a", "/mnt", "/ab"), None);
    }
}

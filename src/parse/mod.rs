// SPDX-License-Identifier: MIT OR Apache-2.0
//! Parsers of the kernel's text. They are pure and total: they take any bytes, and return a value or nothing.
//!
//! Paths are bytes. A cgroup's name may contain every byte but a slash, a newline and NUL. Therefore no parser trims or
//! decodes a path.

mod labels;

pub use labels::{Label, Tag};

/// The value that means "no limit", which the kernel writes as `max`.
pub const UNLIMITED: u64 = u64::MAX;

/// Returns the path of a process in the cgroup2 hierarchy: the `0::` line of `/proc/PID/cgroup`.
pub fn own_cgroup(text: &[u8]) -> Option<&[u8]> {
    text.split(|&b| b == b'\n').find_map(|line| line.strip_prefix(b"0::"))
}

/// Returns the number of a namespace: of the link `/proc/PID/ns/cgroup`, which reads `cgroup:[4026531835]`.
pub fn namespace(link: &[u8]) -> Option<u64> {
    number(link.strip_prefix(b"cgroup:[")?.strip_suffix(b"]")?)
}

/// Returns the controllers of the v1 hierarchies in `/proc/PID/cgroup`. Named hierarchies have none.
pub fn v1_controllers(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&b| b == b'\n')
        .filter_map(|line| line.splitn(3, |&b| b == b':').nth(1))
        .flat_map(|list| list.split(|&b| b == b','))
        .filter(|name| !name.is_empty() && !name.starts_with(b"name="))
}

/// Returns true if a path leads out of the reader's cgroup namespace (`/..`, `/../x`). `..x` is a valid name of a cgroup.
pub fn leads_out(path: &[u8]) -> bool {
    path.strip_prefix(b"/..").is_some_and(|rest| rest.first().is_none_or(|&b| b == b'/'))
}

/// One mount of the cgroup2 hierarchy.
#[derive(Debug, PartialEq, Eq)]
pub struct Mount {
    /// The path of the cgroup that is mounted at `point`, in the reader's cgroup namespace.
    pub root: Vec<u8>,
    /// Where it is mounted.
    pub point: Vec<u8>,
    /// The mount's options or the file system's have `ro`.
    pub read_only: bool,
    /// The file system's options have `nsdelegate`: a cgroup namespace is a delegation boundary.
    pub nsdelegate: bool,
    /// They have `memory_localevents`: `memory.events` does not include the cgroups below.
    pub memory_localevents: bool,
    /// They have `pids_localevents`: `pids.events` counts the forks in the cgroup itself, as before Linux 6.11.
    pub pids_localevents: bool,
}

/// Parses a line of `/proc/self/mountinfo`. Returns `None` if it is not a cgroup2 mount.
pub fn cgroup2_mount(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|&b| b == b' ');
    let root = fields.nth(3)?;
    let point = fields.next()?;
    let options = fields.next()?;
    // Any number of optional fields are between the options and the "-".
    let mut fields = fields.skip_while(|field| *field != b"-").skip(1);
    if fields.next()? != b"cgroup2" {
        return None;
    }
    let super_options = fields.nth(1)?;
    let has = |list: &[u8], wanted: &[u8]| list.split(|&b| b == b',').any(|option| option == wanted);
    Some(Mount {
        root: unescape(root),
        point: unescape(point),
        read_only: has(options, b"ro") || has(super_options, b"ro"),
        nsdelegate: has(super_options, b"nsdelegate"),
        memory_localevents: has(super_options, b"memory_localevents"),
        pids_localevents: has(super_options, b"pids_localevents"),
    })
}

/// Returns the root of the mount with this id if a line of `/proc/self/mountinfo` describes it: the path in its file
/// system, still escaped.
pub fn mount_root(line: &[u8], id: u64) -> Option<&[u8]> {
    let mut fields = line.split(|&b| b == b' ');
    if fields.next().and_then(number)? != id {
        return None;
    }
    fields.nth(2)
}

/// Returns the id of the mount on which a descriptor was opened, from `/proc/self/fdinfo/N`.
pub fn mount_id(text: &[u8]) -> Option<u64> {
    text.split(|&b| b == b'\n').find_map(|line| words(line.strip_prefix(b"mnt_id:")?).next()).and_then(number)
}

/// Decodes the octal escapes of mountinfo, which stand for blanks, backslashes and hashes.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        match after {
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', more @ ..] if first == b'\\' => {
                plain.push(((a - b'0') << 6) | ((b - b'0') << 3) | (c - b'0'));
                rest = more;
            }
            _ => {
                plain.push(first);
                rest = after;
            }
        }
    }
    plain
}

/// Returns the part of `path` below `root`, without slashes at its ends. It is empty if both are the same. Returns `None`
/// if `path` is not below `root`.
pub fn below<'a>(root: &[u8], path: &'a [u8]) -> Option<&'a [u8]> {
    let root = root.strip_suffix(b"/").unwrap_or(root);
    match path.strip_prefix(root)? {
        [] => Some(b""),
        [b'/', rest @ ..] => Some(rest),
        _ => None,
    }
}

/// Splits a path into the part before its last component, and that component.
pub fn split_last(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&b| b == b'/') {
        Some(at) => (path.get(..at).unwrap_or_default(), path.get(at + 1..).unwrap_or_default()),
        None => (b"", path),
    }
}

/// Returns how many levels above a cgroup the nearest one is that also contains the other, by their paths. Returns none if a
/// path leads out of the reader's cgroup namespace.
pub fn levels_to_common(path: &[u8], other: &[u8]) -> Option<usize> {
    if leads_out(path) || leads_out(other) {
        return None;
    }
    let mut components = path.split(|&b| b == b'/').filter(|part| !part.is_empty());
    let mut others = other.split(|&b| b == b'/').filter(|part| !part.is_empty());
    while let Some(part) = components.next() {
        if others.next() != Some(part) {
            return Some(1 + components.count());
        }
    }
    Some(0)
}

/// The release of a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Release {
    /// Version, patch level and sublevel.
    pub version: (u64, u64, u64),
    /// The number of a release candidate; 0 for a final release.
    pub candidate: u64,
}

impl PartialOrd for Release {
    /// Release candidates come before the final release.
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        let rank = |release: &Self| (release.version, release.candidate.wrapping_sub(1));
        rank(self).partial_cmp(&rank(other))
    }
}

/// Parses the release from uname(2), such as `6.1.0-44-amd64`, `7.1.0-rc3+` or `5.10.46`.
pub fn release(text: &[u8]) -> Option<Release> {
    let end = text.iter().position(|b| !b.is_ascii_digit() && *b != b'.').unwrap_or(text.len());
    let (numbers, rest) = text.split_at_checked(end)?;
    let mut numbers = numbers.split(|&b| b == b'.').map(number);
    let major = numbers.next()??;
    let mut next = || numbers.next().flatten().unwrap_or(0);
    let version = (major, next(), next());
    let candidate = rest.strip_prefix(b"-rc").map_or(0, |rest| {
        let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        rest.get(..digits).and_then(number).unwrap_or(0)
    });
    Some(Release { version, candidate })
}

/// Returns true if `path` contains `component`, which begins with `/`: `/a/x` and `/a/x/y` contain `/x`, `/a/xy` does not.
pub fn has_component(path: &[u8], component: &[u8]) -> bool {
    !component.is_empty()
        && path.windows(component.len()).enumerate().any(|(at, window)| {
            window == component && path.get(at + component.len()).is_none_or(|&next| next == b'/')
        })
}

/// Parses a decimal number with or without a newline at its end. More than 64 bits saturate.
pub fn number(text: &[u8]) -> Option<u64> {
    let digits = text.strip_suffix(b"\n").unwrap_or(text);
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |sum, &digit| {
        digit.is_ascii_digit().then(|| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')))
    })
}

/// Parses a limit: a number, or `max` as [`UNLIMITED`].
pub fn limit(text: &[u8]) -> Option<u64> {
    match text {
        b"max" | b"max\n" => Some(UNLIMITED),
        _ => number(text),
    }
}

/// Parses `cpu.max`: quota (or [`UNLIMITED`]) and period, in microseconds.
pub fn cpu_max(text: &[u8]) -> Option<(u64, u64)> {
    let blank = text.iter().position(|&b| b == b' ')?;
    let quota = text.get(..blank).filter(|quota| !quota.ends_with(b"\n"))?;
    Some((limit(quota)?, number(text.get(blank + 1..)?)?))
}

/// Returns the `key value` lines of a flat-keyed file, such as `cpu.stat`. Ignores lines of another form, because new
/// kernels add lines.
pub fn pairs(text: &[u8]) -> impl Iterator<Item = (&[u8], u64)> {
    text.split(|&b| b == b'\n').filter_map(|line| {
        // From the end: the digits are fewer than the letters.
        let blank = line.iter().rposition(|b| !b.is_ascii_digit())?;
        let key = line.get(..=blank)?.strip_suffix(b" ")?;
        Some((key, number(line.get(blank + 1..)?)?))
    })
}

/// Returns the value of one key of a flat-keyed file.
pub fn value(text: &[u8], key: &[u8]) -> Option<u64> {
    pairs(text).find_map(|(name, value)| (name == key).then_some(value))
}

/// Returns the sum of the counters `allocstall_*` of `/proc/vmstat`, one for each kind of zone, or `None` if there is none.
pub fn allocation_stalls(text: &[u8]) -> Option<u64> {
    let stalls = pairs(text).filter(|(key, _)| key.starts_with(b"allocstall"));
    stalls.map(|(_, value)| value).reduce(u64::saturating_add)
}

/// The counters of `io.stat`, summed over the devices.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the kernel's words")]
pub struct IoStat {
    pub rbytes: u64,
    pub wbytes: u64,
    pub rios: u64,
    pub wios: u64,
}

/// Parses `io.stat`, which has one line per device, `8:0 rbytes=1 wbytes=2 ...`, and no line before the first I/O. Ignores
/// fields of another form: I/O policies add fields.
pub fn io_stat(text: &[u8]) -> IoStat {
    let mut sum = IoStat::default();
    for field in words(text) {
        let Some(equals) = field.iter().position(|&b| b == b'=') else { continue };
        let (key, value) = (field.get(..equals), field.get(equals + 1..).and_then(number));
        let counter = match key.unwrap_or_default() {
            b"rbytes" => &mut sum.rbytes,
            b"wbytes" => &mut sum.wbytes,
            b"rios" => &mut sum.rios,
            b"wios" => &mut sum.wios,
            _ => continue,
        };
        *counter = counter.saturating_add(value.unwrap_or(0));
    }
    sum
}

/// The totals of a pressure file: microseconds in which some processes, or all, were stalled. `cpu.pressure` has no `full`
/// line before Linux 5.13.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the kernel's words")]
pub struct Pressure {
    pub some_us: Option<u64>,
    pub full_us: Option<u64>,
}

/// Parses a pressure file: `some avg10=0.00 avg60=0.00 avg300=0.00 total=1`, and a line for `full`.
pub fn pressure(text: &[u8]) -> Pressure {
    let total = |kind: &[u8]| {
        let line = text.split(|&b| b == b'\n').find_map(|line| line.strip_prefix(kind))?;
        words(line).find_map(|word| number(word.strip_prefix(b"total=")?))
    };
    Pressure { some_us: total(b"some "), full_us: total(b"full ") }
}

/// Returns the words of a list such as `cgroup.controllers`.
pub fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|b| b.is_ascii_whitespace()).filter(|word| !word.is_empty())
}

/// Returns the ids in `cgroup.procs` or `cgroup.threads`. 0 stands for a process outside the reader's pid namespace, which
/// has no id there.
pub fn ids(text: &[u8]) -> impl Iterator<Item = i32> {
    text.split(|&b| b == b'\n').filter_map(|line| i32::try_from(number(line)?).ok())
}

/// Fields of `/proc/PID/stat`.
#[derive(Debug, PartialEq, Eq)]
pub struct ProcStat {
    /// The state of the main thread: `R`, `S`, `D`, `Z` and others.
    pub state: u8,
    /// The kernel's `PF_` flags.
    pub flags: u64,
    /// The number of threads. The main thread counts until the process is reaped.
    pub threads: u64,
    /// The start time in clock ticks since the boot. With the pid it identifies a process.
    pub start_ticks: u64,
}

/// Parses `/proc/PID/stat`. The command's name is in parentheses and may contain parentheses.
pub fn proc_stat(text: &[u8]) -> Option<ProcStat> {
    let end = text.iter().rposition(|&b| b == b')')?;
    let mut fields = words(text.get(end + 1..)?);
    // proc(5) numbers the fields; the state is field 3.
    Some(ProcStat {
        state: *fields.next()?.first()?,
        flags: number(fields.nth(9 - 4)?)?,
        threads: number(fields.nth(20 - 10)?)?,
        start_ticks: number(fields.nth(22 - 21)?)?,
    })
}

/// The content of an agent's attribute `user.agentcg.owner`. 0 means unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OwnerNote {
    /// The owner's pid in its own pid namespace.
    pub pid: u32,
    /// The time at which the group was created.
    pub created_unix_ns: u64,
    /// The tag of the program that made the agent.
    pub tag: Option<Tag>,
    /// The label of the agent.
    pub label: Option<Label>,
}

/// Parses `pid=1 created_ns=2 tag=x label=any text`, the first words in any order and with other words between. The label is
/// the rest of the text. A tag or a label that [`Tag`] or [`Label`] does not accept counts as none.
pub fn owner_note(text: &[u8]) -> OwnerNote {
    const LABEL: &[u8] = b" label=";
    let end = text.windows(LABEL.len()).position(|word| word == LABEL).unwrap_or(text.len());
    let (text, label) = text.split_at_checked(end).unwrap_or((text, b""));
    OwnerNote {
        pid: u32::try_from(noted(text, b"pid=")).unwrap_or_default(),
        created_unix_ns: noted(text, b"created_ns="),
        tag: words(text).find_map(|word| word.strip_prefix(b"tag=")).and_then(Tag::parse),
        label: label.strip_prefix(LABEL).and_then(Label::parse),
    }
}

/// Returns the number after `key=` in an attribute of the library. 0 means unknown.
pub fn noted(text: &[u8], key: &[u8]) -> u64 {
    words(text).find_map(|word| number(word.strip_prefix(key)?)).unwrap_or_default()
}

/// Returns true if a process lives. A main thread that has exited is a zombie, but other threads may live.
pub fn lives(state: u8, threads: u64) -> bool {
    !matches!(state, b'X' | b'x') && (state != b'Z' || threads > 1)
}

/// Fields of `/proc/ID/status` of a thread.
#[derive(Debug, PartialEq, Eq)]
pub struct Task {
    /// The process of the thread.
    pub pid: i32,
    /// A thread of that process lives.
    pub lives: bool,
}

/// Parses `/proc/ID/status`. Its first line is the command's name, in which newlines are escaped.
pub fn task(text: &[u8]) -> Option<Task> {
    let field = |key: &[u8]| {
        text.split(|&b| b == b'\n').find_map(|line| words(line.strip_prefix(key)?.strip_prefix(b":")?).next())
    };
    Some(Task {
        pid: i32::try_from(number(field(b"Tgid")?)?).ok()?,
        // On some kernels a zombie has no line for its threads, and no thread.
        lives: lives(*field(b"State")?.first()?, field(b"Threads").and_then(number).unwrap_or(0)),
    })
}

/// Returns true if `/proc/ID/status` shows one pid. It shows one for each pid namespace from that of /proc down to that of the
/// process, so that one means that they are the same.
pub fn is_numbered_once(text: &[u8]) -> bool {
    let pids = text.split(|&b| b == b'\n').find_map(|line| line.strip_prefix(b"NSpid:"));
    pids.is_some_and(|pids| words(pids).count() == 1)
}

/// Parses `/proc/self/fdinfo/FD` of a pidfd: the pid, or 0 for a process that has been reaped or has no pid in the reader's
/// namespace. Returns `None` for other descriptors.
pub fn pidfd(text: &[u8]) -> Option<i32> {
    let pid = text.split(|&b| b == b'\n').find_map(|line| words(line.strip_prefix(b"Pid:")?).next())?;
    if pid == b"-1" { Some(0) } else { i32::try_from(number(pid)?).ok() }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

#[cfg(test)]
#[path = "kernels.rs"]
mod kernels;

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's text -> numbers and names. Pure and total: any bytes in, a value or nothing out.
//!
//! Paths are bytes. cgroup names may hold everything but a newline and a slash, so nothing here
//! trims, and nothing decodes.

/// The value that means "no limit": what the kernel writes as `max`.
pub const UNLIMITED: u64 = u64::MAX;

/// Our own path in the cgroup2 hierarchy: the `0::` line of `/proc/self/cgroup`.
pub fn own_cgroup(text: &[u8]) -> Option<&[u8]> {
    text.split(|&b| b == b'\n').find_map(|line| line.strip_prefix(b"0::"))
}

/// The controllers of v1 hierarchies that a `/proc/PID/cgroup` tells of; named ones have none.
pub fn v1_controllers(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&b| b == b'\n')
        .filter_map(|line| line.splitn(3, |&b| b == b':').nth(1))
        .flat_map(|list| list.split(|&b| b == b','))
        .filter(|name| !name.is_empty() && !name.starts_with(b"name="))
}

/// True for a path that leads out of the reader's cgroup namespace (`/..`, `/../x`); a cgroup may
/// well be called `..x`.
pub fn leads_out(path: &[u8]) -> bool {
    path.strip_prefix(b"/..").is_some_and(|rest| rest.first().is_none_or(|&b| b == b'/'))
}

/// One mount of the cgroup2 hierarchy.
#[derive(Debug, PartialEq, Eq)]
pub struct Mount {
    /// The cgroup that is seen at `point`, as our namespace names it.
    pub root: Vec<u8>,
    /// Where it is mounted.
    pub point: Vec<u8>,
    /// By the mount's or the file system's options.
    pub read_only: bool,
    /// A cgroup namespace is a border of delegation.
    pub nsdelegate: bool,
}

/// A line of `/proc/self/mountinfo`, if it is about cgroup2.
pub fn cgroup2_mount(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|&b| b == b' ');
    let root = fields.nth(3)?;
    let point = fields.next()?;
    let options = fields.next()?;
    // Between the options and the "-" stand any number of optional fields.
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
    })
}

/// The root of the mount with this id, if a line of `/proc/self/mountinfo` is about it: its path in its file system, still
/// escaped.
pub fn mount_root(line: &[u8], id: u64) -> Option<&[u8]> {
    let mut fields = line.split(|&b| b == b' ');
    if fields.next().and_then(number)? != id {
        return None;
    }
    fields.nth(2)
}

/// The id of the mount that a descriptor was opened on, of `/proc/self/fdinfo/N`.
pub fn mount_id(text: &[u8]) -> Option<u64> {
    text.split(|&b| b == b'\n').find_map(|line| words(line.strip_prefix(b"mnt_id:")?).next()).and_then(number)
}

/// mountinfo writes blanks, backslashes and hashes as three octal digits.
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

/// What of `path` lies below `root`, with neither slash at its ends: nothing if they are the same.
pub fn below<'a>(root: &[u8], path: &'a [u8]) -> Option<&'a [u8]> {
    let root = root.strip_suffix(b"/").unwrap_or(root);
    match path.strip_prefix(root)? {
        [] => Some(b""),
        [b'/', rest @ ..] => Some(rest),
        _ => None,
    }
}

/// A path's last component and what stands before it.
pub fn split_last(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&b| b == b'/') {
        Some(at) => (path.get(..at).unwrap_or_default(), path.get(at + 1..).unwrap_or_default()),
        None => (b"", path),
    }
}

/// A kernel's release.
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

/// What uname(2) gives as release: `6.1.0-44-amd64`, `7.1.0-rc3+`, `5.10.46`.
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

/// True if `name` stands in `path`, which may go on below it: `/a/agents/x` and `/a/agents/x/y`
/// hold `/agents/x`, `/a/agents/xy` does not.
pub fn holds(path: &[u8], name: &[u8]) -> bool {
    !name.is_empty()
        && path
            .windows(name.len())
            .enumerate()
            .any(|(at, window)| window == name && path.get(at + name.len()).is_none_or(|&next| next == b'/'))
}

/// A whole decimal number, a newline behind it allowed. More than 64 bits saturate.
pub fn number(text: &[u8]) -> Option<u64> {
    let digits = text.strip_suffix(b"\n").unwrap_or(text);
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |sum, &digit| {
        digit.is_ascii_digit().then(|| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')))
    })
}

/// A limit: a number, or `max` as [`UNLIMITED`].
pub fn limit(text: &[u8]) -> Option<u64> {
    match text {
        b"max" | b"max\n" => Some(UNLIMITED),
        _ => number(text),
    }
}

/// `cpu.max`: quota (or [`UNLIMITED`]) and period in microseconds.
pub fn cpu_max(text: &[u8]) -> Option<(u64, u64)> {
    let blank = text.iter().position(|&b| b == b' ')?;
    let quota = text.get(..blank).filter(|quota| !quota.ends_with(b"\n"))?;
    Some((limit(quota)?, number(text.get(blank + 1..)?)?))
}

/// The `key value` lines of a flat-keyed file, such as `cpu.stat`. What is not of that form is
/// passed over: new kernels add lines.
pub fn pairs(text: &[u8]) -> impl Iterator<Item = (&[u8], u64)> {
    text.split(|&b| b == b'\n').filter_map(|line| {
        // From the end: the digits are fewer than the letters.
        let blank = line.iter().rposition(|b| !b.is_ascii_digit())?;
        let key = line.get(..=blank)?.strip_suffix(b" ")?;
        Some((key, number(line.get(blank + 1..)?)?))
    })
}

/// The value of one key of a flat-keyed file.
pub fn value(text: &[u8], key: &[u8]) -> Option<u64> {
    pairs(text).find_map(|(name, value)| (name == key).then_some(value))
}

/// What `io.stat` tells, summed over its devices.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the kernel's words")]
pub struct IoStat {
    pub rbytes: u64,
    pub wbytes: u64,
    pub rios: u64,
    pub wios: u64,
}

/// `io.stat`: a line for each device, `8:0 rbytes=1 wbytes=2 ...`, none as long as nothing was read or
/// written. What is not of that form is passed over: controllers of the io controller's own kind add more.
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

/// What a pressure file tells: microseconds in which some, or all, stood still. `cpu.pressure` has no
/// `full` before Linux 5.13.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the kernel's words")]
pub struct Pressure {
    pub some_us: Option<u64>,
    pub full_us: Option<u64>,
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=1` and the same for `full`.
pub fn pressure(text: &[u8]) -> Pressure {
    let total = |kind: &[u8]| {
        let line = text.split(|&b| b == b'\n').find_map(|line| line.strip_prefix(kind))?;
        words(line).find_map(|word| number(word.strip_prefix(b"total=")?))
    };
    Pressure { some_us: total(b"some "), full_us: total(b"full ") }
}

/// The words of a list such as `cgroup.controllers`.
pub fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|b| b.is_ascii_whitespace()).filter(|word| !word.is_empty())
}

/// The ids in `cgroup.procs` or `cgroup.threads`. 0 stands for a process outside the reader's pid
/// namespace, which cannot be named.
pub fn ids(text: &[u8]) -> impl Iterator<Item = i32> {
    text.split(|&b| b == b'\n').filter_map(|line| i32::try_from(number(line)?).ok())
}

/// What `/proc/PID/stat` tells of a process.
#[derive(Debug, PartialEq, Eq)]
pub struct ProcStat {
    /// `R`, `S`, `D`, `Z` and so on, of the main thread.
    pub state: u8,
    /// The kernel's `PF_` flags.
    pub flags: u64,
    /// The main thread counts until it is waited for.
    pub threads: u64,
    /// When it began, in clock ticks since the boot: with the pid it names a process for good.
    pub start_ticks: u64,
}

/// `/proc/PID/stat`. The command name stands in parentheses and may itself hold some.
pub fn proc_stat(text: &[u8]) -> Option<ProcStat> {
    let end = text.iter().rposition(|&b| b == b')')?;
    let mut fields = words(text.get(end + 1..)?);
    // Numbered as proc(5) does: the state is field 3.
    Some(ProcStat {
        state: *fields.next()?.first()?,
        flags: number(fields.nth(9 - 4)?)?,
        threads: number(fields.nth(20 - 10)?)?,
        start_ticks: number(fields.nth(22 - 21)?)?,
    })
}

/// What an agent's `user.agentcg.owner` tells; 0 is not known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OwnerNote {
    /// As the owner saw itself, in its pid namespace.
    pub pid: u32,
    /// When the group was made.
    pub created_unix_ns: u64,
}

/// `pid=1 created_ns=2`, in any order, with more between.
pub fn owner_note(text: &[u8]) -> OwnerNote {
    let pid = u32::try_from(noted(text, b"pid=")).unwrap_or_default();
    OwnerNote { pid, created_unix_ns: noted(text, b"created_ns=") }
}

/// The number behind `key=` in an attribute of ours; 0 is not known.
pub fn noted(text: &[u8], key: &[u8]) -> u64 {
    words(text).find_map(|word| number(word.strip_prefix(key)?)).unwrap_or_default()
}

/// A main thread that has exited is a zombie too, while other threads live on.
pub fn lives(state: u8, threads: u64) -> bool {
    !matches!(state, b'X' | b'x') && (state != b'Z' || threads > 1)
}

/// What `/proc/ID/status` tells of a thread.
#[derive(Debug, PartialEq, Eq)]
pub struct Task {
    /// The process that it belongs to.
    pub pid: i32,
    /// Something of that process lives.
    pub lives: bool,
}

/// `/proc/ID/status`. Its first line is the command's name, in which a newline is escaped.
pub fn task(text: &[u8]) -> Option<Task> {
    let field = |key: &[u8]| {
        text.split(|&b| b == b'\n').find_map(|line| words(line.strip_prefix(key)?.strip_prefix(b":")?).next())
    };
    Some(Task {
        pid: i32::try_from(number(field(b"Tgid")?)?).ok()?,
        // A zombie has no line for its threads on some kernels: then there are none.
        lives: lives(*field(b"State")?.first()?, field(b"Threads").and_then(number).unwrap_or(0)),
    })
}

/// `/proc/self/fdinfo/FD` of a pidfd: the process, 0 for one that is gone or has no pid here. Nothing for any other
/// descriptor.
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

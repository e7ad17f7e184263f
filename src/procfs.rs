// SPDX-License-Identifier: MIT OR Apache-2.0
//! What /proc tells: where we are, what is mounted, how a process is.

use crate::parse::{self, ProcStat};
use nix::errno::Errno;
use std::fs::File;
use std::io::{ErrorKind, Read};

/// Read a file until `find` has found something in what came so far, or to its end. The chunk is as
/// large as what seq_file gives at once.
fn read_until<T>(path: &str, mut find: impl FnMut(&[u8]) -> Option<T>) -> nix::Result<Option<T>> {
    let errno = |e: std::io::Error| Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO));
    let mut file = File::open(path).map_err(errno)?;
    let mut text = Vec::with_capacity(4096);
    let mut chunk = [0; 4096];
    loop {
        match file.read(&mut chunk) {
            Ok(0) => return Ok(None),
            Ok(n) => text.extend_from_slice(chunk.get(..n).unwrap_or_default()),
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(e) => return Err(errno(e)),
        }
        if let Some(found) = find(&text) {
            return Ok(Some(found));
        }
    }
}

/// The `0::` path of a process (`self` or a pid), nothing if no cgroup2 hierarchy was ever mounted.
/// It is always the last line, so a line that ends is the whole of it.
pub fn cgroup_of(process: &str) -> nix::Result<Option<Vec<u8>>> {
    read_until(&format!("/proc/{process}/cgroup"), |text| {
        let whole = text.strip_suffix(b"\n")?;
        parse::own_cgroup(whole).map(<[u8]>::to_vec)
    })
}

/// Offers each line of mountinfo to `find` until it takes one.
pub fn find_mount<T>(mut find: impl FnMut(&[u8]) -> Option<T>) -> nix::Result<Option<T>> {
    let mut seen = 0;
    read_until("/proc/self/mountinfo", |text| {
        while let Some(rest) = text.get(seen..) {
            let end = rest.iter().position(|&b| b == b'\n')?;
            seen += end + 1;
            if let Some(found) = find(rest.get(..end).unwrap_or_default()) {
                return Some(found);
            }
        }
        None
    })
}

/// The state of a process: `ESRCH` if there is none (or hidepid hides it from us).
pub fn stat(pid: i32) -> nix::Result<ProcStat> {
    match read_until(&format!("/proc/{pid}/stat"), |text| {
        text.ends_with(b"\n").then(|| parse::proc_stat(text))
    }) {
        Ok(found) => found.flatten().ok_or(Errno::ESRCH),
        Err(Errno::ENOENT) => Err(Errno::ESRCH),
        Err(e) => Err(e),
    }
}

/// No swap is in use by the whole system: /proc/swaps holds its heading alone, or is not there.
pub fn swap_is_off() -> bool {
    match std::fs::read("/proc/swaps") {
        Ok(text) => text.iter().filter(|&&b| b == b'\n').count() <= 1,
        Err(e) => e.kind() == ErrorKind::NotFound,
    }
}

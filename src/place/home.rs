// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the guard goes when its work is done: nobody can remove the cgroup that it is in itself.

use super::own;
use nix::fcntl::OFlag;
use std::ffi::CStr;
use std::os::fd::OwnedFd;

/// Files to write "0" to: of our own cgroup, which may be gone when we are; and of the one that systemd
/// itself is in, the nearest above us that we may write.
pub fn ways_home() -> Vec<OwnedFd> {
    let Ok(own) = own::find() else { return Vec::new() };
    let open = |number: usize, file: &CStr| own.open(number).ok()?.open_file(file, OFlag::O_WRONLY).ok();
    let home = open(0, c"cgroup.procs");
    let refuge = (0..own.upwards().count()).find_map(|number| open(number, c"init.scope/cgroup.procs"));
    home.into_iter().chain(refuge).collect()
}

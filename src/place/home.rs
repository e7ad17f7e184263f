// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the guard goes when its work is done: nobody can remove the cgroup that it is in itself.

use super::self_cgroup;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use std::ffi::CStr;
use std::os::fd::OwnedFd;

/// Files to write "0" to: of our own cgroup, which may be gone when we are; and of the one that systemd
/// itself is in, the nearest above us that we may write. An error that may pass is one: without these the guard's own
/// cgroup would be left behind.
pub fn exit_cgroups() -> nix::Result<Vec<OwnedFd>> {
    let own = match self_cgroup::find() {
        Ok(own) => own,
        Err(e) if e.reason().is_none() => return Err(e.errno()),
        Err(_) => return Ok(Vec::new()),
    };
    let open = |number: usize, file: &CStr| {
        let opened = own.open(number).and_then(|dir| dir.open_file(file, OFlag::O_WRONLY));
        match opened {
            Err(e @ (Errno::EIO | Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM)) => Err(e),
            opened => Ok(opened.ok()),
        }
    };
    let mut ways: Vec<OwnedFd> = open(0, c"cgroup.procs")?.into_iter().collect();
    for number in 0..own.upwards().count() {
        if let Some(refuge) = open(number, c"init.scope/cgroup.procs")? {
            ways.push(refuge);
            break;
        }
    }
    Ok(ways)
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Moving processes into a group.

use crate::cgroupfs::Dir;
use crate::procfs::Process;
use crate::sys::retry_transient;
use crate::systemd;
use nix::errno::Errno;

const PROCS: &std::ffi::CStr = c"cgroup.procs";
/// include/linux/sched.h
const PF_KTHREAD: u64 = 0x0020_0000;

/// Why a process was not moved.
#[derive(Debug)]
pub enum Failure {
    /// There is no such process, or none that lives.
    NoProcess,
    /// It belongs to the kernel, whose threads root could move to everybody's harm.
    KernelThread,
    /// systemd was to do it, and did not.
    Systemd(systemd::Failure),
    /// The kernel said no.
    Errno(Errno),
}

/// Move a process with all its threads, and make sure that it is there. `otherwise` is asked where the
/// kernel does not let us.
pub fn pid(dir: &Dir, pid: i32, otherwise: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
    let process = Process::open(pid)?;
    if process.living()?.flags & PF_KTHREAD != 0 {
        return Err(Failure::KernelThread);
    }
    // Plain decimal: the kernel takes a leading 0 for octal.
    match dir.write(PROCS, pid.to_string().as_bytes()) {
        Err(Errno::EACCES) => otherwise()?,
        done => done?,
    }
    // The write moves whatever of the process is not exiting, and "succeeds" for a zombie, which it
    // leaves where it was. One that still lives after it was moved.
    retry_transient(|e| e == Errno::ESRCH, || process.living())?;
    Ok(())
}

impl From<Errno> for Failure {
    fn from(e: Errno) -> Self {
        match e {
            Errno::ESRCH => Self::NoProcess,
            e => Self::Errno(e),
        }
    }
}

/// Move the calling process: three system calls, nothing else, for use between fork and exec. Needs no
/// pid, so no agreement of pid namespaces.
pub fn own(dir: &Dir) -> nix::Result<()> {
    dir.write(PROCS, b"0")
}

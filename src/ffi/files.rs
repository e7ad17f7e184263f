// SPDX-License-Identifier: MIT OR Apache-2.0
//! The header's section "limits and files of a living group": the files.

use super::boundary::{guard, invalid};
use super::error::agentcg_error;
use super::handle::{agent, agentcg};
use super::memory::{give_string, string};
use crate::error::Result;
use nix::errno::Errno;
use std::ffi::{CStr, c_char, c_int};

/// Any interface file, for what has no function here: io.stat, cpuset.cpus.effective,
/// memory.numa_stat ... name is one component: a letter, then letters, digits, '.',
/// '_' and '-'. The whole of it, however long, as the kernel gives it: lines that
/// each end with a newline. As snprintf(3): cut to fit, always terminated. Returns
/// the full length, which may be another one the next time.
///
/// -EACCES (it can only be written, or not by us), -EINVAL (no such name can be; a
/// cgroup that the agent has made; as root, one that can only be written), -EIO (what
/// has no code here: the message has it), -EMFILE, -ENFILE, -ENODEV (the group was
/// removed), -ENOENT (no such file: AGENTCG_WHY_NO_CONTROLLER where its controller is
/// not in force), -ENOMEM, -EOPNOTSUPP (say, cgroup.procs of a threaded cgroup).
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn agentcg_read_file(
    cg: *mut agentcg,
    name: *const c_char,
    buf: *mut c_char,
    size: usize,
    reterr: *mut agentcg_error,
) -> c_int {
    use Errno::*;
    let codes = [EACCES, EINVAL, EIO, EMFILE, ENFILE, ENODEV, ENOENT, ENOMEM, EOPNOTSUPP];
    // SAFETY: the C caller's promises, as the comment above and the conventions say.
    unsafe {
        guard(reterr, &codes, || {
            let agent = agent(cg)?;
            give_string(&agent.read_file(given(name, "name")?)?, buf, size)
        })
    }
}

/// Write a value to an interface file, in one write(2). A newline at its end may be.
/// What the kernel makes of it is for it to say; reading the file back tells.
/// memory.max and its like do not wait until memory has been reclaimed (Linux 6.16).
///
/// -E2BIG (more than 4095 bytes), -EINVAL (no such name can be; a cgroup that the
/// agent has made; an empty value, to which the kernel says yes and does nothing).
/// The kernel's own refusals: -EACCES (it can only be read, or is not ours to write),
/// -EAGAIN (memory.reclaim: not all), -EBUSY, -EEXIST, -EINVAL (it makes no sense of
/// the value), -EIO (what has no code here: the message has it), -EMFILE, -ENFILE,
/// -ENODEV (AGENTCG_WHY_GONE: the group was removed; else io.max: no such device),
/// -ENOENT (no such file, and AGENTCG_WHY_NO_CONTROLLER where its controller is not
/// in force; cgroup.subtree_control: no such controller), -ENOMEM, -ENOSPC (cpuset),
/// -EOPNOTSUPP, -ERANGE, -ESRCH (cgroup.procs: no such process).
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn agentcg_write_file(
    cg: *mut agentcg,
    name: *const c_char,
    value: *const c_char,
    reterr: *mut agentcg_error,
) -> c_int {
    use Errno::*;
    let codes = [
        E2BIG, EACCES, EAGAIN, EBUSY, EEXIST, EINVAL, EIO, EMFILE, ENFILE, ENODEV, ENOENT, ENOMEM, ENOSPC,
        EOPNOTSUPP, ERANGE, ESRCH,
    ];
    // SAFETY: the C caller's promises, as the comment above and the conventions say.
    unsafe {
        guard(reterr, &codes, || {
            let agent = agent(cg)?;
            agent.write_file(given(name, "name")?, given(value, "value")?.to_bytes()).map(|()| 0)
        })
    }
}

/// A string that has to be there.
///
/// # Safety
/// As [`string`].
unsafe fn given<'a>(text: *const c_char, what: &str) -> Result<&'a CStr> {
    // SAFETY: the caller's promise.
    unsafe { string(text) }.map_or_else(|| invalid(format!("{what} is NULL")), Ok)
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The header's section "interface files".

use super::boundary::{self, invalid};
use super::error::agentcg_error;
use super::handle::{agent, agentcg};
use super::memory::{copy_out_string, string};
use crate::error::Result;
use nix::errno::Errno;
use std::ffi::{CStr, c_char, c_int};

/// Read an interface file that has no function of its own, such as io.stat,
/// cpuset.cpus.effective or memory.numa_stat. name is one path component: a
/// letter, then letters, digits, '.', '_' and '-'. The whole file is read,
/// whatever its length, and copied to buf as the kernel returns it: lines that
/// each end with a newline. As snprintf(3), the text is cut to fit and always
/// terminated.
///
/// Returns the full length, which may differ at the next call. Errors, besides
/// the common ones:
///   -EACCES      Also: the file can only be written.
///   -EINVAL      Also: no interface file can have this name; it is a cgroup
///                that the agent has made; as root, the file can only be
///                written.
///   -ENOENT      There is no such file: AGENTCG_WHY_NO_CONTROLLER if its
///                controller is not in force.
///   -EOPNOTSUPP  For example, cgroup.procs of a threaded cgroup.
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
    // SAFETY: the C caller passes valid pointers, as the header's conventions say.
    unsafe {
        boundary::call(reterr, &codes, || {
            let agent = agent(cg)?;
            copy_out_string(&agent.read_file(required(name, "name")?)?, buf, size)
        })
    }
}

/// Write a value to an interface file with one write(2). name is as for
/// agentcg_read_file(). value is 1 to 4095 bytes; a trailing newline is allowed.
/// Read the file back to see the effect. From Linux 6.16 on, a write to
/// memory.max or memory.high does not wait until the memory has been reclaimed.
///
/// Returns 0. Errors, besides the common ones:
///   -E2BIG       value has more than 4095 bytes.
///   -EACCES      Also: the file can only be read.
///   -EAGAIN      memory.reclaim: not all of it was reclaimed.
///   -EINVAL      Also: no interface file can have this name; it is a cgroup
///                that the agent has made; the value is empty, which the kernel
///                accepts and ignores; the kernel does not understand the value.
///   -ENODEV      AGENTCG_WHY_GONE: the group was removed. Without that reason:
///                io.max names a device that does not exist.
///   -ENOENT      There is no such file: AGENTCG_WHY_NO_CONTROLLER if its
///                controller is not in force. cgroup.subtree_control: there is
///                no such controller.
///   -ENOSPC      cpuset: from the kernel.
///   -ESRCH       cgroup.procs: there is no such process.
///   -EBUSY, -EEXIST, -EOPNOTSUPP, -ERANGE
///                The kernel refuses the value.
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
    // SAFETY: the C caller passes valid pointers, as the header's conventions say.
    unsafe {
        boundary::call(reterr, &codes, || {
            let agent = agent(cg)?;
            agent.write_file(required(name, "name")?, required(value, "value")?.to_bytes()).map(|()| 0)
        })
    }
}

/// A string that must not be NULL. `what` names the argument in the message.
///
/// # Safety
/// As for [`string`].
unsafe fn required<'a>(text: *const c_char, what: &str) -> Result<&'a CStr> {
    // SAFETY: as the caller promises.
    unsafe { string(text) }.map_or_else(|| invalid(format_args!("{what} is NULL")), Ok)
}

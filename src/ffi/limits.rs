// SPDX-License-Identifier: MIT OR Apache-2.0
//! The header's section "limits".

use super::boundary::{self, invalid};
use super::error::agentcg_error;
use super::handle::{agent, agentcg};
use super::memory::{Plain, check_flags, check_struct, copy_in_struct, copy_out_struct, string};
use crate::error::{Error, Result};
use crate::limits::{CpuMax, Limits};
use crate::place;
use nix::errno::Errno;
use std::ffi::{c_char, c_int};

/// memory_max_bytes is valid.
pub const AGENTCG_LIMIT_MEMORY_MAX: u64 = 1u64 << 0;
/// memory_high_bytes is valid.
pub const AGENTCG_LIMIT_MEMORY_HIGH: u64 = 1u64 << 1;
/// memory_low_bytes is valid.
pub const AGENTCG_LIMIT_MEMORY_LOW: u64 = 1u64 << 2;
/// memory_min_bytes is valid.
pub const AGENTCG_LIMIT_MEMORY_MIN: u64 = 1u64 << 3;
/// swap_max_bytes is valid.
pub const AGENTCG_LIMIT_SWAP_MAX: u64 = 1u64 << 4;
/// oom_group is valid.
pub const AGENTCG_LIMIT_OOM_GROUP: u64 = 1u64 << 5;
/// cpu_max_millicpu and cpu_period_us are valid.
pub const AGENTCG_LIMIT_CPU_MAX: u64 = 1u64 << 6;
/// cpu_burst_us is valid.
pub const AGENTCG_LIMIT_CPU_BURST: u64 = 1u64 << 7;
/// cpu_weight is valid.
pub const AGENTCG_LIMIT_CPU_WEIGHT: u64 = 1u64 << 8;
/// cpu_idle is valid.
pub const AGENTCG_LIMIT_CPU_IDLE: u64 = 1u64 << 9;
/// pids_max is valid.
pub const AGENTCG_LIMIT_PIDS_MAX: u64 = 1u64 << 10;
/// io_weight is valid.
pub const AGENTCG_LIMIT_IO_WEIGHT: u64 = 1u64 << 11;
/// max_depth is valid.
pub const AGENTCG_LIMIT_MAX_DEPTH: u64 = 1u64 << 12;
/// max_descendants is valid.
pub const AGENTCG_LIMIT_MAX_DESCENDANTS: u64 = 1u64 << 13;

/// agentcg_set_limits(), agentcg_set_place_limits(): enforce memory_max_bytes and
/// memory_high_bytes at once, by reclaiming memory and, for memory_max_bytes, by
/// killing.
pub const AGENTCG_SET_FORCE: u64 = 1u64 << 0;

/// The smallest size of agentcg_limits that is accepted.
pub const AGENTCG_LIMITS_SIZE_V0: usize = 128;

/// Limits to set, or limits that were read. To set some, clear the struct, fill
/// in the fields, and set their bits in mask. A field whose bit is clear is left
/// as it is. agentcg_new() refuses a field that is not 0 and whose bit is clear,
/// because a forgotten bit would mean no limit. AGENTCG_UNLIMITED lifts a limit.
///
/// memory_low_bytes and memory_min_bytes protect against a limit on the
/// directory that the agents share. They protect against pressure from further
/// up only as far as that directory and those above it are protected, too.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub struct agentcg_limits {
    /// AGENTCG_LIMIT_... of the fields that are valid.
    pub mask: u64,
    /// The hard limit of memory: above it the OOM killer acts. One page or more.
    pub memory_max_bytes: u64,
    /// Above this the group is throttled and its memory is reclaimed.
    pub memory_high_bytes: u64,
    /// Best-effort protection: memory up to this is reclaimed last.
    pub memory_low_bytes: u64,
    /// Hard protection: memory up to this is not reclaimed.
    pub memory_min_bytes: u64,
    /// The limit of swap. With 0 there is none, and memory_max_bytes bounds all.
    pub swap_max_bytes: u64,
    /// With 1 an OOM kills the whole group and never a part of it.
    pub oom_group: u64,
    /// The CPU quota, 1 or more: 500 is half of a CPU, 2000 is two CPUs.
    pub cpu_max_millicpu: u64,
    /// The period of the quota. 0 means 100000, or longer if the quota of a period
    /// would be less than 1000 us, the minimum of the kernel.
    pub cpu_period_us: u64,
    /// Unused quota that can be saved up, at most the quota.
    pub cpu_burst_us: u64,
    /// The share of CPU time, 1 to 10000. The kernel's default is 100.
    pub cpu_weight: u64,
    /// With 1 the group gets only idle CPU time.
    pub cpu_idle: u64,
    /// The limit of threads. Zombies count, too.
    pub pids_max: u64,
    /// The share of I/O, 1 to 10000.
    pub io_weight: u64,
    /// Levels of cgroups that the agent may make inside its group.
    pub max_depth: u64,
    /// Cgroups that the agent may make inside its group.
    pub max_descendants: u64,
}

const KNOWN: u64 = (AGENTCG_LIMIT_MAX_DESCENDANTS << 1) - 1;

const _: () = assert!(size_of::<agentcg_limits>() == AGENTCG_LIMITS_SIZE_V0);

// SAFETY: repr(C), and sixteen u64 leave no padding.
unsafe impl Plain for agentcg_limits {
    const SIZE_V0: usize = AGENTCG_LIMITS_SIZE_V0;
}

/// Copy in the caller's limits. NULL stands for none.
///
/// # Safety
/// As for [`copy_in_struct`].
unsafe fn copy_in(limits: *const agentcg_limits, size: usize) -> Result<Limits> {
    // SAFETY: as the caller promises.
    match unsafe { copy_in_struct(limits, size) }? {
        Some(limits) => limits.try_into(),
        None => Ok(Limits::default()),
    }
}

/// [`copy_in`] for a new group: a field that is set without its bit is an error.
///
/// # Safety
/// As for [`copy_in_struct`].
pub unsafe fn copy_in_new(limits: *const agentcg_limits, size: usize) -> Result<Limits> {
    // SAFETY: as the caller promises.
    match unsafe { copy_in_struct(limits, size) }? {
        Some(limits) => {
            no_bit_is_forgotten(&limits)?;
            limits.try_into()
        }
        None => Ok(Limits::default()),
    }
}

fn no_bit_is_forgotten(c: &agentcg_limits) -> Result<()> {
    let fields = [
        ("memory_max_bytes", c.memory_max_bytes, AGENTCG_LIMIT_MEMORY_MAX, "MEMORY_MAX"),
        ("memory_high_bytes", c.memory_high_bytes, AGENTCG_LIMIT_MEMORY_HIGH, "MEMORY_HIGH"),
        ("memory_low_bytes", c.memory_low_bytes, AGENTCG_LIMIT_MEMORY_LOW, "MEMORY_LOW"),
        ("memory_min_bytes", c.memory_min_bytes, AGENTCG_LIMIT_MEMORY_MIN, "MEMORY_MIN"),
        ("swap_max_bytes", c.swap_max_bytes, AGENTCG_LIMIT_SWAP_MAX, "SWAP_MAX"),
        ("oom_group", c.oom_group, AGENTCG_LIMIT_OOM_GROUP, "OOM_GROUP"),
        ("cpu_max_millicpu", c.cpu_max_millicpu, AGENTCG_LIMIT_CPU_MAX, "CPU_MAX"),
        ("cpu_period_us", c.cpu_period_us, AGENTCG_LIMIT_CPU_MAX, "CPU_MAX"),
        ("cpu_burst_us", c.cpu_burst_us, AGENTCG_LIMIT_CPU_BURST, "CPU_BURST"),
        ("cpu_weight", c.cpu_weight, AGENTCG_LIMIT_CPU_WEIGHT, "CPU_WEIGHT"),
        ("cpu_idle", c.cpu_idle, AGENTCG_LIMIT_CPU_IDLE, "CPU_IDLE"),
        ("pids_max", c.pids_max, AGENTCG_LIMIT_PIDS_MAX, "PIDS_MAX"),
        ("io_weight", c.io_weight, AGENTCG_LIMIT_IO_WEIGHT, "IO_WEIGHT"),
        ("max_depth", c.max_depth, AGENTCG_LIMIT_MAX_DEPTH, "MAX_DEPTH"),
        ("max_descendants", c.max_descendants, AGENTCG_LIMIT_MAX_DESCENDANTS, "MAX_DESCENDANTS"),
    ];
    match fields.iter().find(|(_, value, bit, _)| *value != 0 && c.mask & bit == 0) {
        None => Ok(()),
        Some((field, value, _, bit)) => invalid(format_args!(
            "limits.{field} is {value}, but AGENTCG_LIMIT_{bit} is not in limits.mask: set the bit, or the field to 0"
        )),
    }
}

impl TryFrom<agentcg_limits> for Limits {
    type Error = Error;

    fn try_from(c: agentcg_limits) -> Result<Self> {
        if c.mask & !KNOWN != 0 {
            let unknown = c.mask & !KNOWN;
            return Err(Error::new(
                Errno::E2BIG,
                format_args!(
                    "limits.mask has bits that this version of libagentcg does not know: {unknown:#x}"
                ),
            ));
        }
        let asked = |bit: u64, value: u64| (c.mask & bit != 0).then_some(value);
        let flag = |bit, value, file| match asked(bit, value) {
            None => Ok(None),
            Some(value @ (0 | 1)) => Ok(Some(value == 1)),
            Some(value) => Err(Error::new(
                Errno::ERANGE,
                format_args!("{file} out of range: {value} is neither 0 nor 1"),
            )
            .on(file)),
        };
        Ok(Self {
            memory_max: asked(AGENTCG_LIMIT_MEMORY_MAX, c.memory_max_bytes),
            memory_high: asked(AGENTCG_LIMIT_MEMORY_HIGH, c.memory_high_bytes),
            memory_low: asked(AGENTCG_LIMIT_MEMORY_LOW, c.memory_low_bytes),
            memory_min: asked(AGENTCG_LIMIT_MEMORY_MIN, c.memory_min_bytes),
            swap_max: asked(AGENTCG_LIMIT_SWAP_MAX, c.swap_max_bytes),
            oom_group: flag(AGENTCG_LIMIT_OOM_GROUP, c.oom_group, "memory.oom.group")?,
            cpu_max: asked(AGENTCG_LIMIT_CPU_MAX, c.cpu_max_millicpu)
                .map(|millicpu| CpuMax { millicpu, period_us: c.cpu_period_us }),
            cpu_burst_us: asked(AGENTCG_LIMIT_CPU_BURST, c.cpu_burst_us),
            cpu_weight: asked(AGENTCG_LIMIT_CPU_WEIGHT, c.cpu_weight),
            cpu_idle: flag(AGENTCG_LIMIT_CPU_IDLE, c.cpu_idle, "cpu.idle")?,
            pids_max: asked(AGENTCG_LIMIT_PIDS_MAX, c.pids_max),
            io_weight: asked(AGENTCG_LIMIT_IO_WEIGHT, c.io_weight),
            max_depth: asked(AGENTCG_LIMIT_MAX_DEPTH, c.max_depth),
            max_descendants: asked(AGENTCG_LIMIT_MAX_DESCENDANTS, c.max_descendants),
        })
    }
}

impl From<Limits> for agentcg_limits {
    fn from(limits: Limits) -> Self {
        let mut mask = 0;
        let mut field = |bit: u64, value: Option<u64>| {
            mask |= value.map_or(0, |_| bit);
            value.unwrap_or_default()
        };
        let c = Self {
            mask: 0,
            memory_max_bytes: field(AGENTCG_LIMIT_MEMORY_MAX, limits.memory_max),
            memory_high_bytes: field(AGENTCG_LIMIT_MEMORY_HIGH, limits.memory_high),
            memory_low_bytes: field(AGENTCG_LIMIT_MEMORY_LOW, limits.memory_low),
            memory_min_bytes: field(AGENTCG_LIMIT_MEMORY_MIN, limits.memory_min),
            swap_max_bytes: field(AGENTCG_LIMIT_SWAP_MAX, limits.swap_max),
            oom_group: field(AGENTCG_LIMIT_OOM_GROUP, limits.oom_group.map(u64::from)),
            cpu_max_millicpu: field(AGENTCG_LIMIT_CPU_MAX, limits.cpu_max.map(|max| max.millicpu)),
            cpu_period_us: limits.cpu_max.map_or(0, |max| max.period_us),
            cpu_burst_us: field(AGENTCG_LIMIT_CPU_BURST, limits.cpu_burst_us),
            cpu_weight: field(AGENTCG_LIMIT_CPU_WEIGHT, limits.cpu_weight),
            cpu_idle: field(AGENTCG_LIMIT_CPU_IDLE, limits.cpu_idle.map(u64::from)),
            pids_max: field(AGENTCG_LIMIT_PIDS_MAX, limits.pids_max),
            io_weight: field(AGENTCG_LIMIT_IO_WEIGHT, limits.io_weight),
            max_depth: field(AGENTCG_LIMIT_MAX_DEPTH, limits.max_depth),
            max_descendants: field(AGENTCG_LIMIT_MAX_DESCENDANTS, limits.max_descendants),
        };
        Self { mask, ..c }
    }
}

/// Change limits: all of them, or none on failure. size is sizeof(*limits),
/// flags is 0 or AGENTCG_SET_FORCE.
///
/// A lower memory_high_bytes slows the group down, and a lower pids_max refuses
/// new threads; neither kills a process. A memory_max_bytes that is less than
/// the memory in use is refused (-EBUSY), because the kernel would kill to
/// enforce it; AGENTCG_SET_FORCE allows that.
///
/// Each value is read back. The kernel rounds memory down to whole pages. Before
/// Linux 6.16, lowering memory_high_bytes takes as long as the reclaim of the
/// memory above it. cpu_burst_us must not exceed the quota, and cpu_weight
/// cannot be set for an idle group; if the same call does not set quota or
/// cpu_idle, the value in force counts. Clearing cpu_idle resets cpu_weight to
/// 100.
///
/// Concurrent calls, in one process or several, are not serialized: each file
/// ends with one caller's value, and a mismatch on read-back is -ERANGE.
/// agentcg_kill_all() may lift cpu.max while it kills. A new cpu.max that the
/// same process sets in the meantime stays. After one that another process
/// sets, agentcg_kill_all() restores the value that it found.
///
/// Returns 0. Errors, besides the common ones:
///   -E2BIG       limits has a bit or a field set that this library does not
///                know.
///   -EBUSY       memory_max_bytes is less than the memory in use.
///   -EINVAL      Also: cpu_weight for an idle group.
///   -EOPNOTSUPP  The controller of a limit is not available.
///   -ERANGE      A limit is out of range; a burst exceeds the quota; another
///                caller's value was read back.
/// If the message says "half set", some old values could not be restored. The
/// next call that uses the limits tries again.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn agentcg_set_limits(
    cg: *mut agentcg,
    limits: *const agentcg_limits,
    size: usize,
    flags: u64,
    reterr: *mut agentcg_error,
) -> c_int {
    use Errno::*;
    let codes = [E2BIG, EACCES, EBUSY, EINVAL, EMFILE, ENFILE, ENODEV, ENOMEM, EOPNOTSUPP, ERANGE];
    // SAFETY: the C caller passes valid pointers, as the header's conventions say.
    unsafe {
        boundary::call(reterr, &codes, || {
            let agent = agent(cg)?;
            if limits.is_null() {
                return invalid("limits is NULL");
            }
            check_flags(flags, AGENTCG_SET_FORCE)?;
            agent.set_limits(&copy_in(limits, size)?, flags & AGENTCG_SET_FORCE != 0)?;
            Ok(0)
        })
    }
}

/// Read the limits that are set in the group. size is sizeof(*ret_limits). The
/// mask has the bits of the limits that exist. AGENTCG_UNLIMITED means no limit.
/// cpu_max_millicpu is rounded up, so that each number that was set is returned
/// unchanged. An idle group has no cpu_weight. The limits in force may be lower,
/// because the limits of the cgroups above apply, too. While another thread of
/// the process kills, cpu_max_millicpu is the limit that applies again after it.
///
/// Returns 0. The errors are the common ones.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn agentcg_get_limits(
    cg: *mut agentcg,
    ret_limits: *mut agentcg_limits,
    size: usize,
    reterr: *mut agentcg_error,
) -> c_int {
    use Errno::*;
    // SAFETY: the C caller passes valid pointers, as the header's conventions say.
    unsafe {
        boundary::call(reterr, &[EACCES, EINVAL, EMFILE, ENFILE, ENODEV, ENOMEM], || {
            let agent = agent(cg)?;
            check_struct(ret_limits, size)?;
            copy_out_struct(&agentcg_limits::from(agent.limits()?), ret_limits, size);
            Ok(0)
        })
    }
}

/// Set limits of all agents of a place together: those of the cgroup
/// <parent>/synwire/agents, which holds the groups of all agents of the place. The
/// limits of each agent apply inside it. All of them are set, or none on failure.
/// size is sizeof(*limits), flags is 0 or AGENTCG_SET_FORCE.
///
/// parent is the place. If it is NULL, it is the place in which
/// agentcg_new(NULL, ...) with these limits would make an agent. The tree is made
/// as agentcg_new() makes it, if it is missing.
///
/// The limits stay until they are set to others, also without an agent and after
/// the end of the calling process. The library keeps them by an empty cgroup,
/// "limits", beside the agents. If a call leaves every limit at the kernel's
/// default, it removes that cgroup, and the tree if it holds no agent. The limits
/// end with the place: systemd removes a scope that it has made for the caller
/// when the last process in it has ended, and the cgroups of a service when the
/// service stops.
///
/// The owner of the directory may set the limits: the uid that has made the tree,
/// which is the uid to which the place is delegated, and root. If root makes the
/// tree in a place of another uid, that uid cannot make agents there. An agent of
/// the same uid can change the limits, too, unless it is contained
/// (AGENTCG_SPAWN_CONTAIN). All hosts of one place have one set of limits, which
/// applies to the agents of all of them. A limit that is not in the mask stays as
/// another host has set it. Calls are serialized, and the last one counts.
///
/// The fields mean what they mean for one agent, except:
/// - memory_max_bytes: if the agents together are above it, the OOM killer chooses
///   a process of any of them. agentcg_explain() reports
///   AGENTCG_CAUSE_MEMORY_LIMIT_ABOVE with levels_up 1 (2 for a child of a
///   session).
/// - oom_group: with 1 an OOM of the place kills all agents of all hosts of the
///   place.
/// - cpu_weight, cpu_idle, io_weight: the share of all agents, compared with what
///   else is in the place, such as the host's own cgroup.
/// - memory_low_bytes, memory_min_bytes: the protection of all agents from what
///   else is in the place, and from pressure from further up as far as the cgroups
///   above are protected. It reaches an agent only as far as the agent has such a
///   limit of its own, or cgroup2 is mounted with memory_recursiveprot, as systemd
///   mounts it.
/// - pids_max: all threads of all agents. The host's own do not count.
/// - max_descendants, max_depth: the agents count, with the cgroups inside them,
///   and so does the cgroup "limits". agentcg_new() fails with -EAGAIN when the
///   limit is reached.
///
/// Returns 0. Errors, besides the common ones:
///   -E2BIG       limits has a bit or a field set that this library does not
///                know.
///   -EACCES      Also: no place allows it; agentcg-guard may not be executed.
///   -EAGAIN      A nesting limit is reached; no guard could be started.
///   -EBUSY       memory_max_bytes is less than the memory in use; the parent
///                holds processes; another call that sets the limits does not end.
///   -EINVAL      Also: cpu_weight for an idle group.
///   -ENODEV      Here: there is no usable cgroup2 hierarchy.
///   -ENOENT      The parent does not exist; agentcg-guard is missing.
///   -ENOEXEC     agentcg-guard is not the one of this library.
///   -ENOSPC      The kernel has no room for another cgroup.
///   -EOPNOTSUPP  The controller of a limit is not available; the parent is
///                threaded.
///   -ERANGE      A limit is out of range; a burst exceeds the quota; another
///                process has written another value at the same time.
///   -EROFS       The hierarchy is mounted read-only.
/// If the message says "half set", some old values could not be restored.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn agentcg_set_place_limits(
    parent: *const c_char,
    limits: *const agentcg_limits,
    size: usize,
    flags: u64,
    reterr: *mut agentcg_error,
) -> c_int {
    use Errno::*;
    let codes = [
        E2BIG, EACCES, EAGAIN, EBUSY, EINVAL, EMFILE, ENFILE, ENODEV, ENOENT, ENOEXEC, ENOMEM, ENOSPC,
        EOPNOTSUPP, ERANGE, EROFS,
    ];
    // SAFETY: the C caller passes valid pointers, as the header's conventions say.
    unsafe {
        boundary::call(reterr, &codes, || {
            if limits.is_null() {
                return invalid("limits is NULL");
            }
            check_flags(flags, AGENTCG_SET_FORCE)?;
            let limits = copy_in(limits, size)?;
            place::set_limits(string(parent), &limits, flags & AGENTCG_SET_FORCE != 0)?;
            Ok(0)
        })
    }
}

/// Read the limits of all agents of a place together, whoever has set them.
/// parent is the place. If it is NULL, it is the one that agentcg_discover_parent()
/// returns. size is sizeof(*ret_limits). The fields are as for
/// agentcg_get_limits(). A place that has agents and no limits has
/// AGENTCG_UNLIMITED in these fields. Nothing is changed.
///
/// Returns 0. Errors, besides the common ones:
///   -EBUSY, -EROFS
///                As agentcg_discover_parent().
///   -ENODEV      Here: there is no usable cgroup2 hierarchy.
///   -ENOENT      The place has no agents and no limits, or does not exist.
///   -EOPNOTSUPP  The caller is in a threaded cgroup.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn agentcg_get_place_limits(
    parent: *const c_char,
    ret_limits: *mut agentcg_limits,
    size: usize,
    reterr: *mut agentcg_error,
) -> c_int {
    use Errno::*;
    let codes = [EACCES, EBUSY, EINVAL, EMFILE, ENFILE, ENODEV, ENOENT, ENOMEM, EOPNOTSUPP, EROFS];
    // SAFETY: the C caller passes valid pointers, as the header's conventions say.
    unsafe {
        boundary::call(reterr, &codes, || {
            check_struct(ret_limits, size)?;
            copy_out_struct(&agentcg_limits::from(place::get_limits(string(parent))?), ret_limits, size);
            Ok(0)
        })
    }
}

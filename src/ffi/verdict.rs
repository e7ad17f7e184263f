// SPDX-License-Identifier: MIT OR Apache-2.0
//! The header's section "why an agent ended".

use super::boundary::{self, fill};
use super::destroy::AGENTCG_DESTROY_IF_EMPTY;
use super::error::agentcg_error;
use super::handle::{self, agent, agent_or_errno, agentcg};
use super::memory::{Plain, check_flags, check_struct, copy_out_struct, deadline, is_timeout, waited};
use super::stats::agentcg_stats;
use crate::agent::Agent;
use crate::verdict::{Call, Verdict, cause, known};
use nix::errno::Errno;
use std::ffi::{c_char, c_int};

/// The main program exited.
pub const AGENTCG_CAUSE_EXITED: u64 = 1u64 << 0;
/// A signal that the kernel sent for a fault or a resource limit of the
/// program, or that a process of the group sent.
pub const AGENTCG_CAUSE_SIGNAL_INSIDE: u64 = 1u64 << 1;
/// A signal of a process outside the group.
pub const AGENTCG_CAUSE_SIGNAL_OUTSIDE: u64 = 1u64 << 2;
/// A call of this library: AGENTCG_CALL_...
pub const AGENTCG_CAUSE_KILLED: u64 = 1u64 << 3;
/// The guard, because the owner ended.
pub const AGENTCG_CAUSE_GUARD: u64 = 1u64 << 4;
/// The OOM killer, for a memory limit of the group or of a cgroup below it.
pub const AGENTCG_CAUSE_MEMORY_LIMIT: u64 = 1u64 << 5;
/// The OOM killer, for a memory limit of a cgroup above the group.
pub const AGENTCG_CAUSE_MEMORY_LIMIT_ABOVE: u64 = 1u64 << 6;
/// The OOM killer, because the machine had no memory left.
pub const AGENTCG_CAUSE_MACHINE: u64 = 1u64 << 7;
/// systemd-oomd.
pub const AGENTCG_CAUSE_OOMD: u64 = 1u64 << 8;
/// None: the program's end is unknown, and processes live in the group.
pub const AGENTCG_CAUSE_RUNNING: u64 = 1u64 << 9;
/// A signal. No kernel shows whether its sender was inside the group or outside.
pub const AGENTCG_CAUSE_SIGNAL: u64 = 0x6u64;
/// In agentcg_verdict.cause: several candidates are possible.
pub const AGENTCG_CAUSE_UNKNOWN: u64 = 0x0u64;

/// No call of this process, or none that is known.
pub const AGENTCG_CALL_NONE: u32 = 0;
/// agentcg_kill_all()
pub const AGENTCG_CALL_KILL_ALL: u32 = 1;
/// agentcg_kill_all_of()
pub const AGENTCG_CALL_KILL_ALL_OF: u32 = 2;
/// agentcg_terminate()
pub const AGENTCG_CALL_TERMINATE: u32 = 3;
/// agentcg_destroy() or agentcg_destroy_explained()
pub const AGENTCG_CALL_DESTROY: u32 = 4;
/// agentcg_signal_all()
pub const AGENTCG_CALL_SIGNAL_ALL: u32 = 5;
/// agentcg_reap()
pub const AGENTCG_CALL_REAP: u32 = 6;

/// oom_kills is known.
pub const AGENTCG_VERDICT_OOM_KILLS: u64 = 1u64 << 0;
/// forks_refused is known.
pub const AGENTCG_VERDICT_FORKS_REFUSED: u64 = 1u64 << 1;
/// forks_refused_own is known.
pub const AGENTCG_VERDICT_FORKS_REFUSED_OWN: u64 = 1u64 << 2;
/// forks_refused_above is known.
pub const AGENTCG_VERDICT_FORKS_REFUSED_ABOVE: u64 = 1u64 << 3;
/// memory_peak_bytes is known (Linux 5.19).
pub const AGENTCG_VERDICT_MEMORY_PEAK: u64 = 1u64 << 4;
/// memory_max_bytes is known.
pub const AGENTCG_VERDICT_MEMORY_MAX: u64 = 1u64 << 5;
/// cpu_throttled_ns is known.
pub const AGENTCG_VERDICT_CPU_THROTTLED: u64 = 1u64 << 6;

/// agentcg_explain(): the wait status of the main program is not known.
pub const AGENTCG_NO_WAIT_STATUS: c_int = -1;

const _: () = {
    assert!(cause::EXITED == AGENTCG_CAUSE_EXITED);
    assert!(cause::SIGNAL_INSIDE == AGENTCG_CAUSE_SIGNAL_INSIDE);
    assert!(cause::SIGNAL_OUTSIDE == AGENTCG_CAUSE_SIGNAL_OUTSIDE);
    assert!(cause::KILLED == AGENTCG_CAUSE_KILLED);
    assert!(cause::GUARD == AGENTCG_CAUSE_GUARD);
    assert!(cause::MEMORY_LIMIT == AGENTCG_CAUSE_MEMORY_LIMIT);
    assert!(cause::MEMORY_LIMIT_ABOVE == AGENTCG_CAUSE_MEMORY_LIMIT_ABOVE);
    assert!(cause::MACHINE == AGENTCG_CAUSE_MACHINE);
    assert!(cause::OOMD == AGENTCG_CAUSE_OOMD);
    assert!(cause::RUNNING == AGENTCG_CAUSE_RUNNING);
    assert!(cause::SIGNAL == AGENTCG_CAUSE_SIGNAL && AGENTCG_CAUSE_UNKNOWN == 0);
    assert!(Call::None as u32 == AGENTCG_CALL_NONE);
    assert!(Call::KillAll as u32 == AGENTCG_CALL_KILL_ALL);
    assert!(Call::KillAllOf as u32 == AGENTCG_CALL_KILL_ALL_OF);
    assert!(Call::Terminate as u32 == AGENTCG_CALL_TERMINATE);
    assert!(Call::Destroy as u32 == AGENTCG_CALL_DESTROY);
    assert!(Call::SignalAll as u32 == AGENTCG_CALL_SIGNAL_ALL);
    assert!(Call::Reap as u32 == AGENTCG_CALL_REAP);
    assert!(known::OOM_KILLS == AGENTCG_VERDICT_OOM_KILLS);
    assert!(known::FORKS == AGENTCG_VERDICT_FORKS_REFUSED);
    assert!(known::FORKS_OWN == AGENTCG_VERDICT_FORKS_REFUSED_OWN);
    assert!(known::FORKS_ABOVE == AGENTCG_VERDICT_FORKS_REFUSED_ABOVE);
    assert!(known::MEMORY_PEAK == AGENTCG_VERDICT_MEMORY_PEAK);
    assert!(known::MEMORY_MAX == AGENTCG_VERDICT_MEMORY_MAX);
    assert!(known::CPU_THROTTLED == AGENTCG_VERDICT_CPU_THROTTLED);
};

/// Why an agent ended, as agentcg_explain() finds it.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct agentcg_verdict {
    /// AGENTCG_VERDICT_...: the counts that are known. The others are 0.
    pub mask: u64,
    /// One AGENTCG_CAUSE_..., or AGENTCG_CAUSE_UNKNOWN.
    pub cause: u64,
    /// All AGENTCG_CAUSE_... that are possible; cause is one of them.
    pub candidates: u64,
    /// The exit code, if the main program exited.
    pub exit_code: u32,
    /// The signal that ended the main program, 0 if none did or if it is unknown.
    pub term_signal: u32,
    /// AGENTCG_CALL_...: the call of this process that sent the signal to all
    /// processes, if AGENTCG_CAUSE_KILLED is a candidate.
    pub call: u32,
    /// After AGENTCG_CAUSE_MEMORY_LIMIT_ABOVE: how many levels above the group
    /// the cgroup is whose limit was reached. 1 is agents, 2 synwire, 3 the place.
    /// 0 if it is not known.
    pub levels_up: u32,
    /// Processes of the group and below it that the OOM killer has killed.
    pub oom_kills: u64,
    /// Forks that were refused in the group.
    pub forks_refused: u64,
    /// Those that limits of the group, and of cgroups below it, have refused.
    pub forks_refused_own: u64,
    /// Those that limits of cgroups above the group have refused.
    pub forks_refused_above: u64,
    /// The most memory that was in use.
    pub memory_peak_bytes: u64,
    /// The group's memory limit, or AGENTCG_UNLIMITED.
    pub memory_max_bytes: u64,
    /// The time for which the CPU quota throttled the group.
    pub cpu_throttled_ns: u64,
    /// The verdict as one English sentence, for a log. It may change. It is cut if
    /// it is too long.
    pub text: [c_char; 512],
}

// SAFETY: repr(C); three u64, four u32, seven u64 and 512 bytes leave no padding.
unsafe impl Plain for agentcg_verdict {
    const SIZE_V0: usize = 608;
}

const _: () = assert!(size_of::<agentcg_verdict>() == agentcg_verdict::SIZE_V0);

impl Default for agentcg_verdict {
    fn default() -> Self {
        Self::of(&Verdict::default(), "")
    }
}

impl agentcg_verdict {
    fn of(verdict: &Verdict, sentence: &str) -> Self {
        let mut text = [0; 512];
        fill(&mut text, sentence);
        Self {
            mask: verdict.mask,
            cause: verdict.cause,
            candidates: verdict.candidates,
            exit_code: verdict.exit_code,
            term_signal: verdict.signal,
            call: verdict.call as u32,
            levels_up: verdict.levels_up,
            oom_kills: verdict.oom_kills,
            forks_refused: verdict.forks_refused,
            forks_refused_own: verdict.forks_refused_own,
            forks_refused_above: verdict.forks_refused_above,
            memory_peak_bytes: verdict.memory_peak_bytes,
            memory_max_bytes: verdict.memory_max_bytes,
            cpu_throttled_ns: verdict.cpu_throttled_ns,
            text,
        }
    }

    fn for_agent(verdict: &Verdict, agent: &Agent) -> Self {
        Self::of(verdict, &verdict.sentence(&agent.path()))
    }
}

/// Find out why an agent ended. wait_status is that of waitpid(2) for its main
/// program, or AGENTCG_NO_WAIT_STATUS. size is sizeof(*ret_verdict).
///
/// The verdict is never a guess. A cause is reported if it is the only one that has
/// left a trace, and if it concerned all processes: a call of this library, the
/// guard, an OOM kill of a group with memory_oom_group (Linux 5.17) or of one
/// that never had a second thread (6.1). In all other cases the cause is
/// AGENTCG_CAUSE_UNKNOWN, and candidates has what is possible. For example, the
/// kernel counts OOM kills, but does not show which process of a group was
/// killed. docs/verdict.md has the rules of each kernel.
///
/// Call it once for each program that has ended, before the next program is
/// started in the group and before the group is killed: a kill is reported as the
/// cause of every SIGKILL before the call.
///
/// If the group was removed, only what its remover has left for the watchers of
/// agentcg_event_fd() is known.
///
/// Returns 0. -ENODEV is never returned. Errors, besides the common ones:
///   -EINVAL  Also: wait_status is that of a stopped or continued process.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn agentcg_explain(
    cg: *mut agentcg,
    wait_status: c_int,
    ret_verdict: *mut agentcg_verdict,
    size: usize,
    reterr: *mut agentcg_error,
) -> c_int {
    use Errno::*;
    // SAFETY: the C caller passes valid pointers, as the header's conventions say.
    unsafe {
        boundary::call(reterr, &[EACCES, EINVAL, EMFILE, ENFILE, ENOMEM], || {
            let agent = agent(cg)?;
            check_struct(ret_verdict, size)?;
            let verdict = agent.explain(known_status(wait_status))?;
            copy_out_struct(&agentcg_verdict::for_agent(&verdict, agent), ret_verdict, size);
            Ok(0)
        })
    }
}

/// agentcg_destroy(), with the verdict as well. ret_verdict receives what
/// agentcg_explain() finds: with a wait_status before the kill, because the main
/// program has ended already; with AGENTCG_NO_WAIT_STATUS after it, just before
/// the group is removed. verdict_size is sizeof(*ret_verdict).
///
/// Returns 0. -ENODEV is never returned. Errors, besides the common ones:
///   -EBUSY      AGENTCG_DESTROY_IF_EMPTY is set and the group is not empty.
///   -EDEADLK    The caller is in the group.
///   -EINVAL     Also: wait_status is that of a stopped or continued process.
///   -ETIMEDOUT  A process lives, or the group exists, after timeout_ms.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn agentcg_destroy_explained(
    cg: *mut agentcg,
    flags: u64,
    timeout_ms: c_int,
    wait_status: c_int,
    ret_final: *mut agentcg_stats,
    size: usize,
    ret_verdict: *mut agentcg_verdict,
    verdict_size: usize,
    reterr: *mut agentcg_error,
) -> c_int {
    use Errno::*;
    let codes = [EACCES, EBUSY, EDEADLK, EINVAL, EMFILE, ENFILE, ENOMEM, ETIMEDOUT];
    // SAFETY: the C caller passes valid pointers, as the header's conventions say.
    unsafe {
        let is_valid =
            is_timeout(timeout_ms) && (ret_final.is_null() == (size == 0)) && !ret_verdict.is_null();
        let kill = || match agent_or_errno(cg) {
            // With a wait status the kill is not the end of the program: it is not recorded.
            Ok(agent) if flags == 0 && is_valid => {
                agent.send_kill(
                    if wait_status == AGENTCG_NO_WAIT_STATUS { Call::Destroy } else { Call::None },
                    None,
                );
            }
            _ => {}
        };
        boundary::call_killing(reterr, &codes, kill, || {
            let agent = agent(cg)?;
            check_flags(flags, AGENTCG_DESTROY_IF_EMPTY)?;
            let deadline = deadline(timeout_ms)?;
            let measure = !(ret_final.is_null() && size == 0);
            if measure {
                check_struct(ret_final, size)?;
            }
            check_struct(ret_verdict, verdict_size)?;
            let if_empty = flags & AGENTCG_DESTROY_IF_EMPTY != 0;
            let ended = agent.destroy_explained(if_empty, deadline, known_status(wait_status), measure);
            let (last, verdict) = waited(timeout_ms, ended)?;
            if measure {
                copy_out_struct(&last, ret_final, size);
            }
            copy_out_struct(&agentcg_verdict::for_agent(&verdict, agent), ret_verdict, verdict_size);
            handle::free(cg);
            Ok(0)
        })
    }
}

fn known_status(wait_status: c_int) -> Option<c_int> {
    (wait_status != AGENTCG_NO_WAIT_STATUS).then_some(wait_status)
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The rules. They are pure: the same status, evidence and record give the same verdict.

use super::evidence::Evidence;
use super::ledger::Record;
use super::types::{Call, End, Remover, Verdict, cause};
use libc::SIGKILL;

/// Finds out why an agent ended.
pub fn judge(end: End, evidence: &Evidence, record: &Record) -> Verdict {
    let mut verdict = evidence.counts();
    let (candidates, call) = match end {
        End::Exited(code) => {
            verdict.exit_code = code;
            (cause::EXITED, Call::None)
        }
        End::Signalled(signal) => {
            verdict.signal = signal;
            ended_by_signal(signal, evidence, record)
        }
        End::Unknown if evidence.populated == Some(true) => (cause::RUNNING, Call::None),
        End::Unknown => ended_somehow(evidence, record),
    };
    verdict.candidates = candidates;
    verdict.call = call;
    verdict.cause = match candidates {
        cause::SIGNAL => cause::SIGNAL,
        one if one.is_power_of_two() => one,
        _ => 0,
    };
    if verdict.cause == cause::MEMORY_LIMIT_ABOVE {
        verdict.levels_up = evidence.above.level.unwrap_or_default();
    }
    verdict
}

/// Returns the possible causes of a signal and the call of this library that has sent it. The kernel, systemd-oomd and the
/// removers of a group send only SIGKILL.
fn ended_by_signal(signal: u32, evidence: &Evidence, record: &Record) -> (u64, Call) {
    let is_kill = i32::try_from(signal) == Ok(SIGKILL);
    let mut found = 0;
    let mut covers_all = false;
    let call = record.sender_of(signal);
    if call != Call::None {
        found |= cause::KILLED;
        covers_all |= !record.may_concern_another;
    }
    if is_kill {
        let oom = oom_causes(evidence);
        found |= oom;
        covers_all |= oom != 0 && record.is_only_program && evidence.oom_covers_all();
        if evidence.oomd {
            found |= cause::OOMD;
            covers_all |= record.is_only_program && record.attributes_are_safe;
        }
        if evidence.oomd_beside {
            found |= cause::OOMD;
        }
        match evidence.remover {
            Remover::Unknown => {}
            Remover::Guard => found |= cause::GUARD,
            Remover::Reap | Remover::Destroy => found |= cause::KILLED,
        }
        covers_all |= evidence.remover != Remover::Unknown;
    }
    if evidence.is_gone && evidence.remover == Remover::Unknown && is_kill {
        // Nothing shows what the remover has done.
        found |= cause::KILLED | cause::GUARD;
        covers_all = false;
    }
    let candidates = if covers_all { found } else { found | cause::SIGNAL };
    (candidates, if call == Call::None { remover_call(evidence) } else { call })
}

/// The same for an agent in which no process lives, and of whose main program the status is unknown.
fn ended_somehow(evidence: &Evidence, record: &Record) -> (u64, Call) {
    let kill = u32::try_from(SIGKILL).unwrap_or_default();
    match evidence.remover {
        Remover::Guard => return (cause::GUARD, Call::None),
        Remover::Reap | Remover::Destroy => return (cause::KILLED, remover_call(evidence)),
        Remover::Unknown => {}
    }
    let call = record.sender_of(kill);
    // SIGKILL was sent to all processes while some lived: the agent lived until then.
    if call != Call::None && !record.may_concern_another {
        return (cause::KILLED, call);
    }
    let (by_signal, call) = ended_by_signal(kill, evidence, record);
    let any_signal = record.any_sender();
    let asked = if any_signal { cause::KILLED } else { 0 };
    let covered = by_signal & cause::SIGNAL == 0;
    (if covered { by_signal } else { by_signal | asked | cause::EXITED }, call)
}

fn remover_call(evidence: &Evidence) -> Call {
    match evidence.remover {
        Remover::Reap => Call::Reap,
        Remover::Destroy => Call::Destroy,
        Remover::Guard | Remover::Unknown => Call::None,
    }
}

/// Returns the possible causes of the OOM kills in the group, 0 if there was none.
fn oom_causes(evidence: &Evidence) -> u64 {
    let above = &evidence.above;
    let (is_possible, own) = match evidence.memory {
        Some(memory) => (memory.oom_kill > 0, memory.oom > 0),
        // Without the memory controller the group has no limit, and the kills in it are counted further up.
        None => (above.oom_kills != Some(false), evidence.may_have_memory_limit),
    };
    if !is_possible {
        return 0;
    }
    let mut found = 0;
    if own {
        found |= cause::MEMORY_LIMIT;
    }
    // A limit that cannot be seen is a candidate only if nothing visible explains the kill.
    if above.level.is_some() || above.is_unknown || (above.is_hidden && !own) {
        found |= cause::MEMORY_LIMIT_ABOVE;
    }
    if above.reclaimed != Some(false) || found == 0 {
        found |= cause::MACHINE;
    }
    found
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

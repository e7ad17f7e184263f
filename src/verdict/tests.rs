// SPDX-License-Identifier: MIT OR Apache-2.0
//! The verdict is pure: each rule without a kernel.

use super::*;
use crate::verdict::evidence::{Baseline, Counters, MemoryCounts};
use crate::verdict::ledger::Ledger;
use crate::verdict::surroundings::Above;

const KILL: u32 = 9;

/// A group of several threads, without OOM kills, of which everything above is visible and quiet.
fn quiet() -> Evidence {
    Evidence {
        populated: Some(false),
        memory: Some(MemoryCounts::default()),
        above: Above { reclaimed: Some(false), oom_kills: Some(false), forks: Some(0), ..Above::default() },
        ..Evidence::default()
    }
}

fn oom(own: u64, group_kill: u64) -> Evidence {
    Evidence { memory: Some(MemoryCounts { oom_kill: 1, oom: own, group_kill }), ..quiet() }
}

/// The ledger of a new group in which one program was started.
fn one_program() -> Ledger {
    let mut ledger = Ledger::default();
    ledger.made(Baseline::default());
    ledger.started(true, false);
    ledger
}

/// A verdict on a killed program, after which processes live in the group or not.
fn explained(ledger: &mut Ledger, populated: bool) {
    let own = Some(Box::new(Counters { populated, ..Counters::default() }));
    let now = Baseline { own, ..Baseline::default() };
    ledger.explained(9, Verdict::default(), now);
}

#[track_caller]
fn of(end: End, evidence: &Evidence, ledger: &Ledger) -> (u64, u64) {
    let verdict = judge(end, evidence, &ledger.record());
    (verdict.cause, verdict.candidates)
}

fn killed(evidence: &Evidence) -> (u64, u64) {
    of(End::Signalled(KILL), evidence, &one_program())
}

fn certain(cause: u64) -> (u64, u64) {
    (cause, cause)
}

#[test]
fn a_wait_status_is_decoded_or_refused() {
    assert_eq!(End::of(0), Some(End::Exited(0)));
    assert_eq!(End::of(137 << 8), Some(End::Exited(137)));
    assert_eq!(End::of(9), Some(End::Signalled(9)));
    // With a core dump.
    assert_eq!(End::of(11 | 0x80), Some(End::Signalled(11)));
    // Stopped, continued, no status at all.
    for status in [0x137f, 0xffff, -1, 0x10000, 0x80, i32::MIN] {
        assert_eq!(End::of(status), None, "{status:#x}");
    }
}

#[test]
fn an_exit_is_an_exit_whatever_else_has_happened() {
    let mut ledger = one_program();
    ledger.sends(libc::SIGKILL, Call::KillAll);
    assert_eq!(of(End::Exited(137), &oom(1, 1), &ledger), certain(cause::EXITED));
}

#[test]
fn a_signal_without_a_trace_may_be_from_inside_or_outside() {
    assert_eq!(killed(&quiet()), certain(cause::SIGNAL));
    assert_eq!(of(End::Signalled(11), &oom(1, 1), &one_program()), certain(cause::SIGNAL));
}

#[test]
fn an_oom_kill_of_another_process_is_not_taken_for_the_cause() {
    assert_eq!(killed(&oom(1, 0)), (0, cause::MEMORY_LIMIT | cause::SIGNAL));
    assert_eq!(killed(&oom(1, 1)), certain(cause::MEMORY_LIMIT));
    let single = Evidence { had_one_task: true, ..oom(1, 0) };
    assert_eq!(killed(&single), certain(cause::MEMORY_LIMIT));
}

#[test]
fn the_limit_of_an_oom_kill_is_told_only_if_no_other_was_reached() {
    let above = |own, above: Above| killed(&Evidence { above, ..oom(own, 1) });
    let quiet = quiet().above;
    assert_eq!(above(0, quiet.clone()), certain(cause::MACHINE));
    let reclaimed = Above { reclaimed: Some(true), ..quiet.clone() };
    assert_eq!(above(0, reclaimed.clone()), certain(cause::MACHINE));
    assert_eq!(above(1, reclaimed.clone()), (0, cause::MEMORY_LIMIT | cause::MACHINE));
    let limit = Above { level: Some(3), ..quiet.clone() };
    assert_eq!(above(0, limit.clone()), certain(cause::MEMORY_LIMIT_ABOVE));
    assert_eq!(above(1, limit.clone()), (0, cause::MEMORY_LIMIT | cause::MEMORY_LIMIT_ABOVE));
    let both = Above { level: Some(3), ..reclaimed.clone() };
    assert_eq!(above(0, both), (0, cause::MEMORY_LIMIT_ABOVE | cause::MACHINE));
    let hidden = Above { is_hidden: true, ..quiet.clone() };
    assert_eq!(above(0, hidden.clone()), certain(cause::MEMORY_LIMIT_ABOVE));
    assert_eq!(above(1, hidden), certain(cause::MEMORY_LIMIT));
    let hidden = Above { is_hidden: true, ..reclaimed };
    assert_eq!(above(0, hidden), (0, cause::MEMORY_LIMIT_ABOVE | cause::MACHINE));
    let unknown = Above { is_unknown: true, reclaimed: None, ..quiet };
    assert_eq!(above(1, unknown), (0, cause::OOM));
}

#[test]
fn without_the_memory_controller_every_oom_kill_on_the_machine_is_possible() {
    let none = |oom_kills| {
        let above = Above { oom_kills, reclaimed: Some(true), level: Some(2), ..quiet().above };
        killed(&Evidence { memory: None, above, ..quiet() })
    };
    assert_eq!(none(Some(false)), certain(cause::SIGNAL));
    assert_eq!(none(Some(true)), (0, cause::MEMORY_LIMIT_ABOVE | cause::MACHINE | cause::SIGNAL));
    assert_eq!(none(None), none(Some(true)));
    // The counters are not those of the whole agent: memory_localevents.
    let above = Above { oom_kills: Some(true), ..quiet().above };
    let local = Evidence { memory: None, may_have_memory_limit: true, above, ..quiet() };
    assert_eq!(killed(&local), (0, cause::MEMORY_LIMIT | cause::SIGNAL));
    // Another group may have been meant, also if this one had a single thread.
    let above = Above { oom_kills: Some(true), level: Some(2), ..quiet().above };
    let single = Evidence { memory: None, had_one_task: true, above, ..quiet() };
    assert_eq!(killed(&single), (0, cause::MEMORY_LIMIT_ABOVE | cause::SIGNAL));
}

#[test]
fn a_call_of_the_library_is_told_with_its_name() {
    for call in [Call::KillAll, Call::KillAllOf, Call::Terminate, Call::Destroy] {
        let mut ledger = one_program();
        ledger.sends(libc::SIGKILL, call);
        let verdict = judge(End::Signalled(KILL), &quiet(), &ledger.record());
        assert_eq!((verdict.cause, verdict.candidates, verdict.call), (cause::KILLED, cause::KILLED, call));
        // Another signal was not the library's.
        assert_eq!(of(End::Signalled(15), &quiet(), &ledger), certain(cause::SIGNAL));
        // A child may have been killed for lack of memory before, or the program itself.
        let (cause, candidates) = of(End::Signalled(KILL), &oom(1, 0), &ledger);
        assert_eq!((cause, candidates), (0, cause::KILLED | cause::MEMORY_LIMIT));
    }
}

#[test]
fn a_signal_that_no_process_got_is_not_recorded() {
    let mut ledger = one_program();
    let before = ledger.sends(libc::SIGTERM, Call::SignalAll);
    ledger.sent_to_nobody(libc::SIGTERM, before);
    assert_eq!(of(End::Signalled(15), &quiet(), &ledger), certain(cause::SIGNAL));
    ledger.sends(libc::SIGTERM, Call::SignalAll);
    assert_eq!(of(End::Signalled(15), &quiet(), &ledger), certain(cause::KILLED));
    // Numbers that are no signals.
    for signal in [0, 65, -1] {
        assert_eq!(ledger.sends(signal, Call::SignalAll), Call::None);
    }
}

#[test]
fn a_kill_before_the_program_was_started_is_not_its_end() {
    let mut ledger = one_program();
    ledger.sends(libc::SIGKILL, Call::KillAll);
    // The first program was not explained: the status may be of either.
    ledger.started(true, false);
    assert_eq!(of(End::Signalled(KILL), &quiet(), &ledger), (0, cause::KILLED | cause::SIGNAL));
    // All were explained.
    explained(&mut ledger, false);
    explained(&mut ledger, false);
    ledger.started(true, false);
    assert_eq!(of(End::Signalled(KILL), &quiet(), &ledger), certain(cause::SIGNAL));
    assert_eq!(of(End::Signalled(KILL), &oom(1, 1), &ledger), certain(cause::MEMORY_LIMIT));
}

#[test]
fn an_oom_kill_of_one_of_several_programs_may_concern_each() {
    let mut ledger = one_program();
    ledger.started(true, false);
    assert_eq!(of(End::Signalled(KILL), &oom(1, 1), &ledger), (0, cause::MEMORY_LIMIT | cause::SIGNAL));
    // After the verdict on one program, processes of it may have lived on.
    let mut ledger = one_program();
    explained(&mut ledger, true);
    ledger.started(true, false);
    assert_eq!(of(End::Signalled(KILL), &oom(1, 1), &ledger), (0, cause::MEMORY_LIMIT | cause::SIGNAL));
    // A group that another process has made had programs of which this one knows nothing.
    let opened = Ledger::default();
    assert_eq!(of(End::Signalled(KILL), &oom(1, 1), &opened), (0, cause::MEMORY_LIMIT | cause::SIGNAL));
}

#[test]
fn the_same_verdict_is_given_again() {
    let mut ledger = one_program();
    assert_eq!(ledger.same_verdict(9), None);
    explained(&mut ledger, false);
    ledger.sends(libc::SIGKILL, Call::KillAll);
    assert_eq!(ledger.same_verdict(9), Some(Verdict::default()));
    assert_eq!(ledger.same_verdict(11), None);
    ledger.started(true, false);
    assert_eq!(ledger.same_verdict(9), None);
    // The programs that were started otherwise are not known: the kill may have been meant for another one.
    let mut ledger = Ledger::default();
    ledger.made(Baseline::default());
    explained(&mut ledger, false);
    ledger.sends(libc::SIGKILL, Call::KillAll);
    assert_eq!(ledger.same_verdict(9), None);
    assert_eq!(of(End::Signalled(KILL), &quiet(), &ledger), (0, cause::KILLED | cause::SIGNAL));
}

#[test]
fn what_has_killed_children_before_the_start_of_a_program_is_not_proof() {
    let mut ledger = Ledger::default();
    ledger.made(Baseline::default());
    ledger.started(true, true);
    assert_eq!(of(End::Signalled(KILL), &oom(1, 1), &ledger), (0, cause::MEMORY_LIMIT | cause::SIGNAL));
    ledger.sends(libc::SIGKILL, Call::KillAll);
    assert_eq!(of(End::Signalled(KILL), &quiet(), &ledger), certain(cause::KILLED));
}

#[test]
fn the_attribute_of_oomd_is_proof_only_if_no_program_can_write_it() {
    let evidence = Evidence { oomd: true, ..quiet() };
    assert_eq!(killed(&evidence), (0, cause::OOMD | cause::SIGNAL));
    let mut ledger = Ledger::default();
    ledger.made(Baseline::default());
    ledger.started(false, false);
    assert_eq!(of(End::Signalled(KILL), &evidence, &ledger), certain(cause::OOMD));
    let beside = Evidence { oomd_beside: true, ..quiet() };
    assert_eq!(of(End::Signalled(KILL), &beside, &ledger), (0, cause::OOMD | cause::SIGNAL));
    assert_eq!(of(End::Signalled(15), &beside, &ledger), certain(cause::SIGNAL));
    ledger.started(true, false);
    assert_eq!(of(End::Signalled(KILL), &evidence, &ledger), (0, cause::OOMD | cause::SIGNAL));
}

#[test]
fn without_a_status_the_end_of_the_group_is_explained() {
    let ledger = one_program();
    let living = Evidence { populated: Some(true), ..quiet() };
    assert_eq!(of(End::Unknown, &living, &ledger), certain(cause::RUNNING));
    assert_eq!(of(End::Unknown, &quiet(), &ledger), (0, cause::EXITED | cause::SIGNAL));
    assert_eq!(of(End::Unknown, &oom(1, 1), &ledger), certain(cause::MEMORY_LIMIT));
    assert_eq!(
        of(End::Unknown, &oom(1, 0), &ledger),
        (0, cause::MEMORY_LIMIT | cause::SIGNAL | cause::EXITED)
    );
    let mut ledger = one_program();
    ledger.sends(libc::SIGTERM, Call::SignalAll);
    assert_eq!(of(End::Unknown, &quiet(), &ledger), (0, cause::EXITED | cause::SIGNAL | cause::KILLED));
    ledger.sends(libc::SIGKILL, Call::Destroy);
    assert_eq!(of(End::Unknown, &oom(1, 0), &ledger), certain(cause::KILLED));
}

#[test]
fn the_remover_of_a_group_tells_whom_it_has_killed() {
    let memory = Some(MemoryCounts::default());
    let removed = |remover| Evidence::of_removed(memory, remover);
    let opened = Ledger::default();
    assert_eq!(of(End::Unknown, &removed(Remover::Guard), &opened), certain(cause::GUARD));
    let reaped = judge(End::Unknown, &removed(Remover::Reap), &opened.record());
    assert_eq!((reaped.cause, reaped.call), (cause::KILLED, Call::Reap));
    assert_eq!(of(End::Signalled(KILL), &removed(Remover::Guard), &opened), certain(cause::GUARD));
    // It has left nothing: everything is possible.
    let nothing = Evidence::of_removed(None, Remover::Unknown);
    let all = cause::SIGNAL | cause::KILLED | cause::GUARD | cause::OOM | cause::OOMD;
    assert_eq!(of(End::Signalled(KILL), &nothing, &opened), (0, all));
    assert_eq!(of(End::Signalled(6), &nothing, &opened), certain(cause::SIGNAL));
}

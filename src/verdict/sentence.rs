// SPDX-License-Identifier: MIT OR Apache-2.0
//! The verdict as an English sentence, for a log.

use super::types::{Call, Verdict, cause, known};
use crate::parse::{UNLIMITED, split_last};
use nix::sys::signal::Signal;

impl Verdict {
    /// Returns the verdict as an English sentence. `path` is that of the group.
    pub fn sentence(&self, path: &[u8]) -> String {
        of(self, path)
    }
}

fn of(verdict: &Verdict, path: &[u8]) -> String {
    let signal = signal_name(verdict.signal);
    let ended = if verdict.signal == 0 {
        "the group ended".to_owned()
    } else {
        format!("{signal} ended the program")
    };
    let main = match verdict.cause {
        cause::RUNNING => "processes live in the group".to_owned(),
        cause::EXITED => format!("the program exited with code {}", verdict.exit_code),
        cause::SIGNAL => {
            format!("{ended}; the kernel does not show whether its sender was inside the group or outside")
        }
        cause::KILLED if verdict.signal == 0 => {
            format!("all processes were killed by {}", call_name(verdict.call))
        }
        cause::KILLED => format!("{ended}, sent by {}", call_name(verdict.call)),
        0 => format!("{ended}, and the cause is unknown: it was {}", list(&phrases(verdict, path))),
        _ => format!("{ended} because of {}", list(&phrases(verdict, path))),
    };
    let mut text = main;
    for clause in clauses(verdict) {
        text = text + "; " + &clause;
    }
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    first + letters.as_str() + "."
}

/// Returns the candidates in words.
fn phrases(verdict: &Verdict, path: &[u8]) -> Vec<String> {
    let has = |cause: u64| verdict.candidates & cause != 0;
    let mut phrases = Vec::new();
    if has(cause::EXITED) {
        phrases.push("the exit of the program".to_owned());
    }
    if has(cause::MEMORY_LIMIT) {
        phrases.push(match verdict.memory_max_bytes {
            max if verdict.mask & known::MEMORY_MAX != 0 && max != UNLIMITED => {
                format!("the OOM killer for the group's own memory limit of {}", bytes(max))
            }
            _ => "the OOM killer for a memory limit of the group or below it".to_owned(),
        });
    }
    if has(cause::MEMORY_LIMIT_ABOVE) {
        phrases.push(match verdict.levels_up {
            0 => "the OOM killer for a memory limit above the group".to_owned(),
            levels => format!("the OOM killer for the memory limit of {}", above(path, levels)),
        });
    }
    for (one, phrase) in [
        (cause::MACHINE, "the OOM killer because the machine had no memory left"),
        (cause::OOMD, "systemd-oomd"),
        (cause::GUARD, "the guard, which kills the group when its owner has ended"),
    ] {
        if has(one) {
            phrases.push(phrase.to_owned());
        }
    }
    if has(cause::KILLED) {
        phrases.push(call_name(verdict.call).to_owned());
    }
    if has(cause::SIGNAL_INSIDE) {
        phrases.push("a signal from inside the group".to_owned());
    }
    if has(cause::SIGNAL_OUTSIDE) {
        phrases.push("a signal from outside".to_owned());
    }
    phrases
}

/// Returns the counts that are not 0, except those that the candidates already show.
fn clauses(verdict: &Verdict) -> Vec<String> {
    let mut clauses = Vec::new();
    if verdict.oom_kills > 0 {
        clauses.push(format!(
            "the OOM killer killed {} of the group",
            count(verdict.oom_kills, "process", "es")
        ));
    }
    let refused =
        [(verdict.forks_refused_own, "by its own limit"), (verdict.forks_refused_above, "by a limit above")];
    let mut has_forks = false;
    for (number, by) in refused.into_iter().filter(|(number, _)| *number > 0) {
        has_forks = true;
        clauses.push(format!("{} refused {by}", count(number, "fork", "s")));
    }
    if !has_forks && verdict.forks_refused > 0 {
        clauses.push(format!("{} refused", count(verdict.forks_refused, "fork", "s")));
    }
    if verdict.memory_peak_bytes > 0 && verdict.candidates & cause::MEMORY_LIMIT != 0 {
        clauses.push(format!("it used {} at most", bytes(verdict.memory_peak_bytes)));
    }
    clauses
}

fn count(number: u64, one: &str, plural: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {one}{plural}") }
}

/// Joins phrases by commas and "or".
fn list(phrases: &[String]) -> String {
    match phrases {
        [] => "something that has left no trace".to_owned(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

fn call_name(call: Call) -> &'static str {
    match call {
        Call::None => "another process by this library",
        Call::KillAll => "agentcg_kill_all()",
        Call::KillAllOf => "agentcg_kill_all_of()",
        Call::Terminate => "agentcg_terminate()",
        Call::Destroy => "agentcg_destroy()",
        Call::SignalAll => "agentcg_signal_all()",
        Call::Reap => "agentcg_reap()",
    }
}

fn signal_name(signal: u32) -> String {
    let named = i32::try_from(signal).ok().and_then(|signal| Signal::try_from(signal).ok());
    named.map_or_else(|| format!("signal {signal}"), |named| named.as_str().to_owned())
}

/// Returns the path of the cgroup so many levels above the group.
fn above(path: &[u8], levels: u32) -> String {
    let mut above = path;
    for _ in 0..levels {
        above = split_last(above).0;
    }
    String::from_utf8_lossy(if above.is_empty() { b"/" } else { above }).into_owned()
}

fn bytes(number: u64) -> String {
    match number {
        0..0x400 => format!("{number} bytes"),
        0x400..0x10_0000 => format!("{} KiB", number >> 10),
        _ => format!("{} MiB", number >> 20),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cgroup_of_a_limit_is_named_by_its_path() {
        let path = b"/sys/fs/cgroup/a/synwire/agents/x";
        assert_eq!(above(path, 1), "/sys/fs/cgroup/a/synwire/agents");
        assert_eq!(above(path, 3), "/sys/fs/cgroup/a");
        assert_eq!(above(path, 9), "/");
    }

    #[test]
    fn a_verdict_is_one_sentence() {
        let exited = Verdict {
            cause: cause::EXITED,
            candidates: cause::EXITED,
            exit_code: 137,
            forks_refused: 2,
            forks_refused_own: 2,
            ..Verdict::default()
        };
        assert_eq!(of(&exited, b""), "The program exited with code 137; 2 forks refused by its own limit.");
        let unknown = Verdict {
            candidates: cause::MEMORY_LIMIT | cause::SIGNAL,
            signal: 9,
            oom_kills: 1,
            mask: known::MEMORY_MAX,
            memory_max_bytes: 64 << 20,
            ..Verdict::default()
        };
        assert_eq!(
            of(&unknown, b""),
            "SIGKILL ended the program, and the cause is unknown: it was the OOM killer for the group's own memory limit of \
             64 MiB, a signal from inside the group or a signal from outside; the OOM killer killed 1 process of the group."
        );
        let killed = Verdict {
            cause: cause::KILLED,
            candidates: cause::KILLED,
            signal: 15,
            call: Call::Terminate,
            ..Verdict::default()
        };
        assert_eq!(of(&killed, b""), "SIGTERM ended the program, sent by agentcg_terminate().");
    }
}

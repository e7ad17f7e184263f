// SPDX-License-Identifier: MIT OR Apache-2.0
//! What needs no systemd: sockets without one behind them, and a manager that is played to us. The real
//! one is asked in the lab. Where a socket answers, libsystemd has to be installed.

mod peer;

use super::failure::line;
use super::reach::Socket;
use super::*;
use peer::{DONE, Peer, SAYS, Say};
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Instant;

const SHORT: Duration = Duration::from_millis(200);
const LONG: Duration = Duration::from_secs(60);
const NO_LIBRARY: &CStr = c"libagentcg-test-none.so.0";

/// A path for a socket, in a directory that goes with it.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        let dir = std::env::temp_dir().join(format!("agentcg-{}", crate::sys::random::uuid().simple()));
        std::fs::create_dir(&dir).unwrap();
        Self(dir)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("socket")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn direct(path: &Path) -> Socket {
    Socket { path: path.into(), is_bus: false }
}

fn unreachable(sockets: &[Socket], library: &CStr, patience: Duration) -> String {
    match Manager::connect_to(sockets, library, patience) {
        Err(Failure::Unreachable(why)) => why,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("reached"),
    }
}

/// What `ask` makes of a manager that answers its calls with `script`, after the ping.
fn with_peer<T>(script: &[(&'static str, &[Say])], ask: impl FnOnce(&Manager) -> T) -> T {
    let place = Place::new();
    let peer = Peer::on(&place.socket(), script);
    let outcome = match Manager::connect_to(&[direct(&place.socket())], library::FILE, LONG) {
        Ok(manager) => ask(&manager),
        Err(e) => panic!("{e:?}"),
    };
    peer.join();
    outcome
}

#[test]
fn without_a_socket_the_library_is_not_asked_for() {
    let place = Place::new();
    let why = unreachable(&[direct(&place.socket()), direct(&place.0.join("2"))], NO_LIBRARY, LONG);
    let dir = place.0.display();
    assert_eq!(why, format!("systemd was not reached: no {dir}/socket; no {dir}/2"));
}

#[test]
fn a_socket_on_which_nobody_listens_refuses() {
    let place = Place::new();
    drop(UnixListener::bind(place.socket()).unwrap());
    let why = unreachable(&[direct(&place.socket())], NO_LIBRARY, LONG);
    assert!(why.ends_with("/socket: Connection refused"), "{why}");
}

#[test]
fn a_socket_that_never_answers_is_left_in_time_for_the_next() {
    let place = Place::new();
    let _never_accepts = UnixListener::bind(place.socket()).unwrap();
    let from = Instant::now();
    let bus = Socket { path: place.socket(), is_bus: true };
    let why = unreachable(&[bus, direct(&place.socket())], library::FILE, SHORT);
    assert!(from.elapsed() >= SHORT * 2 && from.elapsed() < LONG, "{:?}", from.elapsed());
    assert_eq!(why.matches("/socket: no answer in 0.2 s").count(), 2, "{why}");
}

#[test]
fn a_missing_or_foreign_library_is_named() {
    let place = Place::new();
    let _listener = UnixListener::bind(place.socket()).unwrap();
    let why = unreachable(&[direct(&place.socket())], NO_LIBRARY, LONG);
    assert!(why.contains("libagentcg-test-none.so.0"), "{why}");
    // Every Rust program has this one loaded.
    let why = unreachable(&[direct(&place.socket())], c"libgcc_s.so.1", LONG);
    assert!(why.ends_with("libgcc_s.so.1 is too old, it lacks sd_bus_new"), "{why}");
}

#[test]
fn the_managers_cgroup_is_read_from_its_property() {
    let said: &[Say] = &[Say::Variant("/user.slice/a b")];
    let group = with_peer(&[("ControlGroup", said)], Manager::control_group);
    assert_eq!(group, Ok(b"/user.slice/a b".to_vec()));
}

#[test]
fn a_job_that_ends_before_the_answer_is_not_missed() {
    let said: &[Say] =
        &[Say::JobRemoved("/job/6", "failed"), Say::JobRemoved("/job/7", "done"), Say::Job("/job/7")];
    let done = with_peer(&[("StartTransientUnit", said)], |m| m.start_scope("a.scope", "", "a", 7, None));
    assert_eq!(done, Ok(()));
}

#[test]
fn a_scope_is_there_only_when_its_own_job_is_done() {
    let said: &[Say] =
        &[Say::Job("/job/7"), Say::JobRemoved("/job/6", "done"), Say::JobRemoved("/job/7", "canceled")];
    let done = with_peer(&[("StartTransientUnit", said)], |m| m.start_scope("a.scope", "", "a", 7, None));
    assert_eq!(done, Err(Failure::Refused("systemd's job for a.scope ended as \"canceled\"".into())));
}

#[test]
fn a_manager_that_knows_no_pidfds_is_given_pids() {
    let no: &[Say] =
        &[Say::Error("org.freedesktop.DBus.Error.PropertyReadOnly", "Cannot set property PIDFDs")];
    let yes: &[Say] = &[Say::Job("/job/1"), Say::JobRemoved("/job/1", "done")];
    let pidfd = std::fs::File::open("/proc/self/stat").unwrap();
    let script = [("PIDFDs", no), ("PIDs", yes)];
    let done = with_peer(&script, |m| m.start_scope("a.scope", "b.slice", "a", 7, Some(pidfd.as_fd())));
    assert_eq!(done, Ok(()));
    // Any other error is the answer.
    let no: &[Say] = &[Say::Error("org.freedesktop.systemd1.UnitExists", "Unit a.scope\nexists")];
    let done = with_peer(&[("PIDFDs", no)], |m| m.start_scope("a.scope", "", "a", 7, Some(pidfd.as_fd())));
    assert_eq!(done, Err(Failure::Refused("Unit a.scope?exists".into())));
}

#[test]
fn a_manager_that_goes_away_is_unreachable() {
    let gone = with_peer(&[("AttachProcessesToUnit", &[])], |m| m.attach("a.scope", "/b", 7));
    assert_eq!(gone, Err(Failure::Unreachable("the connection to systemd broke".into())));
    let said: &[Say] = &[Say::Error("org.freedesktop.DBus.Error.NoReply", "it left")];
    let gone = with_peer(&[("AttachProcessesToUnit", said)], |m| m.attach("a.scope", "/b", 7));
    assert_eq!(gone, Err(Failure::Unreachable("it left".into())));
}

#[test]
fn an_answer_of_another_type_is_not_taken_for_a_yes() {
    let group = with_peer(&[("ControlGroup", DONE)], Manager::control_group);
    assert!(matches!(group, Err(Failure::Unreachable(_))), "{group:?}");
}

#[test]
fn nonsense_is_not_sent() {
    with_peer(SAYS, |m| {
        assert!(matches!(m.attach("a.scope", "/b", 0), Err(Failure::Refused(_))));
        assert!(matches!(m.attach("a.scope", "/b", -1), Err(Failure::Refused(_))));
        assert!(matches!(m.attach("a\0.scope", "/b", 7), Err(Failure::Refused(_))));
    });
}

#[test]
fn foreign_words_fit_into_a_line() {
    assert_eq!(line(b"Unit x\nnot loaded."), "Unit x?not loaded.");
    let long = line("\u{e9}".repeat(200).as_bytes());
    assert!(long.len() <= 120 && long.ends_with("..."), "{long}");
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests that need no systemd: sockets on which none listens, and a scripted manager. The tests in the lab use the real
//! one. Tests with a socket that accepts need libsystemd.

mod peer;

use super::connect::Socket;
use super::failure::one_line;
use super::library;
use super::{Failure, Manager};
use peer::{DONE, Peer, SAYS, Say};
use std::ffi::CStr;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const SHORT: Duration = Duration::from_millis(200);
const LONG: Duration = Duration::from_secs(60);
const NO_LIBRARY: &CStr = c"libagentcg-test-none.so.0";

/// A directory for sockets, which is removed at the end.
struct SocketDir(PathBuf);

impl SocketDir {
    fn new() -> Self {
        let dir = std::env::temp_dir().join(format!("agentcg-{}", crate::sys::random::uuid().simple()));
        std::fs::create_dir(&dir).unwrap();
        Self(dir)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("socket")
    }
}

impl Drop for SocketDir {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn direct(path: &Path) -> Socket {
    Socket { path: path.into(), is_bus: false }
}

fn unreachable(sockets: &[Socket], library: &CStr, timeout: Duration) -> String {
    match Manager::connect_to(sockets, library, timeout) {
        Err(Failure::Unreachable(why)) => why,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("reached"),
    }
}

/// The result of `ask` with a manager that answers the ping and then replies according to `script`.
fn with_peer<T>(script: &[(&'static str, &[Say])], ask: impl FnOnce(&Manager) -> T) -> T {
    let place = SocketDir::new();
    let peer = Peer::on(&place.socket(), script);
    let outcome = match Manager::connect_to(&[direct(&place.socket())], library::FILE, LONG) {
        Ok(manager) => ask(&manager),
        Err(e) => panic!("{e:?}"),
    };
    peer.join();
    outcome
}

#[test]
fn without_a_socket_the_library_is_not_loaded() {
    let place = SocketDir::new();
    let why = unreachable(&[direct(&place.socket()), direct(&place.0.join("2"))], NO_LIBRARY, LONG);
    let dir = place.0.display();
    assert_eq!(why, format!("cannot reach systemd: no {dir}/socket; no {dir}/2"));
}

#[test]
fn a_socket_on_which_nobody_listens_refuses() {
    let place = SocketDir::new();
    drop(UnixListener::bind(place.socket()).unwrap());
    let why = unreachable(&[direct(&place.socket())], NO_LIBRARY, LONG);
    assert!(why.ends_with("/socket: Connection refused"), "{why}");
}

#[test]
fn after_the_timeout_of_a_silent_socket_the_next_is_tried() {
    let place = SocketDir::new();
    let _never_accepts = UnixListener::bind(place.socket()).unwrap();
    let from = Instant::now();
    let bus = Socket { path: place.socket(), is_bus: true };
    let why = unreachable(&[bus, direct(&place.socket())], library::FILE, SHORT);
    assert!(from.elapsed() >= SHORT * 2 && from.elapsed() < LONG, "{:?}", from.elapsed());
    assert_eq!(why.matches("/socket: no answer in 200 ms").count(), 2, "{why}");
}

#[test]
fn a_missing_or_foreign_library_is_named() {
    let place = SocketDir::new();
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
fn a_job_that_ends_before_the_reply_is_not_missed() {
    let said: &[Say] =
        &[Say::JobRemoved("/job/6", "failed"), Say::JobRemoved("/job/7", "done"), Say::Job("/job/7")];
    let done = with_peer(&[("StartTransientUnit", said)], |m| m.start_scope("a.scope", "", "a", 7, None));
    assert_eq!(done, Ok(()));
}

#[test]
fn a_scope_is_made_only_if_its_own_job_is_done() {
    let said: &[Say] =
        &[Say::Job("/job/7"), Say::JobRemoved("/job/6", "done"), Say::JobRemoved("/job/7", "canceled")];
    let done = with_peer(&[("StartTransientUnit", said)], |m| m.start_scope("a.scope", "", "a", 7, None));
    assert_eq!(done, Err(Failure::Refused("the job of systemd for a.scope ended as \"canceled\"".into())));
}

#[test]
fn a_manager_without_pidfds_gets_pids() {
    let no: &[Say] =
        &[Say::Error("org.freedesktop.DBus.Error.PropertyReadOnly", "Cannot set property PIDFDs")];
    let yes: &[Say] = &[Say::Job("/job/1"), Say::JobRemoved("/job/1", "done")];
    let pidfd = std::fs::File::open("/proc/self/stat").unwrap();
    let script = [("PIDFDs", no), ("PIDs", yes)];
    let done = with_peer(&script, |m| m.start_scope("a.scope", "b.slice", "a", 7, Some(pidfd.as_fd())));
    assert_eq!(done, Ok(()));
    // Any other error reply is final.
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
fn a_reply_of_another_type_is_an_error() {
    let group = with_peer(&[("ControlGroup", DONE)], Manager::control_group);
    assert!(matches!(group, Err(Failure::Unreachable(_))), "{group:?}");
}

#[test]
fn invalid_pids_and_names_are_not_sent() {
    with_peer(SAYS, |m| {
        assert!(matches!(m.attach("a.scope", "/b", 0), Err(Failure::Refused(_))));
        assert!(matches!(m.attach("a.scope", "/b", -1), Err(Failure::Refused(_))));
        assert!(matches!(m.attach("a\0.scope", "/b", 7), Err(Failure::Refused(_))));
    });
}

#[test]
fn the_text_of_systemd_becomes_one_short_line() {
    assert_eq!(one_line(b"Unit x\nnot loaded."), "Unit x?not loaded.");
    let long = one_line("\u{e9}".repeat(200).as_bytes());
    assert!(long.len() <= 120 && long.ends_with("..."), "{long}");
}

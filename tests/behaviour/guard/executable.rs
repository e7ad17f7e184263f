// SPDX-License-Identifier: MIT OR Apache-2.0
//! If the guard's program is missing or belongs to another library, the agent is refused and the error names
//! the file.

use crate::common::cgroup::Scratch;
use crate::common::member::role;
use crate::common::{deadline, wait_until};
use agentcg::{Agent, Limits, PlaceRequest, Reason};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::ffi::CString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const GUARD: &str = env!("CARGO_BIN_EXE_agentcg-guard");

fn refusal(parent: &str) -> String {
    let parent = CString::new(parent).expect("no NUL");
    let request = PlaceRequest { parent: Some(&parent), guard: true, ..PlaceRequest::default() };
    match Agent::new_where(request, None, &Limits::default()) {
        Ok(agent) => {
            agent.destroy(false, deadline(), false).unwrap_or_else(|e| panic!("{e}"));
            "made".to_owned()
        }
        Err(e) => {
            assert_eq!(e.reason(), Some(Reason::NoGuard), "{e}");
            format!("{:?} {e}", e.errno())
        }
    }
}

/// A role that makes a guarded agent and sends the result. With a second argument it hides the guard's
/// program first.
pub fn makes_a_guarded_agent(args: &[String]) {
    if let Some(hidden) = args.get(1) {
        unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS).expect("unshare");
        mount(Some("none"), Path::new(hidden), Some("tmpfs"), MsFlags::empty(), None::<&str>).expect("mount");
    }
    role::send(&refusal(&args[0]));
}

/// Runs a copy of this program with a file as the guard's program beside it. Returns what the copy sends, and
/// the path of that file.
fn result_with_guard(guard: &[u8]) -> (String, PathBuf) {
    let scratch = Scratch::new();
    let dir = std::env::temp_dir().join(format!("agentcg-beside-{}", std::process::id()));
    let beside = dir.join("agentcg/agentcg-guard");
    fs::create_dir_all(dir.join("agentcg")).expect("mkdir");
    fs::copy("/proc/self/exe", dir.join("host")).expect("a copy");
    fs::write(&beside, guard).expect("write");
    fs::set_permissions(&beside, fs::Permissions::from_mode(0o755)).expect("chmod");
    let result = Command::new(dir.join("host"))
        .args([
            "--play",
            "executable::makes_a_guarded_agent",
            scratch.parent.0.to_str().expect("a UTF-8 path"),
        ])
        .stderr(Stdio::inherit())
        .output()
        .expect("the copy runs");
    fs::remove_dir_all(&dir).expect("rm -r");
    wait_until("nothing of the refused agent is left", || !scratch.parent.join("synwire").exists());
    (String::from_utf8_lossy(&result.stdout).trim_end().to_owned(), beside)
}

#[test]
fn a_program_that_is_not_the_guard_of_the_library_is_refused_and_named() {
    let other = b"#!/bin/sh\nprintf 'agentcg\\0\\2\\0\\0\\0\\0\\0\\0\\0' >&3\n";
    let silent = b"#!/bin/sh\nexit 0\n";
    for (guard, code, why) in [
        (other.as_slice(), "ENOEXEC", "speaks protocol 2"),
        (silent, "ENOEXEC", "is not the guard of this library"),
        (b"not a program", "EACCES", "Exec format error"),
    ] {
        let (result, path) = result_with_guard(guard);
        assert!(result.starts_with(code) && result.contains(why), "{result}");
        assert!(result.contains(path.to_str().expect("a UTF-8 path")), "{result}");
    }
}

#[test]
fn the_guard_of_the_library_is_found_beside_it() {
    let guard = fs::read(GUARD).expect("the program");
    assert_eq!(result_with_guard(&guard).0, "made");
}

#[test]
fn a_missing_program_is_named() {
    let scratch = Scratch::new();
    let parent = scratch.parent.0.to_str().expect("a UTF-8 path").to_owned();
    let hidden = Path::new(GUARD).parent().expect("a directory").to_str().expect("a UTF-8 path");
    let mut member =
        crate::common::member::Member::start("executable::makes_a_guarded_agent", &[&parent, hidden]);
    let result = member.receive();
    assert!(result.starts_with("ENOENT") && result.contains("agentcg/agentcg-guard"), "{result}");
    member.wait();
}

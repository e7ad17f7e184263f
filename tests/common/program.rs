// SPDX-License-Identifier: MIT OR Apache-2.0
//! Programs for the library to start: roles of the test program, as members are.

use agentcg::{Agent, Child, Command, DEVNULL, Errno, INHERIT, Result, SpawnOptions, Strings};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::ffi::{CStr, CString};
use std::os::fd::BorrowedFd;

/// What [`start`] may be told beside the role.
#[derive(Clone, Copy)]
pub struct How<'a> {
    /// The role's arguments.
    pub args: &'a [&'a str],
    /// As the library takes it.
    pub spawn: SpawnOptions,
    /// Its standard descriptors.
    pub stdio: [i32; 3],
    /// Its working directory, if not ours.
    pub directory: Option<BorrowedFd<'a>>,
}

impl Default for How<'_> {
    fn default() -> Self {
        Self {
            args: &[],
            spawn: SpawnOptions::default(),
            stdio: [DEVNULL, INHERIT, INHERIT],
            directory: None,
        }
    }
}

/// Of the caller's descriptors all but the first, of its directory all, of its environment nothing.
pub fn plain<'a>(files: &[&'a CStr], argv: impl IntoIterator<Item = &'a CStr>) -> Command<'a> {
    Command {
        program: Strings::new(files.iter().copied()).expect("memory"),
        arguments: Strings::new(argv).expect("memory"),
        environment: Strings::new([]).expect("memory"),
        new_session: false,
        directory: None,
        stdio: How::default().stdio,
    }
}

/// Start a role inside the agent's group.
pub fn start(agent: &Agent, role: &str, how: How<'_>) -> Result<Child> {
    let file = c"/proc/self/exe";
    let words: Vec<CString> = ["role", "--play", role]
        .iter()
        .chain(how.args)
        .map(|word| CString::new(*word).expect("no NUL in a word"))
        .collect();
    let command = plain(&[file], words.iter().map(CString::as_c_str));
    let command = Command { directory: how.directory, stdio: how.stdio, ..command };
    agent.spawn(&command, how.spawn)
}

/// Its end, which comes by itself.
pub fn wait(child: &Child) -> WaitStatus {
    waitpid(Pid::from_raw(child.pid), None).unwrap_or_else(|e| panic!("wait for {}: {e}", child.pid))
}

/// No child of the calling thread's is left, of whatever kind: none that came to nothing.
pub fn no_child_is_left() -> bool {
    let flags = WaitPidFlag::WNOHANG | WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
    waitpid(None, Some(flags)) == Err(Errno::ECHILD)
}

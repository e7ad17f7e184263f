// SPDX-License-Identifier: MIT OR Apache-2.0
//! Programs that the library starts: roles of the test program, as members are.

use agentcg::{Agent, Child, Command, DEVNULL, Errno, INHERIT, Result, SpawnOptions, Strings};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::ffi::{CStr, CString};
use std::os::fd::BorrowedFd;

/// The options of [`start`].
#[derive(Clone, Copy)]
pub struct StartOptions<'a> {
    /// The arguments of the role.
    pub args: &'a [&'a str],
    /// The options of the library's spawn.
    pub spawn: SpawnOptions,
    /// The standard descriptors of the child.
    pub stdio: [i32; 3],
    /// The working directory of the child, or none for that of this process.
    pub directory: Option<BorrowedFd<'a>>,
}

impl Default for StartOptions<'_> {
    fn default() -> Self {
        Self {
            args: &[],
            spawn: SpawnOptions::default(),
            stdio: [DEVNULL, INHERIT, INHERIT],
            directory: None,
        }
    }
}

/// Returns a command with the caller's standard output, standard error and directory, and with an empty
/// environment.
pub fn command<'a>(files: &[&'a CStr], argv: impl IntoIterator<Item = &'a CStr>) -> Command<'a> {
    let program = Strings::new(files.iter().copied()).expect("memory");
    let arguments = Strings::new(argv).expect("memory");
    let environment = Strings::new([]).expect("memory");
    Command { stdio: StartOptions::default().stdio, ..Command::new(program, arguments, environment) }
}

/// Starts a role inside the agent's group.
pub fn start(agent: &Agent, role: &str, how: StartOptions<'_>) -> Result<Child> {
    let file = c"/proc/self/exe";
    let words: Vec<CString> = ["role", "--play", role]
        .iter()
        .chain(how.args)
        .map(|word| CString::new(*word).expect("no NUL in a word"))
        .collect();
    let command = command(&[file], words.iter().map(CString::as_c_str));
    let command = Command { directory: how.directory, stdio: how.stdio, ..command };
    agent.spawn(&command, how.spawn)
}

/// Waits for a child that ends by itself.
pub fn wait(child: &Child) -> WaitStatus {
    waitpid(Pid::from_raw(child.pid), None).unwrap_or_else(|e| panic!("wait for {}: {e}", child.pid))
}

/// Returns true if the calling thread has no child of any kind, not even one from a failed start.
pub fn no_child_is_left() -> bool {
    let flags = WaitPidFlag::WNOHANG | WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
    waitpid(None, Some(flags)) == Err(Errno::ECHILD)
}

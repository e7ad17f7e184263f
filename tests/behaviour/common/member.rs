// SPDX-License-Identifier: MIT OR Apache-2.0
//! Processes to put into cgroups. Each is the test program itself, executed again to play a role instead of
//! its tests: a plain process with one thread, not a copy of a test harness with many.
//!
//! A role writes lines to its standard output. All processes that it forks inherit that pipe. Its end
//! therefore shows reliably and at once that none of them lives.

use super::{TIMEOUT, lab};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::Instant;

/// A role and all processes that it has forked.
pub struct Member {
    child: Child,
    output: ChildStdout,
    received: Vec<u8>,
    ended: bool,
}

impl Member {
    /// Starts a role. A role that calls `receive` first waits for a line from the test.
    pub fn start(role: &str, args: &[&str]) -> Self {
        Self::start_by(&mut Command::new("/proc/self/exe"), role, args)
    }

    /// Starts a role by a command that executes the test program, which is its last argument.
    pub fn start_by(command: &mut Command, role: &str, args: &[&str]) -> Self {
        lab::layout();
        // A child that another thread has forked, but that has not called exec yet, would hold the write end
        // of the pipe.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(|e| e.into_inner());
        let mut child = command
            .arg("--play")
            .arg(role)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("start {role}: {e}"));
        let output = child.stdout.take().expect("its output is a pipe");
        fcntl(&output, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("F_SETFL");
        Self { child, output, received: Vec::new(), ended: false }
    }

    /// Returns the pid of the role's first process.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a pid is an int")
    }

    /// Sends a line to the role.
    pub fn send(&mut self, line: &str) {
        let input = self.child.stdin.as_mut().expect("its input is a pipe");
        writeln!(input, "{line}").unwrap_or_else(|e| panic!("send {line}: {e}"));
    }

    /// Returns the next line from any process of the role.
    pub fn receive(&mut self) -> String {
        let start = Instant::now();
        loop {
            if let Some(end) = self.received.iter().position(|&b| b == b'\n') {
                let line: Vec<u8> = self.received.drain(..=end).collect();
                return String::from_utf8_lossy(&line[..end]).into_owned();
            }
            assert!(!self.ended, "the role ended without sending a line");
            assert!(self.wait_for_output(start), "the role sends no line");
        }
    }

    /// Checks the next line.
    pub fn expect_line(&mut self, line: &str) {
        assert_eq!(self.receive(), line);
    }

    /// Returns true if none of the role's processes lives at this moment.
    pub fn is_dead(&mut self) -> bool {
        while self.read_some() {}
        self.ended
    }

    /// Waits until none of the role's processes lives.
    pub fn wait_dead(&mut self) {
        let start = Instant::now();
        while !self.is_dead() {
            assert!(self.wait_for_output(start), "a process of the role still lives");
        }
    }

    /// Waits for a role that ends by itself and returns its status.
    pub fn wait(&mut self) -> ExitStatus {
        self.wait_dead();
        self.child.wait().expect("waitpid")
    }

    /// Kills the role's first process and reaps it. The processes that it forked live on.
    pub fn kill_it_alone(&mut self) {
        self.child.kill().expect("kill");
        self.child.wait().expect("waitpid");
    }

    /// Reaps the role's first process, which ends by itself. The processes that it forked live on.
    pub fn reap(&mut self) {
        let input = self.child.stdin.take(); // wait would close it
        self.child.wait().expect("waitpid");
        self.child.stdin = input;
    }

    /// Sends a signal to the role's first process only.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).expect("kill");
    }

    fn wait_for_output(&mut self, start: Instant) -> bool {
        let mut fds = [PollFd::new(self.output.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::from(100u8)).expect("poll");
        self.read_some();
        start.elapsed() < TIMEOUT
    }

    /// Returns true if there was something to read.
    fn read_some(&mut self) -> bool {
        let mut buf = [0; 4096];
        match self.output.read(&mut buf) {
            Ok(0) => self.ended = true,
            Ok(n) => {
                self.received.extend_from_slice(&buf[..n]);
                return true;
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            Err(e) => panic!("read from a member: {e}"),
        }
        false
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _dead_already = self.child.kill();
        let _status = self.child.wait();
    }
}

/// A role is a function of its arguments.
pub type Role = fn(&[String]);

/// A role and the path of its function.
pub type NamedRole = (&'static str, Role);

/// Names the functions of a module and its submodules that a member can play. main.rs collects them.
macro_rules! roles {
    ($($role:path),* $(,)?) => {
        pub const ROLES: &[$crate::common::member::NamedRole] =
            &[$((concat!(module_path!(), "::", stringify!($role)), $role as $crate::common::member::Role)),*];
    };
}

/// Plays the role that the command line names, if it names one. This constructor runs before main, on the main thread: a
/// role can thus do what a thread of the test harness cannot, such as end the main thread.
extern "C" fn play() {
    let args: Vec<String> = std::env::args().collect();
    let [_, flag, name, args @ ..] = args.as_slice() else { return };
    if flag != "--play" {
        return;
    }
    let role = role_named(name);
    let played = std::panic::catch_unwind(|| role(args));
    role::exit(if played.is_ok() { 0 } else { 101 });
}

#[allow(unsafe_code, reason = "a constructor; play() needs nothing of std's start-up but the arguments")]
#[used]
#[unsafe(link_section = ".init_array")]
static PLAY: extern "C" fn() = play;

/// Returns the role by the end of its path, of which the name of the function is enough if no other role has it.
fn role_named(name: &str) -> Role {
    let is_named = |path: &str| path.strip_suffix(name).is_some_and(|before| before.ends_with("::"));
    let mut named = crate::ROLES.iter().copied().flatten().filter(|(path, _)| is_named(path));
    let (path, role) = named.next().unwrap_or_else(|| panic!("no role {name}"));
    if let Some((other, _)) = named.next() {
        panic!("the role {name} is {path} or {other}: name its module, too");
    }
    *role
}

/// Functions for roles. A role has one thread, so fork copies the whole process.
pub mod role {
    use crate::common::cgroup::Cgroup;
    use nix::errno::Errno;
    use std::io::{stdin, stdout};

    /// Sends a line to the test with one write, so that lines of several processes do not mix.
    pub fn send(line: &str) {
        let line = format!("{line}\n");
        assert_eq!(nix::unistd::write(stdout(), line.as_bytes()), Ok(line.len()), "the test reads the pipe");
    }

    /// Returns a line from the test. Ends the process if the test has ended.
    pub fn receive() -> String {
        let mut line = Vec::new();
        loop {
            let mut byte = [0];
            match nix::unistd::read(stdin(), &mut byte) {
                Ok(0) | Err(_) => exit(0),
                Ok(_) if byte[0] == b'\n' => return String::from_utf8_lossy(&line).into_owned(),
                Ok(_) => line.push(byte[0]),
            }
        }
    }

    /// Returns true in the child.
    pub fn try_fork() -> nix::Result<bool> {
        // SAFETY: a role has one thread, so the child has a complete copy of the process.
        #[allow(unsafe_code, reason = "see SAFETY")]
        let forked = unsafe { nix::unistd::fork() };
        forked.map(|side| side.is_child())
    }

    /// Returns true in the child.
    pub fn fork() -> bool {
        try_fork().expect("fork")
    }

    /// Sleeps without end.
    pub fn sleep() -> ! {
        loop {
            nix::unistd::pause();
        }
    }

    /// Uses CPU time without end.
    pub fn burn() -> ! {
        loop {
            std::hint::black_box(0);
        }
    }

    /// Ends the whole process.
    pub fn exit(status: i32) -> ! {
        // SAFETY: it runs no destructors and flushes nothing; neither matters here.
        #[allow(unsafe_code, reason = "see SAFETY")]
        unsafe {
            libc::_exit(status)
        }
    }

    /// Ends the calling thread only. Called by the main thread, it leaves a zombie with living threads.
    pub fn end_thread() -> ! {
        // SAFETY: it is exit(2), not exit_group(2): the stack of the thread stays, and no code runs on it.
        #[allow(unsafe_code, reason = "see SAFETY")]
        unsafe {
            libc::syscall(libc::SYS_exit, 0);
        }
        unreachable!("exit does not return: {}", Errno::last());
    }

    /// Moves the process into a cgroup without the library.
    pub fn enter(cgroup: &Cgroup) {
        cgroup.write("cgroup.procs", 0);
    }
}

/// A role that sends "ready" and sleeps.
pub fn sleeper(_: &[String]) {
    role::receive();
    role::send("ready");
    role::sleep();
}

/// A role that sends "ready" and uses all the CPU time that it gets.
pub fn burner(_: &[String]) {
    role::receive();
    role::send("ready");
    role::burn();
}

/// A role that touches so many MiB, sends a line, and touches as many more as the test sends.
pub fn hog(args: &[String]) {
    role::receive();
    let mut mib = args[0].clone();
    loop {
        let mut memory = vec![0u8; mib.parse::<usize>().expect("a number") << 20];
        memory.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
        std::mem::forget(std::hint::black_box(memory));
        role::send("it fits");
        mib = role::receive();
    }
}

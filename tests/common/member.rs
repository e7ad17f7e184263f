// SPDX-License-Identifier: MIT OR Apache-2.0
//! Processes to put into cgroups. Each is the test program itself, started anew with a role to play
//! in place of its tests: a plain process with one thread, not the copy of a test harness with many.
//!
//! A role speaks by lines on its standard output. All that it forks inherit that pipe, so that its end
//! is the sure sign, and the instant one, that not one of them lives.

use super::{PATIENCE, lab};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::Instant;

/// A role and all that it has forked.
pub struct Member {
    child: Child,
    output: ChildStdout,
    heard: Vec<u8>,
    ended: bool,
}

impl Member {
    /// Start it. A role that calls `listen` first waits for what is said to it.
    pub fn start(role: &str, args: &[&str]) -> Self {
        Self::start_by(&mut Command::new("/proc/self/exe"), role, args)
    }

    /// The same by a command that becomes the test program, given as its last argument.
    pub fn start_by(command: &mut Command, role: &str, args: &[&str]) -> Self {
        lab::layout();
        // A child that another thread has forked, but that has not exec'd yet, would hold our pipe.
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
        Self { child, output, heard: Vec::new(), ended: false }
    }

    /// Its pid.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a pid is an int")
    }

    /// Send it a line.
    pub fn say(&mut self, line: &str) {
        let input = self.child.stdin.as_mut().expect("its input is a pipe");
        writeln!(input, "{line}").unwrap_or_else(|e| panic!("say {line}: {e}"));
    }

    /// The next line from it or any that it forked.
    pub fn hear(&mut self) -> String {
        let start = Instant::now();
        loop {
            if let Some(end) = self.heard.iter().position(|&b| b == b'\n') {
                let line: Vec<u8> = self.heard.drain(..=end).collect();
                return String::from_utf8_lossy(&line[..end]).into_owned();
            }
            assert!(!self.ended, "it ended where it should have said something");
            assert!(self.listen_until(start), "it says nothing");
        }
    }

    /// Hear a certain line.
    pub fn hears(&mut self, line: &str) {
        assert_eq!(self.hear(), line);
    }

    /// Whether not one of them lives, at this moment.
    pub fn is_dead(&mut self) -> bool {
        while self.read_some() {}
        self.ended
    }

    /// Wait until not one of them lives.
    pub fn wait_dead(&mut self) {
        let start = Instant::now();
        while !self.is_dead() {
            assert!(self.listen_until(start), "something of it lives on");
        }
    }

    /// The end of a role that goes by itself.
    pub fn wait(&mut self) -> ExitStatus {
        self.wait_dead();
        self.child.wait().expect("waitpid")
    }

    /// SIGKILL for the role itself, and wait until it is dead. Those that it forked live on.
    pub fn kill_it_alone(&mut self) {
        self.child.kill().expect("kill");
        self.child.wait().expect("waitpid");
    }

    /// Wait for the role itself, which ends soon, not for those that it forked.
    pub fn reap(&mut self) {
        let input = self.child.stdin.take(); // wait would close it
        self.child.wait().expect("waitpid");
        self.child.stdin = input;
    }

    /// A signal for the role itself, not for those that it forked.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).expect("kill");
    }

    fn listen_until(&mut self, start: Instant) -> bool {
        let mut fds = [PollFd::new(self.output.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::from(100u8)).expect("poll");
        self.read_some();
        start.elapsed() < PATIENCE
    }

    /// Tells whether there was something.
    fn read_some(&mut self) -> bool {
        let mut buf = [0; 4096];
        match self.output.read(&mut buf) {
            Ok(0) => self.ended = true,
            Ok(n) => {
                self.heard.extend_from_slice(&buf[..n]);
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

/// A role, with its arguments.
pub type Role = fn(&[String]);

/// Names the functions of a test program that can be played by a member. The constructor runs before
/// main, on the main thread: a role can do what a test harness's thread cannot, such as end it.
macro_rules! roles {
    ($($role:path),* $(,)?) => {
        #[allow(unsafe_code, reason = "a constructor; play() needs nothing of std's start-up but the arguments")]
        const _: () = {
            extern "C" fn play() {
                $crate::common::member::play(&[$((stringify!($role), $role as $crate::common::member::Role)),*]);
            }
            #[used]
            #[unsafe(link_section = ".init_array")]
            static PLAY: extern "C" fn() = play;
        };
    };
}

/// Play the role that the command line names, if it does.
pub fn play(roles: &[(&str, Role)]) {
    let args: Vec<String> = std::env::args().collect();
    let [_, flag, name, args @ ..] = args.as_slice() else { return };
    if flag != "--play" {
        return;
    }
    let role = roles.iter().find(|(role, _)| role.rsplit("::").next() == Some(name));
    let (_, role) = role.unwrap_or_else(|| panic!("no role {name}"));
    let played = std::panic::catch_unwind(|| role(args));
    role::exit(if played.is_ok() { 0 } else { 101 });
}

/// What roles are made of. A role has one thread, so its fork is a whole process.
pub mod role {
    use crate::common::cgroup::Cgroup;
    use nix::errno::Errno;
    use std::io::{stdin, stdout};

    /// A line to the test: one write, so that lines of several processes do not mix.
    pub fn say(line: &str) {
        let line = format!("{line}\n");
        assert_eq!(nix::unistd::write(stdout(), line.as_bytes()), Ok(line.len()), "the test listens");
    }

    /// A line from the test. Ends the process when the test is gone.
    pub fn listen() -> String {
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

    /// True in the child.
    pub fn try_fork() -> nix::Result<bool> {
        // SAFETY: a role has one thread, so the child has all that the parent had.
        #[allow(unsafe_code, reason = "see SAFETY")]
        let forked = unsafe { nix::unistd::fork() };
        forked.map(|side| side.is_child())
    }

    /// True in the child.
    pub fn fork() -> bool {
        try_fork().expect("fork")
    }

    /// Do nothing, for ever.
    pub fn sleep() -> ! {
        loop {
            nix::unistd::pause();
        }
    }

    /// Use CPU time, for ever.
    pub fn burn() -> ! {
        loop {
            std::hint::black_box(0);
        }
    }

    /// End the whole process.
    pub fn exit(status: i32) -> ! {
        // SAFETY: nothing that is left undone by it matters here.
        #[allow(unsafe_code, reason = "see SAFETY")]
        unsafe {
            libc::_exit(status)
        }
    }

    /// End the calling thread alone: called by the main thread it leaves a zombie with living threads.
    pub fn end_thread() -> ! {
        // SAFETY: exit(2), not exit_group(2): the thread's stack stays, and nothing on it is run.
        #[allow(unsafe_code, reason = "see SAFETY")]
        unsafe {
            libc::syscall(libc::SYS_exit, 0);
        }
        unreachable!("exit does not return: {}", Errno::last());
    }

    /// Move ourselves in, without the library.
    pub fn enter(cgroup: &Cgroup) {
        cgroup.write("cgroup.procs", 0);
    }
}

/// Says "ready" and sleeps.
pub fn sleeper(_: &[String]) {
    role::listen();
    role::say("ready");
    role::sleep();
}

/// Says "ready" and uses all the CPU time that it gets.
pub fn burner(_: &[String]) {
    role::listen();
    role::say("ready");
    role::burn();
}

/// Touches so many MiB and says that they fit, and then as many more as it is told.
pub fn hog(args: &[String]) {
    role::listen();
    let mut mib = args[0].clone();
    loop {
        let mut memory = vec![0u8; mib.parse::<usize>().expect("a number") << 20];
        memory.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
        std::mem::forget(std::hint::black_box(memory));
        role::say("it fits");
        mib = role::listen();
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Roles that try to escape the kill. Each process sends "ready" when it is set up.

use crate::common::cgroup::Cgroup;
use crate::common::group::own_pid;
use crate::common::lab;
use crate::common::member::role;
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigHandler, SigSet, Signal, raise, signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, setsid};
use std::fs::{self, File};
use std::os::fd::AsRawFd;

pub fn fork_bomb(_: &[String]) {
    role::receive();
    loop {
        let _refused = role::try_fork();
    }
}

/// This number of chains of [`rolling_forkers`] is certain to begin. If they share one CPU without the cpu
/// controller, Linux 5.10 may not run the last of them as long as the others go on.
pub const CHAINS_THAT_BEGIN: usize = 4;

/// Eight chains of processes, each of which forks the next one and exits.
pub fn rolling_forkers(_: &[String]) {
    role::receive();
    for _ in 0..8 {
        if role::fork() {
            let mut generation = 0u64;
            loop {
                if generation == 3 {
                    role::send("ready");
                }
                match role::try_fork() {
                    Ok(true) => generation += 1,
                    Ok(false) => role::exit(0),
                    Err(_) => {} // refused for now
                }
            }
        }
    }
    role::sleep();
}

pub fn threads_that_fork(_: &[String]) {
    role::receive();
    for _ in 0..3 {
        std::thread::spawn(|| {
            for round in 0u64.. {
                if round == 3 {
                    role::send("ready");
                }
                if role::try_fork() == Ok(true) {
                    role::exit(0);
                }
            }
        });
    }
    role::sleep();
}

/// The processes share their memory, which makes them as cheap as threads.
pub fn five_thousand_processes(_: &[String]) {
    role::receive();
    const STACK: usize = 8 << 10;
    // Each process begins at any time, so it must not use the stack of this function.
    extern "C" fn sleep(_: *mut libc::c_void) -> libc::c_int {
        role::sleep()
    }
    let mut stacks = vec![0u8; 5_000 * STACK];
    for stack in stacks.chunks_exact_mut(STACK) {
        let top = stack.as_mut_ptr_range().end.map_addr(|top| top & !15);
        let make = || {
            let flags = libc::CLONE_VM | libc::SIGCHLD;
            // SAFETY: the process has its own stack, whose vector is never freed, and only sleeps.
            #[allow(unsafe_code, reason = "see SAFETY")]
            Errno::result(unsafe { libc::clone(sleep, top.cast(), flags, std::ptr::null_mut()) })
        };
        // The processes of the previous round count until init has reaped them.
        while make().map_err(|e| assert_eq!(e, Errno::EAGAIN, "clone")).is_err() {}
    }
    role::send("ready");
    role::sleep();
}

/// Another thread reports that the main thread is a zombie.
pub fn without_main_thread(_: &[String]) {
    role::receive();
    let stat = format!("/proc/{}/stat", own_pid());
    std::thread::spawn(|| role::sleep());
    std::thread::spawn(move || {
        while !fs::read_to_string(&stat).is_ok_and(|text| text.contains(") Z ")) {
            std::thread::yield_now();
        }
        role::send("ready");
        role::sleep()
    });
    role::end_thread()
}

/// Daemons of a daemon: only SIGKILL reaches them, and no process group contains all of them.
pub fn in_new_sessions(_: &[String]) {
    role::receive();
    ignore_signals();
    if role::fork() {
        setsid().expect("setsid");
        for _ in 0..3 {
            if role::fork() {
                setsid().expect("setsid");
                role::send("ready");
                role::sleep();
            }
        }
        role::exit(0);
    }
    role::send("ready");
    role::sleep();
}

/// Ignores or blocks all signals for which this is possible.
pub fn ignore_signals() {
    for one in Signal::iterator().filter(|one| !matches!(one, Signal::SIGKILL | Signal::SIGSTOP)) {
        // SAFETY: SIG_IGN runs no code.
        #[allow(unsafe_code, reason = "see SAFETY")]
        unsafe { signal(one, SigHandler::SigIgn) }.expect("signal");
    }
    SigSet::all().thread_block().expect("block");
}

pub fn five_cgroups_deep(args: &[String]) {
    role::receive();
    let mut cgroup = Cgroup(args[0].clone().into());
    for name in ["one", "two", "three", "four", "five"] {
        cgroup = cgroup.make(name);
        if role::fork() {
            role::enter(&cgroup);
            break;
        }
    }
    role::send("ready");
    role::sleep();
}

/// The names are so long that the innermost cgroup has no valid path. There is a process in each cgroup.
pub fn fifty_cgroups_deep(args: &[String]) {
    role::receive();
    let mut dir = File::open(&args[0]).expect("open the group");
    for _ in 0..50 {
        let made = Cgroup(format!("/proc/self/fd/{}", dir.as_raw_fd()).into()).make("n".repeat(250));
        dir = File::open(&made.0).expect("open a cgroup");
        if role::fork() {
            role::enter(&Cgroup(format!("/proc/self/fd/{}", dir.as_raw_fd()).into()));
            break;
        }
    }
    role::send("ready");
    role::sleep();
}

/// The role makes a threaded cgroup in its own one, which thereby becomes a threaded domain.
pub fn in_a_threaded_cgroup(args: &[String]) {
    role::receive();
    let threaded = Cgroup(args[0].clone().into()).make("threaded");
    threaded.write("cgroup.type", "threaded");
    if role::fork() {
        threaded.write("cgroup.threads", 0);
    }
    role::send("ready");
    role::sleep();
}

/// Two processes that also move into the cgroups that they make, one of them ever deeper, and remove them
/// after a while.
pub fn makes_and_removes_cgroups(args: &[String]) {
    role::receive();
    let own = Cgroup(args[0].clone().into());
    let deeper = role::fork();
    let mut made: Vec<Cgroup> = Vec::new();
    for count in 0u64.. {
        let above = made.last().filter(|_| deeper).unwrap_or(&own);
        let next = above.join(format!("{deeper}-{count}"));
        // The group may be destroyed meanwhile.
        if fs::create_dir(&next.0).is_ok() && next.try_write("cgroup.procs", "0").is_ok() {
            made.push(next);
        }
        if made.len() == 5 {
            let _frozen_or_gone = own.try_write("cgroup.procs", "0");
            made.drain(..).rev().for_each(|empty| drop(fs::remove_dir(empty.0)));
        }
        if count == 10 {
            role::send("ready");
        }
    }
}

/// Sends its pids, since a stopped process cannot send anything.
pub fn stopped(_: &[String]) {
    role::receive();
    role::fork();
    role::send(&own_pid().to_string());
    raise(Signal::SIGSTOP).expect("raise");
    role::sleep();
}

/// The first process of a pid namespace takes no signal from inside of it.
pub fn in_a_pid_namespace(_: &[String]) {
    role::receive();
    let flags = if lab::is_root() { CloneFlags::empty() } else { CloneFlags::CLONE_NEWUSER };
    unshare(flags | CloneFlags::CLONE_NEWPID).expect("unshare");
    if role::fork() {
        role::fork();
        role::send("ready");
    }
    role::sleep();
}

/// The exit of the child waits for the tracer, which is a member too.
pub fn traced(_: &[String]) {
    role::receive();
    if role::fork() {
        ptrace(libc::PTRACE_TRACEME, 0, 0);
        raise(Signal::SIGSTOP).expect("raise");
        role::sleep();
    }
    let any = Pid::from_raw(-1);
    let Ok(WaitStatus::Stopped(child, Signal::SIGSTOP)) = waitpid(any, Some(WaitPidFlag::WUNTRACED)) else {
        panic!("the child did not stop");
    };
    ptrace(libc::PTRACE_SETOPTIONS, child.as_raw(), libc::PTRACE_O_TRACEEXIT);
    role::send("ready");
    role::sleep();
}

/// Not a member: it attaches to the process with this pid.
pub fn debugger(args: &[String]) {
    let pid = args[0].parse().expect("a pid");
    ptrace(libc::PTRACE_ATTACH, pid, 0);
    let held = waitpid(Pid::from_raw(pid), None);
    assert!(matches!(held, Ok(WaitStatus::Stopped(..))), "{held:?}");
    role::send("held");
    role::sleep();
}

fn ptrace(request: libc::c_uint, pid: i32, data: libc::c_int) {
    // SAFETY: none of these requests takes an address.
    #[allow(unsafe_code, reason = "see SAFETY")]
    let done = unsafe { libc::ptrace(request, pid, 0, data) };
    Errno::result(done).expect("ptrace");
}

/// A parent that waits in the kernel for its child, which waits for its own child.
pub fn in_vfork(_: &[String]) {
    role::receive();
    for _ in 0..2 {
        let flags = libc::CLONE_VFORK | libc::SIGCHLD;
        // SAFETY: without shared memory it is a fork, and the process has one thread.
        #[allow(unsafe_code, reason = "see SAFETY")]
        let child = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
        match Errno::result(child).expect("clone") {
            0 => {}
            _ => role::sleep(),
        }
    }
    role::send("ready");
    role::sleep();
}

pub fn with_500_megabytes(_: &[String]) {
    role::receive();
    let (access, flags) = (libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE);
    // SAFETY: the memory is new, and nothing refers to it.
    #[allow(unsafe_code, reason = "see SAFETY")]
    let memory = unsafe { libc::mmap(std::ptr::null_mut(), 500 << 20, access, flags, -1, 0) };
    assert_ne!(memory, libc::MAP_FAILED, "{}", Errno::last());
    role::send("ready");
    role::sleep();
}

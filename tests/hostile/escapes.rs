// SPDX-License-Identifier: MIT OR Apache-2.0
//! What members do to get away. Each process says "ready" when it is what it is to be.

use crate::common::cgroup::Cgroup;
use crate::common::group::own_pid;
use crate::common::lab;
use crate::common::member::role;
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigHandler, SigSet, Signal, raise, signal};
use nix::unistd::setsid;

pub fn fork_bomb(_: &[String]) {
    role::listen();
    loop {
        let _refused = role::try_fork();
    }
}

/// Chains of processes, each of which forks the next and is gone.
pub fn rolling_forker(_: &[String]) {
    role::listen();
    for _ in 0..3 {
        if role::fork() {
            for generation in 0u64.. {
                if generation == 3 {
                    role::say("ready");
                }
                if !role::fork() {
                    role::exit(0);
                }
            }
        }
    }
    role::sleep();
}

pub fn threads_that_fork(_: &[String]) {
    role::listen();
    for _ in 0..3 {
        std::thread::spawn(|| {
            for round in 0u64.. {
                if round == 3 {
                    role::say("ready");
                }
                if role::try_fork() == Ok(true) {
                    role::exit(0);
                }
            }
        });
    }
    role::sleep();
}

/// Another thread tells that the main thread is a zombie.
pub fn without_main_thread(_: &[String]) {
    role::listen();
    let stat = format!("/proc/{}/stat", own_pid());
    std::thread::spawn(|| role::sleep());
    std::thread::spawn(move || {
        while !std::fs::read_to_string(&stat).is_ok_and(|text| text.contains(") Z ")) {
            std::thread::yield_now();
        }
        role::say("ready");
        role::sleep()
    });
    role::end_thread()
}

pub fn in_new_sessions(_: &[String]) {
    role::listen();
    if role::fork() {
        setsid().expect("setsid");
        for _ in 0..3 {
            if role::fork() {
                setsid().expect("setsid");
                role::say("ready");
                role::sleep();
            }
        }
        role::exit(0);
    }
    role::say("ready");
    role::sleep();
}

pub fn five_cgroups_deep(args: &[String]) {
    role::listen();
    let mut cgroup = Cgroup(args[0].clone().into());
    for name in ["one", "two", "three", "four", "five"] {
        cgroup = cgroup.make(name);
        if role::fork() {
            role::enter(&cgroup);
            break;
        }
    }
    role::say("ready");
    role::sleep();
}

/// It makes a cgroup below its own threaded, and its own so a threaded domain.
pub fn in_a_threaded_cgroup(args: &[String]) {
    role::listen();
    let threaded = Cgroup(args[0].clone().into()).make("threaded");
    threaded.write("cgroup.type", "threaded");
    if role::fork() {
        threaded.write("cgroup.threads", 0);
    }
    role::say("ready");
    role::sleep();
}

/// Two of them, which also go into what they make.
pub fn that_makes_cgroups(args: &[String]) {
    role::listen();
    let own = Cgroup(args[0].clone().into());
    let name = if role::fork() { "child" } else { "parent" };
    for count in 0u64.. {
        let made = own.join(format!("{name}-{count}"));
        if std::fs::create_dir(&made.0).is_ok() {
            role::enter(&made);
        }
        if count == 5 {
            role::say("ready");
        }
    }
}

/// Tells its pids, since who is stopped cannot say so.
pub fn stopped(_: &[String]) {
    role::listen();
    role::fork();
    role::say(&own_pid().to_string());
    raise(Signal::SIGSTOP).expect("raise");
    role::sleep();
}

pub fn ignores_signals(_: &[String]) {
    role::listen();
    role::fork();
    for one in Signal::iterator().filter(|one| !matches!(one, Signal::SIGKILL | Signal::SIGSTOP)) {
        // SAFETY: SIG_IGN runs no code.
        #[allow(unsafe_code, reason = "see SAFETY")]
        unsafe { signal(one, SigHandler::SigIgn) }.expect("signal");
    }
    SigSet::all().thread_block().expect("block");
    role::say("ready");
    role::sleep();
}

/// The first process of a namespace takes no signal from inside it.
pub fn in_a_pid_namespace(_: &[String]) {
    role::listen();
    let flags = if lab::is_root() { CloneFlags::empty() } else { CloneFlags::CLONE_NEWUSER };
    unshare(flags | CloneFlags::CLONE_NEWPID).expect("unshare");
    if role::fork() {
        role::fork();
        role::say("ready");
    }
    role::sleep();
}

/// They use all the CPU time that they get. Tells their pids, to be moved before they are held back.
pub fn ten_burners(_: &[String]) {
    role::listen();
    for _ in 0..9 {
        if role::fork() {
            break;
        }
    }
    role::say(&own_pid().to_string());
    role::burn();
}

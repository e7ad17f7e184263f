// SPDX-License-Identifier: MIT OR Apache-2.0
//! Each call of the library makes exactly the system calls of `tests/behaviour/syscalls/table`, which says what each is
//! for. A change that adds or removes one changes that table.

use crate::common::cgroup::{Cgroup, Scratch};
use crate::common::member::{Member, role};
use crate::common::program::{self, command};
use crate::common::{deadline, lab, ptrace, wait_until};
use agentcg::stats::{CPU, CPU_THROTTLE, MEMORY};
use agentcg::{Agent, CpuMax, Deadline, Limits, SpawnOptions, events, find, find_pidfd, kill_all_of, list};
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::unistd::ForkResult;
use std::ffi::CString;
use std::fmt::Write;
use std::fs;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

roles![makes_each_call, makes_an_agent, makes_the_only_agent];

/// The calls of the library that are traced, by the names of the table.
const NAMES: [&str; 21] = [
    "new without limits",
    "new with 3 limits",
    "set_limits of 3",
    "move_pid",
    "move_out",
    "find",
    "find_pidfd",
    "read_stats BASIC",
    "read_stats ALL",
    "event_fd",
    "next_events",
    "spawn",
    "kill_all of 1",
    "destroy after kill_all",
    "destroy of an empty group",
    "destroy of an empty group, and close",
    "open, and close",
    "list of 2",
    "kill_all of an empty group",
    "the begin of kill_all_of 2",
    "new of a child of a session",
];
/// The same call in other places.
const PLACES: [&str; 3] =
    ["new where no controller is available", "new where cpu is not available", "new in the best place"];

/// The system call that begins and ends a section of the trace. Nothing else makes it.
const MARK: libc::c_long = libc::SYS_sched_get_priority_max;

#[test]
fn each_call_makes_the_system_calls_of_the_table_and_no_other() {
    let scratch = Scratch::new();
    // The number depends on the time that a process needs to die: the fewest of some rounds are exact.
    let rounds: Vec<_> = (0..ROUNDS).map(|_| trace("makes_each_call", &path_of(&scratch), &NAMES)).collect();
    let fewest = |at| rounds.iter().map(|round| &round[at]).min_by_key(|made: &&Vec<String>| made.len());
    let mut made: Vec<_> = (0..NAMES.len()).map(|at| fewest(at).expect("a round").clone()).collect();
    // What follows depends on which processes have died meanwhile.
    made[number_of("the begin of kill_all_of 2")].truncate(10);
    compare_with_table(&NAMES, &made);
}

#[test]
fn an_agent_is_made_by_the_system_calls_of_the_table_in_places_with_few_controllers() {
    let made: Vec<_> = [&[] as &[&str], &["memory", "pids"]]
        .into_iter()
        .zip(&PLACES)
        .flat_map(|(controllers, name)| {
            let scratch = Scratch::with_controllers(controllers);
            trace("syscalls::makes_an_agent", &path_of(&scratch), std::slice::from_ref(name))
        })
        .collect();
    compare_with_table(&PLACES[..2], &made);
}

#[test]
fn an_agent_is_made_by_the_system_calls_of_the_table_in_the_best_place() {
    compare_with_table(&PLACES[2..], &trace("syscalls::makes_an_agent", "", &PLACES[2..]));
}

/// The only agent of a process reads the counters of the cgroups above it, for its verdict. Those that are made while it exists
/// do not.
#[test]
fn the_only_agent_of_a_process_makes_fourteen_system_calls_for_each_cgroup_above_it() {
    let scratch = Scratch::new();
    let enable = |cgroup: &Cgroup| cgroup.write("cgroup.subtree_control", "+cpu +memory +pids");
    let count = |parent: &Cgroup| {
        let parent = parent.0.to_string_lossy();
        trace("makes_the_only_agent", &parent, &["new of the only agent"])[0].len()
    };
    let above = count(&scratch.parent);
    enable(&scratch.parent);
    let inner = scratch.parent.make("inner");
    // pids.events.local, from Linux 6.11 on, is also read and closed.
    let each = if kernel() == "7.2" { 16 } else { 14 };
    assert_eq!(count(&inner) - above, each);
    inner.remove();
}

fn path_of(scratch: &Scratch) -> String {
    scratch.path().to_string_lossy().into_owned()
}

fn compare_with_table(names: &[&str], made: &[Vec<String>]) {
    let mut report = String::new();
    let table = table();
    for (name, made) in names.iter().zip(made) {
        let section = table.iter().find(|section| section.name == *name).expect(name);
        if section.applies && *made != section.calls {
            report += &section.compared_with(made);
        }
    }
    assert!(report.is_empty(), "\n{report}");
}

/// How many times all calls are traced.
const ROUNDS: usize = 3;

fn number_of(name: &str) -> usize {
    NAMES
        .iter()
        .position(|one| *one == name)
        .unwrap_or_else(|| panic!("no call of the library is \"{name}\""))
}

/// One call of the library in the table.
struct Section {
    name: String,
    applies: bool,
    calls: Vec<String>,
}

impl Section {
    /// Returns the calls that were made, with a mark at the first that differs.
    fn compared_with(&self, made: &[String]) -> String {
        let (expected, count) = (&self.calls, made.len());
        let at = made.iter().zip(expected).take_while(|(made, expected)| made == expected).count();
        let mut text = format!("{}: {count} system calls, the table has {}\n", self.name, expected.len());
        for (number, call) in made.iter().map(String::as_str).chain(["the end"]).enumerate() {
            let mark = if number == at { '>' } else { ' ' };
            writeln!(text, "  {mark} {call}").expect("memory");
        }
        let there = expected.get(at).map_or("the end", String::as_str);
        text + &format!("  At the > the table has: {there}\n")
    }
}

/// Returns the system calls of each of these calls of the library, which a role makes.
fn trace(role: &str, parent: &str, names: &[&str]) -> Vec<Vec<String>> {
    let member = Member::start(role, &[parent]);
    let pid = member.pid();
    let mut sections: Vec<Vec<String>> = Vec::new();
    let mut inside = false;
    ptrace::each_system_call(pid, |call| {
        if call.number == MARK {
            inside = !inside;
            if inside {
                assert_eq!(usize::try_from(call.arguments[0]), Ok(sections.len()), "the marks are in order");
                sections.push(Vec::new());
            }
        } else if inside {
            sections.last_mut().expect("a section").extend(described(pid, call));
        }
    });
    assert!(!inside && sections.len() == names.len(), "the role has ended after {} calls", sections.len());
    sections.iter().map(|calls| without_waiting(calls)).collect()
}

/// How a call is described.
enum Object {
    /// By the path that is its second argument, or the descriptor if that is empty.
    Path,
    /// By the path that is its first argument.
    FirstPath,
    /// By the descriptor that is its first argument.
    Descriptor,
    /// By its name alone.
    None,
}

/// Returns the name of a system call and the file that it is about. Returns none for the clock, which most kernels
/// read without a system call, and for the memory of the heap.
fn described(pid: i32, call: ptrace::Call) -> Option<String> {
    macro_rules! names {
        ($($name:ident $number:ident $object:ident),* $(,)?) => {
            match call.number {
                $(libc::$number => (stringify!($name).to_owned(), Object::$object),)*
                // newfstatat(2) with some C libraries.
                libc::SYS_fstat => ("stat".to_owned(), Object::Descriptor),
                libc::SYS_clock_gettime | libc::SYS_brk | libc::SYS_mmap | libc::SYS_munmap | libc::SYS_mremap
                | libc::SYS_madvise => return None,
                other => (format!("#{other}"), Object::None),
            }
        };
    }
    let (name, object) = names![
        read SYS_read Descriptor, pread SYS_pread64 Descriptor, write SYS_write Descriptor,
        open SYS_openat Path, close SYS_close Descriptor, mkdir SYS_mkdirat Path, rmdir SYS_unlinkat Path,
        list SYS_getdents64 Descriptor, seek SYS_lseek Descriptor, stat SYS_newfstatat Path,
        statx SYS_statx Path, statfs SYS_fstatfs Descriptor,
        access SYS_faccessat Path, access2 SYS_faccessat2 Path, readlink SYS_readlinkat Path,
        readlink SYS_readlink FirstPath,
        flock SYS_flock Descriptor, fcntl SYS_fcntl Descriptor, setxattr SYS_fsetxattr Descriptor,
        getxattr SYS_fgetxattr Descriptor, getxattr SYS_getxattr FirstPath, handle SYS_name_to_handle_at Path,
        getrandom SYS_getrandom None, getsid SYS_getsid None, getpid SYS_getpid None, getppid SYS_getppid None,
        gettid SYS_gettid None, geteuid SYS_geteuid None, getrlimit SYS_prlimit64 None, pidfd_open SYS_pidfd_open None,
        pidfd_send_signal SYS_pidfd_send_signal Descriptor, waitid SYS_waitid None, wait4 SYS_wait4 None,
        clone3 SYS_clone3 None, clone SYS_clone None, kill SYS_kill None, ppoll SYS_ppoll None, poll SYS_poll None,
        nanosleep SYS_clock_nanosleep None, yield SYS_sched_yield None, futex SYS_futex None,
        sigprocmask SYS_rt_sigprocmask None, sigaction SYS_rt_sigaction None, pipe SYS_pipe2 None,
        mprotect SYS_mprotect None, epoll_create SYS_epoll_create1 None, epoll_ctl SYS_epoll_ctl None,
        epoll_wait SYS_epoll_wait None, timerfd_create SYS_timerfd_create None,
        timerfd_settime SYS_timerfd_settime Descriptor, inotify_init SYS_inotify_init1 None,
        inotify_add_watch SYS_inotify_add_watch Path, sched_getaffinity SYS_sched_getaffinity None,
        socketpair SYS_socketpair None, dup3 SYS_dup3 Descriptor, chmod SYS_fchmodat Path, fchmod SYS_fchmod Descriptor,
        getresuid SYS_getresuid None, getresgid SYS_getresgid None, prctl SYS_prctl None, ioctl SYS_ioctl Descriptor, tgkill SYS_tgkill None,
    ];
    let [first, second] = call.arguments;
    // std checks a descriptor before it closes it, only without optimization.
    if call.number == libc::SYS_fcntl && first > 2 && second == libc::F_GETFD.into() {
        return None;
    }
    let path = match object {
        Object::Path => ptrace::text_at(pid, second),
        Object::FirstPath => ptrace::text_at(pid, first),
        Object::Descriptor | Object::None => String::new(),
    };
    let file = match object {
        Object::None => return Some(name),
        Object::Descriptor if first < 3 => first.to_string(),
        _ if path.is_empty() => fs::read_link(format!("/proc/{pid}/fd/{first}"))
            .map_or_else(|e| e.to_string(), |file| short(&file)),
        _ => short(Path::new(&path)),
    };
    Some(format!("{name} {file}"))
}

/// Returns the last name of a path, GROUP for the uuid of an agent, or FDINFO for what /proc says about a descriptor.
fn short(path: &Path) -> String {
    if path.parent().is_some_and(|parent| parent.ends_with("fdinfo")) {
        return "FDINFO".to_owned();
    }
    let name = path.file_name().map_or_else(|| path.to_string_lossy(), |name| name.to_string_lossy());
    let name = name.trim_end_matches(" (deleted)").trim_start_matches("anon_inode:[").trim_end_matches(']');
    if name.len() == 36 && name.matches('-').count() == 4 { "GROUP" } else { name }.to_owned()
}

/// Leaves out what depends on time: a read of `cgroup.events` that shows that processes live, and the pause after it; and
/// the second getrandom(2) while the kernel's generator is not seeded.
fn without_waiting(calls: &[String]) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    for call in calls {
        if ["yield", "ppoll", "nanosleep"].contains(&call.as_str())
            && kept.last().is_some_and(|last| last == "pread cgroup.events")
        {
            kept.pop();
        } else if call != "getrandom" || kept.last().is_none_or(|last| last != call) {
            kept.push(call.clone());
        }
    }
    kept
}

/// Returns the kernel's number in the table.
fn kernel() -> String {
    std::env::var("LAB_KERNEL").unwrap_or_else(|_| "6.1".to_owned())
}

/// Reads the table, with the system calls that are made on this kernel in this layout.
fn table() -> Vec<Section> {
    let here = [kernel(), lab::layout()];
    let mut sections: Vec<Section> = Vec::new();
    let lines = include_str!("syscalls/table").lines();
    for line in lines.filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let (line, condition) = match line.split_once('[') {
            Some((call, rest)) => (call, rest.split_once(']').expect("a bracket").0),
            None => (line, ""),
        };
        let applies = condition.split_whitespace().all(|one| match one.strip_prefix('!') {
            Some(other) => here.iter().all(|here| here != other),
            None => here.iter().any(|here| here == one),
        });
        if let Some(call) = line.strip_prefix("    ") {
            let call = call.split("  ").next().expect("a call").trim_end().to_owned();
            if applies {
                sections.last_mut().expect("a section").calls.push(call);
            }
        } else {
            let name = line.trim_end().trim_end_matches(':').to_owned();
            sections.push(Section { name, applies, calls: Vec::new() });
        }
    }
    assert_eq!(sections.len(), NAMES.len() + PLACES.len(), "sections of the table");
    sections
}

fn limits(mib: u64) -> Limits {
    Limits {
        memory_max: Some(mib << 20),
        cpu_max: Some(CpuMax { millicpu: 500, period_us: 0 }),
        pids_max: Some(20),
        ..Limits::default()
    }
}

/// Makes each call once before, so that what a process finds out once is known.
fn makes_each_call(args: &[String]) {
    let parent = CString::new(args[0].as_str()).expect("a path");
    let make =
        |limits: &Limits| Agent::new(Some(&parent), None, limits).unwrap_or_else(|e| panic!("new: {e}"));
    let none = Limits::default();
    // The place exists all the time, and the library remembers it.
    let other = make(&none);
    every_call(&parent, &|_, work| work());
    ptrace::wait_for_tracer();
    every_call(&parent, &|number, work| {
        mark(number);
        work();
        mark(number);
    });
    other.destroy(false, deadline(), false).expect("destroy");
    role::exit(0);
}

/// Makes one agent, in the parent or in the best place. Another exists there.
fn makes_an_agent(args: &[String]) {
    let parent = CString::new(args[0].as_str()).expect("a path");
    let parent = (!args[0].is_empty()).then_some(parent.as_c_str());
    let make = || Agent::new(parent, None, &Limits::default()).unwrap_or_else(|e| panic!("new: {e}"));
    let mut agents = vec![make(), make()];
    ptrace::wait_for_tracer();
    mark(0);
    agents.push(make());
    mark(0);
    for agent in agents {
        agent.destroy(false, deadline(), false).expect("destroy");
    }
    role::exit(0);
}

/// Makes one agent. No other exists, but one has existed.
fn makes_the_only_agent(args: &[String]) {
    let parent = CString::new(args[0].as_str()).expect("a path");
    let make = || Agent::new(Some(&parent), None, &Limits::default()).unwrap_or_else(|e| panic!("new: {e}"));
    let destroy = |agent: Agent| agent.destroy(false, deadline(), false).expect("destroy");
    destroy(make());
    ptrace::wait_for_tracer();
    mark(0);
    let agent = make();
    mark(0);
    destroy(agent);
    role::exit(0);
}

fn mark(number: usize) {
    // SAFETY: the call takes an integer.
    #[allow(unsafe_code, reason = "see SAFETY")]
    unsafe {
        libc::syscall(MARK, number);
    }
}

fn every_call(parent: &CString, section: &dyn Fn(usize, &mut dyn FnMut())) {
    const BASIC: u64 = CPU | CPU_THROTTLE | MEMORY;
    const ALL_EVENTS: u64 = events::OOM_KILL | events::EMPTY | events::GONE;
    let run = |name: &str, work: &mut dyn FnMut()| section(number_of(name), work);
    let make =
        |limits: &Limits| Agent::new(Some(parent), None, limits).unwrap_or_else(|e| panic!("new: {e}"));
    let destroy = |agent: &Agent| {
        agent.destroy(false, deadline(), false).expect("destroy");
    };
    let mut kept = [const { None }; 2];
    run("new without limits", &mut || kept[0] = Some(make(&Limits::default())));
    run("new with 3 limits", &mut || kept[1] = Some(make(&limits(64))));
    let [Some(plain), Some(limited)] = kept else { panic!("both were made") };
    run("set_limits of 3", &mut || limited.set_limits(&limits(32), false).expect("set_limits"));
    let sleeper = start_sleeper();
    run("move_pid", &mut || limited.move_pid(sleeper).expect("move_pid"));
    run("move_out", &mut || limited.move_out(sleeper).expect("move_out"));
    limited.move_pid(sleeper).expect("move_pid");
    run("find", &mut || assert_eq!(find(sleeper).expect("find").uuid, limited.uuid()));
    let pidfd = pidfd_of(sleeper);
    run("find_pidfd", &mut || assert_eq!(find_pidfd(pidfd.as_fd()).expect("find").uuid, limited.uuid()));
    drop(pidfd);
    for which in [BASIC, u64::MAX] {
        limited.read_stats(which).expect("read_stats");
    }
    run("read_stats BASIC", &mut || drop(limited.read_stats(BASIC)));
    run("read_stats ALL", &mut || drop(limited.read_stats(u64::MAX)));
    let watched = make(&Limits::default());
    run("event_fd", &mut || {
        watched.event_fd(ALL_EVENTS).expect("event_fd");
    });
    run("next_events", &mut || drop(watched.next_events(Deadline::after(Duration::ZERO))));
    destroy(&watched);
    drop(watched);
    run("spawn", &mut || {
        let started = plain.spawn(&command(&[c"/bin/true"], [c"true"]), SpawnOptions::default());
        program::wait(&started.expect("spawn"));
    });
    // A zombie would count as a process on some kernels.
    let default = ignore_children(SigHandler::SigIgn);
    run("kill_all of 1", &mut || limited.kill_all(deadline()).expect("kill_all"));
    run("destroy after kill_all", &mut || destroy(&limited));
    run("destroy of an empty group", &mut || destroy(&plain));
    drop((limited, plain));
    let mut closed = Some(make(&Limits::default()));
    run("destroy of an empty group, and close", &mut || {
        let agent = closed.take().expect("once");
        destroy(&agent);
    });
    let two = [make(&Limits::default())];
    run("open, and close", &mut || drop(Agent::open(Some(parent), two[0].uuid(), false).expect("open")));
    run("list of 2", &mut || assert_eq!(list(Some(parent)).expect("list").len(), 2));
    run("kill_all of an empty group", &mut || two[0].kill_all(deadline()).expect("kill_all"));
    let other = make(&Limits::default());
    for agent in [&two[0], &other] {
        agent.move_pid(start_sleeper()).expect("move_pid");
    }
    run("the begin of kill_all_of 2", &mut || {
        kill_all_of([&two[0], &other].into_iter(), deadline(), |_, killed| killed.expect("kill_all_of"));
    });
    let child =
        |session: &Agent| session.new_in(None, &Limits::default(), None, None, false).expect("new_in");
    let first = child(&two[0]);
    let mut second = None;
    run("new of a child of a session", &mut || second = Some(child(&two[0])));
    drop((first, second));
    destroy(&two[0]);
    destroy(&other);
    ignore_children(default);
}

fn ignore_children(how: SigHandler) -> SigHandler {
    // SAFETY: no handler is a function.
    #[allow(unsafe_code, reason = "see SAFETY")]
    unsafe { signal(Signal::SIGCHLD, how) }.expect("signal")
}

fn pidfd_of(pid: i32) -> OwnedFd {
    // SAFETY: the call takes two integers and returns a new descriptor or an error.
    #[allow(unsafe_code, reason = "nix has no pidfd_open")]
    unsafe {
        let fd = i32::try_from(libc::syscall(libc::SYS_pidfd_open, pid, 0)).expect("an int");
        assert!(fd >= 0, "{}", std::io::Error::last_os_error());
        OwnedFd::from_raw_fd(fd)
    }
}

/// Starts a child that waits to be killed.
fn start_sleeper() -> i32 {
    // SAFETY: a role has one thread, so the child has a complete copy of the process.
    #[allow(unsafe_code, reason = "see SAFETY")]
    match unsafe { nix::unistd::fork() }.expect("fork") {
        ForkResult::Parent { child } => {
            wait_until("it has a session", || nix::unistd::getsid(Some(child)) == Ok(child));
            child.as_raw()
        }
        ForkResult::Child => {
            // A process of the lab has a session that the process cannot name, like a kernel thread.
            nix::unistd::setsid().expect("setsid");
            role::sleep()
        }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a contained agent can still do to other processes of its uid, and what it cannot.

use super::fixture::Fixture;
use crate::common::lab;
use crate::common::member::{Member, role};
use crate::common::program::StartOptions;
use agentcg::{Agent, Errno};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;

/// Starts a child in the cgroup, which ends at once.
pub fn is_created_in(cgroup: RawFd) -> io::Result<()> {
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    // struct clone_args: flags first, the exit signal fifth, the cgroup's descriptor eleventh.
    let mut args = [0u64; 11];
    (args[0], args[4], args[10]) = (CLONE_INTO_CGROUP, libc::SIGCHLD as u64, cgroup as u64);
    // SAFETY: this process has one thread, and without CLONE_VM the child has a copy of its memory.
    #[allow(unsafe_code, reason = "clone3")]
    let pid = unsafe { libc::syscall(libc::SYS_clone3, args.as_ptr(), size_of_val(&args)) };
    match pid {
        0 => crate::common::member::role::exit(0),
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Attaches to the process as a debugger does.
pub fn traces(pid: i32) -> io::Result<()> {
    // SAFETY: the request reads and writes no memory.
    #[allow(unsafe_code, reason = "ptrace")]
    let done = unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, 0, 0) };
    Errno::result(done).map(drop).map_err(io::Error::from)
}

/// Sends the null signal, which needs the same permission.
pub fn signals(pid: i32) -> io::Result<()> {
    kill(Pid::from_raw(pid), None).map_err(io::Error::from)
}

#[test]
fn an_agent_cannot_trace_its_host() {
    let fixture = Fixture::new();
    assert_eq!(fixture.attempt("traces the host", &[], true, StartOptions::default()), Err(Errno::EPERM));
    assert_eq!(fixture.attempt("traces the host", &[], false, StartOptions::default()), Ok(()));
}

/// Returns the ABI version of Landlock, or 0 if Landlock is not in use.
#[allow(unsafe_code, reason = "landlock_create_ruleset(2)")]
fn landlock_abi() -> libc::c_long {
    // SAFETY: the call only asks for the version.
    unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0, 1) }.max(0)
}

/// Returns the result of a signal to an outside process: with scopes (ABI 6, Linux 6.12) it is refused.
fn signal_to_outsider() -> Result<(), Errno> {
    let expected = std::env::var("LAB_KERNEL").is_ok_and(|kernel| kernel == "6.12");
    assert!(!expected || landlock_abi() >= 6, "the lab has started this kernel without Landlock");
    if landlock_abi() < 6 { Ok(()) } else { Err(Errno::EPERM) }
}

#[test]
fn an_agent_signals_its_host_only_if_landlock_has_no_scopes() {
    let fixture = Fixture::new();
    assert_eq!(fixture.attempt("signals the host", &[], true, StartOptions::default()), signal_to_outsider());
    assert_eq!(fixture.attempt("signals the host", &[], false, StartOptions::default()), Ok(()));
}

#[test]
fn an_agent_signals_a_sibling_only_if_landlock_has_no_scopes() {
    let fixture = Fixture::new();
    let sibling = fixture.member.pid().to_string();
    assert_eq!(
        fixture.attempt("signals by pid", &[&sibling], true, StartOptions::default()),
        signal_to_outsider()
    );
    assert_eq!(fixture.attempt("signals by pid", &[&sibling], false, StartOptions::default()), Ok(()));
}

/// Limits that do not help the agent itself: the core dumps and the priority of that process.
#[allow(unsafe_code, reason = "prlimit(2)")]
pub fn changes_limits(pid: i32) -> io::Result<()> {
    let none = libc::rlimit { rlim_cur: 0, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the kernel reads one struct.
    let done = unsafe { libc::prlimit(pid, libc::RLIMIT_CORE, &raw const none, std::ptr::null_mut()) };
    Errno::result(done).map(drop)?;
    // SAFETY: the call takes integers.
    Errno::result(unsafe { libc::setpriority(libc::PRIO_PROCESS, pid.unsigned_abs(), 1) }).map(drop)?;
    Ok(())
}

/// The host of these attempts is a separate process that the test does not need.
fn check_on_a_victim(attempt: &str, outcome: Result<(), Errno>) {
    let mut victim = Member::start("host_that_waits", &[]);
    victim.expect_line("ready");
    let fixture = Fixture::new();
    assert_eq!(fixture.attempt_on(victim.pid(), attempt, &[], true, StartOptions::default()), outcome);
}

pub fn host_that_waits(_: &[String]) {
    role::send("ready");
    role::sleep();
}

#[test]
fn an_agent_can_change_the_limits_of_its_host() {
    // To change the priority, a process needs all capabilities of the other one: those of root are more.
    check_on_a_victim(
        "changes the limits of the host",
        if lab::is_root() { Err(Errno::EPERM) } else { Ok(()) },
    );
}

#[test]
fn an_agent_can_make_the_oom_killer_choose_its_host_first() {
    check_on_a_victim("raises the OOM score of the host", Ok(()));
}

/// It cannot enter another cgroup in this way.
#[test]
fn an_agent_can_write_through_an_inherited_directory_of_the_hierarchy() {
    let fixture = Fixture::new();
    let dir = File::open(&fixture.sibling.cgroup.0).unwrap();
    let options = StartOptions { stdio: [dir.as_raw_fd(), 1, 2], ..StartOptions::default() };
    assert_eq!(fixture.attempt("writes to its sibling through descriptor 0", &[], true, options), Ok(()));
    assert_eq!(fixture.sibling.cgroup.read("memory.max"), "max");
}

/// Signals its own process, a child and an orphaned grandchild.
pub fn signals_its_own_processes() -> io::Result<()> {
    let (reader, writer) = nix::unistd::pipe()?;
    if role::fork() {
        if role::fork() {
            nix::unistd::setsid()?;
            nix::unistd::write(&writer, &std::process::id().to_ne_bytes())?;
            role::sleep();
        }
        role::exit(0);
    }
    let mut pid = [0; 4];
    nix::unistd::read(&reader, &mut pid)?;
    let daemon = i32::from_ne_bytes(pid);
    signals(i32::try_from(std::process::id()).expect("a pid is an int"))?;
    signals(daemon)?;
    kill(Pid::from_raw(daemon), Signal::SIGKILL).map_err(io::Error::from)
}

#[test]
fn an_agent_signals_its_own_processes() {
    let fixture = Fixture::new();
    assert_eq!(fixture.attempt("signals its own processes", &[], true, StartOptions::default()), Ok(()));
}

pub fn has_its_own_session() -> io::Result<()> {
    let leads = nix::unistd::getsid(None)? == nix::unistd::getpid();
    if leads { Ok(()) } else { Err(Errno::ENOTTY.into()) }
}

#[test]
fn an_agent_has_its_own_session_on_each_spawn_path() {
    super::entries::on_each_spawn_path(&[], |fixture| {
        let play = |contain| fixture.attempt("has its own session", &[], contain, StartOptions::default());
        assert_eq!((play(true), play(false)), (Ok(()), Err(Errno::ENOTTY)));
    });
}

/// Returns the serial number of the session keyring, or an error on a kernel without keys.
#[allow(unsafe_code, reason = "keyctl(2)")]
fn session_keyring() -> nix::Result<libc::c_long> {
    let session = -3; // KEY_SPEC_SESSION_KEYRING
    // SAFETY: the call takes integers.
    Errno::result(unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_GET_KEYRING_ID, session, 0) })
}

pub fn has_keyring(serial: &str) -> io::Result<()> {
    let is_it = session_keyring()?.to_string() == serial;
    if is_it { Ok(()) } else { Err(Errno::ENOKEY.into()) }
}

#[test]
fn an_agent_does_not_have_the_keys_of_its_host() {
    #[allow(unsafe_code, reason = "keyctl(2)")]
    // SAFETY: the call takes integers.
    let joined = unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, 0) };
    assert!(joined > 0, "the lab's kernels have keys: {}", Errno::last());
    let serial = session_keyring().unwrap().to_string();
    let fixture = Fixture::new();
    let play = |contain| {
        fixture.attempt("has the keyring of the host", &[&serial], contain, StartOptions::default())
    };
    assert_eq!((play(true), play(false)), (Err(Errno::ENOKEY), Ok(())));
}

/// Inserts a byte into the input of the next process that reads the terminal.
#[allow(unsafe_code, reason = "ioctl(2)")]
pub fn types_into_terminal() -> io::Result<()> {
    let byte = b'x';
    // SAFETY: the kernel reads one byte.
    Errno::result(unsafe { libc::ioctl(0, libc::TIOCSTI, &raw const byte) }).map(drop)?;
    Ok(())
}

/// A role with its own session and terminal, as a shell has.
pub fn host_on_a_terminal(_: &[String]) {
    nix::unistd::setsid().unwrap();
    let master = File::options().read(true).write(true).open("/dev/ptmx").unwrap();
    let unlocked: libc::c_int = 0;
    #[allow(unsafe_code, reason = "ioctl(2)")]
    // SAFETY: the first call reads an int, the others take integers.
    let terminal = unsafe {
        let peer = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
        assert_eq!(libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlocked), 0);
        let terminal = libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, peer);
        assert_eq!(libc::ioctl(terminal, libc::TIOCSCTTY, 0), 0, "{}", Errno::last());
        terminal
    };
    let fixture = Fixture::new();
    let options = StartOptions { stdio: [terminal, 1, 2], ..StartOptions::default() };
    let play = |contain| fixture.attempt("types into terminal 0", &[], contain, options);
    // From Linux 6.2 on a setting forbids it to all processes.
    let is_off = std::fs::read_to_string("/proc/sys/dev/tty/legacy_tiocsti").is_ok_and(|text| text == "0\n");
    let off = Err(Errno::EIO);
    assert_eq!(play(true), if is_off { off } else { Err(Errno::EPERM) });
    assert_eq!(play(false), if is_off { off } else { Ok(()) });
    role::send("ok");
}

#[test]
fn an_agent_cannot_type_into_the_terminal_of_its_host() {
    let mut host = Member::start("host_on_a_terminal", &[]);
    host.expect_line("ok");
}

/// A role that hides its memory from other processes of its uid.
pub fn host_that_is_not_dumpable(_: &[String]) {
    nix::sys::prctl::set_dumpable(false).unwrap();
    super::entries::on_each_spawn_path(&[], |fixture| {
        super::entries::check_contained(fixture);
        assert_eq!(nix::sys::prctl::get_dumpable(), Ok(false), "the host stays not dumpable");
    });
    role::send("ok");
}

#[test]
fn an_agent_of_a_host_that_is_not_dumpable_is_contained_on_each_spawn_path() {
    let mut host = Member::start("host_that_is_not_dumpable", &[]);
    host.expect_line("ok");
}

/// A host that passes a directory also passes everything below and above it.
#[test]
fn an_agent_can_get_out_through_an_inherited_directory_of_the_mounts_of_its_host() {
    let fixture = Fixture::new();
    let dir = File::open("/tmp").unwrap();
    let options = StartOptions { stdio: [dir.as_raw_fd(), 1, 2], ..StartOptions::default() };
    assert_eq!(fixture.attempt("climbs from descriptor 0", &[], true, options), Ok(()));
}

/// The library treats memory.oom.group as a limit, but /sys/kernel/cgroup/delegate lists it as delegated.
#[test]
fn an_agent_can_change_memory_oom_group() {
    let fixture = Fixture::new();
    let more = ["memory.oom.group", "1"];
    assert_eq!(fixture.attempt("writes to its own file", &more, true, StartOptions::default()), Ok(()));
    assert_eq!(fixture.agent.cgroup.read("memory.oom.group"), "1");
}

#[test]
fn an_agent_can_change_its_label_and_its_tag() {
    let fixture = Fixture::new();
    // PLACE/synwire/agents/UUID
    let place = fixture.agent.cgroup.parent().parent().parent();
    let place = CString::new(place.0.as_os_str().as_bytes()).unwrap();
    let guest = Agent::open(Some(&place), fixture.agent.uuid(), false).unwrap();
    let tag = |agent: &Agent| agent.label_and_tag().unwrap().1.map(|tag| tag.as_str().to_owned());
    assert_eq!(tag(&guest), None);
    assert_eq!(fixture.attempt("changes its tag", &[], true, StartOptions::default()), Ok(()));
    assert_eq!(tag(&guest).as_deref(), Some("other"));
    assert_eq!(tag(&fixture.agent), None, "the owner knows what it has given");
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a contained agent can still do to others of its uid, and what it cannot.

use super::fixture::Fixture;
use crate::common::lab;
use crate::common::member::{Member, role};
use crate::common::program::StartOptions;
use agentcg::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};

/// As a child of its own, which ends at once.
pub fn is_born_in(cgroup: RawFd) -> io::Result<()> {
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    // struct clone_args: flags first, the exit signal fifth, the cgroup's descriptor eleventh.
    let mut args = [0u64; 11];
    (args[0], args[4], args[10]) = (CLONE_INTO_CGROUP, libc::SIGCHLD as u64, cgroup as u64);
    // SAFETY: this process has one thread, and without CLONE_VM the child has a copy of everything.
    #[allow(unsafe_code, reason = "clone3")]
    let pid = unsafe { libc::syscall(libc::SYS_clone3, args.as_ptr(), size_of_val(&args)) };
    match pid {
        0 => crate::common::member::role::exit(0),
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// As a debugger would.
pub fn traces(pid: i32) -> io::Result<()> {
    // SAFETY: it reads and writes no memory.
    #[allow(unsafe_code, reason = "ptrace")]
    let done = unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, 0, 0) };
    Errno::result(done).map(drop).map_err(io::Error::from)
}

/// With a signal that is none, which asks for the same right.
pub fn signals(pid: i32) -> io::Result<()> {
    kill(Pid::from_raw(pid), None).map_err(io::Error::from)
}

#[test]
fn it_does_not_trace_its_host() {
    let stage = Fixture::new();
    assert_eq!(stage.play("traces the host", &[], true, StartOptions::default()), Err(Errno::EPERM));
    assert_eq!(stage.play("traces the host", &[], false, StartOptions::default()), Ok(()));
}

/// Landlock's, 0 where it is not in use.
#[allow(unsafe_code, reason = "landlock_create_ruleset(2)")]
fn landlock_abi() -> libc::c_long {
    // SAFETY: it asks for the version alone.
    unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0, 1) }.max(0)
}

/// What a signal for anybody outside comes to: with scopes (ABI 6, Linux 6.12) it does not arrive.
fn for_strangers() -> Result<(), Errno> {
    let expected = std::env::var("LAB_KERNEL").is_ok_and(|kernel| kernel == "6.12");
    assert!(!expected || landlock_abi() >= 6, "the lab has started this kernel without Landlock");
    if landlock_abi() < 6 { Ok(()) } else { Err(Errno::EPERM) }
}

#[test]
fn it_signals_its_host_only_where_landlock_has_no_scopes() {
    let stage = Fixture::new();
    assert_eq!(stage.play("signals the host", &[], true, StartOptions::default()), for_strangers());
    assert_eq!(stage.play("signals the host", &[], false, StartOptions::default()), Ok(()));
}

#[test]
fn it_signals_a_sibling_only_where_landlock_has_no_scopes() {
    let stage = Fixture::new();
    let sibling = stage.member.pid().to_string();
    assert_eq!(stage.play("signals by pid", &[&sibling], true, StartOptions::default()), for_strangers());
    assert_eq!(stage.play("signals by pid", &[&sibling], false, StartOptions::default()), Ok(()));
}

/// Of no use to itself: core dumps of that process.
#[allow(unsafe_code, reason = "prlimit(2)")]
pub fn changes_limits(pid: i32) -> io::Result<()> {
    let none = libc::rlimit { rlim_cur: 0, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: it reads one struct.
    let done = unsafe { libc::prlimit(pid, libc::RLIMIT_CORE, &raw const none, std::ptr::null_mut()) };
    Errno::result(done).map(drop)?;
    // SAFETY: the call takes integers.
    Errno::result(unsafe { libc::setpriority(libc::PRIO_PROCESS, pid.unsigned_abs(), 1) }).map(drop)?;
    Ok(())
}

/// The host of these is a process of its own, which nobody minds.
fn on_a_member(act: &str, outcome: Result<(), Errno>) {
    let mut victim = Member::start("host_that_waits", &[]);
    victim.expect_line("ready");
    let stage = Fixture::new();
    assert_eq!(stage.play_on(victim.pid(), act, &[], true, StartOptions::default()), outcome);
}

pub fn host_that_waits(_: &[String]) {
    role::send("ready");
    role::sleep();
}

#[test]
fn it_still_changes_its_hosts_limits() {
    // The kernel asks who renices for all the capabilities that the other has: root's has more.
    on_a_member("changes the host's limits", if lab::is_root() { Err(Errno::EPERM) } else { Ok(()) });
}

#[test]
fn it_still_has_its_host_killed_first() {
    on_a_member("has the host killed first", Ok(()));
}

/// But it gets into no other cgroup by it.
#[test]
fn it_still_writes_by_a_directory_of_the_hierarchy_that_it_was_given() {
    let stage = Fixture::new();
    let dir = File::open(&stage.sibling.cgroup.0).unwrap();
    let how = StartOptions { stdio: [dir.as_raw_fd(), 1, 2], ..StartOptions::default() };
    assert_eq!(stage.play("writes to its sibling by descriptor 0", &[], true, how), Ok(()));
    assert_eq!(stage.sibling.cgroup.read("memory.max"), "max");
}

/// Its child, its child's child, which is nobody's any more, and itself.
pub fn signals_its_own() -> io::Result<()> {
    let (ours, its) = nix::unistd::pipe()?;
    if role::fork() {
        if role::fork() {
            nix::unistd::setsid()?;
            nix::unistd::write(&its, &std::process::id().to_ne_bytes())?;
            role::sleep();
        }
        role::exit(0);
    }
    let mut pid = [0; 4];
    nix::unistd::read(&ours, &mut pid)?;
    let daemon = i32::from_ne_bytes(pid);
    signals(i32::try_from(std::process::id()).expect("a pid is an int"))?;
    signals(daemon)?;
    kill(Pid::from_raw(daemon), Signal::SIGKILL).map_err(io::Error::from)
}

#[test]
fn it_signals_its_own_processes() {
    let stage = Fixture::new();
    assert_eq!(stage.play("signals its own", &[], true, StartOptions::default()), Ok(()));
}

pub fn has_a_session_of_its_own() -> io::Result<()> {
    let leads = nix::unistd::getsid(None)? == nix::unistd::getpid();
    if leads { Ok(()) } else { Err(Errno::ENOTTY.into()) }
}

#[test]
fn it_has_a_session_of_its_own_on_each_way() {
    super::entries::on_each_spawn_path(&[], |stage| {
        let play = |contain| stage.play("has a session of its own", &[], contain, StartOptions::default());
        assert_eq!((play(true), play(false)), (Ok(()), Err(Errno::ENOTTY)));
    });
}

/// The serial number of the session keyring; nothing in a kernel without keys.
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
fn it_does_not_have_its_hosts_keys() {
    #[allow(unsafe_code, reason = "keyctl(2)")]
    // SAFETY: the call takes integers.
    let joined = unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, 0) };
    assert!(joined > 0, "the lab's kernels have keys: {}", Errno::last());
    let serial = session_keyring().unwrap().to_string();
    let stage = Fixture::new();
    let play = |contain| stage.play("has the host's keyring", &[&serial], contain, StartOptions::default());
    assert_eq!((play(true), play(false)), (Err(Errno::ENOKEY), Ok(())));
}

/// Into the input of whoever reads the terminal next.
#[allow(unsafe_code, reason = "ioctl(2)")]
pub fn types() -> io::Result<()> {
    let byte = b'x';
    // SAFETY: it reads one byte.
    Errno::result(unsafe { libc::ioctl(0, libc::TIOCSTI, &raw const byte) }).map(drop)?;
    Ok(())
}

/// In a session of its own with a terminal, as a shell has it.
pub fn host_on_a_terminal(_: &[String]) {
    nix::unistd::setsid().unwrap();
    let master = File::options().read(true).write(true).open("/dev/ptmx").unwrap();
    let unlocked: libc::c_int = 0;
    #[allow(unsafe_code, reason = "ioctl(2)")]
    // SAFETY: the first reads an int, the others take integers.
    let terminal = unsafe {
        let peer = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
        assert_eq!(libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlocked), 0);
        let terminal = libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, peer);
        assert_eq!(libc::ioctl(terminal, libc::TIOCSCTTY, 0), 0, "{}", Errno::last());
        terminal
    };
    let stage = Fixture::new();
    let how = StartOptions { stdio: [terminal, 1, 2], ..StartOptions::default() };
    let play = |contain| stage.play("types into terminal 0", &[], contain, how);
    // From Linux 6.2 on a setting forbids it to everybody.
    let is_off = std::fs::read_to_string("/proc/sys/dev/tty/legacy_tiocsti").is_ok_and(|text| text == "0\n");
    let off = Err(Errno::EIO);
    assert_eq!(play(true), if is_off { off } else { Err(Errno::EPERM) });
    assert_eq!(play(false), if is_off { off } else { Ok(()) });
    role::send("ok");
}

#[test]
fn it_does_not_type_into_its_hosts_terminal() {
    let mut host = Member::start("host_on_a_terminal", &[]);
    host.expect_line("ok");
}

/// Keeps a secret from others of its uid.
pub fn host_that_is_not_dumpable(_: &[String]) {
    nix::sys::prctl::set_dumpable(false).unwrap();
    super::entries::on_each_spawn_path(&[], |stage| {
        super::entries::is_held(stage);
        assert_eq!(nix::sys::prctl::get_dumpable(), Ok(false), "the host's own");
    });
    role::send("ok");
}

#[test]
fn it_is_held_in_a_host_that_is_not_dumpable_on_each_way() {
    let mut host = Member::start("host_that_is_not_dumpable", &[]);
    host.expect_line("ok");
}

/// Whoever gives one away gives what is below it, and above.
#[test]
fn it_still_gets_out_by_a_directory_that_is_open_in_its_hosts_mounts() {
    let stage = Fixture::new();
    let dir = File::open("/tmp").unwrap();
    let how = StartOptions { stdio: [dir.as_raw_fd(), 1, 2], ..StartOptions::default() };
    assert_eq!(stage.play("climbs from descriptor 0", &[], true, how), Ok(()));
}

/// memory.oom.group is a limit for us, but not for the kernel: /sys/kernel/cgroup/delegate names it.
#[test]
fn it_still_switches_memory_oom_group() {
    let stage = Fixture::new();
    let more = ["memory.oom.group", "1"];
    assert_eq!(stage.play("writes to its own file", &more, true, StartOptions::default()), Ok(()));
    assert_eq!(stage.agent.cgroup.read("memory.oom.group"), "1");
}

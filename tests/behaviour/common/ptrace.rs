// SPDX-License-Identifier: MIT OR Apache-2.0
//! Stops a member between any two of its system calls, and injects faults into them.

#![allow(unsafe_code, reason = "ptrace(2) itself; see SAFETY")]

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::signal::{Signal, raise};
use std::fs;
use std::os::unix::ffi::OsStrExt;

/// For the role: from here on it stops before and after each system call.
pub fn wait_for_tracer() {
    request(libc::PTRACE_TRACEME, 0);
    raise(Signal::SIGSTOP).expect("raise");
}

/// Returns the step between the stops that are tried: 1, or the value of `AGENTCG_STRIDE`.
pub fn stride() -> u32 {
    std::env::var("AGENTCG_STRIDE").map_or(1, |text| text.parse().expect("a number of stops"))
}

/// For the thread of the test that has started the member: lets it run to the stop with this number. There it
/// waits to be killed or detached. Returns false if it has ended before.
pub fn run_to_stop(pid: i32, stop: u32) -> bool {
    for stops in 0..=stop {
        if stops > 0 {
            request(libc::PTRACE_SYSCALL, pid);
        }
        if wait_for_stop(pid).is_none() {
            return false;
        }
    }
    true
}

/// Lets the member run on from its stop, without further stops.
pub fn detach(pid: i32) {
    request(libc::PTRACE_DETACH, pid);
}

/// For the test: lets the member run to its end and returns the number of its stops, two for each system
/// call.
pub fn count_stops(pid: i32) -> u32 {
    let mut stops = 0;
    while wait_for_stop(pid).is_some() {
        request(libc::PTRACE_SYSCALL, pid);
        stops += 1;
    }
    stops
}

/// One system call of a member.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// The number of the system call.
    pub number: libc::c_long,
    /// Its first two arguments.
    pub arguments: [libc::c_long; 2],
}

/// For the thread of the test that has started the member: lets it run to its end, and passes each of its system
/// calls to `each` before it is made.
pub fn each_system_call(pid: i32, mut each: impl FnMut(Call)) {
    let mut is_entry = false;
    let mut first = true;
    while let Some(signal) = wait_for_stop(pid) {
        if std::mem::take(&mut first) {
            // From here on a stop at a system call differs from a signal.
            set_options(pid, libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_EXITKILL);
        } else if signal == libc::SIGTRAP | 0x80 {
            is_entry = !is_entry;
            if is_entry {
                each(Call {
                    number: user(pid, ORIG_RAX),
                    arguments: [RDI, RSI].map(|register| user(pid, register)),
                });
            }
        } else {
            continue_with(pid, signal);
            continue;
        }
        request(libc::PTRACE_SYSCALL, pid);
    }
}

/// Returns the text, up to its NUL byte, at an address of a stopped member.
pub fn text_at(pid: i32, at: libc::c_long) -> String {
    let mut bytes = Vec::new();
    for word in (at..).step_by(size_of::<libc::c_long>()) {
        let next = peek(libc::PTRACE_PEEKDATA, pid, word).to_ne_bytes();
        bytes.extend(next.iter().take_while(|&&byte| byte != 0));
        if next.contains(&0) {
            break;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A fault in a write(2).
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No fault.
    None,
    /// The call returns `EBADF`.
    Fails,
    /// The first digit of the written text is changed.
    OtherDigit,
}

/// For the thread of the test that has started the member: lets it run to its end and injects faults into its
/// writes to files of cgroups. `fault` chooses by the name of the file and its flags. Returns the names of
/// the written files, in order.
pub fn inject_write_faults(pid: i32, mut fault: impl FnMut(&str, OFlag) -> Fault) -> Vec<String> {
    let mut written = Vec::new();
    let mut is_entry = false;
    let mut hidden_fd = None;
    while wait_for_stop(pid).is_some() {
        // The first stop is the one that the member itself has raised.
        if is_entry && user(pid, ORIG_RAX) == libc::SYS_write {
            let fd = user(pid, RDI);
            let file = fs::read_link(format!("/proc/{pid}/fd/{fd}")).expect("it is open");
            if file.as_os_str().as_bytes().starts_with(b"/sys/fs/cgroup/") {
                let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
                match fault(&name, flags(pid, fd)) {
                    Fault::None => {}
                    Fault::Fails => {
                        set_user(pid, RDI, -1);
                        hidden_fd = Some(fd);
                    }
                    Fault::OtherDigit => change_digit(pid, user(pid, RSI)),
                }
                written.push(name);
            }
        } else if let Some(fd) = hidden_fd.take() {
            // The caller relies on the registers that a system call preserves.
            set_user(pid, RDI, fd);
        }
        is_entry = !is_entry;
        request(libc::PTRACE_SYSCALL, pid);
    }
    written
}

/// Returns the present flags of an open file.
fn flags(pid: i32, fd: libc::c_long) -> OFlag {
    let text = fs::read_to_string(format!("/proc/{pid}/fdinfo/{fd}")).expect("it is open");
    let octal = text.lines().find_map(|line| line.strip_prefix("flags:")).expect("flags").trim();
    OFlag::from_bits_retain(i32::from_str_radix(octal, 8).expect("in octal"))
}

/// The offsets of the number and the arguments of a system call on x86-64.
const ORIG_RAX: libc::c_long = 15 * 8;
const RDI: libc::c_long = 14 * 8;
const RSI: libc::c_long = 13 * 8;

fn user(pid: i32, at: libc::c_long) -> libc::c_long {
    peek(libc::PTRACE_PEEKUSER, pid, at)
}

fn set_user(pid: i32, at: libc::c_long, value: libc::c_long) {
    poke(libc::PTRACE_POKEUSER, pid, at, value);
}

fn change_digit(pid: i32, at: libc::c_long) {
    let mut bytes = peek(libc::PTRACE_PEEKDATA, pid, at).to_ne_bytes();
    bytes[0] = if bytes[0] == b'2' { b'3' } else { b'2' };
    poke(libc::PTRACE_POKEDATA, pid, at, libc::c_long::from_ne_bytes(bytes));
}

fn peek(request: libc::c_uint, pid: i32, at: libc::c_long) -> libc::c_long {
    Errno::clear();
    let nothing = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: it reads in the other process. -1 is a valid value, which errno distinguishes from an error.
    let value = unsafe { libc::ptrace(request, pid, at, nothing) };
    assert!(value != -1 || Errno::last_raw() == 0, "ptrace: {}", Errno::last());
    value
}

fn poke(request: libc::c_uint, pid: i32, at: libc::c_long, value: libc::c_long) {
    // SAFETY: it writes in the other process, which expects it.
    Errno::result(unsafe { libc::ptrace(request, pid, at, value) }).expect("ptrace");
}

/// Waits for the next stop. Returns its signal, or none if the member has ended, which is left to be reaped.
fn wait_for_stop(pid: i32) -> Option<libc::c_int> {
    let id = libc::id_t::try_from(pid).expect("a pid is not negative");
    let wait = |options| {
        let mut info = std::mem::MaybeUninit::<libc::siginfo_t>::zeroed();
        // SAFETY: the kernel writes into `info`, and all zeros are a valid siginfo.
        let (done, info) = unsafe {
            let done = libc::waitid(libc::P_PID, id, info.as_mut_ptr(), options | libc::__WALL);
            (done, info.assume_init())
        };
        Errno::result(done).expect("waitid");
        // SAFETY: the siginfo is that of a child.
        (info.si_code, unsafe { info.si_status() })
    };
    let (code, signal) = wait(libc::WEXITED | libc::WSTOPPED | libc::WNOWAIT);
    let stopped = code == libc::CLD_TRAPPED;
    if stopped {
        wait(libc::WSTOPPED);
    }
    stopped.then_some(signal)
}

fn set_options(pid: i32, options: libc::c_int) {
    // SAFETY: the request takes an integer.
    let done = unsafe { libc::ptrace(libc::PTRACE_SETOPTIONS, pid, 0, libc::c_long::from(options)) };
    Errno::result(done).expect("PTRACE_SETOPTIONS");
}

/// Delivers the signal that has stopped the member, and continues to the next stop.
fn continue_with(pid: i32, signal: libc::c_int) {
    // SAFETY: the request takes an integer.
    let done = unsafe { libc::ptrace(libc::PTRACE_SYSCALL, pid, 0, libc::c_long::from(signal)) };
    Errno::result(done).expect("PTRACE_SYSCALL");
}

fn request(request: libc::c_uint, pid: i32) {
    let nothing = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: none of these requests reads or writes memory.
    Errno::result(unsafe { libc::ptrace(request, pid, nothing, nothing) }).expect("ptrace");
}

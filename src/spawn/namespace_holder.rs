// SPDX-License-Identifier: MIT OR Apache-2.0
//! A process that holds a user namespace, so that its files in /proc can be written.
//!
//! The ids of a user namespace are mapped by a file in /proc of any process in the namespace. While a child shares the memory
//! of a host that is not dumpable, root owns the child's files. To make the child dumpable would expose the host's memory.
//! Therefore the child starts a program of a few instructions, which the kernel makes dumpable as it does any program, and
//! writes the files of that process.

#![allow(unsafe_code)]

use super::clone3::clone;
use crate::sys::descriptors;
use crate::sys::kernfile::errno;
use crate::sys::process::exit;
use crate::sys::syscall::{close, open, syscall};
use nix::errno::Errno;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::fs::File;
use std::io::Write;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicI32, Ordering};

/// The program, in a memfd.
#[derive(Debug)]
pub struct NamespaceHolder(OwnedFd);

/// The program's code: pause(2) in an endless loop.
#[cfg(target_arch = "x86_64")]
const CODE: [u8; 9] = [0xb8, 34, 0, 0, 0, 0x0f, 0x05, 0xeb, 0xf7];
/// The program's code: ppoll(2) without descriptors in an endless loop.
#[cfg(target_arch = "aarch64")]
const CODE: [u8; 28] = [
    0x00, 0x00, 0x80, 0xd2, 0x01, 0x00, 0x80, 0xd2, 0x02, 0x00, 0x80, 0xd2, 0x03, 0x00, 0x80, 0xd2, 0x28,
    0x09, 0x80, 0xd2, 0x01, 0x00, 0x00, 0xd4, 0xfa, 0xff, 0xff, 0x17,
];
/// There is no program for other architectures.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const CODE: [u8; 0] = [];

/// EM_X86_64 or EM_AARCH64.
const MACHINE: u16 = if cfg!(target_arch = "x86_64") { 62 } else { 183 };
const ADDRESS: u64 = 0x40_0000;
const HEADER_BYTES: u16 = 64;
const SEGMENT_BYTES: u16 = 56;

/// Returns true if the calling process owns its files in /proc. The kernel's value 2 (fs.suid_dumpable), which
/// `nix::sys::prctl::get_dumpable` reports as true, makes root their owner.
pub fn is_dumpable() -> bool {
    // SAFETY: this prctl(2) takes integers.
    unsafe { libc::prctl(libc::PR_GET_DUMPABLE, 0, 0, 0, 0) == 1 }
}

impl NamespaceHolder {
    /// Creates the program's file, in the host. Fails with `ENOSYS` on an architecture for which there is no program.
    #[allow(clippy::const_is_empty, reason = "it is empty on other architectures")]
    pub fn new() -> nix::Result<Self> {
        if CODE.is_empty() {
            return Err(Errno::ENOSYS);
        }
        let fd = descriptors::executable_memfd(c"agentcg")?;
        let mut file = File::from(fd);
        file.write_all(&image()).map_err(|e| errno(&e))?;
        Ok(Self(file.into()))
    }

    /// Returns the descriptor of the program.
    pub(super) fn file(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Starts the program, in the child. The holder shares the child's memory until it executes the program.
    pub(super) fn start(&self) -> nix::Result<Running> {
        let mut stack = [const { MaybeUninit::uninit() }; 16 << 10];
        let setup = HolderSetup { file: self.0.as_raw_fd(), errno: AtomicI32::new(0) };
        let argument = (&raw const setup).cast_mut().cast::<c_void>();
        let flags = libc::CLONE_VM | libc::CLONE_VFORK;
        // SAFETY: the child is suspended until the holder has executed the program or ended. `holder_main` takes a
        // `HolderSetup`, and may run in this memory.
        let pid = unsafe { clone(flags, &mut stack, null_mut(), holder_main, argument) }?;
        let running = Running(pid);
        match setup.errno.load(Ordering::Acquire) {
            0 => Ok(running),
            e => {
                running.end()?;
                Err(Errno::from_raw(e))
            }
        }
    }
}

/// An ELF executable with one segment, which holds the whole file.
fn image() -> Vec<u8> {
    let size = u64::from(HEADER_BYTES + SEGMENT_BYTES) + CODE.len() as u64;
    let start = ADDRESS + u64::from(HEADER_BYTES + SEGMENT_BYTES);
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut put = |bytes: &[u8]| file.extend_from_slice(bytes);
    put(&2u16.to_le_bytes()); // ET_EXEC
    put(&MACHINE.to_le_bytes());
    put(&1u32.to_le_bytes()); // EV_CURRENT
    put(&start.to_le_bytes());
    put(&u64::from(HEADER_BYTES).to_le_bytes()); // the offset of the program headers
    put(&[0; 8]); // no section headers
    put(&[0; 4]); // no flags
    for half in [HEADER_BYTES, SEGMENT_BYTES, 1, 0, 0, 0] {
        put(&half.to_le_bytes());
    }
    put(&1u32.to_le_bytes()); // PT_LOAD
    put(&5u32.to_le_bytes()); // PF_R | PF_X
    for word in [0, ADDRESS, ADDRESS, size, size, 0x1000] {
        put(&word.to_le_bytes());
    }
    put(&CODE);
    file
}

struct HolderSetup {
    file: RawFd,
    /// The error if the program could not be executed, or 0.
    errno: AtomicI32,
}

extern "C" fn holder_main(setup: *mut c_void) -> c_int {
    // SAFETY: the child keeps it until this process has executed the program or ended.
    let setup = unsafe { &*setup.cast::<HolderSetup>() };
    // A kill of the group kills the holder as well. This is for a child that is killed alone.
    let dies_with_child = [libc::PR_SET_PDEATHSIG as isize, libc::SIGKILL as isize, 0, 0, 0];
    let no_strings: [*const c_char; 1] = [null()];
    let (path, strings) = (c"".as_ptr() as isize, no_strings.as_ptr() as isize);
    let execveat = [setup.file as isize, path, strings, strings, libc::AT_EMPTY_PATH as isize];
    let result =
        syscall(libc::SYS_prctl, dies_with_child).and_then(|_| syscall(libc::SYS_execveat, execveat));
    setup.errno.store(result.err().map_or(0, |e| e as i32), Ordering::Release);
    exit(127)
}

/// A holder that runs, by its pid.
pub(super) struct Running(i32);

impl Running {
    /// Opens the holder's directory in /proc.
    pub fn open_directory(&self) -> nix::Result<RawFd> {
        let proc = open(libc::AT_FDCWD, c"/proc", libc::O_PATH)?;
        let mut digits = [0; 12];
        let directory = decimal(self.0, &mut digits).and_then(|name| open(proc, name, libc::O_PATH));
        close(proc);
        directory.and_then(|directory| {
            wait_until_dumpable(directory).inspect_err(|_| close(directory))?;
            Ok(directory)
        })
    }

    /// Kills the holder and waits for it.
    pub fn end(self) -> nix::Result<()> {
        syscall(libc::SYS_kill, [self.0 as isize, libc::SIGKILL as isize, 0, 0, 0])?;
        syscall(libc::SYS_wait4, [self.0 as isize, 0, libc::__WALL as isize, 0, 0]).map(drop)
    }
}

/// Waits until the child owns the holder's files. vfork(2) returns when the kernel releases the shared memory, which is
/// shortly before it makes the holder dumpable.
fn wait_until_dumpable(directory: RawFd) -> nix::Result<()> {
    const MAX_RETRIES: u32 = 2000;
    let interval = libc::timespec { tv_sec: 0, tv_nsec: 100_000 };
    let mut opened = open(directory, c"setgroups", libc::O_WRONLY);
    for _ in 0..MAX_RETRIES {
        if opened != Err(Errno::EACCES) {
            break;
        }
        syscall(libc::SYS_nanosleep, [(&raw const interval) as isize, 0, 0, 0, 0])?;
        opened = open(directory, c"setgroups", libc::O_WRONLY);
    }
    opened.map(close)
}

/// Writes a number in decimal without allocating: the child shares the host's memory.
fn decimal(number: i32, digits: &mut [u8; 12]) -> nix::Result<&CStr> {
    let (mut left, mut start) = (number.unsigned_abs(), digits.len() - 1);
    for (at, digit) in digits.iter_mut().enumerate().rev().skip(1) {
        *digit = b'0' + (left % 10) as u8;
        (left, start) = (left / 10, at);
        if left == 0 {
            break;
        }
    }
    digits.get(start..).and_then(|text| CStr::from_bytes_with_nul(text).ok()).ok_or(Errno::EINVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_is_written_in_decimal() {
        for (number, text) in [(1, c"1"), (10, c"10"), (4_194_303, c"4194303"), (i32::MAX, c"2147483647")] {
            assert_eq!(decimal(number, &mut [0; 12]), Ok(text));
        }
    }
}

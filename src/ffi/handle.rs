// SPDX-License-Identifier: MIT OR Apache-2.0
//! The header's section "handles".

use super::boundary::invalid;
use crate::agent::Agent;
use crate::error::{Result, out_of_memory};
use crate::sys::fallible;
use nix::errno::Errno;
use std::ffi::c_char;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU64, Ordering};

/// One agent's cgroup, held open by descriptor: a directory that is removed and
/// made again under the same name is never mistaken for it.
pub struct agentcg {
    _private: [u8; 0],
}

/// AGENTCG_VERSION_NUMBER of the library that is loaded, which may be newer
/// than the header that the program was built with.
#[unsafe(no_mangle)]
pub extern "C" fn agentcg_version_number() -> u32 {
    const fn part(text: &str) -> u32 {
        let (mut digits, mut value) = (text.as_bytes(), 0);
        while let [digit, rest @ ..] = digits {
            value = value * 10 + (*digit - b'0') as u32;
            digits = rest;
        }
        value
    }
    const {
        part(env!("CARGO_PKG_VERSION_MAJOR")) * 1_000_000
            + part(env!("CARGO_PKG_VERSION_MINOR")) * 1_000
            + part(env!("CARGO_PKG_VERSION_PATCH"))
    }
}

/// The same as text, such as "0.1.0".
#[unsafe(no_mangle)]
pub extern "C" fn agentcg_version_string() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// What a handle points to. The word in front catches use after free where it can.
struct Handle {
    magic: AtomicU64,
    agent: Agent,
}

const ALIVE: u64 = 0x6167_656e_7463_6721;
const FREED: u64 = 0x2163_6774_6e65_6761;

const _: () = {
    const fn usable_from_several_threads<T: Send + Sync>() {}
    usable_from_several_threads::<Handle>();
};

/// The memory of a handle, allocated before the agent is made, which would have to be undone without it.
pub struct Room(Box<MaybeUninit<Handle>>);

impl Room {
    /// For one handle.
    pub fn new() -> Result<Self> {
        fallible::boxed(MaybeUninit::uninit()).map(Self).map_err(out_of_memory)
    }

    /// Give an agent away as a handle.
    pub fn hold(mut self, agent: Agent) -> *mut agentcg {
        self.0.write(Handle { magic: AtomicU64::new(ALIVE), agent });
        Box::into_raw(self.0).cast()
    }
}

/// The agent of a handle.
///
/// # Safety
/// `cg` is NULL or came from [`Room::hold`] and lives for `'a`. One that was freed is caught by luck.
pub unsafe fn agent<'a>(cg: *mut agentcg) -> Result<&'a Agent> {
    // SAFETY: the caller's promise.
    unsafe { agent_quietly(cg) }.or_else(|_| invalid("the handle is NULL, or was freed before"))
}

/// The same without words, which would be allocated.
///
/// # Safety
/// As [`agent`].
pub unsafe fn agent_quietly<'a>(cg: *mut agentcg) -> nix::Result<&'a Agent> {
    let handle: *mut Handle = cg.cast();
    if handle.is_null() || !handle.is_aligned() {
        return Err(Errno::EINVAL);
    }
    // SAFETY: the caller's promise.
    let handle = unsafe { &*handle };
    match handle.magic.load(Ordering::Acquire) {
        ALIVE => Ok(&handle.agent),
        _ => Err(Errno::EINVAL),
    }
}

/// End a handle; what was freed before, or NULL, is left alone.
///
/// # Safety
/// As [`agent`], and nobody else uses it.
pub unsafe fn free(cg: *mut agentcg) {
    let handle: *mut Handle = cg.cast();
    if handle.is_null() || !handle.is_aligned() {
        return;
    }
    // SAFETY: the caller's promise.
    let was = unsafe { &(*handle).magic }.compare_exchange(ALIVE, FREED, Ordering::AcqRel, Ordering::Acquire);
    if was.is_ok() {
        // SAFETY: it came from `Box::into_raw`, and the magic word let only us by.
        drop(unsafe { Box::from_raw(handle) });
    }
}

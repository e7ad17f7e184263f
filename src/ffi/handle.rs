// SPDX-License-Identifier: MIT OR Apache-2.0
//! The handle behind `agentcg *`, and the header's section "version".

use super::boundary::invalid;
use crate::agent::Agent;
use crate::error::{Result, out_of_memory};
use crate::sys::try_alloc;
use nix::errno::Errno;
use std::ffi::c_char;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU64, Ordering};

/// The opaque type of the header. A pointer to it points to a [`Handle`].
pub struct agentcg {
    _private: [u8; 0],
}

/// Return AGENTCG_VERSION_NUMBER of the loaded library. The library may be newer
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

/// Return the version of the loaded library as text, such as "0.1.0". The string
/// is static.
#[unsafe(no_mangle)]
pub extern "C" fn agentcg_version_string() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// What a handle points to. The first word detects use after free, as long as the memory is not used again.
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

/// The memory of a handle. It is allocated before the agent is made, because a failure afterwards would have to undo that.
pub struct HandleMemory(Box<MaybeUninit<Handle>>);

impl HandleMemory {
    /// Allocate memory for one handle.
    pub fn new() -> Result<Self> {
        try_alloc::boxed(MaybeUninit::uninit()).map(Self).map_err(out_of_memory)
    }

    /// Make a handle of an agent. The caller owns it.
    pub fn into_handle(mut self, agent: Agent) -> *mut agentcg {
        self.0.write(Handle { magic: AtomicU64::new(ALIVE), agent });
        Box::into_raw(self.0).cast()
    }
}

/// The agent of a handle.
///
/// # Safety
/// `cg` is NULL or came from [`HandleMemory::into_handle`], and lives for `'a`. Use after free is detected by luck only.
pub unsafe fn agent<'a>(cg: *mut agentcg) -> Result<&'a Agent> {
    // SAFETY: as the caller promises.
    unsafe { agent_or_errno(cg) }.or_else(|_| invalid("the handle is NULL, or was freed before"))
}

/// [`agent`] for functions that must not allocate: the error has no message.
///
/// # Safety
/// As for [`agent`].
pub unsafe fn agent_or_errno<'a>(cg: *mut agentcg) -> nix::Result<&'a Agent> {
    let handle: *mut Handle = cg.cast();
    if handle.is_null() || !handle.is_aligned() {
        return Err(Errno::EINVAL);
    }
    // SAFETY: as the caller promises.
    let handle = unsafe { &*handle };
    match handle.magic.load(Ordering::Acquire) {
        ALIVE => Ok(&handle.agent),
        _ => Err(Errno::EINVAL),
    }
}

/// Free a handle. NULL, and a handle that was freed before, are ignored.
///
/// # Safety
/// As for [`agent`], and no other thread uses the handle.
pub unsafe fn free(cg: *mut agentcg) {
    let handle: *mut Handle = cg.cast();
    if handle.is_null() || !handle.is_aligned() {
        return;
    }
    // SAFETY: as the caller promises.
    let was = unsafe { &(*handle).magic }.compare_exchange(ALIVE, FREED, Ordering::AcqRel, Ordering::Acquire);
    if was.is_ok() {
        // SAFETY: the pointer came from `Box::into_raw`, and the exchange of the magic word succeeds only once.
        drop(unsafe { Box::from_raw(handle) });
    }
}

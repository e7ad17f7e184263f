// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which process is this? A forked child has a copy of everything that its parent's memory holds, and must not take
//! what the parent owns for its own. The pid does not tell them apart: the parent may be PID 1 and the child PID 1 of a
//! new namespace, and numbers are given again.
//!
//! The kernel clears a page with MADV_WIPEONFORK (4.14) in every child that gets a copy of the memory, whoever called
//! clone(2) and whatever ran before. A child finds no id there and takes one that none of its ancestors had.
//! After the first time that costs no system call.
//!
//! A child that shares the memory (vfork(2), CLONE_VM) shares the id, as it shares all that the id is for.

use nix::errno::Errno;
use std::ffi::c_int;
use std::num::NonZeroU64;
use std::ptr::{self, null_mut};
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

/// Identifies a process among those that have a copy of its memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ForkId(NonZeroU64);

/// Where the calling process's id stands, 0 until it has one. NULL before the first use, [`NO_PAGE`] if there is no
/// such page: then there is none in the descendants either, whose copies of this hold what the ancestor found.
static PAGE: AtomicPtr<AtomicU64> = AtomicPtr::new(null_mut());
static NO_PAGE: AtomicU64 = AtomicU64::new(0);

/// How many ids this process and its ancestors have taken.
static COUNT: AtomicU32 = AtomicU32::new(0);

impl ForkId {
    /// That of the calling process.
    pub fn current() -> Self {
        let mut page = PAGE.load(Ordering::Acquire);
        if page.is_null() {
            page = set_up();
        }
        if ptr::eq(page, &raw const NO_PAGE) {
            return by_pid();
        }
        // SAFETY: `set_up` made the page, which is never unmapped: not in children either, where it is cleared.
        let id = unsafe { &*page };
        NonZeroU64::new(id.load(Ordering::Relaxed)).map_or_else(|| take(id), Self)
    }
}

impl From<ForkId> for NonZeroU64 {
    fn from(id: ForkId) -> Self {
        id.0
    }
}

/// An id, or none. The default is none.
#[derive(Debug, Default)]
pub struct AtomicForkId(AtomicU64);

impl AtomicForkId {
    /// Stores the id of the calling process.
    pub fn set_current(&self) {
        self.0.store(ForkId::current().0.get(), Ordering::Relaxed);
    }

    /// Stores that there is none.
    pub fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// Returns true if it is that of the calling process.
    pub fn is_current(&self) -> bool {
        match self.0.load(Ordering::Relaxed) {
            0 => false,
            id => id == ForkId::current().0.get(),
        }
    }
}

/// Map the page. If several threads do so at once, all use that of the first.
#[cold]
fn set_up() -> *mut AtomicU64 {
    let mapped = map();
    let page = mapped.unwrap_or((&raw const NO_PAGE).cast_mut());
    match PAGE.compare_exchange(null_mut(), page, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => page,
        Err(first) => {
            if let Ok(page) = mapped {
                unmap(page);
            }
            first
        }
    }
}

/// A new page, cleared in children.
fn map() -> nix::Result<*mut AtomicU64> {
    // SAFETY: a new mapping, where the kernel likes.
    let page = unsafe {
        libc::mmap(
            null_mut(),
            size_of::<AtomicU64>(),
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if page == libc::MAP_FAILED {
        return Err(Errno::last());
    }
    let page = page.cast::<AtomicU64>();
    // QEMU's user mode before 7.2 ignores all advice and reports success, also for advice that does not exist.
    const NO_ADVICE: c_int = -1;
    // SAFETY: the mapping above, to which nobody else has the address.
    let [wiped, ignored] = [libc::MADV_WIPEONFORK, NO_ADVICE]
        .map(|advice| unsafe { libc::madvise(page.cast(), size_of::<AtomicU64>(), advice) } == 0);
    if wiped && !ignored {
        return Ok(page);
    }
    unmap(page);
    Err(Errno::EINVAL)
}

fn unmap(page: *mut AtomicU64) {
    // SAFETY: `map` made it, and it was stored nowhere.
    unsafe { libc::munmap(page.cast(), size_of::<AtomicU64>()) };
}

/// The first use in this process.
#[cold]
fn take(id: &AtomicU64) -> ForkId {
    // fork(2) copies memory while other threads write to it. A parent that takes its own id at that moment can leave the
    // child a count without it: the pid differs then.
    let count = COUNT.fetch_add(1, Ordering::SeqCst).wrapping_add(1).max(1);
    let new = join(count, std::process::id());
    match id.compare_exchange(0, new.get(), Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => ForkId(new),
        Err(other) => ForkId(NonZeroU64::new(other).unwrap_or(new)),
    }
}

/// Without the page (Linux before 4.14, or a seccomp filter): the pid and the namespace to which it belongs.
#[cold]
fn by_pid() -> ForkId {
    /// As last seen: /proc may be unmounted later.
    static NAMESPACE: AtomicU32 = AtomicU32::new(1);
    let found = nix::sys::stat::stat(c"/proc/self/ns/pid").ok();
    // The kernel's numbers of namespaces have 32 bits.
    if let Some(inode) = found.and_then(|stat| u32::try_from(stat.st_ino).ok()) {
        NAMESPACE.store(inode.max(1), Ordering::Relaxed);
    }
    ForkId(join(NAMESPACE.load(Ordering::Relaxed), std::process::id()))
}

fn join(high: u32, low: u32) -> NonZeroU64 {
    NonZeroU64::new((u64::from(high) << 32) | u64::from(low)).unwrap_or(NonZeroU64::MIN)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::{ForkResult, fork};

    /// The result of `look` in a forked child, as its exit status.
    pub fn in_a_child(look: impl FnOnce() -> u8) -> u8 {
        // SAFETY: the child only calls `look`, and ends.
        match unsafe { fork() }.unwrap() {
            ForkResult::Child => {
                let status = look();
                // SAFETY: ends the process at once.
                unsafe { libc::_exit(status.into()) }
            }
            ForkResult::Parent { child } => match waitpid(child, None).unwrap() {
                WaitStatus::Exited(_, status) => u8::try_from(status).unwrap(),
                other => panic!("the child: {other:?}"),
            },
        }
    }

    #[test]
    fn a_process_keeps_its_id_and_each_generation_has_another() {
        let first = ForkId::current();
        let second_differs = in_a_child(|| {
            let second = ForkId::current();
            let third_differs = in_a_child(|| {
                let third = ForkId::current();
                u8::from(![first, second].contains(&third) && third == ForkId::current())
            });
            u8::from(first != second && second == ForkId::current() && third_differs == 1)
        });
        assert_eq!(second_differs, 1);
        assert_eq!(ForkId::current(), first);
    }

    /// clone(2) by itself, past the handlers of libc's fork(3).
    #[test]
    fn a_child_of_the_bare_system_call_has_another() {
        let first = ForkId::current();
        // SAFETY: without CLONE_VM the child has a copy of everything, and ends at once.
        let child = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
        if child == 0 {
            let differs = ForkId::current() != first;
            // SAFETY: ends the process at once.
            unsafe { libc::_exit(differs.into()) }
        }
        let child = nix::unistd::Pid::from_raw(i32::try_from(child).unwrap());
        assert_eq!(waitpid(child, None), Ok(WaitStatus::Exited(child, 1)));
    }

    #[test]
    fn threads_that_ask_first_at_once_get_the_same() {
        let all_the_same = in_a_child(|| {
            let barrier = std::sync::Barrier::new(4);
            let ask = || {
                barrier.wait();
                ForkId::current()
            };
            let ids: Vec<ForkId> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            u8::from(ids.iter().all(|&id| id == ForkId::current()))
        });
        assert_eq!(all_the_same, 1);
    }

    #[test]
    fn without_the_page_pid_and_namespace_tell_a_child_from_its_parent() {
        let own = by_pid();
        assert_eq!(by_pid(), own);
        assert_eq!(in_a_child(|| u8::from(by_pid() != own)), 1);
    }

    #[test]
    fn an_atomic_one_is_none_until_it_is_set_and_a_childs_no_more() {
        let owner = AtomicForkId::default();
        assert!(!owner.is_current());
        owner.set_current();
        assert!(owner.is_current());
        assert_eq!(in_a_child(|| u8::from(owner.is_current())), 0);
    }
}

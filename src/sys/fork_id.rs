// SPDX-License-Identifier: MIT OR Apache-2.0
//! An id that differs between a process and its forked children.
//!
//! A forked child has a copy of its parent's memory, and must not use what only the parent owns. The pid does not
//! distinguish them: the parent may be PID 1 and the child PID 1 of a new namespace, and pids are reused.
//!
//! The kernel clears a page with MADV_WIPEONFORK (Linux 4.14) in every child that gets a copy of the memory, also if
//! clone(2) was called without libc. A child finds no id in the page and assigns itself one that none of its ancestors had.
//! After the first use an id costs no system call.
//!
//! A child that shares the memory (vfork(2), CLONE_VM) shares the id, as it shares what the id protects.

use nix::errno::Errno;
use std::ffi::c_int;
use std::num::NonZeroU64;
use std::ptr::{self, null_mut};
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

/// Identifies a process among those that have a copy of its memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ForkId(NonZeroU64);

/// The address of the calling process's id, which is 0 until it is assigned. NULL before the first use; the address of
/// [`NO_PAGE`] if the kernel provides no such page. Descendants have a copy of this value, and no page either.
static PAGE: AtomicPtr<AtomicU64> = AtomicPtr::new(null_mut());
static NO_PAGE: AtomicU64 = AtomicU64::new(0);

/// The number of ids that this process and its ancestors have assigned.
static COUNT: AtomicU32 = AtomicU32::new(0);

impl ForkId {
    /// Returns the id of the calling process.
    pub fn current() -> Self {
        let mut page = PAGE.load(Ordering::Acquire);
        if page.is_null() {
            page = set_up();
        }
        if ptr::eq(page, &raw const NO_PAGE) {
            return by_pid();
        }
        // SAFETY: `set_up` mapped the page. It is never unmapped, and children have a cleared page at the same address.
        let id = unsafe { &*page };
        NonZeroU64::new(id.load(Ordering::Relaxed)).map_or_else(|| assign(id), Self)
    }
}

impl From<ForkId> for NonZeroU64 {
    fn from(id: ForkId) -> Self {
        id.0
    }
}

/// A cell for an id. The default is empty.
#[derive(Debug, Default)]
pub struct AtomicForkId(AtomicU64);

impl AtomicForkId {
    /// Creates an empty cell.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Stores the id of the calling process.
    pub fn set_current(&self) {
        self.0.store(ForkId::current().0.get(), Ordering::Relaxed);
    }

    /// Empties the cell.
    pub fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// Returns true if the cell holds the id of the calling process.
    pub fn is_current(&self) -> bool {
        match self.0.load(Ordering::Relaxed) {
            0 => false,
            id => id == ForkId::current().0.get(),
        }
    }
}

/// Maps the page. If several threads do so at once, all of them use the page of the first.
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

/// Maps a new page that the kernel clears in children.
fn map() -> nix::Result<*mut AtomicU64> {
    // SAFETY: the kernel chooses the address of the new mapping.
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
    // SAFETY: the page was mapped above, and nothing else has its address.
    let [wiped, ignored] = [libc::MADV_WIPEONFORK, NO_ADVICE]
        .map(|advice| unsafe { libc::madvise(page.cast(), size_of::<AtomicU64>(), advice) } == 0);
    if wiped && !ignored {
        return Ok(page);
    }
    unmap(page);
    Err(Errno::EINVAL)
}

fn unmap(page: *mut AtomicU64) {
    // SAFETY: `map` mapped the page, and its address was not stored anywhere.
    unsafe { libc::munmap(page.cast(), size_of::<AtomicU64>()) };
}

/// Assigns an id at the first use in this process.
#[cold]
fn assign(id: &AtomicU64) -> ForkId {
    // fork(2) copies memory while other threads write to it. If the parent assigns its own id at that moment, the child may
    // have a count that does not include it. The pids differ in that case.
    let count = COUNT.fetch_add(1, Ordering::SeqCst).wrapping_add(1).max(1);
    let new = join(count, std::process::id());
    match id.compare_exchange(0, new.get(), Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => ForkId(new),
        Err(other) => ForkId(NonZeroU64::new(other).unwrap_or(new)),
    }
}

/// Returns an id made of the pid and its namespace. It is used without the page: before Linux 4.14, or with a seccomp filter.
#[cold]
fn by_pid() -> ForkId {
    /// The namespace that was read last: /proc may be unmounted later.
    static NAMESPACE: AtomicU32 = AtomicU32::new(1);
    let found = nix::sys::stat::stat(c"/proc/self/ns/pid").ok();
    // The kernel numbers namespaces with 32 bits.
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

    /// Runs `look` in a forked child. Returns its result, which is the child's exit status.
    pub fn in_a_child(look: impl FnOnce() -> u8) -> u8 {
        // SAFETY: the child calls `look` and exits.
        match unsafe { fork() }.unwrap() {
            ForkResult::Child => {
                let status = look();
                // SAFETY: the call ends the process.
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

    /// The system call runs no handlers of pthread_atfork(3).
    #[test]
    fn a_child_of_the_bare_system_call_has_another_id() {
        let first = ForkId::current();
        // SAFETY: without CLONE_VM the child has a copy of the memory. It exits at once.
        let child = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
        if child == 0 {
            let differs = ForkId::current() != first;
            // SAFETY: the call ends the process.
            unsafe { libc::_exit(differs.into()) }
        }
        let child = nix::unistd::Pid::from_raw(i32::try_from(child).unwrap());
        assert_eq!(waitpid(child, None), Ok(WaitStatus::Exited(child, 1)));
    }

    #[test]
    fn threads_whose_first_uses_coincide_get_the_same_id() {
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
    fn without_the_page_pid_and_namespace_distinguish_a_child_from_its_parent() {
        let own = by_pid();
        assert_eq!(by_pid(), own);
        assert_eq!(in_a_child(|| u8::from(by_pid() != own)), 1);
    }

    #[test]
    fn a_cell_is_empty_until_it_is_set_and_not_current_in_a_child() {
        let owner = AtomicForkId::default();
        assert!(!owner.is_current());
        owner.set_current();
        assert!(owner.is_current());
        assert_eq!(in_a_child(|| u8::from(owner.is_current())), 0);
    }
}
